/* The extents of one file: a short list as it is, a long one as items and indexes over them. */
#include <stdlib.h>

#include "backup/archive/treewriter_internal.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

/* Smaller items than the format allows: a read at random goes through half of one. */
enum { ITEM_EXTENTS_MAX = 1000, INDEX_BRANCHES_MAX = 500 };

/* An item that is written, and how much content it covers. */
struct covered {
    struct place place;
    uint64_t length;
};

struct contentwriter {
    struct treewriter *writer;
    uint64_t size;
    struct extent *extents; /* not yet in an item */
    size_t count, capacity;
    uint64_t pending; /* what they cover */
    struct covered *items;
    size_t item_count, item_capacity;
    struct reftable refs; /* archives that the extents name */
};

int contentwriter_new(struct treewriter *writer, struct contentwriter **out, struct err *err)
{
    struct contentwriter *content = calloc(1, sizeof(*content));

    if (!content)
        return err_set(err, ERR_NOMEM, "no memory to write content");
    content->writer = writer;
    *out = content;
    return 0;
}

void contentwriter_free(struct contentwriter *content)
{
    if (!content)
        return;
    free(content->extents);
    free(content->items);
    free(content);
}

static int encode_extents(const void *context, struct encoder *encoder, struct err *err)
{
    const struct contentwriter *content = context;

    int r = put_u8(encoder->out, ITEM_EXTENTS, err);
    if (r == 0)
        r = put_varint(encoder->out, content->count, err);
    for (size_t i = 0; r == 0 && i < content->count; i++)
        r = encoder_put_extent(encoder, &content->extents[i], err);
    return r;
}

static int write_extents(struct contentwriter *content, struct err *err)
{
    struct covered item = {.length = content->pending};

    int r = treewriter_grow(&content->items, content->item_count, &content->item_capacity,
                            sizeof(item), err);
    if (r == 0)
        r = treewriter_put(content->writer, encode_extents, content, &item.place, err);
    if (r < 0)
        return r;
    content->items[content->item_count++] = item;
    content->count = 0;
    content->pending = 0;
    content->refs.count = 0;
    return 0;
}

/* Whether `extent` goes on where the last one ends, in the source and in the archive. */
static bool folds(const struct contentwriter *content, const struct extent *extent)
{
    if (content->count == 0)
        return false;
    const struct extent *last = &content->extents[content->count - 1];
    if (extent_is_hole(last) || extent_is_hole(extent))
        return extent_is_hole(last) && extent_is_hole(extent);
    return last->place.archive == extent->place.archive &&
           last->place.raw + last->length == extent->place.raw &&
           extent->length <= UINT32_MAX - extent->place.raw;
}

static int append(struct contentwriter *content, const struct extent *extent, struct err *err)
{
    size_t index;
    bool full = content->count == ITEM_EXTENTS_MAX || content->refs.count == ITEM_REFS_MAX;

    int r = full ? write_extents(content, err) : 0;
    if (r == 0)
        r = treewriter_grow(&content->extents, content->count, &content->capacity, sizeof(*extent),
                            err);
    if (r == 0 && !extent_is_hole(extent))
        r = reftable_index(&content->refs, extent->place.archive, &index, err);
    if (r == 0)
        content->extents[content->count++] = *extent;
    return r;
}

int contentwriter_add(struct contentwriter *content, const struct extent *extent, struct err *err)
{
    int r = 0;

    if (extent->length == 0 || extent->length > INT64_MAX - content->size)
        return err_set(err, ERR_USAGE, "an extent of %llu bytes",
                       (unsigned long long)extent->length);
    if (folds(content, extent))
        content->extents[content->count - 1].length += extent->length;
    else
        r = append(content, extent, err);
    if (r < 0)
        return r;
    content->size += extent->length;
    content->pending += extent->length;
    return 0;
}

struct covered_row {
    const struct covered *items;
    size_t count;
    int level;
};

static int encode_index(const void *context, struct encoder *encoder, struct err *err)
{
    const struct covered_row *row = context;

    int r = put_u8(encoder->out, ITEM_EXTENT_INDEX, err);
    if (r == 0)
        r = put_u8(encoder->out, (uint8_t)row->level, err);
    if (r == 0)
        r = put_varint(encoder->out, row->count, err);
    for (size_t i = 0; r == 0 && i < row->count; i++) {
        r = put_varint(encoder->out, row->items[i].length, err);
        if (r == 0)
            r = encoder_put_place(encoder, row->items[i].place, err);
    }
    return r;
}

/* Replaces the items by the indexes over them. */
static int write_level(struct contentwriter *content, int level, struct err *err)
{
    size_t written = 0, count;

    for (size_t at = 0; at < content->item_count; at += count) {
        size_t left = content->item_count - at;
        struct covered whole = {.length = 0};

        count = left < INDEX_BRANCHES_MAX ? left : INDEX_BRANCHES_MAX;
        const struct covered_row row = {&content->items[at], count, level};
        int r = treewriter_put(content->writer, encode_index, &row, &whole.place, err);
        if (r < 0)
            return r;
        for (size_t i = 0; i < count; i++)
            whole.length += content->items[at + i].length;
        content->items[written++] = whole;
    }
    content->item_count = written;
    return 0;
}

static int finish_tree(struct contentwriter *content, struct content *out, struct err *err)
{
    int r = content->count > 0 ? write_extents(content, err) : 0;

    for (int level = 1; r == 0 && content->item_count > 1; level++) {
        if (level > TREE_LEVELS_WRITTEN_MAX)
            return err_set(err, ERR_TOO_LARGE, "content of too many extents");
        r = write_level(content, level, err);
    }
    if (r < 0)
        return r;
    *out = (struct content){
        .form = CONTENT_TREE, .size = content->size, .place = content->items[0].place};
    return 0;
}

int contentwriter_finish(struct contentwriter *content, struct content *out, struct err *err)
{
    if (content->item_count > 0 || content->count > INLINE_EXTENTS_MAX)
        return finish_tree(content, out, err);
    *out = (struct content){.form = CONTENT_LIST,
                            .size = content->size,
                            .list = content->extents,
                            .count = content->count};
    if (content->count == 0) {
        out->form = CONTENT_NONE;
    } else if (content->count == 1 && !extent_is_hole(&content->extents[0])) {
        out->form = CONTENT_ONE;
        out->place = content->extents[0].place;
    }
    return 0;
}
