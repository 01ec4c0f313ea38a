#include "fs/stats.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/tree.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/sorter.h"
#include "backup/base/spill.h"
#include "backup/crypto/digest.h"
#include "fs/forest.h"
#include "fs/timeline.h"

#define SCRATCH "/var/tmp"

enum {
    EXTENTS_MEMORY = 32 * 1024 * 1024,
    USE_SIZE = 5 * (int)sizeof(uint32_t),
    NOBODY = UINT32_MAX,
};

/* A run of bytes that a file refers to; sorted by place. */
struct use {
    struct place place;
    uint32_t length;
    uint32_t node; /* of the content */
    uint32_t group;
};

/* A chunk, and who has it. */
struct live {
    uint32_t first, last; /* snapshots */
    uint32_t node;        /* the oldest content that refers to it; NOBODY */
    uint32_t group;
};

struct counting {
    struct blocks *blocks;
    const struct digest_key *key;
    unsigned depth;
    struct forest *forest;
    struct sorter *uses;
    struct spillmap *groups; /* hash of type and path → number */
    struct stats stats;
    uint32_t archive; /* in hand; NO_ARCHIVE: none */
    const struct reader *reader;
    struct chunk *chunks;
    struct live *live;
    size_t chunk_count;
};

void stats_clear(struct stats *stats)
{
    for (size_t i = 0; i < stats->group_count; i++)
        free(stats->groups[i].path);
    free(stats->groups);
    free(stats->frees);
    free(stats->brought);
    *stats = (struct stats){0};
}

static void let_archive_go(struct counting *counting)
{
    if (counting->reader)
        blocks_release(counting->blocks, counting->archive, counting->reader);
    counting->reader = NULL;
    free(STEAL(counting->chunks));
    free(STEAL(counting->live));
    counting->archive = NO_ARCHIVE;
}

static void counting_clear(struct counting *counting)
{
    let_archive_go(counting);
    forest_free(counting->forest);
    sorter_free(counting->uses);
    spillmap_free(counting->groups);
    stats_clear(&counting->stats);
}

/* ---- gathering: who refers to what ------------------------------------------------------- */

/* The first `depth` names of a directory's path. */
static size_t prefix_size(const char *path, size_t size, unsigned depth)
{
    size_t at = 0;

    for (unsigned i = 0; i < depth && at < size; i++) {
        const char *slash = memchr(path + at + (i > 0), '/', size - at - (i > 0));
        at = slash ? (size_t)(slash - path) : size;
    }
    return at;
}

/* A new one; the last that there is room for takes all others. */
static int add_group(struct counting *counting, const struct forest_visit *visit, size_t size,
                     uint32_t *out, struct err *err)
{
    struct stats *stats = &counting->stats;
    bool full = stats->group_count == STATS_GROUPS_MAX - 1;

    if (stats->group_count == stats->group_room) {
        size_t room = stats->group_room > 0 ? stats->group_room * 2 : 16;
        void *groups = reallocarray(stats->groups, room, sizeof(*stats->groups));
        if (!groups)
            return err_set(err, ERR_NOMEM, "out of memory");
        stats->groups = groups;
        stats->group_room = room;
    }
    char *path = full ? NULL : malloc(size + 2);
    if (!full && !path)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (path) {
        path[0] = '/';
        memcpy(path + 1, visit->directory, size);
        path[size + 1] = '\0';
    }
    *out = (uint32_t)stats->group_count;
    stats->groups[stats->group_count++] = (struct stats_group){.type = visit->type, .path = path};
    return 0;
}

static int group_of(struct counting *counting, const struct forest_visit *visit, uint32_t *out,
                    struct err *err)
{
    size_t size = prefix_size(visit->directory, visit->directory_size, counting->depth);
    uint64_t hash = digest_hash64(counting->key, visit->directory, size), known;

    if (spillmap_get(counting->groups, hash, visit->type, &known)) {
        *out = (uint32_t)known;
        return 0;
    }
    if (counting->stats.group_count == STATS_GROUPS_MAX) {
        *out = STATS_GROUPS_MAX - 1;
        return 0;
    }
    int rc = add_group(counting, visit, size, out, err);
    return rc < 0 ? rc : spillmap_put(counting->groups, hash, visit->type, *out, err);
}

/* Each piece where it lies by now. */
static int add_use(struct counting *counting, const struct extent *extent, uint32_t node,
                   uint32_t group, struct err *err)
{
    struct place place = extent->place, at;
    uint64_t left = extent_is_hole(extent) ? 0 : extent->length, some;
    int rc = 0;

    for (; rc == 0 && left > 0; left -= some, place.raw += (uint32_t)some) {
        rc = blocks_where(counting->blocks, place, left, &at, &some, err);
        if (rc < 0)
            break;
        some = some < UINT32_MAX ? some : UINT32_MAX;
        uint32_t use[USE_SIZE / sizeof(uint32_t)] = {htobe32(at.archive), htobe32(at.raw),
                                                     htobe32((uint32_t)some), htobe32(node),
                                                     htobe32(group)};
        rc = sorter_add(counting->uses, use, sizeof(use), err);
    }
    return rc;
}

/* What a content refers to, as a name of it: contents of one name refer to the same places.  Where
 * it is one place, that is the name; a list of extents has a digest. */
static int name_content(struct counting *counting, const struct content *content, uint64_t out[2],
                        struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct digest_stream stream;
    struct extent extent;
    uint64_t words[3], start;

    if (content->form != CONTENT_LIST) {
        out[0] = (uint64_t)content->place.archive << 32 | content->place.raw;
        out[1] = content->size << 1 | (content->form == CONTENT_TREE);
        return 0;
    }
    int rc = content_open(&cursor, counting->blocks, content, 0, err);
    digest_stream_start(&stream, counting->key);
    while (rc >= 0 && (rc = content_next(&cursor, &extent, &start, err)) > 0) {
        words[0] = extent.length;
        words[1] = extent.place.archive;
        words[2] = extent.place.raw;
        digest_stream_add(&stream, words, sizeof(words));
    }
    digest_stream_finish(&stream, (uint8_t *)out, 2 * sizeof(*out));
    return rc;
}

static int use_content(struct counting *counting, const struct forest_visit *visit,
                       const struct content *content, struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    uint64_t name[2];
    struct extent extent;
    uint32_t node = 0, group = 0;
    uint64_t start;
    bool fresh;

    if (content->form == CONTENT_NONE || content->form == CONTENT_INLINE)
        return 0;
    int rc = name_content(counting, content, name, err);
    if (rc == 0)
        rc = forest_hang(counting->forest, name[0], name[1], &node, &fresh, err);
    if (rc < 0 || !fresh)
        return rc;
    rc = group_of(counting, visit, &group, err);
    if (rc == 0)
        rc = content_open(&cursor, counting->blocks, content, 0, err);
    while (rc >= 0 && (rc = content_next(&cursor, &extent, &start, err)) > 0)
        if ((rc = add_use(counting, &extent, node, group, err)) < 0)
            return rc;
    return rc;
}

static int each_entry(void *context, const struct forest_visit *visit, struct err *err)
{
    struct counting *counting = context;
    const struct entry *entry = visit->entry;
    int rc = 0;

    if (entry->type == ENTRY_FILE)
        rc = use_content(counting, visit, &entry->content, err);
    return rc < 0 ? rc : use_content(counting, visit, &entry->xattrs, err);
}

/* ---- counting: chunk by chunk ------------------------------------------------------------ */

static int take_archive(struct counting *counting, uint32_t archive, struct err *err)
{
    int rc = blocks_acquire(counting->blocks, archive, &counting->reader, err);

    counting->archive = archive;
    if (rc == -ERR_COLD) { /* nothing in it is marked, and so nothing counted */
        counting->reader = NULL;
        counting->stats.cold++;
        return 0;
    }
    if (rc == 0)
        rc = reader_chunks(counting->reader, &counting->chunks, &counting->chunk_count, err);
    if (rc < 0)
        return rc;
    counting->live = calloc(counting->chunk_count + 1, sizeof(*counting->live));
    if (!counting->live)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < counting->chunk_count; i++)
        counting->live[i].node = NOBODY;
    counting->stats.archives++;
    return 0;
}

/* The first chunk that ends behind a place. */
static size_t first_chunk(const struct counting *counting, uint32_t raw)
{
    size_t low = 0, high = counting->chunk_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct chunk *chunk = &counting->chunks[middle];
        if ((uint64_t)chunk->raw + chunk->length <= raw)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void mark(struct counting *counting, const struct use *use)
{
    uint64_t end = (uint64_t)use->place.raw + use->length;
    uint32_t first, last;

    forest_range(counting->forest, use->node, &first, &last);
    for (size_t i = first_chunk(counting, use->place.raw);
         i < counting->chunk_count && counting->chunks[i].raw < end; i++) {
        struct live *live = &counting->live[i];
        bool fresh = live->node == NOBODY;
        live->first = fresh || first < live->first ? first : live->first;
        live->last = fresh || last > live->last ? last : live->last;
        if (fresh || use->node < live->node) {
            live->node = use->node;
            live->group = use->group;
        }
    }
}

static void count_chunk(struct stats *stats, const struct live *live, double stored)
{
    struct stats_group *group = &stats->groups[live->group];

    stats->chunks++;
    stats->stored += stored;
    stats->types[group->type] += stored;
    group->stored += stored;
    stats->brought[live->first] += stored;
    if (live->first == live->last)
        stats->frees[live->first] += stored;
}

/* The chunks that are marked, each at its part of its block. */
static int count_archive(struct counting *counting, struct err *err)
{
    for (size_t i = 0; i < counting->chunk_count; i++) {
        const struct chunk *chunk = &counting->chunks[i];
        size_t number;
        if (counting->live[i].node == NOBODY)
            continue;
        int rc = reader_find(counting->reader, chunk->raw, &number, err);
        if (rc < 0)
            return rc;
        const struct block_info *block = reader_block(counting->reader, number);
        count_chunk(&counting->stats, &counting->live[i],
                    (double)block->stored_size * chunk->length / block->raw_size);
    }
    let_archive_go(counting);
    return 0;
}

static int count_uses(struct counting *counting, struct err *err)
{
    uint32_t words[USE_SIZE / sizeof(uint32_t)];
    const uint8_t *bytes = NULL;
    size_t size = 0;
    int rc = sorter_finish(counting->uses, err);

    while (rc == 0 && (rc = sorter_next(counting->uses, &bytes, &size, err)) == 0 && bytes) {
        memcpy(words, bytes, sizeof(words));
        const struct use use = {{be32toh(words[0]), be32toh(words[1])},
                                be32toh(words[2]),
                                be32toh(words[3]),
                                be32toh(words[4])};
        if (use.place.archive != counting->archive) {
            if (counting->archive != NO_ARCHIVE)
                rc = count_archive(counting, err);
            if (rc == 0)
                rc = take_archive(counting, use.place.archive, err);
        }
        if (rc == 0)
            mark(counting, &use);
    }
    return rc == 0 && counting->archive != NO_ARCHIVE ? count_archive(counting, err) : rc;
}

static int prepare(struct counting *counting, const struct timeline *timeline, struct err *err)
{
    int rc = forest_new(counting->blocks, timeline, &counting->forest, err);

    if (rc == 0)
        rc = sorter_new(SCRATCH, EXTENTS_MEMORY, &counting->uses, err);
    if (rc == 0)
        rc = spillmap_new(SCRATCH, &counting->groups, err);
    if (rc < 0)
        return rc;
    counting->stats.frees = calloc(timeline->count + 1, sizeof(double));
    counting->stats.brought = calloc(timeline->count + 1, sizeof(double));
    return counting->stats.frees && counting->stats.brought
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory");
}

int stats_run(struct blocks *blocks, const struct timeline *timeline, unsigned depth,
              struct stats *out, struct err *err)
{
    CLEANUP(counting_clear)
    struct counting counting = {
        .blocks = blocks,
        .key = keyring_id_key(blocks_repo(blocks)->keyring),
        .depth = depth,
        .archive = NO_ARCHIVE,
    };
    int rc = remap_refresh(blocks_repo(blocks), err);

    if (rc == 0)
        rc = prepare(&counting, timeline, err);

    for (enum snapshot_type type = TYPE_FILES; rc == 0 && type <= TYPES; type++)
        rc = forest_walk(counting.forest, type, each_entry, &counting, err);
    if (rc == 0)
        rc = forest_finish(counting.forest, err);
    if (rc == 0)
        rc = count_uses(&counting, err);
    if (rc < 0)
        return rc;
    *out = counting.stats;
    counting.stats = (struct stats){0};
    return forest_unread(counting.forest, err);
}
