#include "tools/tar.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/path.h"

enum {
    RECORDS_MAX = 64 * 1024 * 1024,
    OCTAL_7 = 2097151, /* what 7 octal digits hold */
    NAME_FIELD = 100,
};

#define OCTAL_11 UINT64_C(8589934591) /* and 11 */

/* As POSIX has it. */
struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, linkname[100];
    char magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], padding[12];
};

_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is one block");

/* Digits and a NUL; what does not fit stands in an extended header, and here is zero. */
static void octal(char *field, size_t size, uint64_t value, uint64_t most)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%0*llo", (int)size - 1,
                   (unsigned long long)(value <= most ? value : 0));
    memcpy(field, text, size);
}

static void fill(char *field, size_t size, const char *text, size_t length)
{
    if (length > 0)
        memcpy(field, text, length < size ? length : size);
}

static int write_header(int fd, const struct tar_member *member, struct err *err)
{
    struct header header = {0};
    unsigned sum = 0;
    uint64_t time = member->mtime_s > 0 ? (uint64_t)member->mtime_s : 0;

    fill(header.name, sizeof(header.name), member->path, strlen(member->path));
    fill(header.linkname, sizeof(header.linkname), member->target, member->target_size);
    octal(header.mode, sizeof(header.mode), member->mode, OCTAL_7);
    octal(header.uid, sizeof(header.uid), member->uid, OCTAL_7);
    octal(header.gid, sizeof(header.gid), member->gid, OCTAL_7);
    octal(header.size, sizeof(header.size), member->size, OCTAL_11);
    octal(header.mtime, sizeof(header.mtime), time, OCTAL_11);
    octal(header.major, sizeof(header.major), member->major, OCTAL_7);
    octal(header.minor, sizeof(header.minor), member->minor, OCTAL_7);
    header.type = member->type;
    memcpy(header.magic, "ustar", 6);
    memcpy(header.version, "00", 2);
    memset(header.checksum, ' ', sizeof(header.checksum));
    for (size_t i = 0; i < sizeof(header); i++)
        sum += ((const unsigned char *)&header)[i];
    octal(header.checksum, 7, sum, OCTAL_7);
    return io_write_full(fd, &header, sizeof(header), err);
}

/* "LENGTH KEY=VALUE\n", where the length counts its own digits. */
static int add_record(struct buf *records, const char *key, size_t key_size, const void *value,
                      size_t size, struct err *err)
{
    char digits[24];
    size_t rest = key_size + size + 3;
    size_t length = rest + 1;

    for (size_t i = 0; i < 3; i++)
        length = rest + (size_t)snprintf(digits, sizeof(digits), "%zu", length);
    (void)snprintf(digits, sizeof(digits), "%zu ", length);
    int r = buf_append(records, digits, strlen(digits), err);
    if (r == 0)
        r = buf_append(records, key, key_size, err);
    if (r == 0)
        r = buf_append(records, "=", 1, err);
    if (r == 0)
        r = buf_append(records, value, size, err);
    return r < 0 ? r : buf_append(records, "\n", 1, err);
}

static int add_text(struct buf *records, const char *key, const char *text, size_t size,
                    struct err *err)
{
    return add_record(records, key, strlen(key), text, size, err);
}

static int add_number(struct buf *records, const char *key, uint64_t value, struct err *err)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return add_text(records, key, text, strlen(text), err);
}

/* Seconds before 1970 with a fraction: -1.25 is the second -2 and 750,000,000 ns. */
static int add_time(struct buf *records, int64_t seconds, uint32_t ns, struct err *err)
{
    bool before = seconds < 0;
    uint64_t whole = before ? 0 - (uint64_t)seconds : (uint64_t)seconds;
    char text[40];

    if (before && ns > 0) {
        whole--;
        ns = 1000000000 - ns;
    }
    (void)snprintf(text, sizeof(text), "%s%llu.%09u", before ? "-" : "", (unsigned long long)whole,
                   ns);
    return add_text(records, "mtime", text, strlen(text), err);
}

static bool is_text(const char *bytes, size_t size)
{
    size_t room = 4 * size + 1;
    char *printed = malloc(room);
    bool same = printed && path_printable(bytes, size, printed, room) == size;

    free(printed);
    return same;
}

static int add_names(struct buf *records, const struct tar_member *member, struct err *err)
{
    size_t size = strlen(member->path);
    bool text = is_text(member->path, size) &&
                (member->target_size == 0 || is_text(member->target, member->target_size));
    int r = 0;

    if (!text)
        r = add_text(records, "hdrcharset", "BINARY", 6, err);
    if (r == 0 && (size > NAME_FIELD || !text))
        r = add_text(records, "path", member->path, size, err);
    if (r == 0 && member->target_size > 0 && (member->target_size > NAME_FIELD || !text))
        r = add_text(records, "linkpath", member->target, member->target_size, err);
    return r;
}

static int add_attributes(struct buf *records, const struct tar_member *member, struct err *err)
{
    static const char prefix[] = "SCHILY.xattr.";
    char key[sizeof(prefix) + 255];
    int r = 0;

    for (size_t i = 0; i < member->attribute_count && r == 0; i++) {
        const struct tar_attribute *attribute = &member->attributes[i];
        size_t size = attribute->name_size < 255 ? attribute->name_size : 255;

        memcpy(key, prefix, sizeof(prefix) - 1);
        memcpy(key + sizeof(prefix) - 1, attribute->name, size);
        r = add_record(records, key, sizeof(prefix) - 1 + size, attribute->value,
                       attribute->value_size, err);
    }
    return r;
}

static int collect(struct buf *records, const struct tar_member *member, struct err *err)
{
    int r = add_names(records, member, err);

    if (r == 0 &&
        (member->mtime_ns > 0 || member->mtime_s < 0 || (uint64_t)member->mtime_s > OCTAL_11))
        r = add_time(records, member->mtime_s, member->mtime_ns, err);
    if (r == 0 && member->size > OCTAL_11)
        r = add_number(records, "size", member->size, err);
    if (r == 0 && member->uid > OCTAL_7)
        r = add_number(records, "uid", member->uid, err);
    if (r == 0 && member->gid > OCTAL_7)
        r = add_number(records, "gid", member->gid, err);
    return r < 0 ? r : add_attributes(records, member, err);
}

int tar_header(int fd, const struct tar_member *member, struct err *err)
{
    CLEANUP(buf_clear) struct buf records = {.limit = RECORDS_MAX};
    int r = collect(&records, member, err);

    if (r == 0 && records.size > 0) {
        struct tar_member extended = {
            .type = 'x', .path = "PaxHeaders/extended", .mode = 0644, .size = records.size};

        r = write_header(fd, &extended, err);
        if (r == 0)
            r = io_write_full(fd, records.data, records.size, err);
        if (r == 0)
            r = tar_pad(fd, records.size, err);
    }
    return r < 0 ? r : write_header(fd, member, err);
}

int tar_pad(int fd, uint64_t size, struct err *err)
{
    static const char zeros[TAR_BLOCK];
    size_t over = (size_t)(size % TAR_BLOCK);

    return over == 0 ? 0 : io_write_full(fd, zeros, TAR_BLOCK - over, err);
}

int tar_end(int fd, struct err *err)
{
    static const char zeros[2 * TAR_BLOCK];

    return io_write_full(fd, zeros, sizeof(zeros), err);
}
