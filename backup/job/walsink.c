#include "backup/job/walsink.h"

#include <stdlib.h>
#include <string.h>

#include "backup/archive/wal.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/job/walseed.h"
#include "backup/job/waltails.h"
#include "backup/source/pgwal.h"
#include "backup/store/store.h"

enum {
    PIECE_MIN = 256 * 1024, /* a tail of this size, or of 1/64 of the segment, is not replaced */
    PIECES = 64,
    WAITING_MAX = 16 * 1024 * 1024, /* then it is not waited for a second to go by */
};

/* What came since the last tail that stays. */
struct piece {
    uint64_t start;
    size_t flushed;                /* so much of it is in `object` */
    char object[OBJECT_NAME_SIZE]; /* the tail that the next one replaces; empty: none */
    struct buf bytes, marks, points;
};

struct walsink {
    struct walsink_settings settings;
    struct pgwal *parser;
    struct walwriter *segment; /* NULL: its first byte has not come */
    uint64_t at, durable;
    int64_t due;
    struct piece piece;
    struct strings tails; /* of this segment */
    struct pgwal_open open;
};

static int on_mark(void *context, const struct pgwal_mark *mark, struct err *err)
{
    struct walsink *sink = context;
    struct wal_mark commit = {mark->lsn, mark->xid, mark->time_us};
    struct wal_point point = {.lsn = mark->lsn, .time_us = mark->time_us};
    bool in_piece = sink->at >= sink->piece.start; /* else an older tail has it */
    int r;

    if (mark->kind == PGWAL_COMMIT) {
        r = walwriter_mark(sink->segment, &commit, err);
        if (r == 0 && in_piece)
            r = buf_append(&sink->piece.marks, &commit, sizeof(commit), err);
        return r;
    }
    memcpy(point.name, mark->name, sizeof(point.name));
    r = walwriter_point(sink->segment, &point, err);
    if (r == 0 && in_piece)
        r = buf_append(&sink->piece.points, &point, sizeof(point), err);
    return r;
}

static void clear_piece(struct piece *piece, uint64_t start)
{
    buf_clear(&piece->bytes);
    buf_clear(&piece->marks);
    buf_clear(&piece->points);
    piece->start = start;
    piece->flushed = 0;
    piece->object[0] = '\0';
}

/* Tails that are there from before: they count, and go when the segment is complete. */
static int find_tails(struct walsink *sink, uint64_t start, struct err *err)
{
    CLEANUP(waltails_clear) struct waltails tails = {0};
    const struct walsink_settings *settings = &sink->settings;
    int r = waltails_find(settings->repo, settings->system, settings->timeline, &tails, err);

    if (r == 0)
        r = waltails_sweep(settings->repo, &tails, err);
    for (size_t i = 0; r == 0 && i < tails.count; i++) {
        const struct waltail *tail = &tails.at[i];
        if (tail->start >= start && tail->start < start + settings->segment_size)
            r = strings_add(&sink->tails, tail->object, strlen(tail->object), err);
    }
    sink->durable = waltails_end(&tails, start, settings->segment_size);
    return r;
}

int walsink_new(const struct walsink_settings *settings, uint64_t start, struct walsink **out,
                struct err *err)
{
    CLEANUP(walsink_freep) struct walsink *sink = calloc(1, sizeof(*sink));

    if (!sink || !(sink->parser = pgwal_new(on_mark, sink)))
        return err_set(err, ERR_NOMEM, "no memory to receive a log");
    sink->settings = *settings;
    sink->at = start;
    sink->due = INT64_MAX;
    sink->piece.bytes.limit = sink->piece.marks.limit = sink->piece.points.limit = SIZE_MAX / 2;
    int r = find_tails(sink, start, err);
    if (r < 0)
        return r;
    clear_piece(&sink->piece, sink->durable);
    r = walseed_find(settings->repo, settings->system, settings->timeline, settings->segment_size,
                     start, &sink->open, err);
    if (r < 0)
        return r;
    pgwal_start(sink->parser, start, settings->segment_size, &sink->open);
    *out = STEAL(sink);
    return 0;
}

void walsink_free(struct walsink *sink)
{
    if (!sink)
        return;
    pgwal_free(sink->parser);
    walwriter_abort(sink->segment);
    clear_piece(&sink->piece, 0);
    strings_clear(&sink->tails);
    free(sink);
}

void walsink_freep(struct walsink **sink)
{
    walsink_free(*sink);
}

uint64_t walsink_at(const struct walsink *sink)
{
    return sink->at;
}

uint64_t walsink_durable(const struct walsink *sink)
{
    return sink->durable;
}

int64_t walsink_due(const struct walsink *sink)
{
    return sink->due;
}

static struct wal_meta meta_of(const struct walsink *sink, enum wal_what what, uint64_t start)
{
    const struct walsink_settings *settings = &sink->settings;
    struct wal_meta meta = {.what = what,
                            .system = settings->system,
                            .timeline = settings->timeline,
                            .segment_size = settings->segment_size,
                            .start = start,
                            .made_ns = clock_system()->now_ns(clock_system())};
    size_t size = strnlen(settings->host, HOST_NAME_MAX_SIZE);

    memcpy(meta.host, settings->host, size);
    return meta;
}

/* ---- tails ---- */

static void remove_tail(struct walsink *sink, const char *object)
{
    struct err err;

    /* One that stays is swept by the next start. */
    if (store_remove(sink->settings.repo->store, object, &err) < 0)
        log_debug("%s", err.text);
}

static int write_tail(struct walsink *sink, char out_object[OBJECT_NAME_SIZE], struct err *err)
{
    CLEANUP(walwriter_abortp) struct walwriter *writer = NULL;
    const struct wal_meta meta = meta_of(sink, WAL_TAIL, sink->piece.start);
    const struct piece *piece = &sink->piece;
    const struct wal_mark *marks = (const void *)piece->marks.data;
    const struct wal_point *points = (const void *)piece->points.data;
    int r = walwriter_new(sink->settings.repo, sink->settings.level, &meta, &writer, err);

    if (r == 0)
        r = walwriter_add(writer, piece->bytes.data, piece->bytes.size, err);
    for (size_t i = 0; r == 0 && i < piece->marks.size / sizeof(*marks); i++)
        r = walwriter_mark(writer, &marks[i], err);
    for (size_t i = 0; r == 0 && i < piece->points.size / sizeof(*points); i++)
        r = walwriter_point(writer, &points[i], err);
    if (r < 0)
        return r;
    return walwriter_commit(STEAL(writer), pgwal_magic(sink->parser), 0, NULL, 0, out_object, err);
}

static void forget_replaced(struct walsink *sink)
{
    if (!sink->piece.object[0])
        return;
    remove_tail(sink, sink->piece.object);
    free(sink->tails.at[--sink->tails.count]); /* it came last */
}

int walsink_flush(struct walsink *sink, struct err *err)
{
    struct piece *piece = &sink->piece;
    uint64_t least = sink->settings.segment_size / PIECES;
    char object[OBJECT_NAME_SIZE];

    sink->due = INT64_MAX;
    if (piece->bytes.size == piece->flushed)
        return 0;
    int r = write_tail(sink, object, err);
    if (r < 0)
        return r;
    forget_replaced(sink);
    r = strings_add(&sink->tails, object, strlen(object), err);
    if (r < 0)
        return r;
    memcpy(piece->object, object, sizeof(object));
    piece->flushed = piece->bytes.size;
    sink->durable = piece->start + piece->bytes.size;
    if (piece->bytes.size >= PIECE_MIN && piece->bytes.size >= least)
        clear_piece(piece, sink->durable);
    return 0;
}

/* ---- segments ---- */

static int begin_segment(struct walsink *sink, struct err *err)
{
    const struct wal_meta meta = meta_of(sink, WAL_SEGMENT, sink->at);
    int r = walseed_drop_damaged(sink->settings.repo, &meta, err);

    return r < 0 ? r
                 : walwriter_new(sink->settings.repo, sink->settings.level, &meta, &sink->segment,
                                 err);
}

static int end_segment(struct walsink *sink, struct err *err)
{
    uint64_t start = sink->at - sink->settings.segment_size;
    char object[OBJECT_NAME_SIZE];

    if (pgwal_trouble(sink->parser))
        log_warn("the log's commits are not listed in full: %s", pgwal_trouble(sink->parser));
    pgwal_open(sink->parser, &sink->open);
    int r = walwriter_commit(STEAL(sink->segment), pgwal_magic(sink->parser), sink->open.lsn,
                             sink->open.bytes, sink->open.size, object, err);
    if (r < 0)
        return r;
    sink->durable = sink->at;
    sink->due = INT64_MAX;
    clear_piece(&sink->piece, sink->at);
    for (size_t i = 0; i < sink->tails.count; i++)
        remove_tail(sink, sink->tails.at[i]);
    strings_clear(&sink->tails);
    if (sink->settings.stored)
        sink->settings.stored(sink->settings.context, sink->settings.timeline, start);
    return 0;
}

/* Bytes of one segment, all before or all behind where the piece begins. */
static int take(struct walsink *sink, const uint8_t *bytes, size_t count, struct err *err)
{
    bool in_piece = sink->at >= sink->piece.start;
    int r = sink->segment ? 0 : begin_segment(sink, err);

    if (r == 0 && in_piece)
        r = buf_append(&sink->piece.bytes, bytes, count, err);
    if (r == 0)
        r = pgwal_push(sink->parser, bytes, count, err);
    if (r == 0)
        r = walwriter_add(sink->segment, bytes, count, err);
    if (r < 0)
        return r;
    sink->at += count;
    if (in_piece && sink->due == INT64_MAX)
        sink->due = clock_monotonic_ns() + WALSINK_DELAY_NS;
    if (sink->at % sink->settings.segment_size == 0)
        return end_segment(sink, err);
    return sink->piece.bytes.size - sink->piece.flushed >= WAITING_MAX ? walsink_flush(sink, err)
                                                                       : 0;
}

int walsink_push(struct walsink *sink, const void *bytes, size_t count, struct err *err)
{
    const uint8_t *at = bytes;
    int r = 0;

    while (r == 0 && count > 0) {
        uint64_t left = sink->settings.segment_size - sink->at % sink->settings.segment_size;
        uint64_t before = sink->piece.start > sink->at ? sink->piece.start - sink->at : left;
        uint64_t part = before < left ? before : left;

        if (part > count)
            part = count;
        r = take(sink, at, (size_t)part, err);
        at += part;
        count -= (size_t)part;
    }
    return r;
}
