#include "backup/job/cool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/pool.h"
#include "backup/base/progress.h"
#include "backup/job/references.h"
#include "backup/store/cold.h"
#include "backup/store/store.h"

enum { MOVES = 8, WAITING = 8 };

struct cool {
    const struct cool_options *options;
    struct cool_result *result;
    struct references stay; /* archives that are left where they are */
    struct pool *pool;

    pthread_mutex_t lock; /* guards what follows, the result and the callback */
    struct err failure;   /* code ERR_NONE: none */
};

struct job {
    struct cool *cool;
    uint64_t size;
    char name[OBJECT_NAME_SIZE];
};

static void cool_clear(struct cool *cool)
{
    pool_free(cool->pool);
    references_clear(&cool->stay);
    pthread_mutex_destroy(&cool->lock);
}

/* ---- what stays -------------------------------------------------------------------------- */

static int note_mark(void *context, const char *name, uint64_t size, struct err *err)
{
    struct cool *cool = context;
    struct archive_id id;
    uint32_t number;

    (void)size;
    if (!idtable_parse(name, &id))
        return 0;
    int r = idtable_number(cool->options->repo->ids, &id, ARCHIVE_DATA, &number, err);
    if (r == 0)
        references_note(&cool->stay, number);
    return r == -ERR_CORRUPT ? 0 : r; /* of another kind */
}

static void free_entries(struct remap_entry **entries)
{
    free(*entries);
}

static int note_compacted(struct cool *cool, struct err *err)
{
    CLEANUP(free_entries) struct remap_entry *entries = NULL;
    struct repo *repo = cool->options->repo;
    size_t count = 0;
    int r = remap_refresh(repo, err);

    if (r == 0)
        r = remap_entries(repo, &entries, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        uint32_t number;

        r = idtable_number(repo->ids, &entries[i].new, entries[i].kind, &number, err);
        if (r == 0)
            references_note(&cool->stay, number);
    }
    return r;
}

/* ---- moving ------------------------------------------------------------------------------ */

static bool has_failed(struct cool *cool)
{
    pthread_mutex_lock(&cool->lock);
    bool failed = cool->failure.code != ERR_NONE;
    pthread_mutex_unlock(&cool->lock);
    return failed || progress_cancelled(cool->options->progress);
}

/* One that a pruner deleted meanwhile has no class. */
static void move_one(void *argument)
{
    struct job *job = argument;
    struct cool *cool = job->cool;
    const struct cool_options *options = cool->options;
    struct err err;
    bool skip = has_failed(cool);
    int r =
        skip || options->dry_run ? 0 : cold_move(options->store, job->name, options->class, &err);

    pthread_mutex_lock(&cool->lock);
    if (r == 0 && !skip) {
        cool->result->archives++;
        cool->result->bytes += job->size;
        if (options->tell)
            options->tell(options->context, job->name, job->size);
    } else if (r < 0 && r != -ERR_NOT_FOUND && r != -ERR_COLD && cool->failure.code == ERR_NONE) {
        cool->failure = err;
    }
    pthread_mutex_unlock(&cool->lock);
    free(job);
}

static int consider(void *context, const struct cold_listed *listed, struct err *err)
{
    struct cool *cool = context;
    struct archive_id id;
    uint32_t number;

    if (!cold_is_warmer(listed->class, cool->options->class) || cold_may_be_frozen(listed->class) ||
        listed->age_ns < cool->options->age_ns || !idtable_parse(listed->name, &id))
        return 0;
    int r = idtable_number(cool->options->repo->ids, &id, ARCHIVE_DATA, &number, err);
    if (r < 0)
        return r == -ERR_CORRUPT ? 0 : r;
    if (references_has(&cool->stay, number))
        return 0;
    struct job *job = malloc(sizeof(*job));
    if (!job)
        return err_set(err, ERR_NOMEM, "no memory to move an archive");
    *job = (struct job){.cool = cool, .size = listed->size};
    (void)snprintf(job->name, sizeof(job->name), "data/%s", listed->name);
    pool_submit(cool->pool, move_one, job);
    return has_failed(cool) ? err_set(err, ERR_CANCELLED, "interrupted") : 0;
}

int cool_run(const struct cool_options *options, struct cool_result *out, struct err *err)
{
    CLEANUP(cool_clear) struct cool cool = {.options = options, .result = out};

    *out = (struct cool_result){0};
    pthread_mutex_init(&cool.lock, NULL);
    cool.pool = pool_new(MOVES, WAITING);
    if (!cool.pool || !references_init(&cool.stay))
        return err_set(err, ERR_NOMEM, "no memory, or no threads, to move archives");
    int r = store_list(options->store, "marks/", note_mark, &cool, err);
    if (r == 0)
        r = note_compacted(&cool, err);
    if (r == 0)
        r = cold_list(options->store, "data/", consider, &cool, err);
    pool_wait_idle(cool.pool);
    if (cool.failure.code != ERR_NONE) {
        *err = cool.failure;
        r = -(int)err->code;
    } else if (r == 0 && progress_cancelled(options->progress)) {
        r = err_set(err, ERR_CANCELLED, "interrupted");
    }
    return r;
}
