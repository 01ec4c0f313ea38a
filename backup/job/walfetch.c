#include "backup/job/walfetch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/walhistory.h"
#include "backup/archive/walname.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/job/waltails.h"

enum { ANY_SEGMENT_SIZE = 16 * 1024 * 1024 };

struct fetch {
    const struct walfetch_settings *settings;
    const char *name;
    struct walname parsed;
    struct walhistory history; /* of the timeline that is followed */
    int fd;
    uint64_t at, limit; /* in the file; nothing is written from `limit` on */
    struct walfetch_result *result;
};

static int absent(const struct fetch *fetch, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "%s is not stored", fetch->name);
}

/* The timeline that is followed, and what of the one that is asked for belongs to it. */
static int find_limit(struct fetch *fetch, uint64_t *out_end, struct err *err)
{
    const struct walfetch_settings *settings = fetch->settings;
    uint32_t asked = fetch->parsed.timeline, followed = settings->timeline;
    int r = 0;

    if (followed == 0)
        r = walhistory_newest(settings->repo, settings->system, asked, &followed, err);
    if (r < 0)
        return r;
    if (asked > followed)
        return err_set(err, ERR_NOT_FOUND, "%s: timeline %u is not followed, %u is", fetch->name,
                       asked, followed);
    *out_end = UINT64_MAX;
    if (asked == followed)
        return 0;
    r = walhistory_read(settings->repo, settings->system, followed, &fetch->history, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_USAGE, "the history of timeline %u is not stored", followed);
    if (r < 0)
        return r;
    *out_end = walhistory_end(&fetch->history, asked);
    return 0;
}

static int write_part(void *context, const uint8_t *bytes, size_t count, struct err *err)
{
    struct fetch *fetch = context;
    uint64_t left = fetch->limit > fetch->at ? fetch->limit - fetch->at : 0;
    size_t part = count < left ? count : (size_t)left;
    int r = io_pwrite_full(fetch->fd, bytes, part, fetch->at, err);

    fetch->at += part;
    if (fetch->at > fetch->result->known)
        fetch->result->known = fetch->at;
    return r < 0 ? err_context(err, "%s", fetch->name) : 0;
}

/* ---- segments ---- */

/* How much of it belongs to the timeline that is followed. */
static int cut_at_fork(struct fetch *fetch, uint64_t segment_size, uint64_t *out_start,
                       struct err *err)
{
    uint64_t end;

    if (!walname_start(&fetch->parsed, segment_size, out_start))
        return absent(fetch, err);
    int r = find_limit(fetch, &end, err);
    if (r < 0)
        return r;
    if (end <= *out_start)
        return err_set(err, ERR_NOT_FOUND,
                       "%s lies behind the fork of timeline %u: it was abandoned", fetch->name,
                       fetch->history.timeline);
    fetch->result->size = fetch->limit = segment_size;
    fetch->result->cut = end - *out_start < segment_size;
    if (fetch->result->cut)
        fetch->limit = end - *out_start;
    return 0;
}

static int copy_archive(struct fetch *fetch, const char *object, uint64_t to, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    int r = walreader_open(fetch->settings->repo, object, &reader, err);

    return r < 0 ? r : walreader_copy(reader, 0, to, write_part, fetch, err);
}

static int copy_whole(struct fetch *fetch, struct walreader *reader, struct err *err)
{
    const struct wal_meta *meta = walreader_meta(reader);
    uint64_t start;
    int r = cut_at_fork(fetch, meta->segment_size, &start, err);

    return r < 0 ? r : walreader_copy(reader, 0, fetch->limit, write_part, fetch, err);
}

/* The segments' size is what their tails say. */
static const struct waltail *first_tail_of(const struct fetch *fetch, const struct waltails *tails)
{
    for (size_t i = 0; i < tails->count; i++) {
        const struct waltail *tail = &tails->at[i];
        uint64_t start;
        if (walname_start(&fetch->parsed, tail->segment_size, &start) &&
            tail->start - tail->start % tail->segment_size == start)
            return tail;
    }
    return NULL;
}

/* -ERR_NOT_FOUND also when a tail went away since it was listed: a receiver replaced it, or the
 * segment is complete. */
static int copy_tails(struct fetch *fetch, struct err *err)
{
    CLEANUP(waltails_clear) struct waltails tails = {0};
    const struct walfetch_settings *settings = fetch->settings;
    uint64_t start;
    int r = waltails_find(settings->repo, settings->system, fetch->parsed.timeline, &tails, err);

    if (r < 0)
        return r;
    const struct waltail *first = first_tail_of(fetch, &tails);
    if (!first)
        return absent(fetch, err);
    r = cut_at_fork(fetch, first->segment_size, &start, err);
    if (r < 0)
        return r;
    uint64_t end = waltails_end(&tails, start, first->segment_size);
    if (end == start)
        return absent(fetch, err);
    for (const struct waltail *tail = first; r == 0 && tail < tails.at + tails.count; tail++) {
        if (tail->start >= end || tail->start + tail->length <= start + fetch->result->known)
            continue; /* another piece has all of it, or it hangs in the air */
        fetch->at = tail->start - start;
        r = copy_archive(fetch, tail->object, tail->length, err);
    }
    fetch->result->merged = true;
    return r;
}

static int fetch_segment(struct fetch *fetch, struct err *err)
{
    enum { TRIES = 5 };
    struct wal_meta meta;
    char object[OBJECT_NAME_SIZE];
    int r = -ERR_NOT_FOUND;

    walname_meta(&fetch->parsed, fetch->name, fetch->settings->system, ANY_SEGMENT_SIZE, &meta);
    wal_object_name(fetch->settings->repo, &meta, object);
    for (int i = 0; i < TRIES && r == -ERR_NOT_FOUND; i++) {
        CLEANUP(walreader_closep) struct walreader *reader = NULL;
        *fetch->result = (struct walfetch_result){0};
        r = walreader_open(fetch->settings->repo, object, &reader, err);
        if (r == 0)
            return copy_whole(fetch, reader, err);
        if (r == -ERR_NOT_FOUND)
            r = copy_tails(fetch, err);
    }
    return r;
}

/* ---- other files ---- */

static int fetch_other(struct fetch *fetch, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    struct wal_meta meta;
    char object[OBJECT_NAME_SIZE];

    if (fetch->parsed.what == WAL_HISTORY && fetch->settings->timeline > 0 &&
        fetch->parsed.timeline > fetch->settings->timeline)
        return err_set(err, ERR_NOT_FOUND, "%s: timeline %u is followed, and no further",
                       fetch->name, fetch->settings->timeline);
    walname_meta(&fetch->parsed, fetch->name, fetch->settings->system, 0, &meta);
    wal_object_name(fetch->settings->repo, &meta, object);
    int r = walreader_open(fetch->settings->repo, object, &reader, err);
    if (r == -ERR_NOT_FOUND)
        return absent(fetch, err);
    if (r < 0)
        return r;
    fetch->limit = fetch->result->size = walreader_meta(reader)->length;
    return walreader_copy(reader, 0, fetch->limit, write_part, fetch, err);
}

static int fetch_into(struct fetch *fetch, const char *target, struct err *err)
{
    int r = target
                ? io_openat(AT_FDCWD, target, O_WRONLY | O_CREAT | O_TRUNC, 0600, &fetch->fd, err)
                : io_open_temporary("/tmp", &fetch->fd, err);

    bool named = target != NULL;

    if (!named)
        target = "a file without a name";
    if (r < 0) /* "not found" is kept for what is not in the repository */
        return err_set(err, ERR_SYSTEM, "%s: %s", target, strerror(err->cause));
    r = fetch->parsed.what == WAL_SEGMENT ? fetch_segment(fetch, err) : fetch_other(fetch, err);
    if (r == 0)
        r = io_truncate(fetch->fd, fetch->result->size, err);
    int fd = fetch->fd;
    fetch->fd = -1;
    if (io_close(fd) < 0 && r == 0)
        r = err_sys(err, "%s", target);
    if (r < 0 && named)
        (void)unlink(target);
    return r;
}

int walfetch_file(const struct walfetch_settings *settings, const char *name, const char *target,
                  struct walfetch_result *out, struct err *err)
{
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    int r;

    *out = (struct walfetch_result){0};
    if (!fetch)
        return err_set(err, ERR_NOMEM, "out of memory");
    fetch->settings = settings;
    fetch->name = name;
    fetch->fd = -1;
    fetch->result = out;
    if (walname_parse(name, &fetch->parsed))
        r = fetch_into(fetch, target, err);
    else
        r = err_set(err, ERR_NOT_FOUND, "\"%.80s\" is no name of a server's archive", name);
    free(fetch);
    return r;
}
