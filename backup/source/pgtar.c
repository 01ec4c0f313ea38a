#include "backup/source/pgtar.h"

#include <stdbool.h>
#include <string.h>

#include "backup/base/err.h"
#include "backup/base/path.h"

/* Where the fields of a ustar header are. */
enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_CHECKSUM = 148,
    AT_KIND = 156,
    AT_TARGET = 157,
    AT_MAGIC = 257,
    AT_PREFIX = 345,
    NAME_FIELD = 100,
    PREFIX_FIELD = 155,
    SHORT_NUMBER = 8,
    LONG_NUMBER = 12,
};

void pgtar_init(struct pgtar *tar, const struct pgtar_sink *sink)
{
    *tar = (struct pgtar){.sink = *sink};
}

/* Base 256, as GNU tar began it: the top bit of the first byte, then a big-endian number. */
static bool read_binary(const uint8_t *field, size_t size, uint64_t most, uint64_t *out)
{
    uint64_t value = field[0] & 0x7F;

    for (size_t i = 1; i < size; i++) {
        if (value >> 55)
            return false;
        value = value << 8 | field[i];
    }
    *out = value;
    return value <= most;
}

/* Octal digits, spaces before and a space or NUL behind them. */
static bool read_number(const uint8_t *field, size_t size, uint64_t most, uint64_t *out)
{
    uint64_t value = 0;
    size_t i = 0;

    if (field[0] & 0x80)
        return read_binary(field, size, most, out);
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(field[i] - '0'); /* 12 digits at most: 36 bits */
    for (; i < size; i++)
        if (field[i] != 0 && field[i] != ' ')
            return false;
    *out = value;
    return value <= most;
}

static bool checksum_holds(const uint8_t *header)
{
    uint64_t stored, sum = 0;

    if (!read_number(header + AT_CHECKSUM, SHORT_NUMBER, UINT32_MAX, &stored))
        return false;
    for (size_t i = 0; i < PGTAR_BLOCK; i++)
        sum += i >= AT_CHECKSUM && i < AT_CHECKSUM + SHORT_NUMBER ? ' ' : header[i];
    return sum == stored;
}

/* A field that need not be terminated. */
static size_t read_text(const uint8_t *field, size_t size, char *out)
{
    size_t used = strnlen((const char *)field, size);

    memcpy(out, field, used);
    out[used] = 0;
    return used;
}

/* "./" in front and "/" behind (directories have it) are taken off; what is left has to be clean.
 */
static bool clean_name(char *name)
{
    const char *at = name, *component;
    size_t size, used = 0;

    if (name[0] == '/')
        return false;
    if (strncmp(name, "./", 2) == 0)
        memmove(name, name + 2, strlen(name + 2) + 1);
    size_t length = strlen(name);
    if (length > 0 && name[length - 1] == '/')
        name[--length] = 0;
    while (path_next(&at, name + length, &component, &size)) {
        if (!path_is_name(component, size))
            return false;
        used += size + (used > 0);
    }
    return used == length; /* else there was an empty component */
}

static bool read_name(const uint8_t *header, char out[PGTAR_NAME_SIZE])
{
    size_t used = read_text(header + AT_PREFIX, PREFIX_FIELD, out);

    if (used > 0)
        out[used++] = '/';
    read_text(header + AT_NAME, NAME_FIELD, out + used);
    return clean_name(out);
}

static bool read_kind(uint8_t flag, enum pgtar_kind *out)
{
    switch (flag) {
    case 0:
    case '0':
        *out = PGTAR_FILE;
        return true;
    case '2':
        *out = PGTAR_SYMLINK;
        return true;
    case '5':
        *out = PGTAR_DIRECTORY;
        return true;
    default:
        return false;
    }
}

static bool read_numbers(const uint8_t *header, struct pgtar_entry *out)
{
    uint64_t mode, uid, gid;

    if (!read_number(header + AT_MODE, SHORT_NUMBER, UINT32_MAX, &mode) ||
        !read_number(header + AT_UID, SHORT_NUMBER, UINT32_MAX, &uid) ||
        !read_number(header + AT_GID, SHORT_NUMBER, UINT32_MAX, &gid) ||
        !read_number(header + AT_SIZE, LONG_NUMBER, INT64_MAX, &out->size) ||
        !read_number(header + AT_MTIME, LONG_NUMBER, INT64_MAX, &out->mtime))
        return false;
    out->mode = (uint32_t)mode & 07777;
    out->uid = (uint32_t)uid;
    out->gid = (uint32_t)gid;
    return true;
}

static int refuse(const struct pgtar_entry *entry, const char *what, struct err *err)
{
    char shown[2 * PGTAR_NAME_SIZE];

    path_printable(entry->name, strlen(entry->name), shown, sizeof(shown));
    return err_set(err, ERR_REMOTE, "the base backup's tar is damaged: %s at '%s'", what, shown);
}

static int take_header(struct pgtar *tar, struct err *err)
{
    char name[PGTAR_NAME_SIZE], target[PGTAR_TARGET_SIZE] = "";
    struct pgtar_entry entry = {.name = name, .target = target};
    const uint8_t *header = tar->header;

    bool named = read_name(header, name);
    if (!checksum_holds(header) || memcmp(header + AT_MAGIC, "ustar", 5) != 0)
        return refuse(&entry, "a header that is none", err);
    if (!named)
        return refuse(&entry, "a name that is not below the directory", err);
    if (!read_kind(header[AT_KIND], &entry.kind) || !read_numbers(header, &entry))
        return refuse(&entry, "an entry of a kind that PostgreSQL does not send", err);
    if (name[0] == 0 && entry.kind != PGTAR_DIRECTORY)
        return refuse(&entry, "a file without a name", err);
    if (entry.kind == PGTAR_SYMLINK)
        read_text(header + AT_TARGET, PGTAR_TARGET_SIZE - 1, target);
    if (entry.kind != PGTAR_FILE)
        entry.size = 0;
    tar->left = entry.size;
    tar->padding = (size_t)(-entry.size & (PGTAR_BLOCK - 1));
    int r = tar->sink.begin(tar->sink.context, &entry, err);
    return r == 0 && entry.size == 0 ? tar->sink.end(tar->sink.context, err) : r;
}

static bool is_zero(const uint8_t *block)
{
    return block[0] == 0 && memcmp(block, block + 1, PGTAR_BLOCK - 1) == 0;
}

/* A whole header is there. */
static int take_block(struct pgtar *tar, struct err *err)
{
    tar->have = 0;
    if (is_zero(tar->header)) {
        tar->zeros++;
        return 0;
    }
    if (tar->zeros > 0)
        return err_set(err, ERR_REMOTE, "the base backup's tar goes on behind its end");
    return take_header(tar, err);
}

static int take_content(struct pgtar *tar, const uint8_t *bytes, size_t size, struct err *err)
{
    tar->left -= size;
    int r = tar->sink.data(tar->sink.context, bytes, size, err);
    return r == 0 && tar->left == 0 ? tar->sink.end(tar->sink.context, err) : r;
}

static size_t smaller(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

int pgtar_push(struct pgtar *tar, const void *bytes, size_t size, struct err *err)
{
    const uint8_t *at = bytes, *end = at + size;
    int r = 0;

    while (r == 0 && at < end) {
        size_t there = (size_t)(end - at), taken;

        if (tar->left > 0) {
            taken = smaller(tar->left, there);
            r = take_content(tar, at, taken, err);
        } else if (tar->padding > 0) {
            taken = smaller(tar->padding, there);
            tar->padding -= taken;
        } else {
            taken = smaller(PGTAR_BLOCK - tar->have, there);
            memcpy(tar->header + tar->have, at, taken);
            tar->have += taken;
            if (tar->have == PGTAR_BLOCK)
                r = take_block(tar, err);
        }
        at += taken;
    }
    return r;
}

int pgtar_finish(const struct pgtar *tar, struct err *err)
{
    if (tar->left > 0 || tar->padding > 0 || tar->have > 0)
        return err_set(err, ERR_REMOTE, "the base backup's tar ends in the middle of an entry");
    return 0;
}
