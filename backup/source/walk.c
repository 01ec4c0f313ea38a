#include "backup/source/walk.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "backup/base/err.h"
#include "backup/source/walk_internal.h"

enum { PATH_LIMIT = 64 * 1024 * 1024 };

void walk_report(struct walk *walk, const struct err *err)
{
    walk->options.trouble(walk->options.context, (const char *)walk->path.data, err);
}

void walk_leave_out(struct walk *walk, const char *reason)
{
    walk->options.left_out(walk->options.context, (const char *)walk->path.data, reason);
}

int walk_set_path(struct walk *walk, size_t size, const char *name, struct err *err)
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

enum { OPEN_LEAST = 4, OPEN_MOST = 200 };

/* A quarter of the descriptors, at least a few. */
static size_t open_max(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur / 4 < OPEN_LEAST)
        return OPEN_LEAST;
    return files.rlim_cur / 4 < OPEN_MOST ? (size_t)files.rlim_cur / 4 : OPEN_MOST;
}

int walk_new(const struct walk_options *options, struct walk **out, struct err *err)
{
    struct walk *walk = calloc(1, sizeof(*walk));
    if (!walk)
        return err_set(err, ERR_NOMEM, "no memory for a walk");
    walk->options = *options;
    walk->path.limit = PATH_LIMIT;
    walk->open_max = open_max();
    if (walk->open_max == OPEN_MOST) /* none is missed for what scouts hold */
        walk->scout = scout_new();
    walk->marker_count = rules_markers(options->rules, walk->markers);

    int r = pathset_take(&walk->sources, options->paths, options->path_count, err);
    if (r < 0) {
        walk_free(walk);
        return r;
    }
    *out = walk;
    return 0;
}

/* A path below another one would be missed without a word if it is not there. */
static void look_for_nested(const struct walk *walk)
{
    const struct pathset *sources = &walk->sources;
    struct stat st;
    struct err trouble;

    for (size_t i = 0, top = 0; i < sources->count; i++) {
        if (top < sources->top_count && sources->at[i] == sources->tops[top]) {
            top++;
        } else if (lstat(sources->at[i], &st) < 0) {
            err_sys(&trouble, "cannot stat");
            walk->options.trouble(walk->options.context, sources->at[i], &trouble);
        }
    }
}

static int stat_name(struct walk *walk, const char *name, struct statx *out)
{
    struct err trouble;

    if (statx(walk_top(walk)->dir->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
              STATX_BASIC_STATS | STATX_BTIME, out) == 0)
        return 0;
    err_sys(&trouble, "cannot stat");
    walk_report(walk, &trouble);
    return WALK_NOT_GIVEN;
}

/* What keeps a name out that nobody asked for by its path; NULL: nothing.  "": a rule that the user
 * wrote himself. */
static const char *why_left_out(const struct walk *walk, const struct frame *frame,
                                const char *name, bool directory)
{
    const struct rules *rules = walk->options.rules;
    size_t size;
    const char *path = walk_path(walk, &size);

    if (rules_excluded(rules, path, size, frame->root_size, directory))
        return "";
    if (!directory)
        return rules_wanted(rules, path, size) ? NULL : "";
    return rules_build_output(rules, frame->markers, name) ? "made by a build" : NULL;
}

/* One name of a directory that is read whole.  `asked`: the user named this very path. */
static int give_name(struct walk *walk, const char *name, bool asked, struct walk_item *out,
                     struct err *err)
{
    struct entering how = {.asked = asked};
    struct frame *frame = walk_top(walk);
    struct statx st;
    bool seen = frame->findings && findings_find(frame->findings, name, &st);

    int r = walk_set_path(walk, frame->path_size, name, err);
    if (r == 0 && !seen)
        r = stat_name(walk, name, &st);
    if (r != 0)
        return r;
    bool directory = S_ISDIR(st.stx_mode);
    const char *reason = asked ? NULL : why_left_out(walk, frame, name, directory);
    if (reason) {
        /* What was named below it is taken all the same. */
        const char *path = walk_path(walk, NULL);
        bool named = pathset_below(&walk->sources, path, &how.first, &how.end);
        how.asked = named && strcmp(walk->sources.at[how.first], path) == 0;
        how.partial = named && !how.asked;
        if (*reason && !how.asked)
            walk_leave_out(walk, reason);
        if (!named || (how.partial && !directory))
            return WALK_NOT_GIVEN;
    }
    if (directory)
        return walk_enter(walk, name, &st, &how, out, err);
    walk_fill(walk, out, &st, WALK_ENTRY, frame->dir);
    out->seen_before = seen;
    return 0;
}

int walk_look_again(struct walk *walk, struct walk_item *item)
{
    struct err trouble;
    int r = stat_name(walk, item->name, &item->st);

    if (r == 0 && S_ISDIR(item->st.stx_mode)) {
        (void)err_set(&trouble, ERR_NOT_FOUND, "a directory has taken its place");
        walk_report(walk, &trouble);
        r = WALK_NOT_GIVEN;
    }
    item->seen_before = false;
    return r;
}

/* Component `name` of the sources [first, end) below the partial directory of `frame`. */
static int give_component(struct walk *walk, const char *name, size_t first, size_t end,
                          struct walk_item *out, struct err *err)
{
    struct frame *frame = walk_top(walk);
    struct statx st;

    size_t base = frame->path_size;
    bool whole = strlen(walk->sources.at[first]) == base + 1 + strlen(name);
    if (whole)
        return give_name(walk, name, true, out, err);

    int r = walk_set_path(walk, base, name, err);
    if (r == 0)
        r = stat_name(walk, name, &st);
    if (r != 0)
        return r;
    return walk_enter(walk, name, &st, &(struct entering){first, end, true, false}, out, err);
}

/* The next component below a partial directory; ends when there is none. */
static int next_component(struct walk *walk, struct walk_item *out, bool *at_end, struct err *err)
{
    struct frame *frame = walk_top(walk);
    char name[NAME_MAX + 1];

    *at_end = frame->first == frame->end;
    if (*at_end)
        return 0;
    const char *start = walk->sources.at[frame->first] + frame->path_size + 1;
    size_t size = strcspn(start, "/");
    size_t first = frame->first, next = first + 1;

    while (next < frame->end &&
           strncmp(walk->sources.at[next] + frame->path_size + 1, start, size) == 0 &&
           (walk->sources.at[next][frame->path_size + 1 + size] == '/'))
        next++;
    frame->first = next;
    if (size > NAME_MAX) {
        struct err trouble;
        err_set(&trouble, ERR_USAGE, "a name is longer than %d bytes", NAME_MAX);
        walk->options.trouble(walk->options.context, walk->sources.at[first], &trouble);
        return WALK_NOT_GIVEN;
    }
    memcpy(name, start, size);
    name[size] = 0;
    return give_component(walk, name, first, next, out, err);
}

/* Sends scouts into the directories that come next, but for those that will be left out; and again
 * when half of them were reached. */
static void send_scouts(struct walk *walk, struct frame *frame)
{
    const char *name;
    struct err ignored;
    size_t sent = 0;

    if (!walk->scout || !scout_pays(walk->scout) || listing_position(frame->listing) < frame->again)
        return;
    while (sent < SCOUT_AHEAD && (name = listing_directory(frame->listing, &frame->scouted))) {
        if (walk_set_path(walk, frame->path_size, name, &ignored) < 0 ||
            why_left_out(walk, frame, name, true))
            continue;
        scout_send(walk->scout, frame->dir, name);
        if (++sent <= SCOUT_AHEAD / 2)
            frame->again = frame->scouted;
    }
}

static int next_listed(struct walk *walk, struct walk_item *out, bool *at_end, struct err *err)
{
    struct frame *frame = walk_top(walk);
    const char *name = NULL;

    *at_end = frame->dead || !frame->listing;
    if (*at_end)
        return 0;
    send_scouts(walk, frame);
    int r = listing_next(frame->listing, &name, err);
    *at_end = r == 0 && !name;
    if (r < 0 || *at_end)
        return r;
    return give_name(walk, name, false, out, err);
}

static int start(struct walk *walk, struct walk_item *out, struct err *err)
{
    struct statx st;
    bool whole = walk->sources.count > 0 && strcmp(walk->sources.at[0], "/") == 0;

    walk->started = true;
    look_for_nested(walk);
    int r = walk_set_path(walk, 0, "", err);
    if (r < 0)
        return r;
    if (statx(AT_FDCWD, "/", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) < 0)
        return err_sys(err, "/");
    return walk_enter(walk, "", &st, &(struct entering){0, walk->sources.count, !whole, whole}, out,
                      err);
}

int walk_next(struct walk *walk, struct walk_item *out, struct err *err)
{
    int r = WALK_NOT_GIVEN;

    if (!walk->started)
        r = start(walk, out, err);
    else if (walk->leaving)
        walk_drop(walk);
    while (r == WALK_NOT_GIVEN && walk->depth > 0) {
        bool at_end = false;
        r = walk_top(walk)->partial ? next_component(walk, out, &at_end, err)
                                    : next_listed(walk, out, &at_end, err);
        if (r == 0 && at_end)
            r = walk_leave(walk, out, err);
    }
    if (r == WALK_NOT_GIVEN) {
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
    *out = walk->sources.tops;
    return walk->sources.top_count;
}

void walk_free(struct walk *walk)
{
    if (!walk)
        return;
    for (size_t i = 0; i < walk->depth; i++) {
        srcdir_unref(walk->frames[i].dir);
        listing_free(walk->frames[i].listing);
        findings_free(walk->frames[i].findings);
    }
    scout_free(walk->scout);
    buf_clear(&walk->path);
    free(walk->frames);
    pathset_clear(&walk->sources);
    free(walk);
}
