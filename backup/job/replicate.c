#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/root.h"
#include "backup/archive/thaw.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/crew.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "backup/crypto/digest.h"
#include "backup/job/replicate_internal.h"
#include "backup/store/store.h"

#define SCRATCH "/var/tmp"

enum { COPIERS = 4, WAITING = 4, PASSES_MAX = 4 };

/* In this order.  The header makes a repository of it, so the keys come first. */
static const struct replica_class keys[] = {{"keys/slot/", 0}, {"keys/epoch/", 0}};
static const struct replica_class content[] = {
    {"data/", ARCHIVE_DATA},
    {"meta/", ARCHIVE_METADATA},
    {"index/", ARCHIVE_INDEX},
    {"remap/", ARCHIVE_REMAP},
    /* Pieces first: those that go meanwhile are part of a segment that is listed then. */
    {"tails/", ARCHIVE_WAL},
    {"wal/", ARCHIVE_WAL},
    {"holds/", ARCHIVE_NOTE},
    {"releases/", ARCHIVE_NOTE},
    {"forgets/", ARCHIVE_NOTE},
};
static const struct replica_class snapshots = {"snapshots/", ARCHIVE_ROOT};
static const struct replica_class header = {"repository", 0};

struct replicate {
    const struct replicate_options *options;
    struct replicate_result *result;
    struct spillmap *there; /* hash of a name → size; only read while objects are copied */
    struct crew crew;
    bool again;                  /* differences were told already */
    const struct strings *roots; /* "NAME/REVISION", of the snapshots that there are */

    pthread_mutex_t lock; /* of all below, and of the callback and the result */
    uint64_t gone;        /* objects that were deleted here between listing and copying */
    uint64_t claimed;     /* … that another host is about to store there */
};

struct job {
    struct replicate *run;
    const struct replica_class *class;
    uint64_t size;
    char name[STORE_NAME_MAX + 1];
};

struct listing {
    struct replicate *run;
    const struct replica_class *class;
};

/* The snapshots that there were when it began. */
struct roots {
    struct replicate *run;
    struct strings names;
    uint64_t *sizes;
};

static void replicate_clear(struct replicate *run)
{
    crew_close(&run->crew);
    spillmap_free(run->there);
    pthread_mutex_destroy(&run->lock);
}

static void roots_clear(struct roots *roots)
{
    strings_clear(&roots->names);
    free(roots->sizes);
}

/* ---- what is there ----------------------------------------------------------------------- */

static void name_key(const struct replicate *run, const char *name, uint64_t out[2])
{
    uint8_t digest[DIGEST_SIZE];

    digest_bytes(keyring_id_key(run->options->repo->keyring), name, strlen(name), digest);
    out[0] = load_le64(digest);
    out[1] = load_le64(digest + 8);
}

static int note_there(void *context, const char *name, uint64_t size, struct err *err)
{
    struct replicate *run = context;
    uint64_t key[2];

    name_key(run, name, key);
    return spillmap_put(run->there, key[0], key[1], size, err);
}

static void tell(struct replicate *run, const char *object, const struct err *err)
{
    pthread_mutex_lock(&run->lock);
    run->result->troubles++;
    run->options->trouble(run->options->context, object, err);
    pthread_mutex_unlock(&run->lock);
}

static int list_there(struct replicate *run, struct err *err)
{
    spillmap_free(run->there);
    run->there = NULL;
    int r = spillmap_new(SCRATCH, &run->there, err);
    if (r < 0 || !run->options->to)
        return r;
    return store_list(run->options->to, "", note_there, run, err);
}

static bool is_there(const struct replicate *run, const char *name, uint64_t *out_size)
{
    uint64_t key[2];

    name_key(run, name, key);
    return spillmap_get(run->there, key[0], key[1], out_size);
}

/* A root that was sealed anew has taken its first revision's place, above which it stands as well:
 * of what was copied before, the replica keeps the first one as it was. */
static bool is_superseded(const struct replicate *run, const char *name)
{
    size_t skip = strlen(snapshots.prefix);
    const char *slash = strrchr(name, '/'), *rest = name + skip;

    if (strncmp(name, snapshots.prefix, skip) != 0 || !run->roots)
        return false;
    for (size_t i = 0; i < run->roots->count; i++)
        if (strncmp(run->roots->at[i], rest, (size_t)(slash - rest) + 1) == 0 &&
            strcmp(run->roots->at[i], rest) > 0)
            return true;
    return false;
}

/* Whether it is to be copied.  A part of an object cannot be there: somebody else put that. */
static bool is_missing(struct replicate *run, const char *name, uint64_t size)
{
    uint64_t there;
    struct err err;

    if (!is_there(run, name, &there))
        return true;
    if (there != size && !run->again && !is_superseded(run, name)) {
        (void)err_set(&err, ERR_CORRUPT, "%s: has %llu bytes in the replica instead of %llu", name,
                      (unsigned long long)there, (unsigned long long)size);
        tell(run, name, &err);
    }
    return false;
}

/* ---- copying ----------------------------------------------------------------------------- */

static void count(struct replicate *run, const struct job *job)
{
    pthread_mutex_lock(&run->lock);
    run->result->objects++;
    run->result->bytes += job->size;
    run->result->snapshots += job->class->kind == ARCHIVE_ROOT;
    if (run->options->copied)
        run->options->copied(run->options->context, job->name);
    pthread_mutex_unlock(&run->lock);
}

static void add(struct replicate *run, uint64_t *total, uint64_t more)
{
    pthread_mutex_lock(&run->lock);
    *total += more;
    pthread_mutex_unlock(&run->lock);
}

static void count_cold(struct replicate *run, const struct job *job)
{
    add(run, &run->result->cold, 1);
    add(run, &run->result->cold_bytes, job->size);
}

static void copy_one(void *argument)
{
    struct job *job = argument;
    struct replicate *run = job->run;
    struct err err;
    int r = 0;

    if (!crew_ended(&run->crew)) {
        if (!run->options->dry_run)
            r = replicate_object(run->options, job->class, job->name, job->size, &err);
        if (r == 0)
            count(run, job);
        else if (r == -ERR_CORRUPT)
            tell(run, job->name, &err);
        else if (r == -ERR_COLD)
            count_cold(run, job);
        else if (r == -ERR_BUSY)
            add(run, &run->claimed, 1);
        else if (r != -ERR_NOT_FOUND)
            crew_fail(&run->crew, &err);
        else if (job->class->kind != ARCHIVE_WAL)
            add(run, &run->gone, 1);
    }
    free(job);
}

static int submit(struct replicate *run, const struct replica_class *class, const char *rest,
                  uint64_t size, struct err *err)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return err_set(err, ERR_NOMEM, "no memory to copy an object");
    *job = (struct job){.run = run, .class = class, .size = size};
    int length = snprintf(job->name, sizeof(job->name), "%s%s", class->prefix, rest);
    if (length >= (int)sizeof(job->name) || !store_is_name(job->name) ||
        !is_missing(run, job->name, size)) {
        free(job);
        return 0;
    }
    if (run->options->progress)
        atomic_fetch_add(&run->options->progress->bytes_total, size);
    crew_submit(&run->crew, copy_one, job);
    return crew_ended(&run->crew) ? err_set(err, ERR_CANCELLED, "interrupted") : 0;
}

static int submit_listed(void *context, const char *rest, uint64_t size, struct err *err)
{
    const struct listing *listing = context;

    return submit(listing->run, listing->class, rest, size, err);
}

static int copy_classes(struct replicate *run, const struct replica_class *classes, size_t count,
                        struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        struct listing listing = {run, &classes[i]};
        r = store_list(run->options->repo->store, classes[i].prefix, submit_listed, &listing, err);
        r = crew_settle(&run->crew, r, err);
    }
    return r;
}

/* Archives that a prune took away were moved to others, which are there to be listed by now. */
static int copy_content(struct replicate *run, struct err *err)
{
    int r = 0;

    for (unsigned pass = 0; r == 0 && pass < PASSES_MAX; pass++) {
        run->gone = 0;
        run->result->cold = run->result->cold_bytes = 0;
        r = copy_classes(run, content, sizeof(content) / sizeof(content[0]), err);
        if (r < 0 || run->gone == 0 || run->options->dry_run)
            return r;
        run->again = true;
        r = list_there(run, err);
    }
    return r < 0 ? r : err_set(err, ERR_BUSY, "archives went away again and again while copying");
}

/* ---- the repository as a whole ----------------------------------------------------------- */

static int note_root(void *context, const char *name, uint64_t size, struct err *err)
{
    struct roots *roots = context;
    uint64_t *sizes = reallocarray(roots->sizes, roots->names.count + 1, sizeof(*sizes));

    if (!sizes)
        return err_set(err, ERR_NOMEM, "no memory for the names of snapshots");
    roots->sizes = sizes;
    sizes[roots->names.count] = size;
    return strings_add(&roots->names, name, strlen(name), err);
}

/* Those that are not there yet. */
static int announce_roots(struct replicate *run, const struct roots *roots, struct err *err)
{
    CLEANUP(strings_clear) struct strings missing = {0};
    char name[STORE_NAME_MAX + 1];
    uint64_t size;
    int r = 0;

    if (!run->options->before_roots || run->options->dry_run)
        return 0;
    for (size_t i = 0; r == 0 && i < roots->names.count; i++) {
        const char *rest = roots->names.at[i];

        (void)snprintf(name, sizeof(name), "%s%s", snapshots.prefix, rest);
        if (!is_there(run, name, &size))
            r = strings_add(&missing, rest, strlen(rest), err);
    }
    if (r < 0 || missing.count == 0)
        return r;
    return run->options->before_roots(run->options->context, &missing, err);
}

static int copy_roots(struct replicate *run, const struct roots *roots, struct err *err)
{
    int r = announce_roots(run, roots, err);

    run->roots = &roots->names;
    for (size_t i = 0; r == 0 && i < roots->names.count; i++)
        r = submit(run, &snapshots, roots->names.at[i], roots->sizes[i], err);
    return crew_settle(&run->crew, r, err);
}

static int need_missing(void *context, const char *rest, uint64_t size, struct err *err)
{
    struct replicate *run = context;
    char name[OBJECT_NAME_SIZE];
    struct archive_id id;
    uint32_t number;

    if (!idtable_parse(rest, &id))
        return 0;
    repo_object_name(ARCHIVE_DATA, &id, name);
    if (is_there(run, name, &size))
        return 0;
    int r = idtable_number(run->options->repo->ids, &id, ARCHIVE_DATA, &number, err);
    return r < 0 ? r : thaw_need(run->options->thaw, number, err);
}

/* Whether all that is to be copied can be read. */
static int thaw_missing(struct replicate *run, struct err *err)
{
    const struct replicate_options *how = run->options;
    int r = how->thaw ? store_list(how->repo->store, "data/", need_missing, run, err) : 0;

    return r == 0 && how->thaw ? how->ready(how->ready_context, err) : r;
}

/* A snapshot is there when all of it is. */
static int check_whole(const struct replicate *run, struct err *err)
{
    if (run->claimed > 0)
        return err_set(err, ERR_BUSY,
                       "objects that another host claims in the replica: %llu; copy again later "
                       "(if it died, in an hour)",
                       (unsigned long long)run->claimed);
    if (run->result->cold == 0)
        return 0;
    return err_set(
        err, ERR_COLD,
        "%llu archives (%llu MiB) are in cold storage here and not yet in the replica, so "
        "no snapshot was copied",
        (unsigned long long)run->result->cold, (unsigned long long)(run->result->cold_bytes >> 20));
}

static int copy_all(struct replicate *run, struct err *err)
{
    CLEANUP(roots_clear) struct roots roots = {.run = run};
    struct store *from = run->options->repo->store;
    int there = replica_look_at_header(run->options, err);
    int r = there < 0 ? there : list_there(run, err);

    if (r == 0)
        r = thaw_missing(run, err);
    if (r == 0)
        r = store_list(from, snapshots.prefix, note_root, &roots, err);
    if (r == 0)
        r = copy_classes(run, keys, sizeof(keys) / sizeof(keys[0]), err);
    if (r == 0 && there == 0)
        r = submit(run, &header, "", REPLICA_HEADER_SIZE, err);
    if (r == 0)
        r = crew_settle(&run->crew, r, err);
    if (r == 0)
        r = copy_content(run, err);
    if (r == 0)
        r = check_whole(run, err);
    if (r == 0)
        r = copy_roots(run, &roots, err);
    return r == 0 ? check_whole(run, err) : r;
}

int replicate_run(const struct replicate_options *options, struct replicate_result *out,
                  struct err *err)
{
    CLEANUP(replicate_clear) struct replicate run = {.options = options, .result = out};

    *out = (struct replicate_result){0};
    pthread_mutex_init(&run.lock, NULL);
    if (options->progress)
        atomic_store(&options->progress->phase, "copying");
    int r = crew_open(&run.crew, COPIERS, WAITING, options->progress, "to copy objects", err);
    return r < 0 ? r : copy_all(&run, err);
}
