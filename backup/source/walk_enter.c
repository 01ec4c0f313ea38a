#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/source/walk_internal.h"

/* Tells of a directory further up. */
static void report_frame(struct walk *walk, const struct frame *frame, const struct err *err)
{
    char *end = (char *)walk->path.data + frame->path_size;
    char cut = *end;

    *end = 0;
    walk->options.trouble(walk->options.context,
                          frame->path_size > 0 ? (char *)walk->path.data : "/", err);
    *end = cut;
}

struct frame *walk_top(struct walk *walk)
{
    return &walk->frames[walk->depth - 1];
}

/* The open directory that is furthest up is opened again on the way back. */
static void close_lowest(struct walk *walk)
{
    struct frame *lowest = &walk->frames[walk->lowest_open++];

    srcdir_unref(lowest->dir);
    lowest->dir = NULL;
}

static int push_frame(struct walk *walk, struct srcdir *dir, struct err *err)
{
    if (walk->depth == walk->capacity) {
        size_t capacity = walk->capacity > 0 ? walk->capacity * 2 : 64;
        struct frame *frames = realloc(walk->frames, capacity * sizeof(*frames));
        if (!frames)
            return err_set(err, ERR_NOMEM, "no memory for directory %zu deep", walk->depth);
        walk->frames = frames;
        walk->capacity = capacity;
    }
    struct frame *frame = &walk->frames[walk->depth++];
    *frame = (struct frame){.dir = dir, .device = dir->device, .inode = dir->inode};
    frame->path_size = walk->path.size == 1 ? 0 : walk->path.size;
    if (walk->depth - walk->lowest_open > walk->open_max)
        close_lowest(walk);
    return 0;
}

/*
 * A directory could not be opened.  1: for want of descriptors, of which there are some now: those
 * of the directories further up and of files that were being read.  0: for another reason.
 */
static int make_room(struct walk *walk, const struct err *trouble, bool *relieved, struct err *err)
{
    bool full = srcdir_none_free(trouble);
    int r = 0;

    if (full && !*relieved) {
        *relieved = true;
        while (walk->lowest_open + 1 < walk->depth)
            close_lowest(walk);
        if (walk->options.relieve)
            r = walk->options.relieve(walk->options.context, err);
        return r < 0 ? r : 1;
    }
    if (!full && trouble->code != ERR_NOMEM)
        return 0;
    *err = *trouble;
    return -(int)err->code;
}

/* The directory that is returned to was closed meanwhile: opens it again by way of its child. */
static int reopen_parent(struct walk *walk, const struct srcdir *child, struct err *err)
{
    struct frame *frame = &walk->frames[walk->depth - 2];
    bool relieved = false;
    struct err trouble;
    int r = 1;

    if (frame->dir)
        return 0;
    while (r > 0 &&
           srcdir_open_parent(child, frame->device, frame->inode, &frame->dir, &trouble) < 0)
        r = make_room(walk, &trouble, &relieved, err);
    if (r < 0)
        return r;
    walk->lowest_open = walk->depth - 2;
    if (frame->dir)
        return 0;
    report_frame(walk, frame, &trouble);
    frame->dead = true;
    frame->dir = srcdir_ref((struct srcdir *)child); /* so that there is something to close */
    return 0;
}

int walk_leave(struct walk *walk, struct walk_item *out, struct err *err)
{
    struct frame *frame = walk_top(walk);
    int r = walk->depth > 1 ? reopen_parent(walk, frame->dir, err) : 0;

    if (r < 0)
        return r;
    *out = (struct walk_item){.event = WALK_LEAVE, .name = "", .dir = frame->dir};
    walk->leaving = true; /* walk_drop() comes with the next call */
    return walk_set_path(walk, frame->path_size, "", err);
}

/* Takes the frame off whose WALK_LEAVE was given. */
void walk_drop(struct walk *walk)
{
    struct frame *frame = walk_top(walk);

    walk->leaving = false;
    listing_free(frame->listing);
    walk->found -= frame->findings ? findings_count(frame->findings) : 0;
    findings_free(frame->findings);
    srcdir_unref(frame->dir);
    walk->depth--;
    if (walk->lowest_open > walk->depth)
        walk->lowest_open = walk->depth;
}

static bool is_pseudo(int fd)
{
    static const long kinds[] = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,        CGROUP_SUPER_MAGIC,
                                 CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,      TRACEFS_MAGIC,
                                 SECURITYFS_MAGIC,    DEVPTS_SUPER_MAGIC, BPF_FS_MAGIC,
                                 PSTOREFS_MAGIC,      EFIVARFS_MAGIC};
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (fs.f_type == kinds[i])
            return true;
    return false;
}

/* What keeps a directory's entries (not the directory) out; NULL: nothing. */
static const char *why_not_entered(const struct walk *walk, const struct srcdir *dir,
                                   const struct frame *parent)
{
    const struct rules *rules = walk->options.rules;

    for (size_t i = 0; i < rules->never_count; i++)
        if (rules->never[i].device == dir->device && rules->never[i].inode == dir->inode)
            return "the repository itself";
    if (!parent || dir->device == parent->device)
        return NULL;
    if (rules->one_file_system && !parent->partial)
        return "another file system";
    return is_pseudo(dir->fd) ? "a file system of the kernel's" : NULL;
}

/* The name that the path ends in lives as long as the item does. */
static const char *last_name(const struct walk *walk)
{
    const char *path = (const char *)walk->path.data;

    return strrchr(path, '/') + 1;
}

void walk_fill(const struct walk *walk, struct walk_item *out, const struct statx *st,
               enum walk_event event, struct srcdir *parent)
{
    *out = (struct walk_item){.event = event, .name = last_name(walk), .st = *st, .parent = parent};
}

/* A directory that is marked as not to be backed up: read only as far as the user named something
 * in it. */
static int enter_marked(struct walk *walk, struct frame *frame)
{
    const char *path = walk_path(walk, NULL);
    bool named = pathset_below(&walk->sources, path, &frame->first, &frame->end);

    if (named && strcmp(walk->sources.at[frame->first], path) == 0)
        return 0;
    walk_leave_out(walk, "marked as not to be backed up");
    listing_free(STEAL(frame->listing));
    frame->partial = named;
    return named ? 0 : WALK_NOT_GIVEN;
}

/* What a scout saw in here; not while the directories on the way have much. */
static void take_findings(struct walk *walk, struct frame *frame)
{
    enum { HELD_MOST = 2 * FINDINGS_MOST };
    struct findings *findings = scout_findings(walk->scout, frame->dir);

    if (!findings)
        return;
    if (walk->found + findings_count(findings) > HELD_MOST) {
        findings_free(findings);
        return;
    }
    walk->found += findings_count(findings);
    frame->findings = findings;
}

/* Reads the names of a directory that is read whole, unless something keeps them out. */
static int fill_frame(struct walk *walk, struct frame *frame, const struct frame *parent,
                      bool asked, struct err *err)
{
    struct err trouble;
    const char *reason = why_not_entered(walk, frame->dir, parent);

    if (reason) {
        walk_leave_out(walk, reason);
        return 0;
    }
    long waits = scout_waits();
    if (walk->scout)
        scout_reached(walk->scout, frame->dir);
    int r =
        listing_new(frame->dir->fd, walk->markers, walk->marker_count, &frame->listing, &trouble);
    if (walk->scout) {
        scout_waited(walk->scout, waits);
        take_findings(walk, frame);
    }
    if (r < 0)
        *err = trouble;
    else if (r == LISTING_UNREADABLE)
        walk_report(walk, &trouble);
    if (r != 0)
        return r < 0 ? r : WALK_NOT_GIVEN;
    frame->markers = listing_markers(frame->listing);
    bool marked = !asked && rules_marked(walk->options.rules, frame->markers, frame->dir->fd);
    return marked ? enter_marked(walk, frame) : 0;
}

static void set_frame(struct walk *walk, struct frame *frame, const struct frame *parent,
                      const struct entering *how)
{
    size_t size;
    const char *path = walk_path(walk, &size);

    frame->partial = how->partial;
    frame->first = how->first;
    frame->end = how->end;
    frame->root_size = parent && parent->root_size > 0 ? parent->root_size
                       : how->partial                  ? 0
                                                       : size;
    frame->prune = walk->options.rules->only && !rules_whole(walk->options.rules, path, size);
}

/* Opens the directory that was just seen; 0, WALK_NOT_GIVEN or an error. */
static int open_directory(struct walk *walk, const char *name, struct srcdir **out, struct err *err)
{
    const struct srcdir *parent = walk->depth > 0 ? walk_top(walk)->dir : NULL;
    bool relieved = false;
    struct err trouble;
    int r = 1;

    while (r > 0) {
        if (srcdir_open(parent, parent ? name : "/", out, &trouble) == 0)
            return 0;
        r = make_room(walk, &trouble, &relieved, err);
    }
    if (r < 0)
        return r;
    walk_report(walk, &trouble);
    return WALK_NOT_GIVEN;
}

/* Enters directory `name`: a frame and an item, or WALK_NOT_GIVEN. */
int walk_enter(struct walk *walk, const char *name, struct statx *st, const struct entering *how,
               struct walk_item *out, struct err *err)
{
    struct srcdir *parent_dir = walk->depth > 0 ? walk_top(walk)->dir : NULL;
    struct srcdir *dir = NULL;

    int r = open_directory(walk, name, &dir, err);
    if (r != 0)
        return r;
    /* Another one may have taken its place, or something was mounted when it was opened. */
    if (dir->inode != st->stx_ino)
        (void)statx(dir->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, st);
    if ((r = push_frame(walk, dir, err)) < 0) {
        srcdir_unref(dir);
        return r;
    }
    struct frame *frame = walk_top(walk);
    const struct frame *parent = walk->depth > 1 ? frame - 1 : NULL;
    set_frame(walk, frame, parent, how);
    if (!frame->partial && (r = fill_frame(walk, frame, parent, how->asked, err)) != 0) {
        walk_drop(walk);
        return r;
    }
    walk_fill(walk, out, st, WALK_ENTER, parent_dir);
    out->dir = dir;
    out->partial = frame->partial;
    out->prune = frame->prune;
    return 0;
}
