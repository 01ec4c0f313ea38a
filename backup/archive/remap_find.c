#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap_internal.h"
#include "backup/archive/repo.h"
#include "backup/base/err.h"

enum { LEADS_MAX = 256, STEP = 4096 };

struct search {
    struct repo *repo;
    struct place origin;
    struct remap_found *found;
    unsigned steps[REMAP_FOUND_MAX]; /* how many entries led there */
    size_t count;
};

static int add_found(struct search *search, const struct remap_entry *entry, uint32_t raw,
                     uint32_t left, unsigned steps, struct err *err)
{
    struct remap_found found = {.place.raw = entry->at + (raw - entry->from),
                                .left = entry->end - raw < left ? entry->end - raw : left};
    int r = idtable_number(search->repo->ids, &entry->new, entry->kind, &found.place.archive, err);

    if (r < 0 || place_equal(found.place, search->origin))
        return r;
    for (size_t i = 0; i < search->count; i++)
        if (place_equal(search->found[i].place, found.place))
            return 0;
    if (steps > REMAP_STEPS_MAX || search->count == REMAP_FOUND_MAX)
        return err_set(err, ERR_CORRUPT, "remaps lead on and on");
    search->steps[search->count] = steps;
    search->found[search->count++] = found;
    return 0;
}

/* One step on from a place; locked. */
static int follow(struct search *search, struct place place, uint32_t left, unsigned steps,
                  struct err *err)
{
    const struct known_list *list = &search->repo->remap->known;
    const struct archive_id *id = idtable_id(search->repo->ids, place.archive);
    enum archive_kind kind = idtable_kind(search->repo->ids, place.archive);
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->count; i++) {
        const struct remap_document *document = &list->at[i]->document;
        size_t count;
        const struct remap_entry *entry =
            remap_about(document->entries, document->count, id, &count);
        for (; r == 0 && count > 0; entry++, count--)
            if (entry->kind == kind && entry->from <= place.raw && place.raw < entry->end)
                r = add_found(search, entry, place.raw, left, steps + 1, err);
    }
    return r;
}

uint64_t remap_reach(const struct remap_found *found, int count, uint64_t length)
{
    uint64_t reach = count > 0 || length < STEP ? length : STEP;

    for (int i = 0; i < count; i++)
        if (found[i].left < reach)
            reach = found[i].left;
    return reach > 0 ? reach : 1;
}

int remap_find(struct repo *repo, struct place place, struct remap_found out[REMAP_FOUND_MAX],
               struct err *err)
{
    struct search search = {.repo = repo, .origin = place, .found = out};

    if (remap_generation(repo) == 0)
        return 0;
    pthread_rwlock_rdlock(&repo->remap->lock);
    int r = follow(&search, place, UINT32_MAX, 0, err);
    for (size_t i = 0; r == 0 && i < search.count; i++)
        r = follow(&search, out[i].place, out[i].left, search.steps[i], err);
    pthread_rwlock_unlock(&repo->remap->lock);
    return r < 0 ? r : (int)search.count;
}

/* An archive that some entry names, and the remap archive that has the entry. */
struct lead {
    uint32_t object, target;
};

/* The first `room` leads from an archive on. */
static size_t leads_of(struct repo *repo, uint32_t archive, struct lead *out, size_t room)
{
    const struct known_list *list = &repo->remap->known;
    size_t leads = 0;
    struct err err;

    pthread_rwlock_rdlock(&repo->remap->lock);
    for (size_t i = 0; i < list->count; i++) {
        const struct remap_document *document = &list->at[i]->document;
        size_t count;
        const struct remap_entry *entry =
            remap_about(document->entries, document->count, idtable_id(repo->ids, archive), &count);
        for (; count > 0 && leads < room; entry++, count--) {
            out[leads].object = list->at[i]->number;
            if (idtable_number(repo->ids, &entry->new, entry->kind, &out[leads].target, &err) == 0)
                leads++;
        }
    }
    pthread_rwlock_unlock(&repo->remap->lock);
    return leads;
}

bool remap_has(struct repo *repo, uint32_t archive)
{
    struct lead lead;

    return remap_generation(repo) != 0 && leads_of(repo, archive, &lead, 1) > 0;
}

static bool is_new(const uint32_t *reached, size_t count, uint32_t archive)
{
    for (size_t i = 0; i < count; i++)
        if (reached[i] == archive)
            return false;
    return true;
}

bool remap_leads(struct repo *repo, uint32_t archive, const struct remap_filter *filter)
{
    uint32_t reached[LEADS_MAX] = {archive};
    size_t count = 1;

    for (size_t i = 0; i < count; i++) {
        struct lead leads[REMAP_ALIKE_MAX];
        size_t lead_count = leads_of(repo, reached[i], leads, REMAP_ALIKE_MAX);

        for (size_t j = 0; j < lead_count && count < LEADS_MAX; j++) {
            if (!filter->object(filter->context, leads[j].object) ||
                !is_new(reached, count, leads[j].target))
                continue;
            if (filter->target(filter->context, leads[j].target))
                return true;
            reached[count++] = leads[j].target;
        }
    }
    return false;
}

/* ---- lists --------------------------------------------------------------------------------- */

static size_t drop_twins(struct remap_entry *entries, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (kept == 0 || remap_compare(&entries[kept - 1], &entries[i]) != 0)
            entries[kept++] = entries[i];
    return kept;
}

int remap_list(struct repo *repo, bool superseded, struct remap_entry **out, size_t *out_count,
               struct err *err)
{
    const struct known_list *list = &repo->remap->known;
    struct remap_entry *entries;
    size_t total = 0, at = 0;

    pthread_rwlock_rdlock(&repo->remap->lock);
    for (size_t i = 0; i < list->count; i++)
        total += list->at[i]->document.count;
    entries = calloc(total + 1, sizeof(*entries));
    for (size_t i = 0; entries && i < list->count; i++) {
        const struct remap_document *document = &list->at[i]->document;
        if (list->at[i]->object.superseded && !superseded)
            continue;
        memcpy(entries + at, document->entries, document->count * sizeof(*entries));
        at += document->count;
    }
    pthread_rwlock_unlock(&repo->remap->lock);
    if (!entries)
        return err_set(err, ERR_NOMEM, "no memory for %zu places that were moved", total);
    qsort(entries, at, sizeof(*entries), remap_compare);
    *out = entries;
    *out_count = drop_twins(entries, at);
    return 0;
}

int remap_entries(struct repo *repo, struct remap_entry **out, size_t *out_count, struct err *err)
{
    return remap_list(repo, true, out, out_count, err);
}

int remap_objects(struct repo *repo, struct remap_object **out, size_t *out_count, struct err *err)
{
    const struct known_list *list = &repo->remap->known;

    pthread_rwlock_rdlock(&repo->remap->lock);
    size_t count = list->count;
    struct remap_object *objects = calloc(count + 1, sizeof(*objects));
    for (size_t i = 0; objects && i < count; i++)
        objects[i] = list->at[i]->object;
    pthread_rwlock_unlock(&repo->remap->lock);
    if (!objects)
        return err_set(err, ERR_NOMEM, "no memory for %zu remaps", count);
    *out = objects;
    *out_count = count;
    return 0;
}
