#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/log.h"
#include "backup/job/fileread.h"
#include "backup/job/ingest_internal.h"
#include "backup/source/srcdir.h"

static void slot_free(struct slot *slot)
{
    if (!slot)
        return;
    contentwriter_free(slot->content);
    free(slot->group);
    fileread_free(slot->file);
    srcdir_unref(slot->dir);
    buf_clear(&slot->target);
    buf_clear(&slot->xattrs);
    free(slot->extents);
    free(slot->name);
    free(slot);
}

static void frame_free(struct frame *frame)
{
    while (frame->first) {
        struct slot *gone = frame->first;
        frame->first = gone->next;
        slot_free(gone);
    }
    tree_close(frame->old);
    dirwriter_abort(frame->writer);
    free(frame);
}

/* After an error: the walk's line of directories, and those that wait on the way are in their
 * slots' frames. */
void ingest_frames_free(struct ingest *ingest)
{
    while (ingest->all) {
        struct frame *gone = ingest->all;
        ingest->all = gone->next_of_all;
        frame_free(gone);
    }
    ingest->frame = NULL;
}

static void unlist(struct ingest *ingest, struct frame *frame)
{
    if (frame->previous_of_all)
        frame->previous_of_all->next_of_all = frame->next_of_all;
    else
        ingest->all = frame->next_of_all;
    if (frame->next_of_all)
        frame->next_of_all->previous_of_all = frame->previous_of_all;
}

/* What cannot be read of the snapshot before is as if it had not been there: it is read and stored
 * again. */
static void forget_old(struct frame *frame, const struct err *err)
{
    log_debug("the snapshot before cannot be compared with: %s", err->text);
    tree_close(STEAL(frame->old));
    frame->old_entry = NULL;
}

static void open_old(struct ingest *ingest, struct frame *frame, const struct dirref *old)
{
    struct err err;

    if (!old || old->entries == 0)
        return;
    if (tree_open(ingest->options.blocks, old, 0, &frame->old, &err) < 0 ||
        tree_next(frame->old, &frame->old_entry, &err) < 0)
        forget_old(frame, &err);
}

static int look_at_index_item(void *context, struct place place, struct err *err)
{
    if (ingest_usable(context, place, 1))
        return 0;
    return err_set(err, ERR_NOT_FOUND, "a part of its index is about to be pruned");
}

/* A directory that is taken over whole is so with all of its index; leaves are looked at one by
 * one. */
static bool is_reusable(struct ingest *ingest, const struct dirref *old)
{
    struct err err;

    return old && old->entries > 0 && ingest_usable(ingest, old->place, 1) &&
           tree_index_items(ingest->options.blocks, old, look_at_index_item, ingest, &err) == 0;
}

struct frame *ingest_frame_new(struct ingest *ingest, struct frame *parent, struct slot *slot,
                               const struct dirref *old, struct err *err)
{
    struct frame *frame = calloc(1, sizeof(*frame));
    if (!frame) {
        err_set(err, ERR_NOMEM, "no memory for a directory");
        return NULL;
    }
    frame->parent = parent;
    frame->slot = slot;
    frame->last = &frame->first;
    frame->next_of_all = ingest->all;
    if (ingest->all)
        ingest->all->previous_of_all = frame;
    ingest->all = frame;
    open_old(ingest, frame, old);
    bool reusable = is_reusable(ingest, old);
    if (ingest->options.treewriter &&
        dirwriter_new(ingest->options.treewriter, reusable ? old : NULL, &frame->writer, err) < 0)
        return NULL;
    return frame;
}

static int compare_name(const struct entry *entry, const char *name, size_t size)
{
    size_t common = entry->name_size < size ? entry->name_size : size;
    int order = memcmp(entry->name, name, common);

    return order != 0 ? order : (entry->name_size > size) - (entry->name_size < size);
}

const struct entry *ingest_old(struct ingest *ingest, struct frame *frame, const char *name)
{
    size_t size = strlen(name);
    struct err err;

    (void)ingest;
    while (frame->old_entry && compare_name(frame->old_entry, name, size) < 0)
        if (tree_next(frame->old, &frame->old_entry, &err) < 0)
            forget_old(frame, &err);
    if (!frame->old_entry || compare_name(frame->old_entry, name, size) != 0)
        return NULL;
    return frame->old_entry;
}

int ingest_path(const struct frame *frame, const char *name, struct buf *out, struct err *err)
{
    size_t size = strlen(name) + 2;
    int r;

    for (const struct frame *at = frame; at->slot; at = at->parent)
        size += strlen(at->slot->name) + 1;
    if ((r = buf_reserve(out, size, err)) < 0)
        return r;
    /* From the end to the front. */
    char *end = (char *)out->data + size;
    *--end = 0;
    end -= strlen(name);
    memcpy(end, name, strlen(name));
    *--end = '/';
    for (const struct frame *at = frame; at->slot; at = at->parent) {
        end -= strlen(at->slot->name);
        memcpy(end, at->slot->name, strlen(at->slot->name));
        *--end = '/';
    }
    out->size = size;
    return 0;
}

static void count(struct ingest *ingest, struct frame *frame, const struct entry *entry)
{
    struct root_type *out = ingest->out;

    frame->entries++;
    frame->below_entries += 1 + entry->below_entries;
    frame->below_bytes += entry->type == ENTRY_DIRECTORY ? entry->below_bytes : entry->size;
    out->files += entry->type == ENTRY_FILE;
    out->directories += entry->type == ENTRY_DIRECTORY;
    out->others += entry->type != ENTRY_FILE && entry->type != ENTRY_DIRECTORY;
    out->bytes += entry->type == ENTRY_FILE ? entry->size : 0;
}

static int write_entry(struct ingest *ingest, struct frame *frame, const struct entry *entry,
                       const struct tree_position *same, struct err *err)
{
    bool usable = same && ingest_usable(ingest, same->leaf, 1);

    count(ingest, frame, entry);
    if (!frame->writer)
        return 0;
    return dirwriter_add(frame->writer, entry, usable ? same : NULL, err);
}

/* An entry of the snapshot before points into blocks that the merge join lets go: the slot takes
 * what it needs. */
static int keep(struct ingest *ingest, struct slot *slot, const struct entry *entry,
                struct err *err)
{
    struct content *content = &slot->entry.content;
    struct content_cursor cursor;
    uint64_t start;
    int r = 0;

    slot->entry = *entry;
    slot->name = strndup(entry->name, entry->name_size);
    if (!slot->name)
        return err_set(err, ERR_NOMEM, "no memory for a name");
    slot->entry.name = slot->name;
    slot->target.limit = ENTRY_TARGET_MAX + 1;
    slot->xattrs.limit = INLINE_XATTRS_MAX;
    if (entry->target_size > 0 &&
        (r = buf_append(&slot->target, entry->target, entry->target_size, err)) < 0)
        return r;
    slot->entry.target = (const char *)slot->target.data;
    if (entry->xattrs.form == CONTENT_INLINE) {
        r = buf_append(&slot->xattrs, entry->xattrs.bytes, (size_t)entry->xattrs.size, err);
        slot->entry.xattrs.bytes = slot->xattrs.data;
        slot->entry.xattrs.end = slot->xattrs.data + slot->xattrs.size;
    }
    if (r < 0 || content->form != CONTENT_LIST)
        return r;
    slot->extents = calloc(content->count, sizeof(*slot->extents));
    if (!slot->extents)
        return err_set(err, ERR_NOMEM, "no memory for extents");
    r = content_open(&cursor, ingest->options.blocks, &entry->content, 0, err);
    for (size_t i = 0; r == 0 && i < content->count; i++)
        r = content_next(&cursor, &slot->extents[i], &start, err) < 0 ? -(int)err->code : 0;
    content_close(&cursor);
    content->list = slot->extents;
    content->bytes = content->end = NULL;
    return r;
}

int ingest_wait(struct ingest *ingest, struct frame *frame, const struct entry *entry,
                struct slot **out, struct err *err)
{
    struct slot *slot = calloc(1, sizeof(*slot));
    if (!slot)
        return err_set(err, ERR_NOMEM, "no memory for an entry");
    int r = keep(ingest, slot, entry, err);
    if (r < 0) {
        slot_free(slot);
        return r;
    }
    slot->frame = frame;
    *frame->last = slot;
    frame->last = &slot->next;
    ingest->waiting++;
    *out = slot;
    return 0;
}

int ingest_add(struct ingest *ingest, struct frame *frame, const struct entry *entry,
               const struct tree_position *same, struct err *err)
{
    struct slot *slot;

    if (!frame->first)
        return write_entry(ingest, frame, entry, same, err);
    int r = ingest_wait(ingest, frame, entry, &slot, err);
    if (r < 0)
        return r;
    slot->ready = true;
    slot->has_same = same != NULL;
    if (same)
        slot->same = *same;
    return 0;
}

static int write_ready(struct ingest *ingest, struct frame *frame, struct err *err)
{
    int r = 0;

    while (r == 0 && frame->first && frame->first->ready) {
        struct slot *slot = frame->first;
        if (!slot->dropped)
            r = write_entry(ingest, frame, &slot->entry, slot->has_same ? &slot->same : NULL, err);
        frame->first = slot->next;
        if (!frame->first)
            frame->last = &frame->first;
        ingest->waiting--;
        slot_free(slot);
    }
    return r;
}

/* The directory is written: its slot has all that it waited for. */
static void complete(struct ingest *ingest, struct frame *frame, const struct dirref *written)
{
    struct slot *slot = frame->slot;

    if (!slot) {
        ingest->root = *written;
        ingest->root_done = true;
        return;
    }
    slot->entry.directory = *written;
    slot->entry.below_entries = frame->below_entries;
    slot->entry.below_bytes = frame->below_bytes;
    slot->has_same =
        slot->has_same && written->entries == slot->old_directory.entries &&
        (written->entries == 0 || place_equal(written->place, slot->old_directory.place)) &&
        frame->below_entries == slot->old_below_entries &&
        frame->below_bytes == slot->old_below_bytes;
    slot->dropped = frame->prune && frame->entries == 0;
    slot->ready = true;
}

int ingest_advance(struct ingest *ingest, struct frame *frame, struct err *err)
{
    int r = 0;

    while (r == 0 && frame) {
        struct dirref written = {.entries = frame->entries};
        struct frame *parent = frame->parent;

        r = write_ready(ingest, frame, err);
        if (r < 0 || frame->first || !frame->ended)
            return r;
        written.entries = frame->entries;
        if (frame->writer)
            r = dirwriter_finish(STEAL(frame->writer), &written, err);
        if (r == 0)
            complete(ingest, frame, &written);
        unlist(ingest, frame);
        frame_free(frame);
        frame = parent;
    }
    return r;
}
