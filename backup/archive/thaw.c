#include "backup/archive/thaw.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/tree.h"
#include "backup/base/cleanup.h"
#include "backup/base/crew.h"
#include "backup/base/err.h"
#include "backup/store/store.h"

enum { QUESTIONS = 16, WAITING = 16 };

enum flag { FLAG_MAY_BE_COLD = 1, FLAG_NEEDED = 2, FLAG_SETTLED = 4, FLAG_FRESH = 8 };

/* By the archive's number. */
struct thaw_archive {
    uint64_t size;
    uint8_t flags, state;
    char class[COLD_CLASS_SIZE];
};

struct thaw {
    struct repo *repo;
    struct crew *crew; /* of the call under way */
    enum cold_tier tier;
    unsigned days;

    pthread_mutex_t lock; /* guards what follows while there are threads */
    struct thaw_archive *at;
    size_t room;
    struct thaw_amount asked;
};

/* One archive on its way through a thread. */
struct job {
    struct thaw *thaw;
    uint32_t archive;
};

int thaw_new(struct repo *repo, struct thaw **out, struct err *err)
{
    struct thaw *thaw = calloc(1, sizeof(*thaw));

    if (!thaw)
        return err_set(err, ERR_NOMEM, "no memory for a thaw");
    thaw->repo = repo;
    pthread_mutex_init(&thaw->lock, NULL);
    *out = thaw;
    return 0;
}

void thaw_free(struct thaw *thaw)
{
    if (!thaw)
        return;
    pthread_mutex_destroy(&thaw->lock);
    free(thaw->at);
    free(thaw);
}

void thaw_freep(struct thaw **thaw)
{
    thaw_free(*thaw);
}

static int make_room(struct thaw *thaw, uint32_t archive, struct err *err)
{
    return idtable_room(&thaw->at, &thaw->room, sizeof(*thaw->at), archive, err);
}

/* ---- what is needed ---------------------------------------------------------------------- */

static int note_listed(void *context, const struct cold_listed *listed, struct err *err)
{
    struct thaw *thaw = context;
    struct archive_id id;
    uint32_t number;

    if (!cold_may_be_frozen(listed->class) || !idtable_parse(listed->name, &id))
        return 0;
    int r = idtable_number(thaw->repo->ids, &id, ARCHIVE_DATA, &number, err);
    if (r == 0)
        r = make_room(thaw, number, err);
    if (r < 0)
        return r;
    thaw->at[number].size = listed->size;
    thaw->at[number].flags |= FLAG_MAY_BE_COLD;
    return 0;
}

int thaw_list(struct thaw *thaw, bool *out_any, struct err *err)
{
    int r = cold_list(thaw->repo->store, "data/", note_listed, thaw, err);

    *out_any = thaw->room > 0;
    return r;
}

int thaw_need(struct thaw *thaw, uint32_t archive, struct err *err)
{
    int r = make_room(thaw, archive, err);

    if (r == 0)
        thaw->at[archive].flags |= FLAG_NEEDED;
    return r;
}

/* Where it was moved to cannot be opened to tell: `*out` bytes are in one of these. */
static int need_moved(struct thaw *thaw, struct place place, uint64_t length, uint64_t *out,
                      struct err *err)
{
    struct remap_found found[REMAP_FOUND_MAX];
    struct err ignored;
    int count = remap_find(thaw->repo, place, found, &ignored);
    int r = thaw_need(thaw, place.archive, err);

    for (int i = 0; r == 0 && i < count; i++)
        r = thaw_need(thaw, found[i].place.archive, err);
    *out = remap_reach(found, count, length);
    return r;
}

static int need_extent(struct thaw *thaw, struct blocks *blocks, const struct extent *extent,
                       struct err *err)
{
    struct place place = extent->place, at;
    uint64_t left = extent->length, some;
    int r = 0;

    for (; r == 0 && left > 0; left -= some, place.raw += (uint32_t)some) {
        r = blocks_where(blocks, place, left, &at, &some, err);
        if (r == -ERR_COLD)
            r = need_moved(thaw, place, left, &some, err);
        else if (r == 0)
            r = thaw_need(thaw, at.archive, err);
    }
    return r;
}

int thaw_need_content(struct thaw *thaw, struct blocks *blocks, const struct content *content,
                      struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent extent;
    uint64_t start;

    if (content->form == CONTENT_NONE || content->form == CONTENT_INLINE)
        return 0;
    int r = content_open(&cursor, blocks, content, 0, err);
    while (r >= 0 && (r = content_next(&cursor, &extent, &start, err)) > 0)
        if (!extent_is_hole(&extent) && (r = need_extent(thaw, blocks, &extent, err)) < 0)
            break;
    return r;
}

/* ---- many at once ------------------------------------------------------------------------ */

static void object_name(const struct job *job, char out[OBJECT_NAME_SIZE])
{
    repo_object_name(ARCHIVE_DATA, idtable_id(job->thaw->repo->ids, job->archive), out);
}

static void note_seen(struct thaw *thaw, uint32_t number, const struct cold_object *object)
{
    bool settled = object->state == COLD_READY || object->state == COLD_THAWED;

    pthread_mutex_lock(&thaw->lock);
    struct thaw_archive *archive = &thaw->at[number];
    archive->state = (uint8_t)object->state;
    strcpy(archive->class, object->class);
    archive->flags =
        (uint8_t)((archive->flags & ~FLAG_SETTLED) | FLAG_FRESH | (settled ? FLAG_SETTLED : 0));
    pthread_mutex_unlock(&thaw->lock);
}

/* One that is gone was pruned since, and is nothing to wait for. */
static void look_at(void *argument)
{
    struct job *job = argument;
    struct thaw *thaw = job->thaw;
    struct cold_object object = {.state = COLD_READY};
    char name[OBJECT_NAME_SIZE];
    struct err err;

    object_name(job, name);
    bool seen = !crew_ended(thaw->crew);
    int r = seen ? cold_look(thaw->repo->store, name, &object, &err) : 0;
    if (r < 0 && r != -ERR_NOT_FOUND) {
        crew_fail(thaw->crew, &err);
        seen = false;
    }
    if (seen)
        note_seen(thaw, job->archive, &object);
    free(job);
}

static void ask_for(void *argument)
{
    struct job *job = argument;
    struct thaw *thaw = job->thaw;
    struct cold_object object = {.state = COLD_FROZEN};
    char name[OBJECT_NAME_SIZE];
    struct err err;

    object_name(job, name);
    pthread_mutex_lock(&thaw->lock);
    strcpy(object.class, thaw->at[job->archive].class);
    pthread_mutex_unlock(&thaw->lock);
    if (!crew_ended(thaw->crew)) {
        if (cold_thaw(thaw->repo->store, name, &object, thaw->tier, thaw->days, &err) < 0) {
            crew_fail(thaw->crew, &err);
        } else {
            pthread_mutex_lock(&thaw->lock);
            thaw->at[job->archive].state = COLD_THAWING;
            thaw->asked.archives++;
            thaw->asked.bytes += thaw->at[job->archive].size;
            pthread_mutex_unlock(&thaw->lock);
        }
    }
    free(job);
}

static bool is_open(const struct thaw_archive *archive)
{
    return archive->flags & FLAG_NEEDED && archive->flags & FLAG_MAY_BE_COLD &&
           !(archive->flags & FLAG_SETTLED);
}

static bool is_frozen(const struct thaw_archive *archive)
{
    return is_open(archive) && archive->state == COLD_FROZEN;
}

/* Thawed when it was looked at, and that was by an earlier call. */
static bool is_stale(const struct thaw_archive *archive)
{
    return archive->flags & FLAG_NEEDED && archive->flags & FLAG_SETTLED &&
           !(archive->flags & FLAG_FRESH) && archive->state == COLD_THAWED;
}

static int submit_all(struct thaw *thaw, bool (*wanted)(const struct thaw_archive *archive),
                      void (*run)(void *argument), struct err *err)
{
    for (uint32_t i = 0; i < thaw->room && !crew_ended(thaw->crew); i++) {
        pthread_mutex_lock(&thaw->lock);
        bool is_wanted = wanted(&thaw->at[i]);
        pthread_mutex_unlock(&thaw->lock);
        if (!is_wanted)
            continue;
        struct job *job = malloc(sizeof(*job));
        if (!job)
            return err_set(err, ERR_NOMEM, "no memory to ask for an archive");
        *job = (struct job){thaw, i};
        crew_submit(thaw->crew, run, job);
    }
    return 0;
}

static int for_each(struct thaw *thaw, bool (*wanted)(const struct thaw_archive *archive),
                    void (*run)(void *argument), struct progress *progress, struct err *err)
{
    CLEANUP(crew_close) struct crew crew = {0};
    int r = crew_open(&crew, QUESTIONS, WAITING, progress, "to ask for archives", err);

    if (r < 0)
        return r;
    thaw->crew = &crew;
    r = crew_settle(&crew, submit_all(thaw, wanted, run, err), err);
    thaw->crew = NULL;
    return r;
}

/* ---- what comes of it -------------------------------------------------------------------- */

static void add(struct thaw_amount *amount, const struct thaw_archive *archive)
{
    amount->archives++;
    amount->bytes += archive->size;
}

static void add_to_class(struct thaw_sum *sum, const struct thaw_archive *archive)
{
    size_t i = 0;

    while (i < sum->class_count && strcmp(sum->classes[i].name, archive->class) != 0)
        i++;
    if (i == THAW_CLASSES_MAX)
        return;
    if (i == sum->class_count)
        strcpy(sum->classes[sum->class_count++].name, archive->class);
    add(&sum->classes[i].amount, archive);
}

/* What came back first may be frozen again when the last has come: the days are over. */
static int look_at_all(struct thaw *thaw, struct progress *progress, struct err *err)
{
    bool waits = false;

    for (size_t i = 0; i < thaw->room; i++)
        thaw->at[i].flags &= (uint8_t)~FLAG_FRESH;
    int r = for_each(thaw, is_open, look_at, progress, err);
    for (size_t i = 0; i < thaw->room; i++)
        waits = waits || is_open(&thaw->at[i]);
    return r < 0 || waits ? r : for_each(thaw, is_stale, look_at, progress, err);
}

int thaw_look(struct thaw *thaw, struct progress *progress, struct thaw_sum *out, struct err *err)
{
    int r = look_at_all(thaw, progress, err);

    if (r < 0)
        return r;
    *out = (struct thaw_sum){0};
    for (size_t i = 0; i < thaw->room; i++) {
        const struct thaw_archive *archive = &thaw->at[i];

        if (!(archive->flags & FLAG_NEEDED) || !(archive->flags & FLAG_MAY_BE_COLD) ||
            archive->state == COLD_READY)
            continue;
        add(archive->state == COLD_FROZEN    ? &out->frozen
            : archive->state == COLD_THAWING ? &out->thawing
                                             : &out->thawed,
            archive);
        if (archive->state != COLD_THAWED)
            add_to_class(out, archive);
    }
    return 0;
}

int thaw_ask(struct thaw *thaw, enum cold_tier tier, unsigned days, struct progress *progress,
             struct thaw_amount *out_asked, struct err *err)
{
    thaw->tier = tier;
    thaw->days = days;
    thaw->asked = (struct thaw_amount){0};
    int r = for_each(thaw, is_frozen, ask_for, progress, err);

    *out_asked = thaw->asked;
    return r;
}
