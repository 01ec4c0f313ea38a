#include "fs/forest.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/sorter.h"
#include "backup/base/spill.h"
#include "backup/crypto/digest.h"
#include "fs/timeline.h"

#define SCRATCH "/var/tmp"

enum {
    DEPTH_MAX = 1024 * 1024,
    PATH_LIMIT = 256 * 1024 * 1024,
    EDGES_MEMORY = 16 * 1024 * 1024,
    EDGE_SIZE = 12,
};

/* A directory that is being gone through. */
struct level {
    struct tree_cursor *cursor;
    struct place place;
    uint32_t node;
    bool in_leaf; /* of a large directory: it has nodes of their own */
    struct place leaf;
    uint32_t leaf_node;
    uint64_t below; /* as its record says */
    size_t path_size;
};

struct forest {
    struct blocks *blocks;
    const struct digest_key *key;
    const struct timeline *timeline;
    struct spillmap *directories, *hung; /* key → node */
    struct spillmap *ranges;             /* node → first and last snapshot */
    struct sorter *edges;
    uint32_t nodes;
    uint64_t read, unread;
    struct err first_unread;
    tree_wanted_fn *wanted; /* NULL: all names */
    void *wanted_context;
    enum snapshot_type type; /* what is walked now */
    uint32_t shot;
    struct level *stack;
    size_t depth, room;
    struct buf path;
};

int forest_new(struct blocks *blocks, const struct timeline *timeline, struct forest **out,
               struct err *err)
{
    CLEANUP(forest_freep) struct forest *forest = calloc(1, sizeof(*forest));

    if (!forest)
        return err_set(err, ERR_NOMEM, "out of memory");
    forest->blocks = blocks;
    forest->key = keyring_id_key(blocks_repo(blocks)->keyring);
    forest->timeline = timeline;
    forest->path.limit = PATH_LIMIT;
    int rc = spillmap_new(SCRATCH, &forest->directories, err);
    if (rc == 0)
        rc = spillmap_new(SCRATCH, &forest->hung, err);
    if (rc == 0)
        rc = spillmap_new(SCRATCH, &forest->ranges, err);
    if (rc == 0)
        rc = sorter_new(SCRATCH, EDGES_MEMORY, &forest->edges, err);
    if (rc == 0)
        *out = STEAL(forest);
    return rc;
}

static void pop(struct forest *forest)
{
    tree_close(forest->stack[--forest->depth].cursor);
}

void forest_free(struct forest *forest)
{
    if (!forest)
        return;
    while (forest->depth > 0)
        pop(forest);
    free(forest->stack);
    buf_clear(&forest->path);
    sorter_free(forest->edges);
    spillmap_free(forest->ranges);
    spillmap_free(forest->hung);
    spillmap_free(forest->directories);
    free(forest);
}

void forest_freep(struct forest **forest)
{
    forest_free(*forest);
}

/* ---- nodes ------------------------------------------------------------------------------- */

static int set_range(struct forest *forest, uint32_t node, uint32_t first, uint32_t last,
                     struct err *err)
{
    return spillmap_put(forest->ranges, node, 1, (uint64_t)first << 32 | last, err);
}

void forest_range(const struct forest *forest, uint32_t node, uint32_t *out_first,
                  uint32_t *out_last)
{
    uint64_t range = 0;

    (void)spillmap_get(forest->ranges, node, 1, &range);
    *out_first = (uint32_t)(range >> 32);
    *out_last = (uint32_t)range;
}

static int find_node(struct forest *forest, struct spillmap *map, uint64_t key1, uint64_t key2,
                     uint32_t *out_node, bool *out_new, struct err *err)
{
    uint64_t known = 0;

    *out_new = !spillmap_get(map, key1, key2, &known);
    *out_node = (uint32_t)known;
    if (!*out_new)
        return 0;
    if (forest->nodes == UINT32_MAX)
        return err_set(err, ERR_TOO_LARGE, "there are too many directories");
    *out_node = forest->nodes++;
    int rc = spillmap_put(map, key1, key2, *out_node, err);
    return rc < 0 ? rc : set_range(forest, *out_node, forest->shot, forest->shot, err);
}

/* Sorted by the depth of the parent: who is handed something hands it on later. */
static int add_edge(struct forest *forest, uint64_t depth, uint32_t parent, uint32_t child,
                    struct err *err)
{
    uint32_t edge[EDGE_SIZE / sizeof(uint32_t)] = {htobe32((uint32_t)depth), htobe32(parent),
                                                   htobe32(child)};

    return sorter_add(forest->edges, edge, sizeof(edge), err);
}

static int hand_down(struct forest *forest, uint32_t parent, uint32_t child, struct err *err)
{
    uint32_t from_first, from_last, first, last;

    forest_range(forest, parent, &from_first, &from_last);
    forest_range(forest, child, &first, &last);
    return from_last > last ? set_range(forest, child, first, from_last, err) : 0;
}

int forest_finish(struct forest *forest, struct err *err)
{
    const uint8_t *bytes = NULL;
    uint32_t edge[EDGE_SIZE / sizeof(uint32_t)];
    size_t size = 0;
    int rc = sorter_finish(forest->edges, err);

    while (rc == 0 && (rc = sorter_next(forest->edges, &bytes, &size, err)) == 0 && bytes) {
        memcpy(edge, bytes, sizeof(edge));
        rc = hand_down(forest, be32toh(edge[1]), be32toh(edge[2]), err);
    }
    return rc;
}

uint64_t forest_directories(const struct forest *forest)
{
    return forest->read;
}

int forest_unread(const struct forest *forest, struct err *err)
{
    if (forest->unread == 0)
        return 0;
    return err_set(err, ERR_CORRUPT, "%llu director%s could not be read, so this is not all: %s",
                   (unsigned long long)forest->unread, forest->unread == 1 ? "y" : "ies",
                   forest->first_unread.text);
}

/* A directory has an even depth, its leaves the odd one below it. */
static void current(const struct forest *forest, uint64_t *out_depth, uint32_t *out_node)
{
    const struct level *level = &forest->stack[forest->depth - 1];

    *out_depth = 2 * (forest->depth - 1) + level->in_leaf;
    *out_node = level->in_leaf ? level->leaf_node : level->node;
}

int forest_hang(struct forest *forest, uint64_t key1, uint64_t key2, uint32_t *out_node,
                bool *out_new, struct err *err)
{
    uint64_t depth;
    uint32_t parent;
    int rc = find_node(forest, forest->hung, key1, key2, out_node, out_new, err);

    current(forest, &depth, &parent);
    return rc < 0 ? rc : add_edge(forest, depth, parent, *out_node, err);
}

/* ---- the walk ---------------------------------------------------------------------------- */

/* A directory or leaf at the path that is in hand. */
static int place_node(struct forest *forest, struct place place, bool leaf, uint32_t *out_node,
                      bool *out_new, struct err *err)
{
    uint64_t where = digest_hash64(forest->key, forest->path.data, forest->path.size);

    return find_node(forest, forest->directories, (uint64_t)place.archive << 32 | place.raw,
                     where ^ (uint64_t)forest->type << 1 ^ leaf, out_node, out_new, err);
}

static int make_room(struct forest *forest, struct err *err)
{
    if (forest->depth < forest->room)
        return 0;
    if (forest->depth >= DEPTH_MAX)
        return err_set(err, ERR_CORRUPT, "directories are nested without end");
    size_t room = forest->room > 0 ? forest->room * 2 : 64;
    struct level *stack = reallocarray(forest->stack, room, sizeof(*stack));
    if (!stack)
        return err_set(err, ERR_NOMEM, "out of memory");
    forest->stack = stack;
    forest->room = room;
    return 0;
}

/* Whether the walk goes on without the directory whose path is in hand. */
static int pass_over(struct forest *forest, size_t path_size, struct err *err)
{
    const char *path = path_size > 0 ? (const char *)forest->path.data : "";
    int shown = (int)(path_size < 100 ? path_size : 100);

    if (err->code != ERR_CORRUPT && err->code != ERR_NOT_FOUND)
        return err_context(err, "%s/%.*s", snapshot_type_name(forest->type), shown, path);
    (void)err_context(err, "%s:%s/%.*s", forest->timeline->at[forest->shot].name,
                      snapshot_type_name(forest->type), shown, path);
    if (forest->unread++ == 0)
        forest->first_unread = *err;
    return 0;
}

static int push(struct forest *forest, const struct dirref *directory, uint64_t below,
                uint32_t node, struct err *err)
{
    struct level level = {
        .place = directory->place, .node = node, .below = below, .path_size = forest->path.size};
    int rc = make_room(forest, err);

    if (rc < 0)
        return rc;
    if (forest->depth > 0 && below >= forest->stack[forest->depth - 1].below)
        rc = err_set(err, ERR_CORRUPT, "a directory that is in itself");
    else
        rc = tree_open(forest->blocks, directory, 0, &level.cursor, err);
    if (rc < 0)
        return pass_over(forest, forest->path.size, err);
    if (forest->wanted)
        tree_filter(level.cursor, forest->wanted, forest->wanted_context);
    forest->stack[forest->depth++] = level;
    forest->read++;
    return 0;
}

static int enter(struct forest *forest, const struct entry *entry, struct err *err)
{
    struct dirref directory = entry->directory;
    uint64_t below = entry->below_entries, depth;
    uint32_t parent, node;
    bool fresh;
    int rc = 0;

    if (directory.entries == 0)
        return 0;
    if (forest->path.size > 0)
        rc = buf_append(&forest->path, "/", 1, err);
    if (rc == 0)
        rc = buf_append(&forest->path, entry->name, entry->name_size, err);
    if (rc == 0)
        rc = place_node(forest, directory.place, false, &node, &fresh, err);
    if (rc < 0)
        return rc;
    current(forest, &depth, &parent);
    rc = add_edge(forest, depth, parent, node, err);
    return rc == 0 && fresh ? push(forest, &directory, below, node, err) : rc;
}

/* Large directories share leaves, too.  *out_known: this one was met before. */
static int look_at_leaf(struct forest *forest, struct level *level, bool *out_known,
                        struct err *err)
{
    struct tree_position position;
    bool fresh;

    *out_known = false;
    tree_position(level->cursor, &position);
    if (place_equal(position.leaf, level->place) ||
        (level->in_leaf && place_equal(position.leaf, level->leaf)))
        return 0;
    level->in_leaf = true;
    level->leaf = position.leaf;
    int rc = place_node(forest, position.leaf, true, &level->leaf_node, &fresh, err);
    if (rc == 0)
        rc = add_edge(forest, 2 * (forest->depth - 1), level->node, level->leaf_node, err);
    if (rc < 0 || fresh)
        return rc;
    *out_known = true;
    tree_skip_leaf(level->cursor);
    return 0;
}

static int visit(struct forest *forest, const struct entry *entry, forest_fn *each, void *context,
                 struct err *err)
{
    const struct forest_visit visit = {
        .type = forest->type,
        .shot = forest->shot,
        .directory = forest->path.size > 0 ? (const char *)forest->path.data : "",
        .directory_size = forest->path.size,
        .entry = entry,
    };
    int rc = each(context, &visit, err);

    return rc != 0 || entry->type != ENTRY_DIRECTORY ? rc : enter(forest, entry, err);
}

/* One entry of the directory on top. */
static int step(struct forest *forest, forest_fn *each, void *context, struct err *err)
{
    struct level *level = &forest->stack[forest->depth - 1];
    const struct entry *entry = NULL;
    bool known = false;

    forest->path.size = level->path_size;
    int rc = tree_next(level->cursor, &entry, err);
    if (rc == 0 && entry)
        rc = look_at_leaf(forest, level, &known, err);
    if (rc < 0) {
        rc = pass_over(forest, level->path_size, err);
        entry = NULL;
    }
    if (!entry)
        pop(forest);
    return rc == 0 && entry && !known ? visit(forest, entry, each, context, err) : rc;
}

static int walk_shot(struct forest *forest, forest_fn *each, void *context, struct err *err)
{
    const struct dirref *root = &forest->timeline->at[forest->shot].directories[forest->type];
    uint32_t node, first, last;
    bool fresh;

    forest->path.size = 0;
    if (root->entries == 0)
        return 0;
    int rc = place_node(forest, root->place, false, &node, &fresh, err);
    if (rc < 0)
        return rc;
    forest_range(forest, node, &first, &last);
    rc = set_range(forest, node, first, forest->shot, err);
    if (rc == 0 && fresh)
        rc = push(forest, root, UINT64_MAX, node, err);
    while (rc == 0 && forest->depth > 0)
        rc = step(forest, each, context, err);
    return rc;
}

void forest_filter(struct forest *forest, tree_wanted_fn *wanted, void *context)
{
    forest->wanted = wanted;
    forest->wanted_context = context;
}

int forest_walk(struct forest *forest, enum snapshot_type type, forest_fn *each, void *context,
                struct err *err)
{
    const struct timeline *timeline = forest->timeline;
    int rc = 0;

    forest->type = type;
    for (uint32_t i = 0; rc == 0 && i < timeline->count; i++) {
        forest->shot = i;
        if (timeline->at[i].types & 1U << type)
            rc = walk_shot(forest, each, context, err);
        if (rc != 0)
            rc = rc < 0 ? err_context(err, "%s", timeline->at[i].name) : rc;
    }
    return rc;
}
