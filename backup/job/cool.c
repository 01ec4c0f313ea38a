#include "backup/job/cool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/crew.h"
#include "backup/base/err.h"
#include "backup/store/cold.h"
#include "backup/store/store.h"

enum { MOVES = 8, WAITING = 8 };

struct cool {
    const struct cool_options *options;
    struct cool_result *result;
    struct idtable *stay; /* archives that are left where they are: a table of their own, since the
                             kind of what is under a mark is not known */
    uint32_t marked;      /* those below this number are under one */
    struct crew crew;
    pthread_mutex_t lock; /* guards the result and the callback */
};

struct job {
    struct cool *cool;
    uint64_t size;
    char name[OBJECT_NAME_SIZE];
};

static void cool_clear(struct cool *cool)
{
    crew_close(&cool->crew);
    idtable_free(cool->stay);
    pthread_mutex_destroy(&cool->lock);
}

/* ---- what stays -------------------------------------------------------------------------- */

static int leave(struct cool *cool, const struct archive_id *id, struct err *err)
{
    uint32_t ignored;

    return idtable_number(cool->stay, id, ARCHIVE_DATA, &ignored, err);
}

static int note_mark(void *context, const char *name, uint64_t size, struct err *err)
{
    struct archive_id id;

    (void)size;
    return idtable_parse(name, &id) ? leave(context, &id, err) : 0;
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
    for (size_t i = 0; r == 0 && i < count; i++)
        r = leave(cool, &entries[i].new, err);
    return r;
}

/* ---- moving ------------------------------------------------------------------------------ */

static void count(struct cool *cool, const struct job *job)
{
    const struct cool_options *options = cool->options;

    pthread_mutex_lock(&cool->lock);
    cool->result->archives++;
    cool->result->bytes += job->size;
    if (options->tell)
        options->tell(options->context, job->name, job->size);
    pthread_mutex_unlock(&cool->lock);
}

/* One that a pruner deleted meanwhile has no class. */
static void move_one(void *argument)
{
    struct job *job = argument;
    struct cool *cool = job->cool;
    const struct cool_options *options = cool->options;
    struct err err;
    bool skip = crew_ended(&cool->crew);
    int r =
        skip || options->dry_run ? 0 : cold_move(options->store, job->name, options->class, &err);

    if (r == 0 && !skip)
        count(cool, job);
    else if (r < 0 && r != -ERR_NOT_FOUND && r != -ERR_COLD)
        crew_fail(&cool->crew, &err);
    free(job);
}

/* Whether it stays; then it is counted where that is for longer than a grace. */
static bool is_left(struct cool *cool, const struct archive_id *id, uint64_t size)
{
    uint32_t number = idtable_find(cool->stay, id);

    if (number != NO_ARCHIVE && number >= cool->marked) {
        cool->result->compacted++;
        cool->result->compacted_bytes += size;
    }
    return number != NO_ARCHIVE;
}

static int consider(void *context, const struct cold_listed *listed, struct err *err)
{
    struct cool *cool = context;
    struct archive_id id;

    if (!cold_is_warmer(listed->class, cool->options->class) || cold_may_be_frozen(listed->class) ||
        listed->age_ns < cool->options->age_ns || !idtable_parse(listed->name, &id) ||
        is_left(cool, &id, listed->size))
        return 0;
    struct job *job = malloc(sizeof(*job));
    if (!job)
        return err_set(err, ERR_NOMEM, "no memory to move an archive");
    *job = (struct job){.cool = cool, .size = listed->size};
    (void)snprintf(job->name, sizeof(job->name), "data/%s", listed->name);
    crew_submit(&cool->crew, move_one, job);
    return crew_ended(&cool->crew) ? err_set(err, ERR_CANCELLED, "interrupted") : 0;
}

int cool_run(const struct cool_options *options, struct cool_result *out, struct err *err)
{
    CLEANUP(cool_clear) struct cool cool = {.options = options, .result = out};

    *out = (struct cool_result){0};
    pthread_mutex_init(&cool.lock, NULL);
    cool.stay = idtable_new();
    if (!cool.stay)
        return err_set(err, ERR_NOMEM, "no memory to move archives");
    int r = crew_open(&cool.crew, MOVES, WAITING, options->progress, "to move archives", err);
    if (r < 0)
        return r;
    r = store_list(options->store, "marks/", note_mark, &cool, err);
    cool.marked = idtable_count(cool.stay);
    if (r == 0)
        r = note_compacted(&cool, err);
    if (r == 0)
        r = cold_list(options->store, "data/", consider, &cool, err);
    return crew_settle(&cool.crew, r, err);
}
