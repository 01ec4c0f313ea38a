#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/tree.h"
#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "backup/job/treewalk.h"
#include "backup/job/verify_internal.h"

/* ---- references -------------------------------------------------------------------------- */

void verify_release(struct verify *verify)
{
    if (verify->reader)
        blocks_release(verify->blocks, verify->reader_archive, verify->reader);
    verify->reader = NULL;
    verify->reader_archive = NO_ARCHIVE;
}

int verify_reader(struct verify *verify, uint32_t archive, const struct reader **out,
                  struct err *err)
{
    const struct reader *reader;

    if (verify->reader && verify->reader_archive == archive) {
        *out = verify->reader;
        return 0;
    }
    verify_release(verify);
    if (verify_marks(verify, archive) & MARK_CLOSED)
        return err_set(err, ERR_CORRUPT, "its archive cannot be opened");
    if (verify_marks(verify, archive) & MARK_COLD)
        return err_set(err, ERR_COLD, "its archive is in cold storage");
    int r = verify_mark(verify, archive, MARK_NEEDED, err);
    if (r == 0)
        r = blocks_acquire(verify->blocks, archive, &reader, err);
    if (r == -ERR_COLD && idtable_kind(verify->repo->ids, archive) == ARCHIVE_DATA)
        verify_cold(verify, archive);
    if (r < 0)
        return r;
    verify->reader = *out = reader;
    verify->reader_archive = archive;
    return 0;
}

static bool is_bad(struct verify *verify, uint32_t archive, size_t number)
{
    uint64_t value;

    pthread_mutex_lock(&verify->lock);
    bool bad = spillmap_get(verify->bad_blocks, archive, number, &value);
    pthread_mutex_unlock(&verify->lock);
    return bad;
}

/* `length` bytes lie together in blocks that are there, and of which none is known to be bad.  In
 * cold storage that the archive is there is all that can be known. */
static int check_piece(struct verify *verify, struct place place, uint64_t length, struct err *err)
{
    const struct reader *reader;
    uint64_t at = place.raw;
    uint64_t end = at + length;
    size_t number;
    int r = verify_reader(verify, place.archive, &reader, err);

    if (r < 0)
        return r == -ERR_COLD ? 0 : r;
    if (end > reader_raw_end(reader))
        return err_set(err, ERR_CORRUPT, "an extent ends behind its archive");
    r = reader_find(reader, (uint32_t)at, &number, err);
    while (r == 0) {
        const struct block_info *block = reader_block(reader, number);

        if (is_bad(verify, place.archive, number))
            return err_set(err, ERR_CORRUPT, "block %zu of an archive is damaged", number);
        at = (uint64_t)block->raw + block->raw_size;
        if (at >= end)
            break;
        r = reader_find(reader, (uint32_t)at, &number, err);
    }
    return r;
}

static int pass_over(struct verify *verify, struct place place, uint64_t length, uint64_t *out)
{
    struct remap_found found[REMAP_FOUND_MAX];
    struct err ignored;

    *out = remap_reach(found, remap_find(verify->repo, place, found, &ignored), length);
    return 0;
}

/* Wherever it lies by now. */
static int check_extent(struct verify *verify, const struct extent *extent, struct err *err)
{
    struct place place = extent->place, at;
    uint64_t left = extent->length, some;
    int r = 0;

    for (; r == 0 && left > 0; left -= some, place.raw += (uint32_t)some) {
        r = blocks_where(verify->blocks, place, left, &at, &some, err);
        if (r == 0)
            r = check_piece(verify, at, some, err);
        else if (r == -ERR_COLD) /* moved, and to where nobody can look */
            r = pass_over(verify, place, left, &some);
    }
    return r;
}

static int check_content(struct verify *verify, const struct content *content, struct err *err)
{
    struct content_cursor cursor;
    struct extent extent;
    uint64_t start;
    uint64_t covered = 0;

    if (content->form == CONTENT_NONE || content->form == CONTENT_INLINE)
        return 0;
    int r = content_open(&cursor, verify->blocks, content, 0, err);
    if (r < 0)
        return r;
    while ((r = content_next(&cursor, &extent, &start, err)) > 0) {
        if (!extent_is_hole(&extent) && (r = check_extent(verify, &extent, err)) < 0)
            break;
        covered += extent.length;
    }
    content_close(&cursor);
    if (r == 0 && covered != content->size)
        return err_set(err, ERR_CORRUPT, "its extents do not add up to its size");
    return r;
}

static int check_entry(struct verify *verify, const struct entry *entry, struct err *err)
{
    int r = 0;

    if (entry->flags & ENTRY_XATTRS)
        r = check_content(verify, &entry->xattrs, err);
    if (r == 0 && entry->type == ENTRY_FILE)
        r = check_content(verify, &entry->content, err);
    if (r == 0 && entry->type == ENTRY_FILE && entry->size > 0 && verify->options->data)
        r = verify_digest(verify, entry, err);
    return r == -ERR_COLD ? 0 : r;
}

/* ---- directories ------------------------------------------------------------------------- */

static bool seen(const struct verify *verify, const struct dirref *directory, uint64_t *out)
{
    *out = 0;
    return directory->entries == 0 ||
           spillmap_get(verify->seen, directory->place.archive, directory->place.raw, out);
}

static int remember(struct verify *verify, const struct dirref *directory, uint64_t value,
                    struct err *err)
{
    struct place at = directory->place;
    uint64_t ignored;
    struct err why;

    if (directory->entries == 0)
        return 0;
    if (blocks_where(verify->blocks, directory->place, 1, &at, &ignored, &why) < 0)
        at = directory->place; /* who reads it tells */
    int r = verify_mark(verify, at.archive, MARK_NEEDED, err);

    return r < 0 ? r
                 : spillmap_put(verify->seen, directory->place.archive, directory->place.raw, value,
                                err);
}

/* Something in the innermost directory is hurt, and so is all that leads there. */
static int remember_hurt(struct verify *verify, const struct treewalk *walk, struct err *err)
{
    int r = 0;

    for (size_t level = treewalk_depth(walk); level-- > 0 && r == 0;)
        r = remember(verify, treewalk_directory(walk, level), 1, err);
    return r;
}

/* One entry of the walk: negative only for what is no damage. */
static int visit(struct verify *verify, struct treewalk *walk, const struct entry *entry,
                 bool *out_hurt, struct err *err)
{
    uint64_t value = 0;
    int r = 0;

    if (!verify->marking_only) {
        verify->result->entries++;
        progress_add(verify->options->progress, entry->type == ENTRY_FILE, 0);
    }
    if (check_entry(verify, entry, err) < 0) {
        if (!verify_is_damage(err))
            return -(int)err->code;
        *out_hurt = true;
        r = remember_hurt(verify, walk, err);
    }
    if (r < 0 || entry->type != ENTRY_DIRECTORY)
        return r;
    if (!seen(verify, &entry->directory, &value))
        return remember(verify, &entry->directory, 0, err);
    treewalk_skip(walk);
    if (value == 0)
        return 0;
    *out_hurt = true;
    return remember_hurt(verify, walk, err);
}

int verify_tree(struct verify *verify, const struct dirref *directory, bool *out_hurt,
                struct err *err)
{
    CLEANUP(treewalk_freep) struct treewalk *walk = NULL;
    const struct entry *entry;
    const char *path;
    uint64_t value;

    if (seen(verify, directory, &value)) {
        *out_hurt = *out_hurt || value != 0;
        return 0;
    }
    int r = remember(verify, directory, 0, err);
    if (r == 0)
        r = treewalk_new(verify->blocks, directory, &walk, err);
    while (r == 0) {
        if (verify_stopped(verify))
            return err_set(err, ERR_CANCELLED, "interrupted");
        r = treewalk_next(walk, &entry, &path, err);
        if (r == 0)
            return 0;
        if (r > 0) {
            r = visit(verify, walk, entry, out_hurt, err);
        } else if (verify_is_damage(err)) {
            verify->tree_trouble = *out_hurt = true;
            r = remember_hurt(verify, walk, err);
        }
    }
    return r;
}

/* ---- who is hurt ------------------------------------------------------------------------- */

static int tell(struct verify *verify, const char *snapshot, const char *prefix, const char *path,
                const struct err *why, struct err *err)
{
    char *whole = NULL;

    if (asprintf(&whole, "%s%s%s", prefix, path[0] ? "/" : "", path) < 0)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    verify->result->hurt_paths++;
    verify->options->hurt(verify->options->context, snapshot, whole, why);
    free(whole);
    return 0;
}

int verify_list_hurt(struct verify *verify, const char *snapshot, const char *prefix,
                     const struct dirref *directory, struct err *err)
{
    CLEANUP(treewalk_freep) struct treewalk *walk = NULL;
    const struct entry *entry;
    const char *path;
    uint64_t value;
    struct err why;
    int r = 0;

    if (!seen(verify, directory, &value) || value == 0)
        return 0;
    r = treewalk_new(verify->blocks, directory, &walk, err);
    while (r == 0) {
        r = treewalk_next(walk, &entry, &path, &why);
        if (r == 0)
            break;
        if (r > 0)
            r = check_entry(verify, entry, &why);
        if (r < 0 && !verify_is_damage(&why)) {
            *err = why;
            break;
        }
        if (r < 0) {
            r = tell(verify, snapshot, prefix, path, &why, err);
            continue;
        }
        if (entry->type == ENTRY_DIRECTORY && (!seen(verify, &entry->directory, &value) || !value))
            treewalk_skip(walk);
    }
    verify_release(verify);
    return r;
}
