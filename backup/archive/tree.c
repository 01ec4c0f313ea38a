#include "backup/archive/tree.h"

#include "backup/archive/entry_internal.h"
#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/tree_internal.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/path.h"

int tree_damaged(struct blocks *blocks, struct place place, const char *what, struct err *err)
{
    const struct idtable *ids = blocks_repo(blocks)->ids;
    char object[OBJECT_NAME_SIZE];

    if (place.archive >= idtable_count(ids))
        return err_set(err, ERR_CORRUPT, "directory in no archive: %s", what);
    repo_object_name(idtable_kind(ids, place.archive), idtable_id(ids, place.archive), object);
    return err_set(err, ERR_CORRUPT, "%s, raw offset %u: %s", object, place.raw, what);
}

int tree_item(struct blocks *blocks, struct place place, struct slice *out, struct err *err)
{
    const struct idtable *ids = blocks_repo(blocks)->ids;
    struct slice slice = {0};

    /* Only blocks of metadata archives end with a table that was checked. */
    if (place.archive >= idtable_count(ids) || idtable_kind(ids, place.archive) != ARCHIVE_METADATA)
        return tree_damaged(blocks, place, "not in a metadata archive", err);
    blocks_touched(blocks, place);
    int r = blocks_get(blocks, place, &slice, err);
    if (r == -ERR_NOT_FOUND) { /* the archive: not to be taken for a name that is not there */
        err->code = ERR_CORRUPT;
        return -ERR_CORRUPT;
    }
    if (r < 0)
        return r;

    size_t offset = (size_t)(slice.data - slice.block->data);
    size_t items = entry_items_size(slice.block);
    if (offset >= items) {
        slice_clear(&slice);
        return tree_damaged(blocks, place, "no item begins here", err);
    }
    slice.size = items - offset;
    *out = slice;
    return 0;
}

static bool parse_node(const struct slice *slice, struct node *out)
{
    struct cursor in = cursor_of(slice->data, slice->size);
    uint8_t kind = read_u8(&in);

    if (kind != ITEM_LEAF && kind != ITEM_INDEX)
        return false;
    out->level = kind == ITEM_INDEX ? read_u8(&in) : 0;
    if (kind == ITEM_INDEX && (out->level == 0 || out->level > TREE_LEVELS_MAX))
        return false;
    uint64_t count = read_varint(&in);
    if (in.failed || count == 0 || count > ITEM_SIZE_MAX)
        return false;
    out->count = (size_t)count;
    out->offsets = read_bytes(&in, 2 * out->count);
    out->entries = in.at;
    out->end = in.end;
    return out->offsets && load_le16(out->offsets) == 0;
}

int tree_node(struct blocks *blocks, struct place place, int level, struct slice *out,
              struct node *out_node, struct err *err)
{
    CLEANUP(slice_clear) struct slice slice = {0};
    struct node node;

    int r = tree_item(blocks, place, &slice, err);
    if (r < 0)
        return r;
    if (!parse_node(&slice, &node))
        return tree_damaged(blocks, place, "bad leaf or index", err);
    if (level != ANY_LEVEL && node.level != level)
        return tree_damaged(blocks, place, "an index of a wrong level", err);
    *out = slice;
    *out_node = node;
    slice = (struct slice){0};
    return 0;
}

static struct cursor node_cursor(const struct node *node, size_t index)
{
    size_t room = (size_t)(node->end - node->entries);
    size_t offset = load_le16(node->offsets + 2 * index);

    if (offset >= room)
        return (struct cursor){.failed = true};
    return cursor_of(node->entries + offset, room - offset);
}

static bool read_name(struct cursor *in, struct name *out)
{
    uint64_t size = read_varint(in);

    if (size > ENTRY_NAME_MAX)
        return false;
    out->size = (size_t)size;
    out->bytes = read_bytes(in, out->size);
    return !in->failed && size > 0;
}

bool node_name(const struct node *node, size_t index, struct name *out)
{
    struct cursor in = node_cursor(node, index);

    return read_name(&in, out);
}

bool node_branch(const struct node *node, const struct block *block, size_t index,
                 struct branch *out)
{
    struct cursor in = node_cursor(node, index);

    if (!read_name(&in, &out->first) || !read_place(block, &in, ARCHIVE_METADATA, &out->place))
        return false;
    out->entries = read_varint(&in);
    return !in.failed && out->entries > 0;
}

int name_compare(const struct name *a, const struct name *b)
{
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);

    if (order != 0)
        return order;
    return (a->size > b->size) - (a->size < b->size);
}

bool node_search(const struct node *node, size_t from, const struct name *name, size_t *out)
{
    size_t to = node->count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        struct name other;

        if (!node_name(node, middle, &other))
            return false;
        if (name_compare(&other, name) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    *out = from;
    return true;
}

bool node_choose(const struct node *node, size_t from, const struct name *name, size_t *out)
{
    struct name first;
    size_t found;

    if (!node_search(node, from, name, &found))
        return false;
    bool exact =
        found < node->count && node_name(node, found, &first) && name_compare(&first, name) == 0;
    *out = exact || found == from ? found : found - 1;
    return true;
}

int node_record(struct blocks *blocks, const struct node *node, const struct slice *slice,
                struct place place, size_t index, struct entry *out, struct err *err)
{
    size_t room = (size_t)(node->end - node->entries);
    size_t offset = load_le16(node->offsets + 2 * index);
    size_t in_block = (size_t)(node->entries - slice->block->data) + offset;
    size_t in_item = (size_t)(node->entries - slice->data) + offset;
    size_t size;

    if (offset >= room || in_item > UINT32_MAX - place.raw)
        return tree_damaged(blocks, place, "a record outside of its leaf", err);
    place.raw += (uint32_t)in_item;
    int r = entry_decode(slice->block, in_block, place, out, &size, err);
    if (r < 0)
        return r;
    if (index + 1 < node->count && load_le16(node->offsets + 2 * index + 2) != offset + size)
        return tree_damaged(blocks, place, "records that overlap", err);
    return 0;
}

int tree_follow_link(struct blocks *blocks, struct entry *entry, struct slice *inode,
                     struct err *err)
{
    struct entry target;

    if (entry->type != ENTRY_LINK)
        return 0;
    int r = tree_item(blocks, entry->link, inode, err);
    if (r < 0)
        return r;
    r = entry_decode_inode(inode->block, (size_t)(inode->data - inode->block->data), entry->link,
                           &target, err);
    if (r < 0)
        return r;
    target.name = entry->name;
    target.name_size = entry->name_size;
    *entry = target;
    return 0;
}

void held_entry_clear(struct held_entry *held)
{
    slice_clear(&held->record);
    slice_clear(&held->inode);
    *held = (struct held_entry){0};
}

/* The leaf that has the name if any has. */
static int find_leaf(struct blocks *blocks, const struct dirref *directory, const struct name *name,
                     struct slice *out, struct node *node, struct place *out_place, struct err *err)
{
    struct place place = directory->place;
    int level = ANY_LEVEL;

    for (;;) {
        CLEANUP(slice_clear) struct slice slice = {0};
        struct branch branch;
        size_t child;

        int r = tree_node(blocks, place, level, &slice, node, err);
        if (r < 0)
            return r;
        if (node->level == 0) {
            *out = slice;
            *out_place = place;
            slice = (struct slice){0};
            return 0;
        }
        if (!node_choose(node, 0, name, &child) || child == node->count ||
            !node_branch(node, slice.block, child, &branch))
            return tree_damaged(blocks, place, "bad index", err);
        place = branch.place;
        level = node->level - 1;
    }
}

static int no_such_name(struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "no such name");
}

int tree_find(struct blocks *blocks, const struct dirref *directory, const char *name, size_t size,
              struct held_entry *out, struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    const struct name wanted = {name, size};
    struct name found;
    struct place place;
    struct node node;
    size_t slot;

    if (directory->entries == 0 || size == 0 || size > ENTRY_NAME_MAX)
        return no_such_name(err);
    int r = find_leaf(blocks, directory, &wanted, &held.record, &node, &place, err);
    if (r < 0)
        return r;
    if (!node_search(&node, 0, &wanted, &slot) ||
        (slot < node.count && !node_name(&node, slot, &found)))
        return tree_damaged(blocks, place, "bad record", err);
    if (slot == node.count || name_compare(&found, &wanted) != 0)
        return no_such_name(err);
    r = node_record(blocks, &node, &held.record, place, slot, &held.entry, err);
    if (r == 0)
        r = tree_follow_link(blocks, &held.entry, &held.inode, err);
    if (r < 0)
        return r;
    *out = held;
    held = (struct held_entry){0};
    return 0;
}

int tree_at(struct blocks *blocks, struct place place, bool shared, struct held_entry *out,
            struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct slice *slice = shared ? &held.inode : &held.record;

    int r = tree_item(blocks, place, slice, err);
    if (r < 0)
        return r;
    size_t offset = (size_t)(slice->data - slice->block->data);
    if (shared)
        r = entry_decode_inode(slice->block, offset, place, &held.entry, err);
    else
        r = entry_decode(slice->block, offset, place, &held.entry, NULL, err);
    if (r == 0)
        r = tree_follow_link(blocks, &held.entry, &held.inode, err);
    if (r < 0)
        return r;
    *out = held;
    held = (struct held_entry){0};
    return 0;
}

int tree_take(uint64_t *left, const struct entry *entry, struct err *err)
{
    uint64_t below = entry->type == ENTRY_DIRECTORY ? entry->below_entries : 0;

    if (*left == 0 || below > *left - 1)
        return err_set(err, ERR_CORRUPT, "more is in a directory than it says");
    *left -= 1 + below;
    return 0;
}

int tree_resolve(struct blocks *blocks, const struct dirref *directory, const char *path,
                 size_t size, struct held_entry *out, struct err *err)
{
    CLEANUP(held_entry_clear)
    struct held_entry held = {
        .entry = {.type = ENTRY_DIRECTORY, .mode = 0755, .links = 1, .name = ""}};
    const char *end = path + size, *name;
    size_t name_size;

    held.entry.place.archive = NO_ARCHIVE;
    held.entry.directory = *directory;
    while (path_next(&path, end, &name, &name_size)) {
        struct dirref parent = held.entry.directory;

        if (held.entry.type != ENTRY_DIRECTORY)
            return no_such_name(err);
        held_entry_clear(&held);
        int r = tree_find(blocks, &parent, name, name_size, &held, err);
        if (r < 0)
            return r;
    }
    *out = held;
    held = (struct held_entry){0};
    return 0;
}
