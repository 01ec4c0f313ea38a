/*
 * pgwal — reads PostgreSQL's log as it goes by: its pages, and of its records the commits and the
 * restore points.
 *
 * Bytes are pushed in pieces of any size, from the start of a segment on.  Nothing here decides
 * what is stored: a log that is not understood (a server that is newer than this program, a damaged
 * page) is passed over to the next segment, and pgwal_trouble() says why.  Servers 13 to 18, by the
 * magic of their pages; records are checked by their own checksum.
 *
 *     struct pgwal *wal = pgwal_new(each, context);
 *     pgwal_start(wal, start_lsn, segment_size, NULL);
 *     pgwal_push(wal, bytes, size, err);
 *
 * Ownership: what each() gets is good during the call.
 * Threads:   one at a time.
 * Errors:    only those of each().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct pgwal;

enum {
    PGWAL_SEGMENT_MIN = 1024 * 1024,
    PGWAL_SEGMENT_MAX = 1024 * 1024 * 1024,
    PGWAL_OPEN_MAX = 64 * 1024, /* of a record that is looked at */
    PGWAL_NAME_SIZE = 64,       /* of a restore point, with its NUL */
};

enum pgwal_kind { PGWAL_COMMIT = 1, PGWAL_RESTORE_POINT };

struct pgwal_mark {
    enum pgwal_kind kind;
    uint64_t lsn;               /* where its record begins */
    uint32_t xid;               /* of a commit */
    int64_t time_us;            /* since 1970; within the years that backup/base/clock knows */
    char name[PGWAL_NAME_SIZE]; /* of a restore point */
};

typedef int pgwal_each_fn(void *context, const struct pgwal_mark *mark, struct err *err);

/* A record that begins in one segment and ends in the next: its first bytes. */
struct pgwal_open {
    uint64_t lsn; /* 0: there is none, or nobody knows */
    uint8_t bytes[PGWAL_OPEN_MAX];
    size_t size;
};

/* A power of two within the bounds that PostgreSQL has. */
bool pgwal_segment_size_valid(uint64_t size);
/* The server's major version by the magic of its pages; 0: not known. */
unsigned pgwal_version(uint16_t magic);

/* NULL: out of memory. */
struct pgwal *pgwal_new(pgwal_each_fn *each, void *context);
void pgwal_free(struct pgwal *wal); /* NULL is allowed */
void pgwal_freep(struct pgwal **wal);

/* What is pushed next begins at `lsn`, the start of a segment.  `open` (may be NULL) is what
 * pgwal_open() gave at the end of the segment before. */
void pgwal_start(struct pgwal *wal, uint64_t lsn, uint64_t segment_size,
                 const struct pgwal_open *open);
int pgwal_push(struct pgwal *wal, const void *bytes, size_t count, struct err *err);

uint64_t pgwal_at(const struct pgwal *wal);    /* the LSN of the byte that comes next */
uint16_t pgwal_magic(const struct pgwal *wal); /* of the pages; 0: none seen yet */
/* Of the last segment that began; 0: none did. */
uint64_t pgwal_system(const struct pgwal *wal);
uint32_t pgwal_timeline(const struct pgwal *wal);
/* Why what came last was not understood; NULL: it was.  A log that just ends is no trouble. */
const char *pgwal_trouble(const struct pgwal *wal);
void pgwal_open(const struct pgwal *wal, struct pgwal_open *out);
