#include <stdlib.h>
#include <string.h>

#include "backup/archive/remap_internal.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { LEVEL = 3, PIECES_MAX = 4 * REMAP_ENTRIES_MAX };

struct entries {
    struct remap_entry *at;
    size_t count, capacity;
};

/* What is made flat: pieces of entries, each to be led on as far as it goes. */
struct flattening {
    const struct remap_entry *all; /* sorted: what is known, and what is fresh */
    size_t all_count;
    struct entries pending; /* a stack */
    unsigned *steps;        /* for each pending, how many entries led there */
    size_t steps_capacity;
    struct entries flat;
};

static void flattening_clear(struct flattening *flattening)
{
    free(flattening->pending.at);
    free(flattening->steps);
    free(flattening->flat.at);
}

static int push(struct entries *list, const struct remap_entry *entry, struct err *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity > 0 ? 2 * list->capacity : 256;
        void *at = reallocarray(list->at, capacity, sizeof(*list->at));
        if (!at)
            return err_set(err, ERR_NOMEM, "no memory for %zu places that were moved", capacity);
        list->at = at;
        list->capacity = capacity;
    }
    list->at[list->count++] = *entry;
    return 0;
}

static int push_pending(struct flattening *flattening, const struct remap_entry *entry,
                        unsigned steps, struct err *err)
{
    bool circle = archive_id_equal(&entry->old, &entry->new);
    int r = circle || steps > REMAP_STEPS_MAX ? err_set(err, ERR_CORRUPT, "remaps lead on and on")
                                              : push(&flattening->pending, entry, err);

    if (r == 0 && flattening->steps_capacity < flattening->pending.capacity) {
        void *at = reallocarray(flattening->steps, flattening->pending.capacity, sizeof(unsigned));
        if (!at)
            return err_set(err, ERR_NOMEM, "no memory for places that were moved");
        flattening->steps = at;
        flattening->steps_capacity = flattening->pending.capacity;
    }
    if (r == 0)
        flattening->steps[flattening->pending.count - 1] = steps;
    return r;
}

/* Where the range that an entry leads to is moved on first: its beginning and end there.  Entries
 * are sorted by `from`, so all in front of it stays. */
static bool first_moved(const struct remap_entry *next, size_t count, uint32_t from, uint32_t end,
                        uint32_t *out_from, uint32_t *out_end)
{
    bool found = false;

    *out_end = end;
    for (size_t i = 0; i < count; i++) {
        uint32_t low = next[i].from > from ? next[i].from : from;
        if (next[i].end <= from || low >= end)
            continue;
        if (!found)
            *out_from = low;
        found = true;
        /* Up to where any of them begins or ends, so that the part is whole in each or not in it.
         */
        if (low > *out_from && low < *out_end)
            *out_end = low;
        if (next[i].end < *out_end)
            *out_end = next[i].end;
    }
    return found;
}

static struct remap_entry part_of(const struct remap_entry *entry, uint32_t from, uint32_t end)
{
    struct remap_entry part = *entry;

    part.from = entry->from + (from - entry->at);
    part.end = entry->from + (end - entry->at);
    part.at = from;
    return part;
}

/* Leads one entry on: what is not moved further is flat, the rest is pending again. */
static int lead_on(struct flattening *flattening, const struct remap_entry *entry, unsigned steps,
                   struct err *err)
{
    size_t count;
    const struct remap_entry *next =
        remap_about(flattening->all, flattening->all_count, &entry->new, &count);
    uint32_t at = entry->at, end = entry->at + (entry->end - entry->from);
    int r = 0;

    while (r == 0 && at < end) {
        uint32_t moved_from = end, moved_end = end;
        if (!first_moved(next, count, at, end, &moved_from, &moved_end))
            moved_from = end;
        struct remap_entry stays = part_of(entry, at, moved_from);
        if (moved_from > at)
            r = push(&flattening->flat, &stays, err);
        struct remap_entry moves = part_of(entry, moved_from, moved_end), composed;
        for (size_t i = 0; r == 0 && i < count && moved_from < end; i++)
            if (remap_compose(&moves, &next[i], &composed))
                r = push_pending(flattening, &composed, steps + 1, err);
        at = moved_from < end ? moved_end : end;
    }
    return r;
}

/* One behind the other with the same shift are one. */
static size_t join(struct remap_entry *entries, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        struct remap_entry *last = kept > 0 ? &entries[kept - 1] : NULL;
        const struct remap_entry *entry = &entries[i];
        if (last && remap_compare(last, entry) == 0)
            continue;
        if (last && archive_id_equal(&last->old, &entry->old) &&
            archive_id_equal(&last->new, &entry->new) && entry->from <= last->end &&
            entry->at - last->at == entry->from - last->from) {
            last->end = entry->end > last->end ? entry->end : last->end;
            continue;
        }
        entries[kept++] = *entry;
    }
    return kept;
}

static int flatten(struct flattening *flattening, struct err *err)
{
    struct entries *flat = &flattening->flat;
    int r = 0;

    for (size_t i = 0; r == 0 && i < flattening->all_count; i++) {
        r = push_pending(flattening, &flattening->all[i], 0, err);
        while (r == 0 && flattening->pending.count > 0) {
            struct remap_entry entry = flattening->pending.at[--flattening->pending.count];
            r = lead_on(flattening, &entry, flattening->steps[flattening->pending.count], err);
            if (r == 0 && flat->count > PIECES_MAX)
                r = err_set(err, ERR_TOO_LARGE, "more than %d places were moved", PIECES_MAX);
        }
    }
    if (r == 0 && flat->count > 0) {
        qsort(flat->at, flat->count, sizeof(*flat->at), remap_compare);
        flat->count = join(flat->at, flat->count);
    }
    return r;
}

/* What is known, and what is fresh, sorted.  What a superseded one says the other one says as well,
 * led on further. */
static int gather(struct repo *repo, const struct remap_entry *fresh, size_t count,
                  struct entries *out, struct err *err)
{
    int r = remap_list(repo, false, &out->at, &out->count, err);

    if (r < 0)
        return r;
    out->capacity = out->count; /* at least */
    for (size_t i = 0; r == 0 && i < count; i++)
        r = push(out, &fresh[i], err);
    if (r == 0 && out->count > 0)
        qsort(out->at, out->count, sizeof(*out->at), remap_compare);
    return r;
}

static void drop(struct entries *entries,
                 bool (*keep)(void *context, const struct remap_entry *entry), void *context)
{
    size_t kept = 0;

    for (size_t i = 0; i < entries->count; i++)
        if (!keep || keep(context, &entries->at[i]))
            entries->at[kept++] = entries->at[i];
    entries->count = kept;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, ARCHIVE_ID_SIZE);
}

static int list_superseded(struct repo *repo, struct remap_document *document, struct err *err)
{
    struct remap_object *objects;
    int r = remap_objects(repo, &objects, &document->superseded_count, err);

    if (r < 0)
        return r;
    document->superseded = calloc(document->superseded_count + 1, sizeof(struct archive_id));
    for (size_t i = 0; document->superseded && i < document->superseded_count; i++)
        document->superseded[i] = objects[i].id;
    free(objects);
    if (!document->superseded)
        return err_set(err, ERR_NOMEM, "no memory for a remap");
    qsort(document->superseded, document->superseded_count, sizeof(struct archive_id), compare_ids);
    return 0;
}

static void writer_abortp(struct writer **writer)
{
    writer_abort(*writer);
}

static int write_document(struct repo *repo, const struct buf *document, struct writer_result *out,
                          struct err *err)
{
    CLEANUP(writer_abortp) struct writer *writer = NULL;
    CLEANUP(codec_freep) struct codec *codec = codec_new(LEVEL);
    uint32_t raw, stored;
    int r = codec ? 0 : err_set(err, ERR_NOMEM, "no memory to write a remap");

    if (r == 0)
        r = writer_new(repo, ARCHIVE_REMAP, &writer, err);
    for (size_t at = 0; r == 0 && at < document->size;) {
        size_t left = document->size - at;
        size_t size = left < BLOCK_RAW_TARGET ? left : BLOCK_RAW_TARGET;
        r = writer_append(writer, codec, document->data + at, size, NULL, 0, &raw, &stored, err);
        at += size;
    }
    return r < 0 ? r : writer_commit(STEAL(writer), NULL, NULL, out, err);
}

/* What is written must be what a reader takes. */
static int write_and_prove(struct repo *repo, const struct remap_document *document,
                           struct writer_result *out, struct err *err)
{
    CLEANUP(buf_clear) struct buf bytes = {.limit = remap_document_limit()};
    CLEANUP(remap_document_clear) struct remap_document proof = {0};

    if (document->count > REMAP_ENTRIES_MAX)
        return err_set(err, ERR_TOO_LARGE, "more than %d places were moved", REMAP_ENTRIES_MAX);
    int r = remap_document_encode(document, &bytes, err);
    if (r == 0)
        r = remap_document_decode(bytes.data, bytes.size, &proof, err);
    if (r == 0)
        r = write_document(repo, &bytes, out, err);
    return r == 0 ? remap_refresh(repo, err) : r;
}

int remap_publish(struct repo *repo, const struct remap_entry *fresh, size_t count,
                  bool (*keep)(void *context, const struct remap_entry *entry), void *context,
                  struct writer_result *out, struct err *err)
{
    CLEANUP(flattening_clear) struct flattening flattening = {0};
    CLEANUP(remap_document_clear) struct remap_document document = {0};
    struct writer_result result = {0};
    struct entries all = {0};

    int r = remap_refresh(repo, err);
    if (r == 0)
        r = gather(repo, fresh, count, &all, err);
    flattening.all = all.at;
    flattening.all_count = all.count;
    if (r == 0)
        r = flatten(&flattening, err);
    if (r == 0)
        r = list_superseded(repo, &document, err);
    if (r == 0) {
        drop(&flattening.flat, keep, context);
        document.count = flattening.flat.count;
        document.entries = STEAL(flattening.flat.at);
        if (document.count > 0 || document.superseded_count > 0)
            r = write_and_prove(repo, &document, &result, err);
    }
    free(all.at);
    if (r == 0 && out)
        *out = result;
    return r;
}
