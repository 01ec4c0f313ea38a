#include <stdlib.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/segment_internal.h"
#include "catalog/states.h"

static void freep(void *pointer)
{
    free(*(void **)pointer);
}

static int by_number(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

/* Sorts, and leaves each number once; returns how many are left. */
static size_t sort_numbers(uint32_t *numbers, size_t count)
{
    size_t kept = 0;

    qsort(numbers, count, sizeof(*numbers), by_number);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || numbers[kept - 1] != numbers[i])
            numbers[kept++] = numbers[i];
    }
    return kept;
}

static int same_entry(const struct chunk_entry *a, const struct chunk_entry *b)
{
    return memcmp(a->id, b->id, sizeof(a->id)) == 0 && place_equal(a->place, b->place) &&
           a->length == b->length;
}

int segment_from_memtable(const struct segment_home *home, struct memtable *table,
                          struct segment **out, struct err *err)
{
    CLEANUP(segment_writer_abortp) struct segment_writer *writer = NULL;
    CLEANUP(freep) struct chunk_entry *entries = NULL;
    CLEANUP(freep) uint32_t *numbers = NULL;
    size_t count;
    int r = memtable_entries(table, &entries, &count, err);

    if (r < 0)
        return r;
    numbers = malloc((count > 0 ? count : 1) * sizeof(*numbers));
    if (!numbers)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        numbers[i] = entries[i].place.archive;
    r = segment_writer_new(home, numbers, sort_numbers(numbers, count), count, &writer, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (i == 0 || !same_entry(&entries[i - 1], &entries[i]))
            r = segment_writer_add(writer, &entries[i], err);
    }
    return r < 0 ? r : segment_writer_commit(STEAL(writer), out, err);
}

/* One of the segments that are merged, and the entry that is next in it. */
struct source {
    const struct segment *segment;
    uint64_t next;
    bool has;
    struct chunk_entry entry;
};

/* Archives that are to be in the merged segment. */
struct numbers {
    uint32_t *at; /* ascending */
    size_t count;
};

static void numbers_clear(struct numbers *numbers)
{
    free(numbers->at);
}

/* Goes to the next entry that is whole and in one of the archives. */
static void advance(struct source *source, const struct numbers *numbers)
{
    source->has = false;
    while (!source->has && source->next < segment_count(source->segment))
        source->has = segment_entry(source->segment, source->next++, &source->entry) &&
                      bsearch(&source->entry.place.archive, numbers->at, numbers->count,
                              sizeof(*numbers->at), by_number);
}

static struct source *least(struct source *sources, size_t count)
{
    struct source *found = NULL;

    for (struct source *source = sources; source < sources + count; source++) {
        if (source->has &&
            (!found || memcmp(source->entry.id, found->entry.id, sizeof(found->entry.id)) < 0))
            found = source;
    }
    return found;
}

static int merge_entries(struct segment_writer *writer, struct source *sources, size_t count,
                         const struct numbers *numbers, struct err *err)
{
    struct chunk_entry last = {0};
    bool any = false;

    for (struct source *source; (source = least(sources, count)) != NULL;) {
        int r = 0;
        if (!any || !same_entry(&last, &source->entry))
            r = segment_writer_add(writer, &source->entry, err);
        if (r < 0)
            return r;
        last = source->entry;
        any = true;
        advance(source, numbers);
    }
    return 0;
}

/* The archives of all segments that are still there. */
static int gather_numbers(struct segment *const *segments, size_t count,
                          const struct states *states, struct numbers *out, struct err *err)
{
    size_t total = 0, kept = 0;
    const uint32_t *numbers;

    for (size_t i = 0; i < count; i++)
        total += segment_archives(segments[i], &numbers);
    out->at = malloc((total > 0 ? total : 1) * sizeof(*out->at));
    if (!out->at)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        size_t more = segment_archives(segments[i], &numbers);
        for (size_t j = 0; j < more; j++) {
            if (states_get(states, numbers[j]) & STATE_PRESENT)
                out->at[kept++] = numbers[j];
        }
    }
    out->count = sort_numbers(out->at, kept);
    return 0;
}

int segment_merge(const struct segment_home *home, struct segment *const *segments, size_t count,
                  const struct states *states, struct segment **out, struct err *err)
{
    CLEANUP(segment_writer_abortp) struct segment_writer *writer = NULL;
    CLEANUP(freep) struct source *sources = calloc(count > 0 ? count : 1, sizeof(*sources));
    CLEANUP(numbers_clear) struct numbers numbers = {0};
    uint64_t capacity = 0;

    if (!sources)
        return err_set(err, ERR_NOMEM, "out of memory");
    int r = gather_numbers(segments, count, states, &numbers, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        capacity += segment_count(segments[i]);
        segment_read_ahead(segments[i]);
        sources[i].segment = segments[i];
        advance(&sources[i], &numbers);
    }
    if (r == 0)
        r = segment_writer_new(home, numbers.at, numbers.count, capacity, &writer, err);
    if (r == 0)
        r = merge_entries(writer, sources, count, &numbers, err);
    return r < 0 ? r : segment_writer_commit(STEAL(writer), out, err);
}
