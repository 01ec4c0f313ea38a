/*
 * pgtar — takes a tar stream apart while it arrives: the form in which PostgreSQL sends a base
 * backup.
 *
 * Bytes are pushed in pieces of any size; files come out as begin, data…, end.  What is taken is
 * what PostgreSQL 13 to 18 send: ustar headers, sizes beyond 8 GiB in base 256, directories,
 * symlinks, with or without the two zero blocks at the end (a server that sends a manifest may
 * leave them out). Everything else is refused: extended headers, devices, names that leave the
 * directory.
 *
 *     struct pgtar tar;
 *     pgtar_init(&tar, &sink);
 *     while (…) r = pgtar_push(&tar, bytes, size, err);
 *     r = pgtar_finish(&tar, err);
 *
 * Ownership: no memory of its own.  What begin() gets is good during the call.
 * Threads:   one.
 * Errors:    ERR_REMOTE for what is no such tar; those of the sink end the stream.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;

enum { PGTAR_BLOCK = 512, PGTAR_NAME_SIZE = 100 + 1 + 155 + 1, PGTAR_TARGET_SIZE = 101 };

enum pgtar_kind { PGTAR_FILE, PGTAR_DIRECTORY, PGTAR_SYMLINK };

/* `size` of a file that is not known when it begins (backup_manifest, which is in no tar). */
#define PGTAR_SIZE_UNKNOWN UINT64_MAX

struct pgtar_entry {
    enum pgtar_kind kind;
    const char *name;   /* relative and clean: "base/1/1259" */
    const char *target; /* of a symlink; else "" */
    uint64_t size;      /* of a file */
    uint32_t mode;      /* permissions */
    uint32_t uid, gid;
    uint64_t mtime; /* seconds since 1970; 0: it has none */
};

/* Where the files go: begin and end for each entry, data only for files. */
struct pgtar_sink {
    int (*begin)(void *context, const struct pgtar_entry *entry, struct err *err);
    int (*data)(void *context, const void *bytes, size_t size, struct err *err);
    int (*end)(void *context, struct err *err);
    void *context;
};

/* For pgtar.c only. */
struct pgtar {
    struct pgtar_sink sink;
    uint8_t header[PGTAR_BLOCK];
    size_t have;   /* bytes of the header */
    uint64_t left; /* bytes of the content to come */
    size_t padding;
    unsigned zeros; /* end blocks seen */
};

void pgtar_init(struct pgtar *tar, const struct pgtar_sink *sink);
int pgtar_push(struct pgtar *tar, const void *bytes, size_t size, struct err *err);
/* The stream is over: fails where it stopped within an entry. */
int pgtar_finish(const struct pgtar *tar, struct err *err);
