#include "backup/archive/remap.h"

#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap_internal.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/store/store.h"

enum {
    KNOWN_MAX = 2 * REMAP_ENTRIES_MAX, /* entries: a new remap archive beside those it is made of */
    LOST_SECONDS = 10,
};

struct remap *remap_new(void)
{
    struct remap *remap = calloc(1, sizeof(*remap));

    if (!remap)
        return NULL;
    pthread_mutex_init(&remap->flight, NULL);
    pthread_cond_init(&remap->landed, NULL);
    pthread_rwlock_init(&remap->lock, NULL);
    return remap;
}

static void known_free(struct known *known)
{
    if (known)
        remap_document_clear(&known->document);
    free(known);
}

static void known_freep(struct known **known)
{
    known_free(*known);
}

void remap_free(struct remap *remap)
{
    if (!remap)
        return;
    for (size_t i = 0; i < remap->known.count; i++)
        known_free(remap->known.at[i]);
    free(remap->known.at);
    pthread_rwlock_destroy(&remap->lock);
    pthread_cond_destroy(&remap->landed);
    pthread_mutex_destroy(&remap->flight);
    free(remap);
}

uint64_t remap_generation(struct repo *repo)
{
    return atomic_load_explicit(&repo->remap->generation, memory_order_acquire);
}

/* ---- reading ------------------------------------------------------------------------------- */

static int read_content(const struct reader *reader, struct buf *out, struct err *err)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    int r = codec ? 0 : err_set(err, ERR_NOMEM, "no memory to read a remap");

    for (size_t i = 0; r == 0 && i < reader_blocks(reader); i++) {
        const struct block_info *block = reader_block(reader, i);
        if (block->raw != out->size)
            return err_set(err, ERR_CORRUPT, "a remap with gaps");
        r = buf_reserve(out, block->raw_size, err);
        if (r == 0)
            r = reader_decode(reader, codec, i, out->data + out->size, err);
        if (r == 0)
            out->size += block->raw_size;
    }
    return r == -ERR_TOO_LARGE ? err_set(err, ERR_CORRUPT, "larger than a remap can be") : r;
}

/* All of it is looked at, also what no reader of blocks needs. */
static int read_known(struct repo *repo, const struct archive_id *id, struct known **out,
                      struct err *err)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    CLEANUP(buf_clear) struct buf content = {.limit = remap_document_limit()};
    CLEANUP(known_freep) struct known *known = calloc(1, sizeof(*known));
    char name[OBJECT_NAME_SIZE];
    int r = known ? 0 : err_set(err, ERR_NOMEM, "no memory for a remap");

    if (r == 0)
        r = reader_open(repo, ARCHIVE_REMAP, id, NULL, &reader, err);
    if (r < 0)
        return r;
    r = reader_check_header(reader, err);
    if (r == 0)
        r = reader_check_padding(reader, err);
    if (r == 0)
        r = read_content(reader, &content, err);
    if (r == 0)
        r = remap_document_decode(content.data, content.size, &known->document, err);
    if (r == 0)
        r = idtable_number(repo->ids, id, ARCHIVE_REMAP, &known->number, err);
    if (r < 0) {
        repo_object_name(ARCHIVE_REMAP, id, name);
        return err_context(err, "%s", name);
    }
    known->object.id = *id;
    *out = STEAL(known);
    return 0;
}

/* ---- what there is ------------------------------------------------------------------------- */

/* The next state of `known`, while it is made: what is kept belongs to the old one. */
struct refreshing {
    struct remap *remap;
    struct known_list next;
    size_t kept, entries;
    struct archive_id *missing; /* listed, and not known yet */
    size_t missing_count;
};

static struct known *find_known(const struct known_list *list, const struct archive_id *id)
{
    for (size_t i = 0; i < list->count; i++)
        if (archive_id_equal(&list->at[i]->object.id, id))
            return list->at[i];
    return NULL;
}

static int note_listed(void *context, const char *name, uint64_t size, struct err *err)
{
    struct refreshing *refreshing = context;
    struct archive_id id;

    (void)size;
    if (!idtable_parse(name, &id))
        return 0; /* not the repository's */
    struct known *known = find_known(&refreshing->remap->known, &id);
    if (refreshing->next.count + refreshing->missing_count == REMAP_OBJECTS_MAX)
        return err_set(err, ERR_CORRUPT, "more than %d remap archives", REMAP_OBJECTS_MAX);
    if (known) {
        refreshing->next.at[refreshing->next.count++] = known;
        refreshing->kept++;
        refreshing->entries += known->document.count;
    } else {
        refreshing->missing[refreshing->missing_count++] = id;
    }
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, ARCHIVE_ID_SIZE);
}

static void mark_superseded(const struct known_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct remap_object *object = &list->at[i]->object;
        object->superseded = false;
        for (size_t j = 0; j < list->count && !object->superseded; j++) {
            const struct remap_document *other = &list->at[j]->document;
            object->superseded = bsearch(&object->id, other->superseded, other->superseded_count,
                                         sizeof(object->id), compare_ids) != NULL;
        }
    }
}

/* The first failure is told, and the others are read all the same. */
static int read_missing(struct repo *repo, struct refreshing *refreshing, struct err *err)
{
    struct err later;
    int result = 0;

    for (size_t i = 0; i < refreshing->missing_count; i++) {
        CLEANUP(known_freep) struct known *known = NULL;
        struct err *to = result == 0 ? err : &later;
        int r = read_known(repo, &refreshing->missing[i], &known, to);

        if (r == -ERR_NOT_FOUND) /* gone since it was listed */
            continue;
        if (r == 0 && known->document.count > KNOWN_MAX - refreshing->entries)
            r = err_set(to, ERR_CORRUPT, "more than %d places were moved", KNOWN_MAX);
        if (r < 0) {
            result = result == 0 ? r : result;
            continue;
        }
        refreshing->entries += known->document.count;
        refreshing->next.at[refreshing->next.count++] = STEAL(known);
    }
    return result;
}

/* Puts the new state in the place of the old one. */
static void replace(struct remap *remap, struct refreshing *refreshing)
{
    struct known_list old = remap->known;
    bool changed = refreshing->kept != old.count || refreshing->next.count != refreshing->kept;

    pthread_rwlock_wrlock(&remap->lock);
    remap->known = refreshing->next;
    mark_superseded(&remap->known);
    pthread_rwlock_unlock(&remap->lock);
    for (size_t i = 0; i < old.count; i++)
        if (!find_known(&remap->known, &old.at[i]->object.id))
            known_free(old.at[i]);
    free(old.at);
    if (changed)
        atomic_fetch_add_explicit(&remap->generation, 1, memory_order_release);
}

static int refresh(struct repo *repo, struct err *err)
{
    struct refreshing refreshing = {.remap = repo->remap};
    int r = 0;

    refreshing.next.at = calloc(REMAP_OBJECTS_MAX, sizeof(*refreshing.next.at));
    refreshing.missing = calloc(REMAP_OBJECTS_MAX, sizeof(*refreshing.missing));
    if (!refreshing.next.at || !refreshing.missing)
        r = err_set(err, ERR_NOMEM, "no memory for remaps");
    if (r == 0)
        r = store_list(repo->store, "remap/", note_listed, &refreshing, err);
    if (r < 0) {
        free(refreshing.next.at);
    } else {
        r = read_missing(repo, &refreshing, err);
        replace(repo->remap, &refreshing);
    }
    free(refreshing.missing);
    return r;
}

/* ---- one at a time ------------------------------------------------------------------------- */

static void take_off(struct remap *remap)
{
    pthread_mutex_lock(&remap->flight);
    while (remap->refreshing)
        pthread_cond_wait(&remap->landed, &remap->flight);
    remap->refreshing = true;
    pthread_mutex_unlock(&remap->flight);
}

static void land(struct remap *remap, int r, const struct err *err)
{
    pthread_mutex_lock(&remap->flight);
    remap->refreshing = false;
    remap->failure = r < 0 ? *err : (struct err){0};
    pthread_cond_broadcast(&remap->landed);
    pthread_mutex_unlock(&remap->flight);
}

int remap_refresh(struct repo *repo, struct err *err)
{
    take_off(repo->remap);
    int r = refresh(repo, err);
    land(repo->remap, r, err);
    return r;
}

/* Whether it was asked for a moment ago; with `flight` held. */
static bool is_lost(const struct remap *remap, uint32_t archive)
{
    int64_t since = clock_monotonic_ns() - LOST_SECONDS * NS_PER_SECOND;

    for (size_t i = 0; i < LOST_MAX; i++)
        if (remap->lost[i].archive == archive && remap->lost[i].asked_ns > since &&
            remap->lost[i].asked_ns != 0)
            return true;
    return false;
}

static void note_lost(struct remap *remap, uint32_t archive)
{
    pthread_mutex_lock(&remap->flight);
    remap->lost[remap->lost_next++ % LOST_MAX] = (struct lost){archive, clock_monotonic_ns()};
    pthread_mutex_unlock(&remap->flight);
}

int remap_look_again(struct repo *repo, uint32_t archive, uint64_t seen, struct err *err)
{
    struct remap *remap = repo->remap;
    int r = 0;

    pthread_mutex_lock(&remap->flight);
    while (remap->refreshing)
        pthread_cond_wait(&remap->landed, &remap->flight);
    bool news = remap_generation(repo) != seen;
    bool lost = !news && is_lost(remap, archive);
    if (lost && remap->failure.code != ERR_NONE) {
        *err = remap->failure;
        r = -(int)err->code;
    }
    pthread_mutex_unlock(&remap->flight);
    if (news || lost)
        return news ? 1 : r;
    r = remap_refresh(repo, err);
    if (remap_generation(repo) != seen)
        return 1;
    note_lost(remap, archive);
    return r;
}
