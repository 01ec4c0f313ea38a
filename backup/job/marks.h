/*
 * marks — what a pruner is about to delete: docs/format.md, "Marks".
 *
 * Ownership: plain values; borrows the repo.
 * Threads:   one; of one mark, any.
 * Errors:    those of the store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct err;
struct references;
struct repo;

/* The moment at which a mark is made or looked at. */
struct marks_moment {
    int64_t time_ns; /* by the clock on the wall */
    uint64_t boot;   /* which boot of which machine this is; 0: not known */
    int64_t boot_ns; /* since then, by a clock that nobody sets */
};

struct mark {
    bool sound; /* else it counts all the same, but says nothing */
    struct marks_moment made;
    int64_t grace_ns; /* of who made it */
};

/* Adds the archives that are under a mark, of those that the idtable knows. */
int marks_note(struct repo *repo, const struct references *out, struct err *err);
/* The same, and what was moved is known anew (remap.h): both are asked for at once, of a remote
 * store.  A remap that cannot be read leads nowhere, and that is all. */
int marks_note_and_moves(struct repo *repo, const struct references *out, struct err *err);
/* Adds those of `needed` that the store has no more, mark and all. */
int marks_find_gone(struct repo *repo, const struct references *needed,
                    const struct references *out, struct err *err);

/* Marks an archive; one that another pruner has marked just now is fine as well.  ERR_EXISTS: he is
 * about to, and there is no mark yet. */
int marks_put(struct repo *repo, const struct archive_id *id, const struct marks_moment *now,
              int64_t grace_ns, struct err *err);
/* ERR_NOT_FOUND when it was taken away. */
int marks_read(struct repo *repo, const struct archive_id *id, struct mark *out, struct err *err);
/* One that is gone is fine as well. */
int marks_remove(struct repo *repo, const struct archive_id *id, struct err *err);

/* How long ago that was, as far as one clock without leaps says so; -1: it does not. */
int64_t marks_age(const struct mark *mark, const struct marks_moment *now);
