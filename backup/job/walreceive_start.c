/* Where a stream begins: the slot, the timelines, what the repository has. */
#include <stdlib.h>
#include <string.h>

#include "backup/archive/wal.h"
#include "backup/archive/walhistory.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/job/walreceive_internal.h"
#include "backup/source/pg.h"
#include "backup/store/store.h"

/* ---- the slot ---- */

static int make_slot(struct receive *receive, struct pgstream *stream, struct err *err)
{
    const struct walreceive_settings *settings = receive->settings;

    if (settings->dry_run)
        return 0;
    if (!receive->server.limited && !settings->unlimited)
        return err_set(err, ERR_USAGE,
                       "the server limits no slot: if nobody receives, its log fills the disk");
    int r = pgstream_slot_create(stream, settings->slot, err);
    if (r == -ERR_EXISTS) /* a server before 15 does not tell what slots it has */
        return 0;
    if (r < 0)
        return r;
    receive_report(receive, (struct walreceive_report){.event = WALRECEIVE_SLOT_MADE});
    return pgstream_slot_find(stream, settings->slot, &receive->slot, err);
}

int receive_ensure_slot(struct receive *receive, struct pgstream *stream, struct err *err)
{
    int r = pgstream_slot_find(stream, receive->settings->slot, &receive->slot, err);

    if (r < 0)
        return r;
    if (receive->slot.there) {
        if (!receive->server.limited && !receive->streamed)
            receive_report(receive, (struct walreceive_report){.event = WALRECEIVE_UNLIMITED});
        receive->had_slot = true;
        return 0;
    }
    if (receive->had_slot)
        receive_report(receive, (struct walreceive_report){.event = WALRECEIVE_SLOT_LOST});
    r = make_slot(receive, stream, err);
    receive->had_slot = receive->slot.there;
    return r;
}

/* ---- timelines ---- */

static int store_history(struct receive *receive, uint32_t timeline, const struct buf *content,
                         struct err *err)
{
    CLEANUP(walwriter_abortp) struct walwriter *writer = NULL;
    const struct walreceive_settings *settings = receive->settings;
    struct wal_meta meta = {.what = WAL_HISTORY,
                            .system = receive->server.system,
                            .timeline = timeline,
                            .made_ns = clock_system()->now_ns(clock_system())};
    char object[OBJECT_NAME_SIZE];

    memcpy(meta.host, settings->host, strnlen(settings->host, HOST_NAME_MAX_SIZE));
    int r = walwriter_new(settings->repo, settings->level, &meta, &writer, err);
    if (r == 0)
        r = walwriter_add(writer, content->data, content->size, err);
    return r < 0 ? r : walwriter_commit(STEAL(writer), 0, 0, NULL, 0, object, err);
}

static int read_history(struct receive *receive, struct pgstream *stream, uint32_t timeline,
                        struct walhistory *out, struct err *err)
{
    CLEANUP(buf_clear) struct buf content = {.limit = WAL_HISTORY_MAX};
    int r = 0;

    *out = (struct walhistory){.timeline = timeline};
    if (timeline == 1)
        return 0;
    r = pgstream_history(stream, timeline, &content, err);
    if (r == 0)
        r = walhistory_parse(content.data, content.size, timeline, out, err);
    if (r == 0 && !receive->settings->dry_run)
        r = store_history(receive, timeline, &content, err);
    return r;
}

/* Also those of the timelines before: who recovers along them asks for their histories. */
static int store_older(struct receive *receive, struct pgstream *stream,
                       const struct walhistory *history, struct err *err)
{
    struct walhistory *older = malloc(sizeof(*older));
    struct err absent;
    int r = older ? 0 : err_set(err, ERR_NOMEM, "out of memory");

    for (size_t i = 0; r == 0 && i < history->count; i++) {
        uint32_t timeline = history->at[i].timeline;
        r = walhistory_read(receive->settings->repo, receive->server.system, timeline, older, err);
        if (r != -ERR_NOT_FOUND)
            continue;
        /* The server itself may have it no more. */
        r = 0;
        (void)read_history(receive, stream, timeline, older, &absent);
    }
    free(older);
    return r;
}

/* Along the timelines that the server came from: an end that the server does not share is left. */
static void follow(struct receive *receive, const struct walhistory *history)
{
    struct walreceive_place *place = &receive->place;

    for (size_t i = 0; i <= history->count && place->timeline != history->timeline; i++) {
        uint64_t end = walhistory_end(history, place->timeline);
        if (end == 0 &&
            history->count > 0) { /* of another branch: begin where that can have left */
            const struct wal_ancestor *last = &history->at[history->count - 1];
            *place = (struct walreceive_place){history->timeline, last->end};
            return;
        }
        if (place->lsn < end)
            return;
        *place = (struct walreceive_place){walhistory_next(history, place->timeline), end};
    }
}

static int first_place(struct receive *receive, struct err *err)
{
    const struct walreceive_settings *settings = receive->settings;
    const struct pgstream_server *server = &receive->server;
    int r = settings->stored_end(settings->context, server->system, server->timeline,
                                 &receive->place, err);

    if (r < 0 || receive->place.timeline > 0)
        return r;
    receive->place = (struct walreceive_place){
        server->timeline, receive->slot.lsn > 0 ? receive->slot.lsn : server->lsn};
    return 0;
}

int receive_find_place(struct receive *receive, struct pgstream *stream, struct err *err)
{
    struct walhistory *history = malloc(sizeof(*history));
    int r = history ? 0 : err_set(err, ERR_NOMEM, "out of memory");

    if (r == 0)
        r = read_history(receive, stream, receive->server.timeline, history, err);
    if (r == 0 && !receive->settings->dry_run)
        r = store_older(receive, stream, history, err);
    if (r == 0 && receive->place.timeline == 0)
        r = first_place(receive, err);
    if (r == 0)
        follow(receive, history);
    free(history);
    return r;
}

int receive_skip_gap(struct receive *receive, struct pgstream *stream, struct err *err)
{
    uint64_t size = receive->server.segment_size, from = receive->place.lsn;
    int r = 0;

    if (receive->slot.there && receive->slot.lsn == 0 && receive->server.version >= 150000) {
        /* The server has given it up: a new one keeps the log again. */
        r = pgstream_slot_drop(stream, receive->settings->slot, err);
        if (r == 0)
            r = receive_ensure_slot(receive, stream, err);
    }
    if (r < 0)
        return r;
    uint64_t to = receive->slot.lsn > from ? receive->slot.lsn : receive->server.lsn;
    to -= to % size;
    if (to <= from)
        return err_set(err, ERR_REMOTE, "the server does not have the log where its slot is");
    receive_report(receive, (struct walreceive_report){.event = WALRECEIVE_GAP,
                                                       .timeline = receive->place.timeline,
                                                       .lsn = from,
                                                       .end = to});
    receive->place = (struct walreceive_place){receive->server.timeline, to};
    return 0;
}
