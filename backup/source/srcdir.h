/*
 * srcdir — an open directory of the source, kept open while somebody still wants to open files in
 * it.
 *
 * Files are opened relative to it by the workers that read them, long after the walk has gone on;
 * so no path is too long, and a directory renamed meanwhile is still the same one.
 *
 * Ownership: counted.  Each holder owns one reference; the last one closes the descriptor.
 * Threads:   srcdir_ref() and srcdir_unref() from any thread; the rest by the walk's.
 * Errors:    those of err_sys().
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

struct srcdir {
    atomic_uint refs; /* for srcdir.c only */
    int fd;
    uint64_t device, inode;
};

/* Opens directory `name` below `parent` (NULL: an absolute path), never through a symlink. */
int srcdir_open(const struct srcdir *parent, const char *name, struct srcdir **out,
                struct err *err);
/* The parent of an open directory, which has to be the one with these numbers. */
int srcdir_open_parent(const struct srcdir *child, uint64_t device, uint64_t inode,
                       struct srcdir **out, struct err *err);
/* Whether a failure to open something is for want of descriptors: it can be tried again. */
bool srcdir_none_free(const struct err *err);
struct srcdir *srcdir_ref(struct srcdir *dir);
void srcdir_unref(struct srcdir *dir); /* NULL is allowed */
