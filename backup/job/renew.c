#include "backup/job/renew.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/crew.h"
#include "backup/base/err.h"
#include "backup/store/store.h"

enum { THREADS = 16, WAITING = 16, PREFIXES = 5 };

/* Beside what the snapshot itself refers to. */
static const char *const prefixes[PREFIXES] = {"keys/", "index/", "remap/", "holds/", "releases/"};

struct renew {
    const struct renew_options *options;
    struct renew_result *result;
    struct idtable *marked; /* of their own: the kind of what is under a mark is not known */
    struct crew crew;
    pthread_mutex_t lock; /* guards the result and the callbacks */
};

struct job {
    struct renew *run;
    char name[STORE_NAME_MAX + 1];
};

struct listing {
    struct renew *run;
    const char *prefix;
};

static void renew_clear(struct renew *run)
{
    crew_close(&run->crew);
    idtable_free(run->marked);
    pthread_mutex_destroy(&run->lock);
}

/* What was listed and is gone since was nobody's any more; what a snapshot refers to is missed. */
static bool is_archive(const char *name)
{
    return strncmp(name, "data/", 5) == 0 || strncmp(name, "meta/", 5) == 0;
}

static void count(struct renew *run, const char *name, bool there)
{
    pthread_mutex_lock(&run->lock);
    if (there) {
        run->result->renewed++;
        run->options->locked(run->options->context, name, run->result->until_ns);
    } else {
        run->result->missing += is_archive(name);
    }
    pthread_mutex_unlock(&run->lock);
}

static void renew_one(void *argument)
{
    struct job *job = argument;
    struct renew *run = job->run;
    struct err err;

    if (!crew_ended(&run->crew)) {
        int r = store_retain(run->options->store, job->name, run->result->until_ns, &err);

        if (r == 0 || r == -ERR_NOT_FOUND)
            count(run, job->name, r == 0);
        else
            crew_fail(&run->crew, &err);
    }
    free(job);
}

static int consider(struct renew *run, const char *name, struct err *err)
{
    const struct renew_options *options = run->options;
    int64_t until = 0;

    pthread_mutex_lock(&run->lock);
    run->result->objects++;
    int r = options->known(options->context, name, &until, err);
    pthread_mutex_unlock(&run->lock);
    if (r < 0 || until >= options->now_ns + options->store->retention_ns)
        return r;
    if (crew_ended(&run->crew))
        return 0; /* told at the end */
    struct job *job = malloc(sizeof(*job));
    if (!job)
        return err_set(err, ERR_NOMEM, "no memory to lock an object");
    job->run = run;
    (void)snprintf(job->name, sizeof(job->name), "%s", name);
    crew_submit(&run->crew, renew_one, job);
    return 0;
}

static int note_mark(void *context, const char *name, uint64_t size, struct err *err)
{
    struct renew *run = context;
    struct archive_id id;
    uint32_t ignored;

    (void)size;
    return idtable_parse(name, &id) ? idtable_number(run->marked, &id, ARCHIVE_DATA, &ignored, err)
                                    : 0;
}

/* An archive under a mark is about to go. */
static bool is_marked(const struct renew *run, const char *name)
{
    struct archive_id id;

    return idtable_parse(name, &id) && idtable_find(run->marked, &id) != NO_ARCHIVE;
}

static int consider_listed(void *context, const char *name, uint64_t size, struct err *err)
{
    const struct listing *listing = context;
    char whole[STORE_NAME_MAX + 1];

    (void)size;
    if (is_marked(listing->run, name) ||
        snprintf(whole, sizeof(whole), "%s%s", listing->prefix, name) >= (int)sizeof(whole))
        return 0;
    return consider(listing->run, whole, err);
}

static int consider_archives(struct renew *run, struct err *err)
{
    const struct renew_options *options = run->options;
    const struct idtable *ids = options->repo->ids;
    char name[OBJECT_NAME_SIZE];
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < idtable_count(ids); i++) {
        enum archive_kind kind = idtable_kind(ids, i);

        if ((kind != ARCHIVE_DATA && kind != ARCHIVE_METADATA) ||
            !options->needs(options->context, i))
            continue;
        repo_object_name(kind, idtable_id(ids, i), name);
        r = consider(run, name, err);
    }
    return r;
}

static int consider_all(struct renew *run, struct err *err)
{
    struct listing listings[PREFIXES];
    struct store_listing folders[PREFIXES];
    int r = store_list(run->options->store, "marks/", note_mark, run, err);

    if (r == 0)
        r = consider(run, "repository", err);
    for (size_t i = 0; i < PREFIXES; i++) {
        listings[i] = (struct listing){run, prefixes[i]};
        folders[i] = (struct store_listing){prefixes[i], consider_listed, &listings[i]};
    }
    if (r == 0)
        r = store_list_all(run->options->store, folders, PREFIXES, err);
    return r < 0 ? r : consider_archives(run, err);
}

int renew_run(const struct renew_options *options, struct renew_result *out, struct err *err)
{
    CLEANUP(renew_clear) struct renew run = {.options = options, .result = out};
    const struct store *store = options->store;

    *out = (struct renew_result){.until_ns = options->now_ns + store->retention_ns +
                                             store_retention_spare(store)};
    pthread_mutex_init(&run.lock, NULL);
    run.marked = idtable_new();
    if (!run.marked)
        return err_set(err, ERR_NOMEM, "no memory to lock objects");
    int r = crew_open(&run.crew, THREADS, WAITING, NULL, "to lock objects", err);
    return r < 0 ? r : crew_settle(&run.crew, consider_all(&run, err), err);
}
