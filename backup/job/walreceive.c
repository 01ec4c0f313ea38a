#include "backup/job/walreceive.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/job/walreceive_internal.h"
#include "backup/job/walsink.h"

enum {
    BACKOFF_FIRST = 1,
    BACKOFF_MAX = 60, /* seconds */
    BUSY_TRIES = 4,   /* the slot of a receiver that was killed is free after a moment */
    END_MS = 1000,    /* so long the store may take for the last bytes */
    ENDED = 1,
};

#define STATUS_NS (INT64_C(10) * NS_PER_SECOND)

void receive_report(const struct receive *receive, struct walreceive_report report)
{
    report.system = receive->server.system;
    report.segment_size = receive->server.segment_size;
    receive->settings->report(receive->settings->context, &report);
}

/* Whether somebody wants it to end; waits for that so long. */
static bool wants_end(int fd, int milliseconds)
{
    struct pollfd stop = {fd, POLLIN, 0};

    return poll(&stop, 1, milliseconds) > 0;
}

/* ---- one stream ---- */

struct stream {
    struct receive *receive;
    struct pgstream *pg;
    struct walsink *sink;
    uint64_t confirmed;
    int64_t status_due;
};

static int confirm(struct stream *stream, struct err *err)
{
    uint64_t durable = walsink_durable(stream->sink);

    stream->confirmed = durable;
    stream->receive->place.lsn = durable;
    stream->status_due = clock_monotonic_ns() + STATUS_NS;
    return pgstream_confirm(stream->pg, durable, err);
}

static int take(struct stream *stream, const struct pgstream_message *message, struct err *err)
{
    if (message->event != PGSTREAM_LOG)
        return 0;
    if (message->lsn != walsink_at(stream->sink))
        return err_set(err, ERR_REMOTE, "the server left out a part of its log");
    return walsink_push(stream->sink, message->bytes, message->count, err);
}

static int flush_if_due(struct stream *stream, bool now, struct err *err)
{
    if (!now && walsink_due(stream->sink) > clock_monotonic_ns())
        return 0;
    return walsink_flush(stream->sink, err);
}

/* One message, or a moment without one.  ENDED: somebody wants it to end, or the timeline has. */
static int step(struct stream *stream, bool *out_timeline_end, struct err *err)
{
    const struct walreceive_settings *settings = stream->receive->settings;
    int64_t due = walsink_due(stream->sink);
    struct pgstream_message message;
    int r = pgstream_next(stream->pg, due < stream->status_due ? due : stream->status_due,
                          settings->stop_fd, &message, err);

    if (r == 0)
        r = take(stream, &message, err);
    if (r < 0)
        return r;
    bool ends = message.event == PGSTREAM_TIMELINE_END || wants_end(settings->stop_fd, 0);
    *out_timeline_end = message.event == PGSTREAM_TIMELINE_END;
    r = flush_if_due(stream, ends, err);
    if (r < 0)
        return r;
    stream->receive->place.lsn = walsink_durable(stream->sink);
    if (!*out_timeline_end &&
        (ends || message.answer || walsink_durable(stream->sink) > stream->confirmed ||
         stream->status_due <= clock_monotonic_ns()))
        r = confirm(stream, err);
    return r < 0 ? r : ends ? ENDED : 0;
}

static void on_stored(void *context, uint32_t timeline, uint64_t start)
{
    receive_report(context, (struct walreceive_report){
                                .event = WALRECEIVE_SEGMENT, .timeline = timeline, .lsn = start});
}

static int stream_until_end(struct stream *stream, struct err *err)
{
    struct receive *receive = stream->receive;
    bool timeline_end = false;
    int r = 0;

    while (r == 0)
        r = step(stream, &timeline_end, err);
    if (r < 0 || !timeline_end)
        return r;
    receive_report(receive, (struct walreceive_report){.event = WALRECEIVE_TIMELINE,
                                                       .timeline = receive->place.timeline,
                                                       .lsn = receive->place.lsn});
    return 0;
}

static int stream_from_place(struct receive *receive, struct pgstream *pg, struct err *err)
{
    CLEANUP(walsink_freep) struct walsink *sink = NULL;
    const struct walreceive_settings *settings = receive->settings;
    const struct walsink_settings sinks = {
        .repo = settings->repo,
        .level = settings->level,
        .host = settings->host,
        .system = receive->server.system,
        .segment_size = receive->server.segment_size,
        .timeline = receive->place.timeline,
        .stored = on_stored,
        .context = receive,
    };
    uint64_t start = receive->place.lsn - receive->place.lsn % receive->server.segment_size;
    int r = walsink_new(&sinks, start, &sink, err);

    if (r == 0)
        r = pgstream_start(pg, settings->slot, receive->place.timeline, start, err);
    if (r < 0)
        return r;
    struct stream stream = {receive, pg, sink, 0, 0};
    receive_report(receive, (struct walreceive_report){.event = WALRECEIVE_STARTED,
                                                       .timeline = receive->place.timeline,
                                                       .lsn = start});
    receive->streamed = true;
    r = confirm(&stream, err);
    return r < 0 ? r : stream_until_end(&stream, err);
}

/* ---- one connection ---- */

static int connect_server(struct receive *receive, struct pgstream **out, struct err *err)
{
    uint64_t before = receive->server.system;
    int r = pgstream_open(receive->settings->server, out, &receive->server, err);

    if (r == 0 && before != 0 && before != receive->server.system)
        return err_set(err, ERR_USAGE, "another server answers by now (system identifier %llu)",
                       (unsigned long long)receive->server.system);
    return r;
}

/* ENDED: wanted to end.  0: to be gone on with, on another connection. */
static int attempt(struct receive *receive, struct err *err)
{
    CLEANUP(pgstream_closep) struct pgstream *stream = NULL;
    CLEANUP(pgstream_closep) struct pgstream *again = NULL;
    int r = connect_server(receive, &stream, err);

    if (r == 0)
        r = receive_ensure_slot(receive, stream, err);
    if (r == 0)
        r = receive_find_place(receive, stream, err);
    if (r < 0)
        return r;
    if (receive->settings->dry_run) {
        receive_report(receive, (struct walreceive_report){.event = WALRECEIVE_STARTED,
                                                           .timeline = receive->place.timeline,
                                                           .lsn = receive->place.lsn});
        return ENDED;
    }
    r = stream_from_place(receive, stream, err);
    if (r != -ERR_NOT_FOUND)
        return r;
    pgstream_close(STEAL(stream)); /* or the slot stays in use */
    r = connect_server(receive, &again, err);
    if (r == 0)
        r = receive_ensure_slot(receive, again, err);
    return r < 0 ? r : receive_skip_gap(receive, again, err);
}

static bool is_hopeless(const struct receive *receive, int r, unsigned failures)
{
    if (r == -ERR_BUSY)
        return !receive->streamed && failures >= BUSY_TRIES;
    return !receive->streamed || r == -ERR_USAGE || r == -ERR_EXISTS || r == -ERR_WRONG_KEY;
}

static void report_end(const struct receive *receive)
{
    if (!receive->settings->dry_run)
        receive_report(receive, (struct walreceive_report){.event = WALRECEIVE_ENDED,
                                                           .timeline = receive->place.timeline,
                                                           .lsn = receive->place.lsn});
}

static int run(const struct walreceive_settings *settings, struct err *err)
{
    struct receive receive = {.settings = settings};
    unsigned backoff = BACKOFF_FIRST, failures = 0;
    int r = 0;

    while (r != ENDED) {
        uint64_t before = receive.place.lsn;
        r = attempt(&receive, err);
        if (r >= 0)
            continue;
        if (r == -ERR_CANCELLED && progress_cancelled(settings->progress)) /* not by the server */
            break;
        if (receive.place.lsn > before) {
            backoff = BACKOFF_FIRST;
            failures = 0;
        }
        if (is_hopeless(&receive, r, ++failures))
            return r;
        receive_report(&receive, (struct walreceive_report){
                                     .event = WALRECEIVE_FAILED, .seconds = backoff, .err = err});
        if (wants_end(settings->stop_fd, (int)backoff * 1000))
            break;
        backoff = 2 * backoff < BACKOFF_MAX ? 2 * backoff : BACKOFF_MAX;
    }
    if (r == -ERR_CANCELLED && !receive.streamed) /* the server never answered */
        return err_set(err, ERR_CANCELLED, "interrupted");
    report_end(&receive);
    if (r != -ERR_CANCELLED)
        return 0;
    return err_set(err, ERR_CANCELLED,
                   "interrupted; what came last is not stored, and the server keeps it");
}

/* ---- its end ---- */

struct watch {
    const struct walreceive_settings *settings;
    int over_fd; /* readable: it has ended */
};

static void *watch_end(void *argument)
{
    const struct watch *watch = argument;
    struct pollfd either[] = {{watch->over_fd, POLLIN, 0}, {watch->settings->stop_fd, POLLIN, 0}};

    while (poll(either, 2, -1) < 0)
        ;
    if (!wants_end(watch->over_fd, either[0].revents ? 0 : END_MS))
        atomic_store(&watch->settings->progress->cancelled, 1);
    return NULL;
}

int walreceive_run(const struct walreceive_settings *settings, struct err *err)
{
    CLEANUP(closep) int over = eventfd(0, EFD_CLOEXEC);
    struct watch watch = {settings, over};
    pthread_t thread;

    if (over < 0)
        return err_sys(err, "eventfd");
    if (pthread_create(&thread, NULL, watch_end, &watch) != 0)
        return err_set(err, ERR_NOMEM, "no thread to watch for the end");
    int r = run(settings, err);
    (void)eventfd_write(over, 1);
    pthread_join(thread, NULL);
    return r;
}
