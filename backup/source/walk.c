#include "backup/source/walk.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/source/listing.h"
#include "backup/source/srcdir.h"

/* Directories above the innermost OPEN_MAX are closed and opened again on the way back. */
enum { OPEN_MAX = 200, PATH_LIMIT = 64 * 1024 * 1024 };

struct frame {
    struct srcdir *dir; /* NULL: closed for now */
    uint64_t device, inode;
    struct listing *listing; /* NULL: partial, or nothing to be listed */
    uint64_t markers;
    size_t first, end; /* partial: the sources below this directory */
    size_t path_size;  /* of the directory in walk->path */
    bool partial, prune;
    size_t root_size; /* of the source path that it belongs to; 0 above all of them */
    bool dead;        /* could not be opened again: its rest was reported */
};

struct walk {
    struct walk_options options;
    const char **sources; /* ascending, none below another */
    size_t source_count;
    const char *markers[LISTING_MARKERS_MAX];
    size_t marker_count;
    struct frame *frames;
    size_t depth, capacity;
    size_t lowest_open; /* frames below this one are closed */
    struct buf path;    /* of the last item, terminated */
    bool started, leaving;
};

/* By components: '/' comes before every other byte. */
static int compare_paths(const void *a, const void *b)
{
    const unsigned char *left = *(const unsigned char *const *)a;
    const unsigned char *right = *(const unsigned char *const *)b;

    while (*left && *left == *right)
        left++, right++;
    int l = *left == '/' ? 1 : *left * 2;
    int r = *right == '/' ? 1 : *right * 2;
    return l - r;
}

/* Whether `path` is `top` or lies below it. */
static bool is_below(const char *path, const char *top)
{
    size_t size = strlen(top);

    if (strcmp(top, "/") == 0)
        return true;
    return strncmp(path, top, size) == 0 && (path[size] == '/' || path[size] == 0);
}

static int take_sources(struct walk *walk, struct err *err)
{
    size_t count = walk->options.path_count;

    walk->sources = malloc((count + 1) * sizeof(*walk->sources));
    if (!walk->sources)
        return err_set(err, ERR_NOMEM, "no memory for %zu paths", count);
    if (count > 0)
        memcpy(walk->sources, walk->options.paths, count * sizeof(*walk->sources));
    qsort(walk->sources, count, sizeof(*walk->sources), compare_paths);
    for (size_t i = 0; i < count; i++) {
        size_t kept = walk->source_count;
        if (kept == 0 || !is_below(walk->sources[i], walk->sources[kept - 1]))
            walk->sources[walk->source_count++] = walk->sources[i];
    }
    return 0;
}

int walk_new(const struct walk_options *options, struct walk **out, struct err *err)
{
    struct walk *walk = calloc(1, sizeof(*walk));
    if (!walk)
        return err_set(err, ERR_NOMEM, "no memory for a walk");
    walk->options = *options;
    walk->path.limit = PATH_LIMIT;
    walk->marker_count = rules_markers(options->rules, walk->markers);

    int r = take_sources(walk, err);
    if (r < 0) {
        walk_free(walk);
        return r;
    }
    *out = walk;
    return 0;
}

static void report(struct walk *walk, const struct err *err)
{
    walk->options.trouble(walk->options.context, (const char *)walk->path.data, err);
}

/* The same for a directory further up. */
static void report_frame(struct walk *walk, const struct frame *frame, const struct err *err)
{
    char *end = (char *)walk->path.data + frame->path_size;
    char cut = *end;

    *end = 0;
    walk->options.trouble(walk->options.context,
                          frame->path_size > 0 ? (char *)walk->path.data : "/", err);
    *end = cut;
}

static void leave_out(struct walk *walk, const char *reason)
{
    walk->options.left_out(walk->options.context, (const char *)walk->path.data, reason);
}

/* walk->path = the first `size` bytes of itself, '/', name. */
static int set_path(struct walk *walk, size_t size, const char *name, struct err *err)
{
    int r;

    walk->path.size = size;
    if (*name && ((r = buf_append(&walk->path, "/", 1, err)) < 0 ||
                  (r = buf_append(&walk->path, name, strlen(name), err)) < 0))
        return r;
    if (walk->path.size == 0 && (r = buf_append(&walk->path, "/", 1, err)) < 0)
        return r;
    if ((r = buf_append(&walk->path, "", 1, err)) < 0)
        return r;
    walk->path.size--;
    return 0;
}

static struct frame *top_frame(struct walk *walk)
{
    return &walk->frames[walk->depth - 1];
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
    if (walk->depth - walk->lowest_open > OPEN_MAX) {
        struct frame *lowest = &walk->frames[walk->lowest_open++];
        srcdir_unref(lowest->dir);
        lowest->dir = NULL;
    }
    return 0;
}

/* The directory that is returned to was closed meanwhile: opens it again by way of its child. */
static void reopen_parent(struct walk *walk, const struct srcdir *child)
{
    struct frame *frame = &walk->frames[walk->depth - 2];
    struct err err;

    if (frame->dir)
        return;
    walk->lowest_open = walk->depth - 2;
    if (srcdir_open_parent(child, frame->device, frame->inode, &frame->dir, &err) < 0) {
        report_frame(walk, frame, &err);
        frame->dead = true;
        frame->dir = srcdir_ref((struct srcdir *)child); /* so that there is something to close */
    }
}

static int leave(struct walk *walk, struct walk_item *out, struct err *err)
{
    struct frame *frame = top_frame(walk);

    if (walk->depth > 1)
        reopen_parent(walk, frame->dir);
    *out = (struct walk_item){.event = WALK_LEAVE, .name = "", .dir = frame->dir};
    walk->leaving = true; /* drop_left() comes with the next call */
    return set_path(walk, frame->path_size, "", err);
}

/* Takes the frame off whose WALK_LEAVE was given. */
static void drop_left(struct walk *walk)
{
    struct frame *frame = top_frame(walk);

    walk->leaving = false;
    listing_free(frame->listing);
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

static int list_directory(struct walk *walk, struct frame *frame, struct err *err)
{
    int r = listing_new(frame->dir->fd, walk->markers, walk->marker_count, &frame->listing, err);

    if (r == 0)
        frame->markers = listing_markers(frame->listing);
    return r;
}

/* The name that the path ends in lives as long as the item does. */
static const char *last_name(const struct walk *walk)
{
    const char *path = (const char *)walk->path.data;

    return strrchr(path, '/') + 1;
}

static void fill_statx(const struct walk *walk, struct walk_item *out, const struct statx *st,
                       enum walk_event event, struct srcdir *parent)
{
    *out = (struct walk_item){.event = event, .name = last_name(walk), .st = *st, .parent = parent};
}

enum { NOT_GIVEN = 1 }; /* beside 0 and errors: this name is passed over */

/* Enters directory `name`: a frame and an item, or NOT_GIVEN. */
static int enter(struct walk *walk, const char *name, const struct statx *st, size_t first,
                 size_t end, bool partial, struct walk_item *out, struct err *err)
{
    struct frame *parent = walk->depth > 0 ? top_frame(walk) : NULL;
    struct srcdir *parent_dir = parent ? parent->dir : NULL;
    struct srcdir *dir;
    struct err trouble;

    if (srcdir_open(parent_dir, parent ? name : "/", &dir, &trouble) < 0) {
        report(walk, &trouble);
        return NOT_GIVEN;
    }
    const char *reason = partial ? NULL : why_not_entered(walk, dir, parent);
    if (reason)
        leave_out(walk, reason);

    size_t path_size;
    const char *path = walk_path(walk, &path_size);
    size_t root_size = partial                           ? 0
                       : parent && parent->root_size > 0 ? parent->root_size
                                                         : path_size;
    bool prune = walk->options.rules->only && !rules_whole(walk->options.rules, path, path_size);
    int r = push_frame(walk, dir, err);
    if (r < 0) {
        srcdir_unref(dir);
        return r;
    }
    struct frame *frame = top_frame(walk);
    frame->partial = partial;
    frame->prune = prune;
    frame->first = first;
    frame->end = end;
    frame->root_size = root_size;
    if (!partial && !reason && list_directory(walk, frame, &trouble) < 0) {
        report(walk, &trouble);
        drop_left(walk);
        return NOT_GIVEN;
    }
    if (!partial && !reason && rules_marked(walk->options.rules, frame->markers, dir->fd)) {
        leave_out(walk, "marked as not to be backed up");
        drop_left(walk);
        return NOT_GIVEN;
    }
    fill_statx(walk, out, st, WALK_ENTER, parent_dir);
    out->dir = dir;
    out->partial = partial;
    out->prune = prune;
    return 0;
}

static int stat_name(struct walk *walk, const char *name, struct statx *out)
{
    struct err trouble;

    if (statx(top_frame(walk)->dir->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
              STATX_BASIC_STATS, out) == 0)
        return 0;
    err_sys(&trouble, "cannot stat");
    report(walk, &trouble);
    return NOT_GIVEN;
}

/* One name of a directory that is read whole.  `asked`: the user named this very path. */
static int give_name(struct walk *walk, const char *name, bool asked, struct walk_item *out,
                     struct err *err)
{
    const struct rules *rules = walk->options.rules;
    struct frame *frame = top_frame(walk);
    struct statx st;
    size_t size;

    int r = set_path(walk, frame->path_size, name, err);
    if (r == 0)
        r = stat_name(walk, name, &st);
    if (r != 0)
        return r;
    const char *path = walk_path(walk, &size);
    bool directory = S_ISDIR(st.stx_mode);
    if (!asked && rules_excluded(rules, path, size, frame->root_size, directory))
        return NOT_GIVEN;
    if (!directory) {
        if (!asked && !rules_wanted(rules, path, size))
            return NOT_GIVEN;
        fill_statx(walk, out, &st, WALK_ENTRY, frame->dir);
        return 0;
    }
    if (!asked && rules_build_output(rules, frame->markers, name)) {
        leave_out(walk, "made by a build");
        return NOT_GIVEN;
    }
    return enter(walk, name, &st, 0, 0, false, out, err);
}

/* Component `name` of the sources [first, end) below the partial directory of `frame`. */
static int give_component(struct walk *walk, const char *name, size_t first, size_t end,
                          struct walk_item *out, struct err *err)
{
    struct frame *frame = top_frame(walk);
    struct statx st;

    size_t base = frame->path_size;
    bool whole = strlen(walk->sources[first]) == base + 1 + strlen(name);
    if (whole)
        return give_name(walk, name, true, out, err);

    int r = set_path(walk, base, name, err);
    if (r == 0)
        r = stat_name(walk, name, &st);
    if (r != 0)
        return r;
    return enter(walk, name, &st, first, end, true, out, err);
}

/* The next component below a partial directory; ends when there is none. */
static int next_component(struct walk *walk, struct walk_item *out, bool *at_end, struct err *err)
{
    struct frame *frame = top_frame(walk);
    char name[NAME_MAX + 1];

    *at_end = frame->first == frame->end;
    if (*at_end)
        return 0;
    const char *start = walk->sources[frame->first] + frame->path_size + 1;
    size_t size = strcspn(start, "/");
    size_t first = frame->first, next = first + 1;

    while (next < frame->end &&
           strncmp(walk->sources[next] + frame->path_size + 1, start, size) == 0 &&
           (walk->sources[next][frame->path_size + 1 + size] == '/'))
        next++;
    frame->first = next;
    if (size > NAME_MAX) {
        struct err trouble;
        err_set(&trouble, ERR_USAGE, "a name is longer than %d bytes", NAME_MAX);
        walk->options.trouble(walk->options.context, walk->sources[first], &trouble);
        return NOT_GIVEN;
    }
    memcpy(name, start, size);
    name[size] = 0;
    return give_component(walk, name, first, next, out, err);
}

static int next_listed(struct walk *walk, struct walk_item *out, bool *at_end, struct err *err)
{
    struct frame *frame = top_frame(walk);
    const char *name = NULL;

    *at_end = frame->dead || !frame->listing;
    if (*at_end)
        return 0;
    int r = listing_next(frame->listing, &name, err);
    *at_end = r == 0 && !name;
    if (r < 0 || *at_end)
        return r;
    return give_name(walk, name, false, out, err);
}

static int start(struct walk *walk, struct walk_item *out, struct err *err)
{
    struct statx st;
    bool whole = walk->source_count == 1 && strcmp(walk->sources[0], "/") == 0;

    walk->started = true;
    int r = set_path(walk, 0, "", err);
    if (r < 0)
        return r;
    if (statx(AT_FDCWD, "/", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) < 0)
        return err_sys(err, "/");
    return enter(walk, "", &st, 0, walk->source_count, !whole, out, err);
}

int walk_next(struct walk *walk, struct walk_item *out, struct err *err)
{
    int r = NOT_GIVEN;

    if (!walk->started)
        r = start(walk, out, err);
    else if (walk->leaving)
        drop_left(walk);
    while (r == NOT_GIVEN && walk->depth > 0) {
        bool at_end = false;
        r = top_frame(walk)->partial ? next_component(walk, out, &at_end, err)
                                     : next_listed(walk, out, &at_end, err);
        if (r == 0 && at_end)
            r = leave(walk, out, err);
    }
    if (r == NOT_GIVEN) {
        *out = (struct walk_item){.event = WALK_END};
        r = 0;
    }
    return r;
}

const char *walk_path(const struct walk *walk, size_t *out_size)
{
    if (out_size)
        *out_size = walk->path.size;
    return (const char *)walk->path.data;
}

size_t walk_sources(const struct walk *walk, const char *const **out)
{
    *out = walk->sources;
    return walk->source_count;
}

void walk_free(struct walk *walk)
{
    if (!walk)
        return;
    for (size_t i = 0; i < walk->depth; i++) {
        srcdir_unref(walk->frames[i].dir);
        listing_free(walk->frames[i].listing);
    }
    buf_clear(&walk->path);
    free(walk->frames);
    free(walk->sources);
    free(walk);
}
