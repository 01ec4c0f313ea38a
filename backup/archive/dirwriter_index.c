/* dirwriter_index — the index items over a directory's leaves. */
#include "backup/archive/dirwriter_internal.h"
#include "backup/base/err.h"

enum {
    INDEX_ENTRIES_MIN = 16,
    INDEX_END_BITS = 5,
};

/* A row of parts that becomes one index item. */
struct group {
    const struct dirwriter *dir;
    const struct part *parts;
    size_t count;
    int level;
};

static int put_branch(const struct group *group, const struct part *part, struct encoder *encoder,
                      struct err *err)
{
    int r = put_varint(encoder->out, part->name_size, err);

    if (r == 0)
        r = buf_append(encoder->out, group->dir->names.data + part->name_at, part->name_size, err);
    if (r == 0)
        r = encoder_put_place(encoder, part->place, err);
    return r < 0 ? r : put_varint(encoder->out, part->entries, err);
}

static int encode_index(const void *context, struct encoder *encoder, struct err *err)
{
    const struct group *group = context;
    size_t table;

    int r = dirwriter_put_head(encoder, group->level, group->count, &table, err);
    if (r < 0)
        return r;
    size_t base = encoder->out->size;
    for (size_t i = 0; r == 0 && i < group->count; i++) {
        store_le16(encoder->out->data + table + 2 * i, (uint16_t)(encoder->out->size - base));
        r = put_branch(group, &group->parts[i], encoder, err);
    }
    return r;
}

/* How many parts from `from` on make the next index item. */
static size_t group_size(const struct dirwriter *dir, size_t from)
{
    enum { BRANCH_NUMBERS_MAX = 2 + 2 + 2 + 5 + VARINT_MAX }; /* with its offset */
    size_t size = ITEM_HEAD_MAX, count = 0;

    while (from + count < dir->part_count && count < ITEM_REFS_MAX) {
        const struct part *part = &dir->parts[from + count];

        size += BRANCH_NUMBERS_MAX + part->name_size;
        if (size > LEAF_SIZE_MAX)
            break;
        count++;
        if (count >= INDEX_ENTRIES_MIN &&
            dirwriter_ends_by_name(dir, dir->names.data + part->name_at, part->name_size,
                                   INDEX_END_BITS))
            break;
    }
    return count;
}

int dirwriter_write_level(struct dirwriter *dir, int level, struct err *err)
{
    size_t written = 0, count;

    for (size_t at = 0; at < dir->part_count; at += count) {
        struct part whole = dir->parts[at];

        count = group_size(dir, at);
        const struct group group = {dir, &dir->parts[at], count, level};
        int r = treewriter_put(dir->writer, encode_index, &group, &whole.place, err);
        if (r < 0)
            return r;
        for (size_t i = 1; i < count; i++)
            whole.entries += dir->parts[at + i].entries;
        dir->parts[written++] = whole;
    }
    dir->part_count = written;
    return 0;
}
