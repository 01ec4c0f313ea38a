/*
 * tar — a tar stream in the pax format: what ustar's fields cannot hold goes into extended headers.
 *
 * Owners are numbers, times have nanoseconds, xattrs go as SCHILY.xattr.*, as GNU tar and
 * bsdtar write and read them.  Names are bytes; such that are no UTF-8 are marked as binary.
 *
 * Ownership: borrows the descriptor.
 * Threads:   one.
 * Errors:    those of writing; ERR_TOO_LARGE for attributes beyond 64 MiB.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;

enum { TAR_BLOCK = 512 };

struct tar_attribute {
    const char *name; /* an xattr's */
    size_t name_size;
    const uint8_t *value;
    size_t value_size;
};

struct tar_member {
    char type;          /* '0' file, '1' hard link, '2' symlink, '3' character device, '4' block
                           device, '5' directory, '6' fifo */
    const char *path;   /* terminated */
    const char *target; /* of links; not terminated */
    size_t target_size;
    uint32_t mode, uid, gid;
    uint32_t major, minor;
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint64_t size; /* of the content that follows; 0 for all but files */
    const struct tar_attribute *attributes;
    size_t attribute_count;
};

/* The headers; the content follows, and tar_pad() after it. */
int tar_header(int fd, const struct tar_member *member, struct err *err);
int tar_pad(int fd, uint64_t size, struct err *err);
/* The end of the stream. */
int tar_end(int fd, struct err *err);
