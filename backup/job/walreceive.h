/*
 * walreceive — follows a server's log for as long as it is wanted: connects, streams, stores,
 * confirms, and begins again when anything of it fails.
 *
 * What is confirmed is durable: the server may drop it.  Nothing but the position is carried from
 * one connection to the next, and that is found out anew from the repository.
 *
 * Threads: one, and another that sees to it that the end does not wait for a store that is away.
 * Errors:  before anything was received, whatever fails ends it; later only what trying again
 *          cannot mend (another server, another log under the same name, the wrong key).
 *          ERR_CANCELLED: it was to end, and what came last could not be made durable; the server
 *          has it still.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct pg_server;
struct progress;
struct repo;

enum walreceive_event {
    WALRECEIVE_STARTED,   /* streaming begins at `lsn` of `timeline` */
    WALRECEIVE_SEGMENT,   /* one is durable: it begins at `lsn` */
    WALRECEIVE_TIMELINE,  /* the server left `timeline` at `lsn` */
    WALRECEIVE_GAP,       /* from `lsn` up to `end` the server has nothing any more */
    WALRECEIVE_UNLIMITED, /* the server keeps for the slot whatever it takes */
    WALRECEIVE_SLOT_MADE,
    WALRECEIVE_SLOT_LOST, /* the server gave it up */
    WALRECEIVE_FAILED,    /* `err`; tried again in `seconds` */
    WALRECEIVE_ENDED,     /* all before `lsn` is durable */
};

struct walreceive_report {
    enum walreceive_event event;
    uint64_t system, segment_size, lsn, end;
    uint32_t timeline;
    unsigned seconds;
    const struct err *err;
};

/* A place in a server's log. */
struct walreceive_place {
    uint32_t timeline; /* 0: nowhere */
    uint64_t lsn;
};

struct walreceive_settings {
    struct repo *repo;
    const struct pg_server *server;
    const char *slot, *host;
    int level;
    bool unlimited; /* make a slot also where the server limits none */
    bool dry_run;   /* only find out where it would begin */
    int stop_fd;    /* readable: end, with all that came made durable, if that takes no longer than
                       a second */
    struct progress *progress; /* whom the store follows (store_follow()): cancelled after that */
    void (*report)(void *context, const struct walreceive_report *report);
    /* Where the repository's log of this server ends, on its newest timeline up to `timeline`. */
    int (*stored_end)(void *context, uint64_t system, uint32_t timeline,
                      struct walreceive_place *out, struct err *err);
    void *context;
};

int walreceive_run(const struct walreceive_settings *settings, struct err *err);
