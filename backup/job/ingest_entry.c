#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/clock.h"
#include "backup/base/log.h"
#include "backup/job/baseline.h"
#include "backup/job/dedup.h"
#include "backup/job/fileread.h"
#include "backup/job/ingest_internal.h"
#include "backup/job/packer.h"
#include "backup/job/references.h"

static enum entry_type type_of(uint16_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return ENTRY_DIRECTORY;
    case S_IFLNK:
        return ENTRY_SYMLINK;
    case S_IFCHR:
        return ENTRY_CHARDEV;
    case S_IFBLK:
        return ENTRY_BLOCKDEV;
    case S_IFIFO:
        return ENTRY_FIFO;
    case S_IFSOCK:
        return ENTRY_SOCKET;
    default:
        return ENTRY_FILE;
    }
}

/* A file system of somebody's own may say what no clock says. */
static uint32_t nanoseconds(const struct statx_timestamp *time)
{
    return time->tv_nsec < NS_PER_SECOND ? time->tv_nsec : NS_PER_SECOND - 1;
}

void entry_from_statx(struct entry *out, const char *name, const struct statx *st)
{
    bool device = S_ISCHR(st->stx_mode) || S_ISBLK(st->stx_mode);

    *out = (struct entry){
        .name = name,
        .name_size = strlen(name),
        .type = type_of(st->stx_mode),
        .mode = st->stx_mode & 07777,
        .uid = st->stx_uid,
        .gid = st->stx_gid,
        .mtime_s = st->stx_mtime.tv_sec,
        .mtime_ns = nanoseconds(&st->stx_mtime),
        .ctime_s = st->stx_ctime.tv_sec,
        .ctime_ns = nanoseconds(&st->stx_ctime),
        .inode = st->stx_ino,
        .device = makedev(st->stx_dev_major, st->stx_dev_minor),
        .links = S_ISDIR(st->stx_mode) ? 1 : st->stx_nlink,
        .shared = !S_ISDIR(st->stx_mode) && st->stx_nlink > 1,
        .size = S_ISREG(st->stx_mode) ? st->stx_size : 0,
        .rdev = device ? makedev(st->stx_rdev_major, st->stx_rdev_minor) : 0,
        .content = {.form = CONTENT_NONE},
        .xattrs = {.form = CONTENT_NONE},
    };
}

/* Of an archive that something was moved to. */
static bool target_suits(void *context, uint32_t archive)
{
    struct ingest *ingest = context;
    struct baseline *baseline = ingest->options.backup->baseline;

    return !references_has(ingest->options.refused, archive) &&
           !(baseline->ops->archive_damaged && baseline->ops->archive_damaged(baseline, archive));
}

static void target_found(void *context, uint32_t archive)
{
    struct ingest *ingest = context;

    references_note(ingest->options.references, archive);
}

static bool target_noted(void *context, uint32_t archive)
{
    const struct ingest *ingest = context;

    return references_has(ingest->options.references, archive) && target_suits(context, archive);
}

/* One under a mark goes away with what it says. */
static bool remap_counts(void *context, uint32_t archive)
{
    const struct ingest *ingest = context;

    return !references_has(ingest->options.refused, archive);
}

bool ingest_usable(struct ingest *ingest, struct place place, uint64_t length)
{
    struct baseline *baseline = ingest->options.backup->baseline;
    const struct remap_filter filter = {remap_counts, target_noted, ingest};

    if (place.archive == NO_ARCHIVE)
        return true;
    if (!baseline)
        return false;
    if (!references_has(ingest->options.refused, place.archive) &&
        baseline->ops->archive_usable(baseline, place.archive)) {
        references_note(ingest->options.references, place.archive);
        return true;
    }
    if (!blocks_moved(ingest->options.blocks, place, length, target_suits, target_found, ingest) ||
        !remap_leads(ingest->options.backup->repo, place.archive, &filter))
        return false;
    references_note(ingest->options.through, place.archive);
    return true;
}

/* The items that a list of extents is made of. */
struct looking {
    struct ingest *ingest;
    bool usable;
};

static void look_at_item(void *context, struct place place)
{
    struct looking *looking = context;

    looking->usable = looking->usable && ingest_usable(looking->ingest, place, 1);
}

/* Every archive that the content lies in can still be referred to. */
static bool content_usable(struct ingest *ingest, const struct content *content)
{
    struct looking looking = {ingest, true};
    struct content_cursor cursor;
    struct extent extent;
    uint64_t start;
    struct err err;

    if (content->form == CONTENT_NONE || content->form == CONTENT_INLINE)
        return true;
    if (content->form == CONTENT_ONE)
        return ingest_usable(ingest, content->place, content->size);
    bool usable = true;
    blocks_watch(ingest->options.blocks, look_at_item, &looking);
    int r = content_open(&cursor, ingest->options.blocks, content, 0, &err);
    if (r == 0) {
        while (usable && (r = content_next(&cursor, &extent, &start, &err)) == 1)
            usable = ingest_usable(ingest, extent.place, extent.length);
        content_close(&cursor);
    }
    blocks_watch(ingest->options.blocks, NULL, NULL);
    if (r < 0)
        log_debug("a list of extents is damaged, so its file is read again: %s", err.text);
    return usable && looking.usable && r >= 0;
}

/*
 * Whether it may have changed after it was read and yet have kept its ctime: what changed in the
 * same moment as it was read.  The clock that files are stamped with ticks every 10 ms at worst; a
 * file system that keeps whole seconds only rounds down by up to two.
 */
static bool too_fresh(const struct ingest *ingest, const struct entry *now)
{
    enum { TICK_NS = 10 * 1000 * 1000, WHOLE_SECONDS = 2 };
    int64_t trusted = ingest->trusted_ns - TICK_NS;
    int64_t seconds = trusted / NS_PER_SECOND, ns = trusted % NS_PER_SECOND;

    if (now->ctime_ns == 0)
        return now->ctime_s >= seconds - WHOLE_SECONDS;
    return now->ctime_s > seconds || (now->ctime_s == seconds && now->ctime_ns >= ns);
}

bool ingest_content_holds(struct ingest *ingest, const struct entry *old, const struct statx *st)
{
    struct entry now;

    entry_from_statx(&now, "", st);
    if (ingest->options.backup->force || old->type != now.type || old->flags & ENTRY_CHANGED)
        return false;
    if (old->size != now.size || old->inode != now.inode || old->mtime_s != now.mtime_s ||
        old->mtime_ns != now.mtime_ns || old->ctime_s != now.ctime_s ||
        old->ctime_ns != now.ctime_ns || too_fresh(ingest, &now))
        return false;
    return content_usable(ingest, &old->content) && content_usable(ingest, &old->xattrs);
}

/* The number of a device says little: it changes from one boot to the next. */
bool ingest_same_attributes(const struct entry *old, const struct entry *now)
{
    return old->type == now->type && old->mode == now->mode && old->uid == now->uid &&
           old->gid == now->gid && old->mtime_s == now->mtime_s && old->mtime_ns == now->mtime_ns &&
           old->ctime_s == now->ctime_s && old->ctime_ns == now->ctime_ns &&
           old->inode == now->inode && old->shared == now->shared && old->links == now->links &&
           old->size == now->size && old->rdev == now->rdev &&
           (old->flags & ENTRY_PARTIAL) == (now->flags & ENTRY_PARTIAL);
}

/* Bytes of the walk's own into a data archive. */
static int store_bytes(struct ingest *ingest, const uint8_t *bytes, size_t size, struct place *out,
                       struct err *err)
{
    const struct ingest_options *options = &ingest->options;
    struct chunk chunk = {.length = (uint32_t)size};
    struct sighting *other;

    digest_bytes(keyring_id_key(options->backup->repo->keyring), bytes, size, chunk.id);
    int r = dedup_claim(options->dedup, chunk.id, chunk.length, out, &other, err);
    if (r == DEDUP_KNOWN || r < 0)
        return r < 0 ? r : 0;
    if (r == DEDUP_PENDING)
        return dedup_wait(options->dedup, chunk.id, other, out)
                   ? 0
                   : err_set(err, ERR_SYSTEM, "a block could not be stored");
    r = packer_put(options->packer, 0, ingest->codec, bytes, size, &chunk, 1, &out->archive, err);
    out->raw = chunk.raw;
    return r;
}

int ingest_set_xattrs(struct ingest *ingest, struct entry *entry, const struct buf *set,
                      struct err *err)
{
    entry->flags &= (uint8_t)~ENTRY_XATTRS;
    entry->xattrs = (struct content){.form = CONTENT_NONE};
    if (set->size == 0)
        return 0;
    entry->flags |= ENTRY_XATTRS;
    if (!ingest->options.treewriter)
        return 0;
    entry->xattrs = (struct content){.form = CONTENT_INLINE,
                                     .size = set->size,
                                     .bytes = set->data,
                                     .end = set->data + set->size};
    if (set->size <= INLINE_XATTRS_MAX)
        return 0;
    entry->xattrs.form = CONTENT_ONE; /* a set is bounded to what one block takes */
    return store_bytes(ingest, set->data, set->size, &entry->xattrs.place, err);
}

/* One extent, a short list, or items of their own. */
static int set_extents(struct ingest *ingest, struct slot *slot, struct fileread *file,
                       struct err *err)
{
    struct content *content = &slot->entry.content;
    int r = 0;

    *content = (struct content){.form = CONTENT_NONE, .size = slot->entry.size};
    if (slot->entry.size == 0)
        return 0;
    if (!slot->content && file->extent_count == 1 && !extent_is_hole(&file->extents[0])) {
        content->form = CONTENT_ONE;
        content->place = file->extents[0].place;
        return 0;
    }
    if (!slot->content)
        r = contentwriter_new(ingest->options.treewriter, &slot->content, err);
    for (size_t i = 0; r == 0 && i < file->extent_count; i++)
        r = contentwriter_add(slot->content, &file->extents[i], err);
    return r < 0 ? r : contentwriter_finish(slot->content, content, err);
}

int ingest_set_content(struct ingest *ingest, struct slot *slot, struct fileread *file,
                       struct err *err)
{
    struct entry *entry = &slot->entry;
    uint8_t flags = entry->flags;

    if (file->dir) {
        entry_from_statx(entry, slot->name, &file->st);
        entry->flags = flags;
    }
    slot->file = file;
    entry->size = file->content_size;
    if (file->changed || file->bare) /* the next backup tries again */
        entry->flags |= ENTRY_CHANGED;
    if (entry->size > 0)
        digest_stream_finish(&file->digest, entry->digest, ENTRY_DIGEST_SIZE);
    if (!ingest->options.treewriter)
        return 0;
    int r = set_extents(ingest, slot, file, err);
    return r < 0 ? r : ingest_set_xattrs(ingest, entry, &file->xattrs, err);
}
