/* Content as extents: one, a list in the record, or a tree of items. */
#include <assert.h>
#include <string.h>

#include "backup/archive/entry_internal.h"
#include "backup/archive/tree.h"
#include "backup/archive/tree_internal.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

static int damaged(const struct content_cursor *cursor, const char *what, struct err *err)
{
    if (cursor->content.form == CONTENT_TREE)
        return tree_damaged(cursor->blocks, cursor->content.place, what, err);
    return err_set(err, ERR_CORRUPT, "content of a file: %s", what);
}

/* The part of the content that an item covers, and where it stands. */
struct covering {
    struct place place;
    int level; /* or ANY_LEVEL */
    uint64_t start, length;
};

/* Goes to the branch of an extents index in which `offset` lies; the branches must cover just what
 * the index does. */
static bool choose_part(const struct slice *slice, uint64_t offset, struct covering *at)
{
    struct cursor in = cursor_of(slice->data + 1, slice->size - 1);
    int level = read_u8(&in);
    uint64_t count = read_varint(&in);
    uint64_t start = at->start, end = at->start + at->length;
    bool fits = at->level == ANY_LEVEL || at->level == level;

    if (!fits || level == 0 || level > TREE_LEVELS_MAX)
        return false;
    for (; count > 0; count--) {
        uint64_t length = read_varint(&in);
        struct place place;

        if (!read_place(slice->block, &in, ARCHIVE_METADATA, &place) || length == 0 ||
            length > end - start)
            return false;
        if (offset >= start && offset - start < length)
            *at = (struct covering){place, level - 1, start, length};
        start += length;
    }
    return !in.failed && start == end && at->level == level - 1;
}

static bool begin_extents(struct content_cursor *cursor, struct slice *slice,
                          const struct covering *at)
{
    struct cursor in = cursor_of(slice->data + 1, slice->size - 1);
    uint64_t count = read_varint(&in);

    if (in.failed || count == 0 || count > ITEM_SIZE_MAX)
        return false;
    slice_clear(&cursor->leaf);
    cursor->leaf = *slice;
    *slice = (struct slice){0};
    cursor->content.block = cursor->leaf.block;
    cursor->next = in.at;
    cursor->end = in.end;
    cursor->left = (size_t)count;
    cursor->at = at->start;
    cursor->leaf_end = at->start + at->length;
    return true;
}

/* Takes the cursor to the beginning of the extents item in which `offset` lies. */
static int descend(struct content_cursor *cursor, uint64_t offset, struct err *err)
{
    struct covering at = {cursor->content.place, ANY_LEVEL, 0, cursor->content.size};

    for (;;) {
        CLEANUP(slice_clear) struct slice slice = {0};

        int r = tree_item(cursor->blocks, at.place, &slice, err);
        if (r < 0)
            return r;
        if (slice.data[0] == ITEM_EXTENTS && at.level <= 0)
            return begin_extents(cursor, &slice, &at) ? 0 : damaged(cursor, "bad extents", err);
        if (slice.data[0] != ITEM_EXTENT_INDEX || !choose_part(&slice, offset, &at))
            return damaged(cursor, "bad index of extents", err);
    }
}

/* The next extent of the list or item that the cursor is in. */
static int take(struct content_cursor *cursor, struct extent *out, struct err *err)
{
    const struct content *content = &cursor->content;
    struct cursor in;

    if (cursor->left == 0)
        return damaged(cursor, "extents end before the size", err);
    if (content->form == CONTENT_ONE) {
        *out = (struct extent){content->size, content->place};
    } else if (content->form == CONTENT_LIST && content->list) {
        *out = content->list[content->count - cursor->left];
    } else {
        in = cursor_of(cursor->next, (size_t)(cursor->end - cursor->next));
        if (!read_extent(content->block, &in, out))
            return damaged(cursor, "bad extent", err);
        cursor->next = in.at;
    }
    cursor->left--;
    if (out->length > cursor->leaf_end - cursor->at)
        return damaged(cursor, "extents beyond the size", err);
    cursor->at += out->length;
    return 0;
}

/* Passes over the extents that end at or before `offset`. */
static int skip_to(struct content_cursor *cursor, uint64_t offset, struct err *err)
{
    struct extent extent;

    for (;;) {
        const uint8_t *next = cursor->next;
        uint64_t at = cursor->at;

        int r = take(cursor, &extent, err);
        if (r < 0)
            return r;
        if (cursor->at > offset) {
            cursor->next = next;
            cursor->at = at;
            cursor->left++;
            return 0;
        }
    }
}

int content_open(struct content_cursor *cursor, struct blocks *blocks,
                 const struct content *content, uint64_t offset, struct err *err)
{
    struct content_cursor opened = {.blocks = blocks, .content = *content};
    int r = 0;

    assert(content->form != CONTENT_INLINE);
    opened.leaf_end = content->size;
    opened.left = content->form == CONTENT_ONE ? 1 : content->count;
    opened.next = content->bytes;
    opened.end = content->end;
    if (offset >= content->size)
        opened.at = content->size;
    else if (content->form == CONTENT_TREE)
        r = descend(&opened, offset, err);
    if (r == 0 && offset < content->size)
        r = skip_to(&opened, offset, err);
    if (r < 0) {
        content_close(&opened);
        return r;
    }
    *cursor = opened;
    return 0;
}

int content_next(struct content_cursor *cursor, struct extent *out, uint64_t *out_start,
                 struct err *err)
{
    struct extent extent = {0};
    uint64_t start = cursor->at;
    int r = 0;

    if (start == cursor->content.size)
        return 0;
    if (cursor->content.form == CONTENT_TREE && cursor->left == 0 && start == cursor->leaf_end)
        r = descend(cursor, start, err);
    if (r == 0)
        r = take(cursor, &extent, err);
    if (r < 0)
        return r;
    *out = extent;
    *out_start = start;
    return 1;
}

void content_close(struct content_cursor *cursor)
{
    slice_clear(&cursor->leaf);
}

/* Copies the part of an extent that [offset, end) covers to where it belongs. */
static int read_part(struct blocks *blocks, const struct extent *extent, uint64_t start,
                     uint64_t offset, uint64_t end, uint8_t *out, struct err *err)
{
    uint64_t from = start > offset ? start : offset;
    uint64_t to = end - start < extent->length ? end : start + extent->length;
    struct place place = extent->place;

    if (extent_is_hole(extent)) {
        memset(out + (from - offset), 0, (size_t)(to - from));
        return 0;
    }
    place.raw += (uint32_t)(from - start);
    return blocks_read(blocks, place, out + (from - offset), (size_t)(to - from), err);
}

static int read_extents(struct content_cursor *cursor, uint64_t offset, uint64_t end, uint8_t *out,
                        struct err *err)
{
    while (cursor->at < end) {
        struct extent extent;
        uint64_t start;

        int r = content_next(cursor, &extent, &start, err);
        if (r > 0)
            r = read_part(cursor->blocks, &extent, start, offset, end, out, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int content_read(struct blocks *blocks, const struct content *content, uint64_t offset, void *out,
                 size_t count, struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};

    if (offset > content->size || count > content->size - offset)
        return err_set(err, ERR_USAGE, "read beyond the end");
    if (count == 0)
        return 0;
    if (content->form == CONTENT_INLINE) {
        memcpy(out, content->bytes + offset, count);
        return 0;
    }
    int r = content_open(&cursor, blocks, content, offset, err);
    return r < 0 ? r : read_extents(&cursor, offset, offset + count, out, err);
}
