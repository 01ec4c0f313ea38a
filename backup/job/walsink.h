/*
 * walsink — a server's log as it arrives, into the repository: whole segments, and of the open one
 * pieces, so that little is ever lost.
 *
 * The segment's archive is written along as the bytes come, so memory is bounded whatever the size
 * of a segment; it becomes visible when the segment is complete.  Until then walsink_flush() stores
 * what came since the last flush as a tail (docs/format.md).  After an error a sink is of no use:
 * whoever feeds it begins again at the start of the segment in which walsink_durable() lies.
 *
 * Ownership: walsink_free() ends it; the segment that is open is dropped, its tails stay.
 * Threads:   one.
 * Errors:    those of the store; ERR_EXISTS where another log of the same name is stored.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;
struct repo;
struct walsink;

struct walsink_settings {
    struct repo *repo;
    int level;
    const char *host;
    uint64_t system, segment_size;
    uint32_t timeline;
    /* Told of each segment that became durable; may be NULL. */
    void (*stored)(void *context, uint32_t timeline, uint64_t start);
    void *context;
};

/* A piece is written so long after its first byte came. */
#define WALSINK_DELAY_NS INT64_C(1000000000)

/* `start` is that of a segment; what the repository has of it already is found out. */
int walsink_new(const struct walsink_settings *settings, uint64_t start, struct walsink **out,
                struct err *err);
void walsink_free(struct walsink *sink); /* NULL is allowed */
void walsink_freep(struct walsink **sink);

/* The next bytes. */
int walsink_push(struct walsink *sink, const void *bytes, size_t count, struct err *err);
/* Makes all that was pushed durable. */
int walsink_flush(struct walsink *sink, struct err *err);

uint64_t walsink_at(const struct walsink *sink);      /* of the byte that is wanted next */
uint64_t walsink_durable(const struct walsink *sink); /* all before it is durable */
/* When a flush is due, by clock_monotonic_ns(); INT64_MAX: nothing waits. */
int64_t walsink_due(const struct walsink *sink);
