/* A directory while it is written: the leaf that is being filled, and what stands for those that
 * are done. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/dirwriter_internal.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/digest.h"

enum {
    LEAF_RECORDS_MIN = 64,
    LEAF_END_BITS = 9,
    RECORD_MAX = 32 * 1024, /* a record is far smaller; one beyond a leaf's end is held */
};

int dirwriter_new(struct treewriter *writer, const struct dirref *previous, struct dirwriter **out,
                  struct err *err)
{
    struct dirwriter *dir = calloc(1, sizeof(*dir));

    if (!dir)
        return err_set(err, ERR_NOMEM, "no memory to write a directory");
    dir->writer = writer;
    if (previous)
        dir->previous = *previous;
    dir->pending.records.limit = LEAF_SIZE_MAX + RECORD_MAX;
    dir->names.limit = SIZE_MAX / 4;
    *out = dir;
    return 0;
}

void dirwriter_abort(struct dirwriter *dir)
{
    if (!dir)
        return;
    buf_clear(&dir->pending.records);
    buf_clear(&dir->names);
    free(dir->pending.patches.list);
    free(dir->pending.ends);
    free(dir->pending.archives);
    free(dir->parts);
    free(dir);
}

static void dirwriter_abortp(struct dirwriter **dir)
{
    dirwriter_abort(*dir);
}

bool dirwriter_ends_by_name(const struct dirwriter *dir, const void *name, size_t size,
                            unsigned bits)
{
    uint64_t hash = digest_hash64(treewriter_id_key(dir->writer), name, size);

    return (hash & ((1U << bits) - 1)) == 0;
}

/* A record with the table indexes that were left out. */
static int put_patched(const struct pending *pending, struct encoder *encoder, size_t from,
                       size_t to, size_t *patch, struct err *err)
{
    const struct patches *patches = &pending->patches;
    int r = 0;

    while (r == 0 && *patch < patches->count && patches->list[*patch].at < to) {
        const struct patch *next = &patches->list[(*patch)++];
        size_t index = 0;

        r = buf_append(encoder->out, pending->records.data + from, next->at - from, err);
        if (r == 0)
            r = reftable_index(encoder->refs, next->archive, &index, err);
        if (r == 0)
            r = put_varint(encoder->out, index, err);
        from = next->at;
    }
    return r < 0 ? r : buf_append(encoder->out, pending->records.data + from, to - from, err);
}

int dirwriter_put_head(struct encoder *encoder, int level, size_t count, size_t *out_table,
                       struct err *err)
{
    int r = put_u8(encoder->out, level == 0 ? ITEM_LEAF : ITEM_INDEX, err);

    if (r == 0 && level > 0)
        r = put_u8(encoder->out, (uint8_t)level, err);
    if (r == 0)
        r = put_varint(encoder->out, count, err);
    if (r == 0)
        r = buf_reserve(encoder->out, 2 * count, err);
    if (r < 0)
        return r;
    *out_table = encoder->out->size;
    encoder->out->size += 2 * count;
    return 0;
}

static int encode_leaf(const void *context, struct encoder *encoder, struct err *err)
{
    const struct pending *pending = context;
    size_t table, patch = 0, from = 0;

    int r = dirwriter_put_head(encoder, 0, pending->count, &table, err);
    if (r < 0)
        return r;
    size_t base = encoder->out->size;
    for (size_t i = 0; r == 0 && i < pending->count; i++) {
        store_le16(encoder->out->data + table + 2 * i, (uint16_t)(encoder->out->size - base));
        r = put_patched(pending, encoder, from, pending->ends[i], &patch, err);
        from = pending->ends[i];
    }
    return r;
}

static int add_part(struct dirwriter *dir, struct place place, struct err *err)
{
    struct cursor in = cursor_of(dir->pending.records.data, dir->pending.records.size);
    struct part part = {.place = place, .entries = dir->pending.count};

    int r = treewriter_grow(&dir->parts, dir->part_count, &dir->part_capacity, sizeof(*dir->parts),
                            err);
    part.name_at = dir->names.size;
    part.name_size = (size_t)read_varint(&in);
    if (r == 0)
        r = buf_append(&dir->names, in.at, part.name_size, err);
    if (r == 0)
        dir->parts[dir->part_count++] = part;
    return r;
}

static bool run_is_whole(const struct dirwriter *dir)
{
    return dir->run.count > 0 && dir->run.next == dir->run.count &&
           dir->pending.count == dir->run.count;
}

/* Ends the leaf: the old one is taken where nothing is different. */
static int close_leaf(struct dirwriter *dir, struct err *err)
{
    struct pending *pending = &dir->pending;
    struct place place = dir->run.leaf;
    int r = 0;

    if (!run_is_whole(dir)) {
        dir->changed = true;
        r = treewriter_put(dir->writer, encode_leaf, pending, &place, err);
    }
    if (r == 0)
        r = add_part(dir, place, err);
    if (r < 0)
        return r;
    pending->records.size = 0;
    pending->patches.count = 0;
    pending->count = 0;
    pending->archive_count = 0;
    dir->run = (struct run){0};
    return 0;
}

/* Notes the archives that the record's refs name. */
static int count_archives(struct pending *pending, size_t first_patch, struct err *err)
{
    for (size_t i = first_patch; i < pending->patches.count; i++) {
        uint32_t archive = pending->patches.list[i].archive;
        size_t known = pending->archive_count;

        while (known > 0 && pending->archives[known - 1] != archive)
            known--;
        if (known > 0)
            continue;
        int r = treewriter_grow(&pending->archives, pending->archive_count,
                                &pending->archive_capacity, sizeof(archive), err);
        if (r < 0)
            return r;
        pending->archives[pending->archive_count++] = archive;
    }
    return 0;
}

static bool leaf_overflows(const struct pending *pending)
{
    size_t size =
        ITEM_HEAD_MAX + 2 * pending->count + pending->records.size + 2 * pending->patches.count;

    return size > LEAF_SIZE_MAX || pending->archive_count > ITEM_REFS_MAX;
}

/* Appends the record; 1: with it the leaf would be too long, and it was not appended. */
static int append_record(struct pending *pending, const struct entry *entry, struct err *err)
{
    struct encoder encoder = {.out = &pending->records, .patches = &pending->patches};
    size_t size = pending->records.size, patches = pending->patches.count;
    size_t archives = pending->archive_count;

    int r = treewriter_grow(&pending->ends, pending->count, &pending->capacity,
                            sizeof(*pending->ends), err);
    if (r == 0)
        r = encoder_put_record(&encoder, entry, err);
    if (r == 0)
        r = count_archives(pending, patches, err);
    if (r < 0)
        return r;
    pending->count++;
    if (leaf_overflows(pending) && pending->count > 1) {
        pending->count--;
        pending->records.size = size;
        pending->patches.count = patches;
        pending->archive_count = archives;
        return 1;
    }
    pending->ends[pending->count - 1] = (uint16_t)pending->records.size;
    return 0;
}

/* Before the entry is appended: whether it goes on with an old leaf, or begins one. */
static void follow_run(struct dirwriter *dir, const struct tree_position *same)
{
    struct run *run = &dir->run;

    if (same && run->count > 0 && place_equal(same->leaf, run->leaf) && same->slot == run->next)
        run->next++;
    else if (same && same->slot == 0 && dir->pending.count == 0)
        *run = (struct run){
            .leaf = same->leaf, .next = 1, .count = same->count, .last = same->last_leaf};
    else
        run->count = 0;
}

static int check_name(struct dirwriter *dir, const struct entry *entry, struct err *err)
{
    size_t common = dir->last_size < entry->name_size ? dir->last_size : entry->name_size;

    if (entry->name_size == 0 || entry->name_size > ENTRY_NAME_MAX)
        return err_set(err, ERR_USAGE, "not the name of a file");
    int order = memcmp(dir->last, entry->name, common);
    if (dir->last_size > 0 && (order > 0 || (order == 0 && dir->last_size >= entry->name_size)))
        return err_set(err, ERR_USAGE, "names of a directory out of order");
    return 0;
}

/* With the entry just added.  Within a run the old leaf's end counts; its last leaf may have ended
 * for want of names. */
static bool leaf_ends(const struct dirwriter *dir, const struct entry *entry)
{
    if (dir->run.count > 0 && !run_is_whole(dir))
        return false;
    if (dir->run.count > 0 && !dir->run.last)
        return true;
    return dir->pending.count >= LEAF_RECORDS_MIN &&
           dirwriter_ends_by_name(dir, entry->name, entry->name_size, LEAF_END_BITS);
}

int dirwriter_add(struct dirwriter *dir, const struct entry *entry,
                  const struct tree_position *same, struct err *err)
{
    int r = check_name(dir, entry, err);

    if (r == 0)
        r = append_record(&dir->pending, entry, err);
    if (r > 0) {
        r = close_leaf(dir, err);
        if (r == 0)
            r = append_record(&dir->pending, entry, err);
    }
    if (r < 0)
        return r;
    dir->pending.count--;
    follow_run(dir, same);
    dir->pending.count++;
    dir->entries++;
    dir->last_size = entry->name_size;
    memcpy(dir->last, entry->name, entry->name_size);
    return leaf_ends(dir, entry) ? close_leaf(dir, err) : 0;
}

static int finish_parts(struct dirwriter *dir, struct dirref *out, struct err *err)
{
    int r = dir->pending.count > 0 ? close_leaf(dir, err) : 0;

    if (r == 0 && !dir->changed && dir->entries == dir->previous.entries) {
        *out = dir->previous;
        return 0;
    }
    for (int level = 1; r == 0 && dir->part_count > 1; level++) {
        if (level > TREE_LEVELS_WRITTEN_MAX)
            return err_set(err, ERR_TOO_LARGE, "a directory of too many names");
        r = dirwriter_write_level(dir, level, err);
    }
    if (r == 0)
        *out = (struct dirref){.place = dir->parts[0].place, .entries = dir->entries};
    return r;
}

int dirwriter_finish(struct dirwriter *dir, struct dirref *out, struct err *err)
{
    CLEANUP(dirwriter_abortp) struct dirwriter *owned = dir;

    if (dir->entries == 0) {
        *out = (struct dirref){.place = {.archive = NO_ARCHIVE}};
        return 0;
    }
    return finish_parts(owned, out, err);
}
