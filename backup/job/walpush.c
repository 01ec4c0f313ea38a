#include "backup/job/walpush.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/archive/walhistory.h"
#include "backup/archive/walname.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/job/walseed.h"
#include "backup/source/pgwal.h"

enum { READ_SIZE = 1024 * 1024, LONG_HEADER = 40 };

struct push {
    const struct walpush_settings *settings;
    const char *name;
    int fd;
    struct wal_meta meta;
    uint8_t *buffer; /* READ_SIZE */
    struct pgwal *parser;
    struct pgwal_open open;
    struct walwriter *writer;
    struct walpush_result *result;
};

static void push_clear(struct push *push)
{
    closep(&push->fd);
    free(push->buffer);
    pgwal_free(push->parser);
    walwriter_abort(push->writer);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* ---- what it is ---- */

/* The first page of a segment says the same of itself in every version of the server. */
static int check_first_page(struct push *push, const struct walname *name, struct err *err)
{
    struct wal_meta *meta = &push->meta;
    uint8_t header[LONG_HEADER];
    size_t got;

    if (!pgwal_segment_size_valid(meta->length) || !walname_start(name, meta->length, &meta->start))
        return err_set(err, ERR_CORRUPT, "%s: %llu bytes are no segment", push->name,
                       (unsigned long long)meta->length);
    meta->segment_size = meta->length;
    int r = io_pread_full(push->fd, header, sizeof(header), 0, &got, err);
    if (r < 0)
        return r;
    if (got < sizeof(header) || load_le64(header + 8) != meta->start ||
        load_le32(header + 32) != meta->segment_size || load_le32(header + 4) > meta->timeline)
        return err_set(err, ERR_CORRUPT, "%s: not the segment that its name says", push->name);
    if (meta->system != 0 && load_le64(header + 24) != meta->system)
        return err_set(err, ERR_CORRUPT, "%s: of another server (system identifier %llu)",
                       push->name, (unsigned long long)load_le64(header + 24));
    meta->system = load_le64(header + 24);
    return 0;
}

static int open_file(struct push *push, const char *path, struct err *err)
{
    struct stat status;
    int r = io_openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW, 0, &push->fd, err);

    if (r < 0)
        return r;
    if (fstat(push->fd, &status) < 0)
        return err_sys(err, "%s", path);
    if (!S_ISREG(status.st_mode) || status.st_size > WAL_FILE_MAX)
        return err_set(err, ERR_USAGE, "%s: not a file of a server's log", path);
    push->meta.length = (uint64_t)status.st_size;
    return 0;
}

static int identify(struct push *push, const char *path, struct err *err)
{
    const struct walpush_settings *settings = push->settings;
    struct walname name;
    uint64_t length;

    if (!walname_parse(push->name, &name))
        return err_set(err, ERR_USAGE, "\"%.80s\" is no name that a server's archive has",
                       push->name);
    int r = open_file(push, path, err);
    if (r < 0)
        return r;
    length = push->meta.length;
    walname_meta(&name, push->name, settings->system, 0, &push->meta);
    push->meta.length = length;
    push->meta.made_ns = clock_system()->now_ns(clock_system());
    memcpy(push->meta.host, settings->host, strnlen(settings->host, HOST_NAME_MAX_SIZE));
    if (name.what == WAL_SEGMENT)
        return check_first_page(push, &name, err);
    if (settings->system == 0)
        return err_set(err, ERR_USAGE, "%s: of which server? There is no global/pg_control here",
                       push->name);
    return 0;
}

/* ---- its content ---- */

static int each_part(struct push *push,
                     int (*each)(struct push *push, size_t count, void *context, struct err *err),
                     void *context, struct err *err)
{
    uint64_t at = 0;
    int r = 0;

    while (r == 0 && at < push->meta.length) {
        size_t got;
        r = io_pread_full(push->fd, push->buffer, READ_SIZE, at, &got, err);
        if (r == 0 && (got == 0 || at + got > push->meta.length))
            r = err_set(err, ERR_CORRUPT, "%s: changed while it was read", push->name);
        if (r == 0)
            r = each(push, got, context, err);
        at += got;
    }
    return r;
}

static int digest_part(struct push *push, size_t count, void *context, struct err *err)
{
    (void)err;
    digest_stream_add(context, push->buffer, count);
    return 0;
}

/* 1: it is stored. */
static int compare_stored(struct push *push, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    struct digest_stream stream;
    uint8_t digest[DIGEST_SIZE];
    char object[OBJECT_NAME_SIZE];

    wal_object_name(push->settings->repo, &push->meta, object);
    int r = walreader_open(push->settings->repo, object, &reader, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r < 0)
        return r;
    wal_digest_start(push->settings->repo, &stream);
    r = each_part(push, digest_part, &stream, err);
    if (r < 0)
        return r;
    digest_stream_finish(&stream, digest, sizeof(digest));
    if (memcmp(digest, walreader_meta(reader)->digest, sizeof(digest)) != 0)
        return err_set(err, ERR_EXISTS, "%s is stored already, with another content", push->name);
    push->result->commits = walreader_meta(reader)->commits;
    push->result->points = walreader_meta(reader)->point_count;
    return 1;
}

static int on_mark(void *context, const struct pgwal_mark *mark, struct err *err)
{
    struct push *push = context;
    struct wal_mark commit = {mark->lsn, mark->xid, mark->time_us};
    struct wal_point point = {.lsn = mark->lsn, .time_us = mark->time_us};

    if (mark->kind == PGWAL_COMMIT) {
        push->result->commits++;
        return push->writer ? walwriter_mark(push->writer, &commit, err) : 0;
    }
    push->result->points++;
    memcpy(point.name, mark->name, sizeof(point.name));
    return push->writer ? walwriter_point(push->writer, &point, err) : 0;
}

static int write_part(struct push *push, size_t count, void *context, struct err *err)
{
    int r = 0;

    (void)context;
    if (push->parser)
        r = pgwal_push(push->parser, push->buffer, count, err);
    if (r == 0 && push->writer)
        r = walwriter_add(push->writer, push->buffer, count, err);
    return r;
}

static int start_parser(struct push *push, struct err *err)
{
    const struct wal_meta *meta = &push->meta;

    if (meta->what != WAL_SEGMENT)
        return 0;
    push->parser = pgwal_new(on_mark, push);
    if (!push->parser)
        return err_set(err, ERR_NOMEM, "no memory to read a log");
    int r = walseed_find(push->settings->repo, meta->system, meta->timeline, meta->segment_size,
                         meta->start, &push->open, err);
    pgwal_start(push->parser, meta->start, meta->segment_size, &push->open);
    return r;
}

/* A server that is newer than we are is believed; one that we know has to be right. */
static int check_whole(struct push *push, struct err *err)
{
    push->result->trouble = push->parser ? pgwal_trouble(push->parser) : NULL;
    if (push->result->trouble && pgwal_version(pgwal_magic(push->parser)) > 0)
        return err_set(err, ERR_CORRUPT, "%s is damaged: %s", push->name, push->result->trouble);
    return 0;
}

static int check_history(struct push *push, struct err *err)
{
    struct walhistory *history = malloc(sizeof(*history));
    size_t got;
    int r;

    if (!history)
        return err_set(err, ERR_NOMEM, "out of memory");
    r = io_pread_full(push->fd, push->buffer, READ_SIZE, 0, &got, err);
    if (r == 0)
        r = walhistory_parse(push->buffer, got, push->meta.timeline, history, err);
    free(history);
    return r < 0 ? err_context(err, "%s", push->name) : 0;
}

static int store_it(struct push *push, struct err *err)
{
    const struct walpush_settings *settings = push->settings;
    char object[OBJECT_NAME_SIZE];
    int r = push->meta.what == WAL_HISTORY ? check_history(push, err) : 0;

    if (r == 0)
        r = start_parser(push, err);
    if (r == 0 && !settings->dry_run)
        r = walwriter_new(settings->repo, settings->level, &push->meta, &push->writer, err);
    if (r == 0)
        r = each_part(push, write_part, NULL, err);
    if (r == 0)
        r = check_whole(push, err);
    if (r < 0 || settings->dry_run)
        return r;
    if (push->parser)
        pgwal_open(push->parser, &push->open);
    return walwriter_commit(STEAL(push->writer), push->parser ? pgwal_magic(push->parser) : 0,
                            push->open.lsn, push->open.bytes, push->open.size, object, err);
}

static int push_open_file(struct push *push, struct err *err)
{
    int r =
        push->settings->dry_run ? 0 : walseed_drop_damaged(push->settings->repo, &push->meta, err);

    push->result->size = push->meta.length;
    push->result->system = push->meta.system;
    if (r == 0)
        r = compare_stored(push, err);
    push->result->already = r == 1;
    return r == 0 ? store_it(push, err) : r < 0 ? r : 0;
}

int walpush_file(const struct walpush_settings *settings, const char *path,
                 struct walpush_result *out, struct err *err)
{
    struct push *push = calloc(1, sizeof(*push));
    int r;

    *out = (struct walpush_result){0};
    if (!push)
        return err_set(err, ERR_NOMEM, "out of memory");
    *push = (struct push){.settings = settings, .name = last_part(path), .fd = -1, .result = out};
    push->buffer = malloc(READ_SIZE);
    r = push->buffer ? identify(push, path, err) : err_set(err, ERR_NOMEM, "out of memory");
    if (r == 0)
        r = push_open_file(push, err);
    push_clear(push);
    free(push);
    return r;
}
