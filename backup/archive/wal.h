/*
 * wal — wal archives: segments of PostgreSQL's log, pieces of one that is still open, histories of
 * timelines; what one says of itself, and how it is found.
 *
 * A segment's name follows from what it is, so it is found without a listing and without a catalog,
 * and there cannot be two of it.  docs/format.md, "PostgreSQL's log", is the authority.
 *
 * Ownership: wal_meta_clear() releases what a wal_meta holds.
 * Threads:   plain values; a writer or reader belongs to one at a time.
 * Errors:    ERR_CORRUPT, naming the object; ERR_EXISTS when something else is stored under that
 * name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/repo.h"
#include "backup/archive/root.h"
#include "backup/crypto/digest.h"

struct buf;
struct err;
struct repo;
struct walreader;
struct walwriter;

enum wal_what { WAL_SEGMENT = 1, WAL_TAIL = 2, WAL_HISTORY = 3, WAL_FILE = 4 };

enum {
    WAL_NAME_SIZE = 256,
    WAL_POINT_NAME_SIZE = 64,
    WAL_POINTS_MAX = 1024,
    WAL_OPEN_MAX = 64 * 1024,
    WAL_FILE_MAX = 1024 * 1024 * 1024, /* content of any of them */
};

/* A commit: where its record begins, and its time in microseconds since 1970. */
struct wal_mark {
    uint64_t lsn;
    uint32_t xid;
    int64_t time_us;
};

struct wal_point {
    uint64_t lsn;
    int64_t time_us;
    char name[WAL_POINT_NAME_SIZE];
};

/* What a wal archive says of itself. */
struct wal_meta {
    enum wal_what what;
    uint64_t system;
    uint32_t timeline;
    uint64_t segment_size, start; /* of segments and tails */
    uint64_t length;
    uint16_t magic;
    char name[WAL_NAME_SIZE]; /* of a WAL_FILE */
    char host[HOST_NAME_MAX_SIZE + 1];
    int64_t made_ns;
    uint8_t digest[DIGEST_SIZE];
    uint64_t commits;
    struct wal_mark first, last; /* if there are commits */
    int64_t earliest_us, latest_us;
    struct wal_point *points;
    size_t point_count;
    uint64_t open_lsn; /* a record that goes on behind it; 0: none, or nobody knows */
    uint8_t *open;
    size_t open_size;
};
void wal_meta_clear(struct wal_meta *meta);

static inline uint64_t wal_end(const struct wal_meta *meta)
{
    return meta->start + meta->length;
}

/* "wal/…" by what it is; of a tail only the folder: its id is in no meta. */
void wal_object_name(struct repo *repo, const struct wal_meta *meta, char out[OBJECT_NAME_SIZE]);
/* Whether an object of this name is a wal archive: "wal/" or "tails/" and an id. */
bool wal_is_name(const char *object);

int wal_document_encode(const struct wal_meta *meta, const uint32_t *index, size_t index_count,
                        struct buf *out, struct err *err);
/* *out_index (malloc'ed) has the numbers of the index blocks. */
int wal_document_decode(const void *bytes, size_t size, struct wal_meta *out, uint32_t **out_index,
                        size_t *out_count, struct err *err);

/* What content is known by. */
void wal_digest_start(struct repo *repo, struct digest_stream *out);

/*
 * Writing.  `meta` has the identity (what, system, timeline, segment_size, start, name), host and
 * made_ns; the rest is gathered.  Content and marks come in the order of the log.
 */
int walwriter_new(struct repo *repo, int level, const struct wal_meta *meta, struct walwriter **out,
                  struct err *err);
void walwriter_abort(struct walwriter *writer); /* NULL is allowed */
void walwriter_abortp(struct walwriter **writer);
uint64_t walwriter_length(const struct walwriter *writer);
int walwriter_add(struct walwriter *writer, const void *bytes, size_t count, struct err *err);
int walwriter_mark(struct walwriter *writer, const struct wal_mark *mark, struct err *err);
int walwriter_point(struct walwriter *writer, const struct wal_point *point, struct err *err);
/* Frees the writer in any case.  `magic`, and the record that goes on (`open` may be NULL).  When 0
 * it is durable, or was so already with the same content; `out_object` has its name. */
int walwriter_commit(struct walwriter *writer, uint16_t magic, uint64_t open_lsn,
                     const uint8_t *open, size_t open_size, char out_object[OBJECT_NAME_SIZE],
                     struct err *err);

/* Reading.  The object's own name is checked against what it says. */
int walreader_open(struct repo *repo, const char *object, struct walreader **out, struct err *err);
void walreader_close(struct walreader *reader); /* NULL is allowed */
void walreader_closep(struct walreader **reader);
const struct wal_meta *walreader_meta(const struct walreader *reader);
uint64_t walreader_size(const struct walreader *reader); /* of the object */
/* For verify: the parts of the object that no reader of content looks at. */
int walreader_check(const struct walreader *reader, struct err *err);
/* Gives the content from `from` up to `to`, in pieces and in order. */
int walreader_copy(struct walreader *reader, uint64_t from, uint64_t to,
                   int (*each)(void *context, const uint8_t *bytes, size_t count, struct err *err),
                   void *context, struct err *err);
/* Every commit, in the order of the log. */
int walreader_marks(struct walreader *reader,
                    int (*each)(void *context, const struct wal_mark *mark, struct err *err),
                    void *context, struct err *err);
