/*
 * remap — where what lay in archives that were compacted or sealed anew lies by now.
 *
 * Places are never written again.  Who moves blocks (move.h) gets an entry for each archive, and
 * publishes them with remap_publish(); who reads goes through blocks, which looks a place up here
 * when its archive is not there, or at once where an entry is known.  docs/format.md, "Remaps".
 *
 * What compaction does, in this order:
 *     1. mover_add() for each sparse archive, mover_finish(): the new archives are durable
 *     2. their records into index archives: job/runindex, with runindex_finish()
 *     3. remap_publish() with mover_entries(): from here on every reader finds the new ones
 *     4. only then: marks for the old archives, and for the remap archives that are superseded
 *
 * One for a repository, in struct repo.  Nothing is read before somebody misses an archive or calls
 * remap_refresh().
 *
 * Ownership: lists that are given out are malloc'ed for the caller.
 * Threads:   any call from any thread.
 * Errors:    ERR_CORRUPT for a remap archive that is damaged or cannot be (what the others say
 * still counts), or for entries that lead on and on; store errors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct buf;
struct err;
struct remap;
struct repo;
struct writer_result;

enum {
    REMAP_ENTRIES_MAX = 1 << 20, /* of all remap archives together */
    REMAP_OBJECTS_MAX = 1024,
    REMAP_ALIKE_MAX = 64, /* entries of one old archive, in one remap archive */
    REMAP_STEPS_MAX = 16, /* entries in a row that are followed */
    REMAP_FOUND_MAX = 16, /* places that one place is looked for at */
};

/* What lay in `old` at raw offset o, from <= o < end, lies in `new` at `at` + (o - from). */
struct remap_entry {
    struct archive_id old, new;
    enum archive_kind kind; /* of both: ARCHIVE_DATA or ARCHIVE_METADATA */
    uint32_t from, end, at;
};

/* A remap archive that was read. */
struct remap_object {
    struct archive_id id;
    bool superseded; /* by another one that there is */
};

/* Where bytes may lie: `left` of them from there on, as far as this entry goes. */
struct remap_found {
    struct place place;
    uint32_t left;
};

struct remap *remap_new(void); /* NULL: out of memory */
void remap_free(struct remap *remap);

/* Reads the remap archives that came since, forgets those that are gone.  One that cannot be read
 * is an error when all others have been read. */
int remap_refresh(struct repo *repo, struct err *err);
/* For who misses `archive`: refreshes, unless that was done for the same archive a moment ago or
 * another thread has done it since `seen` (remap_generation() before the miss).  1: there is news,
 * so that it is worth another try; 0: there is none. */
int remap_look_again(struct repo *repo, uint32_t archive, uint64_t seen, struct err *err);
/* Changes whenever what is known changes; 0: nothing was ever known. */
uint64_t remap_generation(struct repo *repo);

/* Places that may have what lay at `place`, itself left out; those that were moved least far first.
 * How many (0: it was not moved as far as is known), or negative. */
int remap_find(struct repo *repo, struct place place, struct remap_found out[REMAP_FOUND_MAX],
               struct err *err);
/* How many of `length` bytes lie in those places together; where there are none, a step that is
 * worth looking again behind.  At least 1. */
uint64_t remap_reach(const struct remap_found *found, int count, uint64_t length);
/* Whether there is an entry for that archive at all. */
bool remap_has(struct repo *repo, uint32_t archive);

/* Which entries are to count, by archive number. */
struct remap_filter {
    bool (*object)(void *context, uint32_t archive); /* a remap archive: its entries count */
    bool (*target)(void *context, uint32_t archive); /* an archive to arrive at */
    void *context;
};
/* Whether entries of such objects lead from `archive`, in one or several steps, to such a target.
 */
bool remap_leads(struct repo *repo, uint32_t archive, const struct remap_filter *filter);

/* All entries that are known, sorted as in the format, each once; *out may be NULL. */
int remap_entries(struct repo *repo, struct remap_entry **out, size_t *out_count, struct err *err);
int remap_objects(struct repo *repo, struct remap_object **out, size_t *out_count, struct err *err);

/* Makes a remap archive of all that is known (read anew first) and the `fresh` entries, flat, less
 * the entries for which `keep` (NULL: keep all) is false; it stands in for all that are known. When
 * it returns 0 the archive is durable and counts here as well.  ERR_CORRUPT, and nothing is
 * written, where one that is known cannot be read.  Nothing to say and nothing to stand in for:
 * nothing is written, and out->size is 0.  An entry may be dropped when no leaf, root or metadata
 * block names a place in its old archive that it leads on. */
int remap_publish(struct repo *repo, const struct remap_entry *fresh, size_t count,
                  bool (*keep)(void *context, const struct remap_entry *entry), void *context,
                  struct writer_result *out, struct err *err);
