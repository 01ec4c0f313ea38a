/*
 * prune_internal — what the parts of prune share: prune.c (the order of things), prune_survey.c
 * (what is there, and what becomes of it), prune_marks.c, prune_snapshots.c (what is needed),
 * prune_delete.c (the second look, and what follows), prune_each.c (many objects at once, in a
 * bucket), prune_locks.c, prune_compact.c.
 */
#pragma once

#include <pthread.h>

#include "backup/job/liveness.h"
#include "backup/job/prune.h"
#include "backup/job/roster.h"

struct repo;

enum prune_flag {
    FLAG_THERE = 1,   /* the store has it */
    FLAG_NAMED = 2,   /* a root or an index names it: it is no running writer's */
    FLAG_MARKED = 4,  /* … */
    FLAG_MATURE = 8,  /* … for longer than the grace */
    FLAG_YOUNG = 16,  /* … for less than half of it, by every clock */
    FLAG_LIVE = 32,   /* a kept snapshot needs it */
    FLAG_GRACED = 64, /* a forgotten one that is still there does */
    FLAG_DELETE = 128,
    FLAG_MARK = 256,
    FLAG_COLD = 512,     /* in a class that freezes, be it thawed for some days */
    FLAG_RETURNS = 1024, /* a forgotten one that may still come back needs it */
};

/* An archive of any kind, by its number. */
struct prune_object {
    uint64_t size;
    unsigned flags;
};

/* The mark of what is gone, and whether it goes as well. */
struct stale_mark {
    struct archive_id id;
    bool goes;
};

/* Kept; forgotten, and may still come back; would go, and is locked; goes. */
enum prune_verdict { PRUNE_KEPT, PRUNE_GRACED, PRUNE_BARRED, PRUNE_EXPIRED };

struct prune {
    const struct prune_options *options;
    struct prune_result *result;
    struct repo *repo;
    struct roster roster;
    enum prune_verdict *verdicts; /* of the roster */
    struct liveness *kept, *graced;
    struct prune_object *objects;
    size_t object_room;
    struct stale_mark *stale;
    size_t stale_count, stale_room;
    pthread_mutex_t lock; /* of the result and the options' callbacks, below prune_each() */
};

struct prune_object *prune_object(struct prune *prune, uint32_t archive);
bool prune_is_dead(const struct prune *prune, const struct roster_snapshot *snapshot);
void prune_tell(const struct prune *prune, enum prune_action action, const char *object,
                uint64_t size);

/* prune_each.c: the step for each of `count` that is wanted; one after the other in a directory, at
 * once in a bucket, where it ends when all steps have, and none begins after one that failed.
 * A step changes nothing of another's object, and the result only under the lock. */
typedef bool prune_wanted_fn(const struct prune *prune, size_t at);
typedef int prune_step_fn(struct prune *prune, size_t at, struct err *err);
int prune_each(struct prune *prune, size_t count, prune_wanted_fn *wanted, prune_step_fn *step,
               struct err *err);

/* prune_survey.c */
int prune_survey(struct prune *prune, struct err *err);

/* prune_marks.c: flags of marked objects; then which marks of what is gone are stale. */
int prune_look_at_marks(struct prune *prune, struct err *err);
int prune_choose_stale(struct prune *prune, struct err *err);

/* prune_snapshots.c: verdicts; then what those with one of them need. */
int prune_judge(struct prune *prune, struct err *err);
int prune_need_all(struct prune *prune, enum prune_verdict verdict, struct liveness *live,
                   struct err *err);
/* What is remembered and not in a roster must really be gone. */
int prune_check_known(const struct prune *prune, const struct roster *roster, struct err *err);
int prune_need(struct prune *prune, struct liveness *live, const struct roster_snapshot *snapshot,
               struct err *err);

/* prune_locks.c: what the store keeps from being removed is told, and counted. */
int prune_is_locked(struct prune *prune, const char *name, uint64_t size, bool *out,
                    struct err *err);
/* An archive that would go if a snapshot that is locked did not need it. */
void prune_note_needed(struct prune *prune, uint32_t archive);
int prune_root_is_locked(struct prune *prune, const struct roster_snapshot *snapshot, bool *out,
                         struct err *err);

/* prune_delete.c */
int prune_delete(struct prune *prune, struct err *err);
/* An archive that was moved: it is marked, or deleted where that may be at once. */
int prune_retire(struct prune *prune, uint32_t archive, struct err *err);

/* prune_compact.c */
int prune_compact(struct prune *prune, struct err *err);
