#include "backup/job/ingest.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "backup/job/fileread.h"
#include "backup/job/ingest_internal.h"
#include "backup/job/units.h"
#include "backup/job/xattrs.h"
#include "backup/source/srcdir.h"
#include "backup/source/walk.h"

/* Whether somebody asked for this path: it is a source or leads to one. */
static bool leads_to_source(const struct ingest *ingest, const char *path)
{
    const struct backup_source *source = ingest->options.source;
    size_t size = strlen(path);

    for (size_t i = 0; i < source->path_count; i++)
        if (strncmp(source->paths[i], path, size) == 0 &&
            (source->paths[i][size] == 0 || source->paths[i][size] == '/' || size == 1))
            return true;
    return false;
}

static void report(struct ingest *ingest, const char *path, const struct err *failure)
{
    const struct backup_options *backup = ingest->options.backup;

    if (failure->code == ERR_NOT_FOUND && !leads_to_source(ingest, path)) {
        ingest->options.result->vanished++;
        backup->note(backup->context, path, "vanished while the backup ran");
        return;
    }
    ingest->out->unreadable++;
    if (backup->progress)
        atomic_fetch_add(&backup->progress->errors, 1);
    backup->trouble(backup->context, path, failure);
}

void ingest_trouble(struct ingest *ingest, const struct frame *frame, const char *name,
                    const struct err *failure)
{
    struct err err;

    if (ingest_path(frame, name, &ingest->path, &err) < 0)
        report(ingest, name, failure);
    else
        report(ingest, (const char *)ingest->path.data, failure);
    ingest->path.size = 0;
}

static void walk_trouble(void *context, const char *path, const struct err *failure)
{
    report(context, path, failure);
}

/* The walk is out of descriptors: those of the files that are still being read come free. */
static int walk_relieve(void *context, struct err *err)
{
    return ingest_drain(context, true, err);
}

static void walk_left_out(void *context, const char *path, const char *reason)
{
    struct ingest *ingest = context;

    ingest->options.result->left_out++;
    ingest->options.backup->note(ingest->options.backup->context, path, reason);
}

/* Taken over from the snapshot before, with what the walk sees of it now. */
static int take_over(struct ingest *ingest, struct frame *frame, const struct entry *old,
                     const struct entry *now, const struct statx *st, struct err *err)
{
    struct tree_position position;
    bool same =
        ingest_same_attributes(old, now) && (!old->shared || ingest_usable(ingest, old->place, 1));
    struct entry entry = *old;
    int r = 0;

    tree_position(frame->old, &position);
    if (!same) {
        entry.device = now->device;
        entry.links = now->links;
        entry.shared = now->shared;
    }
    if (entry.shared && !same && ingest->options.treewriter)
        r = treewriter_put_inode(ingest->options.treewriter, &entry, &entry.place, err);
    if (r == 0 && entry.shared)
        r = ingest_link_known(ingest, link_key_of(st), &entry, err);
    if (r == 0)
        r = ingest_add(ingest, frame, &entry, same ? &position : NULL, err);
    ingest->options.result->files_unchanged += old->type == ENTRY_FILE;
    progress_add(ingest->options.backup->progress, 1, old->size);
    return r;
}

static int read_file(struct ingest *ingest, struct frame *frame, const struct walk_item *item,
                     const struct entry *entry, struct err *err)
{
    struct slot *slot;

    int r = ingest_wait(ingest, frame, entry, &slot, err);
    if (r == 0 && entry->shared)
        r = ingest_link_new(ingest, link_key_of(&item->st), &slot->group, err);
    if (r < 0)
        return r;
    return ingest_submit(ingest, slot, item->parent, err);
}

static int read_target(const struct walk_item *item, char *out, struct entry *entry,
                       struct err *err)
{
    ssize_t size = readlinkat(item->parent->fd, item->name, out, ENTRY_TARGET_MAX + 1);

    if (size < 0)
        return err_sys(err, "cannot read symlink");
    if (size == 0 || memchr(out, 0, (size_t)size))
        return err_set(err, ERR_SYSTEM, "a symlink that leads nowhere");
    if (size > ENTRY_TARGET_MAX)
        return err_set(err, ERR_TOO_LARGE, "a symlink longer than %d bytes", ENTRY_TARGET_MAX);
    entry->target = out;
    entry->target_size = (size_t)size;
    return 0;
}

/* Symlinks, fifos, sockets, devices: all of them is in the record. */
static int add_special(struct ingest *ingest, struct frame *frame, const struct walk_item *item,
                       struct entry *entry, struct err *err)
{
    CLEANUP(buf_clear) struct buf xattrs = {.limit = XATTRS_SET_MAX};
    char target[ENTRY_TARGET_MAX + 1];
    struct err trouble;
    int r = 0;

    if (entry->type == ENTRY_SYMLINK)
        r = read_target(item, target, entry, &trouble);
    if (r == 0)
        r = xattrs_of_name(item->parent, item->name, &xattrs, &trouble);
    if (r < 0) {
        ingest_trouble(ingest, frame, item->name, &trouble);
        return 0;
    }
    progress_add(ingest->options.backup->progress, 1, 0);
    r = ingest_set_xattrs(ingest, entry, &xattrs, err);
    if (r == 0 && entry->shared && ingest->options.treewriter)
        r = treewriter_put_inode(ingest->options.treewriter, entry, &entry->place, err);
    if (r == 0 && entry->shared)
        r = ingest_link_known(ingest, link_key_of(&item->st), entry, err);
    return r < 0 ? r : ingest_add(ingest, frame, entry, NULL, err);
}

/* One more name of a file that was met before.  *out_done: nothing else is to be done with it. */
static int add_link(struct ingest *ingest, struct frame *frame, const struct walk_item *item,
                    struct entry *entry, bool *out_done, struct err *err)
{
    struct linkgroup *group;
    struct slot *slot;
    bool known;

    *out_done = false;
    ingest_link(ingest, link_key_of(&item->st), entry, &known, &group);
    if (!known && !group)
        return 0;
    *out_done = true;
    progress_add(ingest->options.backup->progress, 1, 0);
    if (group) {
        int r = ingest_wait(ingest, frame, entry, &slot, err);
        if (r == 0)
            ingest_link_join(ingest, group, slot, item->parent);
        return r;
    }
    /* Where the snapshot before has this name for the same inode item, its leaf may stay. */
    const struct entry *old = ingest_old(ingest, frame, entry->name);
    struct tree_position position;
    bool same = old && old->shared && place_equal(old->place, entry->place);
    if (same)
        tree_position(frame->old, &position);
    return ingest_add(ingest, frame, entry, same ? &position : NULL, err);
}

/* What a scout saw some moments ago says no more than that nothing has changed. */
static int take_seen(struct ingest *ingest, struct walk_item *item, bool *out_done, struct err *err)
{
    struct frame *frame = ingest->frame;
    struct entry entry;

    entry_from_statx(&entry, item->name, &item->st);
    const struct entry *old = entry.shared ? NULL : ingest_old(ingest, frame, item->name);
    *out_done = true;
    if (old && ingest_same_attributes(old, &entry) && ingest_content_holds(ingest, old, &item->st))
        return take_over(ingest, frame, old, &entry, &item->st, err);
    *out_done = walk_look_again(ingest->walk, item) != 0;
    return 0;
}

static int take_entry(struct ingest *ingest, struct walk_item *item, struct err *err)
{
    struct frame *frame = ingest->frame;
    struct entry entry;
    bool done = false;
    int r = item->seen_before ? take_seen(ingest, item, &done, err) : 0;

    if (r < 0 || done)
        return r;
    entry_from_statx(&entry, item->name, &item->st);
    if (entry.shared)
        r = add_link(ingest, frame, item, &entry, &done, err);
    if (r < 0 || done)
        return r;
    const struct entry *old = ingest_old(ingest, frame, item->name);
    if (old && ingest_content_holds(ingest, old, &item->st))
        return take_over(ingest, frame, old, &entry, &item->st, err);
    if (entry.type == ENTRY_FILE)
        return read_file(ingest, frame, item, &entry, err);
    return add_special(ingest, frame, item, &entry, err);
}

/* A directory's attributes: those of before where the ctime says that nothing changed. */
static int directory_xattrs(struct ingest *ingest, const struct walk_item *item,
                            const struct entry *old, struct entry *entry, struct buf *xattrs,
                            bool *out_holds, struct err *err)
{
    struct err trouble;

    *out_holds = old && ingest_content_holds(ingest, old, &item->st);
    if (*out_holds) {
        entry->flags |= old->flags & ENTRY_XATTRS;
        entry->xattrs = old->xattrs;
        return 0;
    }
    if (xattrs_of_fd(item->dir->fd, xattrs, &trouble) < 0) {
        ingest_trouble(ingest, ingest->frame, item->name, &trouble);
        entry->flags |= ENTRY_CHANGED; /* what is missing is tried again */
    }
    return ingest_set_xattrs(ingest, entry, xattrs, err);
}

static int enter_directory(struct ingest *ingest, const struct walk_item *item, struct err *err)
{
    CLEANUP(buf_clear) struct buf xattrs = {.limit = XATTRS_SET_MAX};
    struct frame *parent = ingest->frame;
    const struct entry *old = ingest_old(ingest, parent, item->name);
    struct entry entry;
    struct slot *slot;
    bool holds;

    if (old && old->type != ENTRY_DIRECTORY)
        old = NULL;
    entry_from_statx(&entry, item->name, &item->st);
    entry.flags |= item->partial ? ENTRY_PARTIAL : 0;
    int r = directory_xattrs(ingest, item, old, &entry, &xattrs, &holds, err);
    if (r == 0)
        r = ingest_wait(ingest, parent, &entry, &slot, err);
    if (r < 0)
        return r;
    if (old) {
        slot->has_same = holds && ingest_same_attributes(old, &entry);
        tree_position(parent->old, &slot->same);
        slot->old_directory = old->directory;
        slot->old_below_entries = old->below_entries;
        slot->old_below_bytes = old->below_bytes;
    }
    ingest->frame = ingest_frame_new(ingest, parent, slot, old ? &old->directory : NULL, err);
    if (!ingest->frame)
        return -(int)err->code;
    ingest->frame->prune = item->prune;
    return 0;
}

static int enter_root(struct ingest *ingest, struct err *err)
{
    const struct root *previous = ingest->options.source->previous;
    const struct dirref *old =
        previous ? &previous->types[ingest->options.source->type].directory : NULL;

    ingest->frame = ingest_frame_new(ingest, NULL, NULL, old, err);
    return ingest->frame ? 0 : -(int)err->code;
}

static int leave_directory(struct ingest *ingest, struct err *err)
{
    struct frame *left = ingest->frame;

    ingest->frame = left->parent;
    left->ended = true;
    tree_close(STEAL(left->old)); /* it may wait for its files: the old leaves need not */
    left->old_entry = NULL;
    return ingest_advance(ingest, left, err);
}

static int take_item(struct ingest *ingest, struct walk_item *item, struct err *err)
{
    if (item->event == WALK_ENTER)
        return ingest->frame ? enter_directory(ingest, item, err) : enter_root(ingest, err);
    if (item->event == WALK_LEAVE)
        return leave_directory(ingest, err);
    return take_entry(ingest, item, err);
}

static int walk_all(struct ingest *ingest, struct err *err)
{
    struct walk_item item = {.event = WALK_END};
    enum { DRAIN_EVERY = 32 };
    unsigned count = 0;
    int r;

    do {
        r = walk_next(ingest->walk, &item, err);
        if (r == 0 && item.event != WALK_END)
            r = take_item(ingest, &item, err);
        if (r == 0 && ++count % DRAIN_EVERY == 0)
            r = ingest_drain(ingest, false, err);
    } while (r == 0 && item.event != WALK_END);
    return r < 0 ? r : ingest_drain(ingest, true, err);
}

static int take_sources(struct ingest *ingest, struct err *err)
{
    const char *const *paths;
    size_t count = walk_sources(ingest->walk, &paths);
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        r = strings_add(&ingest->out->sources, paths[i], strlen(paths[i]), err);
    return r;
}

static int run_walk(struct ingest *ingest, struct err *err)
{
    const struct backup_source *source = ingest->options.source;
    struct walk_options options = {
        .paths = source->paths,
        .path_count = source->path_count,
        .rules = &source->rules,
        .trouble = walk_trouble,
        .left_out = walk_left_out,
        .relieve = walk_relieve,
        .context = ingest,
    };

    int r = walk_new(&options, &ingest->walk, err);
    if (r == 0)
        r = take_sources(ingest, err);
    return r < 0 ? r : walk_all(ingest, err);
}

/* A quarter of the descriptors: the rest is for the walk, the workers and the repository. */
static size_t held_max(void)
{
    enum { LEAST = 4, MOST = 2048 };
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur / 4 < LEAST)
        return LEAST;
    return files.rlim_cur / 4 < MOST ? (size_t)files.rlim_cur / 4 : MOST;
}

static int start(struct ingest *ingest, struct err *err)
{
    const struct backup_source *source = ingest->options.source;
    const char *tmp = getenv("TMPDIR");

    ingest->held_max = held_max();
    ingest->path.limit = 256 * 1024 * 1024;
    ingest->trusted_ns = source->previous ? source->previous->start_ns : 0;
    ingest->codec = codec_new(ingest->options.backup->level);
    if (!ingest->codec)
        return err_set(err, ERR_NOMEM, "no memory for an encoder");
    return spillmap_new(tmp && *tmp ? tmp : "/var/tmp", &ingest->links, err);
}

int ingest_run(const struct ingest_options *options, struct root_type *out, struct err *err)
{
    struct ingest ingest = {.options = *options, .out = out};

    int r = start(&ingest, err);
    if (r == 0)
        r = options->source->stdin_name ? ingest_stdin(&ingest, err) : run_walk(&ingest, err);
    if (r == 0 && ingest.root_done)
        out->directory = ingest.root;
    out->present = true;
    ingest_frames_free(&ingest);
    walk_free(ingest.walk);
    spillmap_free(ingest.links);
    codec_free(ingest.codec);
    buf_clear(&ingest.path);
    return r;
}
