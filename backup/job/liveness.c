#include "backup/job/liveness.h"

#include <stdlib.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/tree.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "backup/job/treewalk.h"

enum { SEEN_DIRECTORY, SEEN_LEAF };

/* A bit for each block; NULL: none is needed. */
struct live_archive {
    uint64_t *bits;
    size_t words;
    uint64_t stored; /* bytes of the blocks whose bits are set */
    bool whole;      /* it could not be opened to tell */
    bool cold;       /* … since it is in cold storage */
    bool named;
};

struct liveness {
    struct blocks *blocks;
    const struct liveness *beyond;
    struct spillmap *seen; /* places of directories and of leaves */
    struct live_archive *archives;
    size_t archive_room;
    const struct reader *reader; /* the archive that was asked for last */
    uint32_t reader_archive;
    struct err failure; /* of the watch; code ERR_NONE: none */
};

int liveness_new(struct blocks *blocks, const struct liveness *beyond, struct liveness **out,
                 struct err *err)
{
    CLEANUP(liveness_freep) struct liveness *live = calloc(1, sizeof(*live));

    if (!live)
        return err_set(err, ERR_NOMEM, "no memory for what is needed");
    live->blocks = blocks;
    live->beyond = beyond;
    live->reader_archive = NO_ARCHIVE;
    int r = spillmap_new(io_scratch(), &live->seen, err);
    if (r == 0)
        *out = STEAL(live);
    return r;
}

static void let_reader_go(struct liveness *live)
{
    if (live->reader)
        blocks_release(live->blocks, live->reader_archive, live->reader);
    live->reader = NULL;
    live->reader_archive = NO_ARCHIVE;
}

void liveness_free(struct liveness *live)
{
    if (!live)
        return;
    let_reader_go(live);
    for (size_t i = 0; i < live->archive_room; i++)
        free(live->archives[i].bits);
    free(live->archives);
    spillmap_free(live->seen);
    free(live);
}

void liveness_freep(struct liveness **live)
{
    liveness_free(*live);
}

bool liveness_has(const struct liveness *live, uint32_t archive)
{
    return archive < live->archive_room &&
           (live->archives[archive].whole || live->archives[archive].bits);
}

bool liveness_has_block(const struct liveness *live, uint32_t archive, size_t number)
{
    if (!liveness_has(live, archive))
        return false;
    const struct live_archive *found = &live->archives[archive];
    return found->whole ||
           (number / 64 < found->words && found->bits[number / 64] >> (number % 64) & 1);
}

uint64_t liveness_stored(const struct liveness *live, uint32_t archive)
{
    if (!liveness_has(live, archive))
        return 0;
    return live->archives[archive].whole ? UINT64_MAX : live->archives[archive].stored;
}

bool liveness_names(const struct liveness *live, uint32_t archive)
{
    return archive < live->archive_room && live->archives[archive].named;
}

bool liveness_is_cold(const struct liveness *live, uint32_t archive)
{
    return archive < live->archive_room && live->archives[archive].cold;
}

/* ---- what is needed ---------------------------------------------------------------------- */

static int make_room(struct liveness *live, uint32_t archive, struct err *err)
{
    return idtable_room(&live->archives, &live->archive_room, sizeof(*live->archives), archive,
                        err);
}

/* The archive's reader, held until another is wanted; *out is NULL for one that is not to be
 * opened, of which all is needed. */
static int open_archive(struct liveness *live, uint32_t archive, const struct reader **out,
                        struct err *err)
{
    const struct reader *reader;

    *out = live->reader_archive == archive ? live->reader : NULL;
    if (*out || live->archives[archive].whole)
        return 0;
    let_reader_go(live);
    int r = blocks_acquire(live->blocks, archive, &reader, err);
    if (r == -ERR_CORRUPT || r == -ERR_NOT_FOUND || r == -ERR_COLD) {
        live->archives[archive].whole = true;
        live->archives[archive].cold = r == -ERR_COLD;
        return 0;
    }
    if (r < 0)
        return r;
    live->reader = *out = reader;
    live->reader_archive = archive;
    return 0;
}

static int need_block(struct liveness *live, uint32_t archive, size_t number, struct err *err)
{
    struct live_archive *found = &live->archives[archive];

    if (!found->bits) {
        found->words = reader_blocks(live->reader) / 64 + 1;
        found->bits = calloc(found->words, sizeof(*found->bits));
    }
    if (!found->bits)
        return err_set(err, ERR_NOMEM, "no memory for what is needed");
    uint64_t bit = UINT64_C(1) << (number % 64);
    if (!(found->bits[number / 64] & bit))
        found->stored += reader_block(live->reader, number)->stored_size;
    found->bits[number / 64] |= bit;
    return 0;
}

/* The blocks in which `length` bytes lie.  What lies in no block cannot be read by anybody, so
 * nothing is needed for it; verify tells. */
static int need_here(struct liveness *live, struct place place, uint64_t length, struct err *err)
{
    const struct reader *reader = NULL;
    uint64_t end = (uint64_t)place.raw + length;
    size_t number;
    struct err dead;
    int r = make_room(live, place.archive, err);

    if (r == 0)
        r = open_archive(live, place.archive, &reader, err);
    if (r < 0 || !reader)
        return r;
    if (reader_find(reader, place.raw, &number, &dead) < 0)
        number = 0;
    for (; r == 0 && number < reader_blocks(reader); number++) {
        const struct block_info *block = reader_block(reader, number);
        if (block->raw >= end)
            break;
        if ((uint64_t)block->raw + block->raw_size > place.raw)
            r = need_block(live, place.archive, number, err);
    }
    return r;
}

/* Wherever it may be, nothing of that goes; `*out` bytes are looked after by that. */
static int need_anywhere(struct liveness *live, struct place place, uint64_t length, uint64_t *out,
                         struct err *err)
{
    struct remap_found found[REMAP_FOUND_MAX];
    struct err ignored;
    int count = remap_find(blocks_repo(live->blocks), place, found, &ignored);
    int r = 0;

    for (int i = 0; r == 0 && i < count; i++) {
        r = make_room(live, found[i].place.archive, err);
        if (r == 0)
            live->archives[found[i].place.archive].whole = true;
    }
    live->archives[place.archive].whole = true;
    *out = remap_reach(found, count, length);
    return r;
}

static int need(struct liveness *live, struct place place, uint64_t length, struct err *err)
{
    int r = make_room(live, place.archive, err);

    if (r == 0)
        live->archives[place.archive].named = true;
    for (uint64_t some; r == 0 && length > 0; length -= some, place.raw += (uint32_t)some) {
        struct place at;

        r = blocks_where(live->blocks, place, length, &at, &some, err);
        if (r == -ERR_CORRUPT || r == -ERR_NOT_FOUND || r == -ERR_COLD)
            r = need_anywhere(live, place, length, &some, err);
        else if (r == 0)
            r = need_here(live, at, some, err);
    }
    return r;
}

static void touched(void *context, struct place place)
{
    struct liveness *live = context;
    struct err err;

    if (need(live, place, 1, &err) < 0 && live->failure.code == ERR_NONE)
        live->failure = err;
}

static int need_content(struct liveness *live, const struct content *content, struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent extent;
    uint64_t start;

    if (content->form == CONTENT_NONE || content->form == CONTENT_INLINE)
        return 0;
    int r = content_open(&cursor, live->blocks, content, 0, err);
    while (r >= 0 && (r = content_next(&cursor, &extent, &start, err)) > 0)
        if (!extent_is_hole(&extent) && (r = need(live, extent.place, extent.length, err)) < 0)
            break;
    return r;
}

/* ---- the walk ---------------------------------------------------------------------------- */

static bool was_seen(const struct liveness *live, struct place place, unsigned what)
{
    uint64_t ignored;

    for (; live; live = live->beyond)
        if (spillmap_get(live->seen, place.archive, (uint64_t)place.raw << 1 | what, &ignored))
            return true;
    return false;
}

/* *out: it was seen before. */
static int see(struct liveness *live, struct place place, unsigned what, bool *out, struct err *err)
{
    *out = was_seen(live, place, what);
    return *out ? 0
                : spillmap_put(live->seen, place.archive, (uint64_t)place.raw << 1 | what, 1, err);
}

/* At the first entry of each leaf. */
static int look_at_leaf(struct liveness *live, struct treewalk *walk, bool *out_known,
                        struct err *err)
{
    struct tree_position position;

    *out_known = false;
    treewalk_position(walk, &position);
    if (position.slot > 0)
        return 0;
    int r = see(live, position.leaf, SEEN_LEAF, out_known, err);
    if (*out_known)
        treewalk_skip_leaf(walk);
    return r;
}

static int visit(struct liveness *live, struct treewalk *walk, const struct entry *entry,
                 struct err *err)
{
    bool known = false;
    int r = look_at_leaf(live, walk, &known, err);

    if (r == 0 && !known && entry->flags & ENTRY_XATTRS)
        r = need_content(live, &entry->xattrs, err);
    if (r == 0 && !known && entry->type == ENTRY_FILE)
        r = need_content(live, &entry->content, err);
    if (r < 0 || known || entry->type != ENTRY_DIRECTORY || entry->directory.entries == 0)
        return r;
    r = see(live, entry->directory.place, SEEN_DIRECTORY, &known, err);
    if (known)
        treewalk_skip(walk);
    return r;
}

static int walk_all(struct liveness *live, struct treewalk *walk, struct progress *progress,
                    struct err *err)
{
    const struct entry *entry;
    const char *path = "";
    int r;

    while ((r = treewalk_next(walk, &entry, &path, err)) > 0) {
        r = visit(live, walk, entry, err);
        if (r < 0)
            break;
        progress_add(progress, entry->type == ENTRY_FILE, 0);
        if (progress_cancelled(progress))
            return err_set(err, ERR_CANCELLED, "interrupted");
    }
    return r < 0 ? err_context(err, "/%.80s", path) : 0;
}

int liveness_add(struct liveness *live, const struct dirref *directory, struct progress *progress,
                 struct err *err)
{
    CLEANUP(treewalk_freep) struct treewalk *walk = NULL;
    bool known = directory->entries == 0;
    int r = known ? 0 : see(live, directory->place, SEEN_DIRECTORY, &known, err);

    if (r < 0 || known)
        return r;
    blocks_watch(live->blocks, touched, live);
    r = treewalk_new(live->blocks, directory, &walk, err);
    if (r == 0)
        r = walk_all(live, walk, progress, err);
    blocks_watch(live->blocks, NULL, NULL);
    let_reader_go(live);
    if (r == 0 && live->failure.code != ERR_NONE) {
        *err = live->failure;
        r = -(int)err->code;
    }
    return r;
}
