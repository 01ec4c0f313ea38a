/*
 * walreceive_internal — what walreceive.c (the stream, and beginning again) and walreceive_start.c
 * (where it begins) share.
 */
#pragma once

#include "backup/job/walreceive.h"
#include "backup/source/pgstream.h"

/* What is kept from one connection to the next. */
struct receive {
    const struct walreceive_settings *settings;
    struct pgstream_server server; /* of this connection */
    struct pgstream_slot slot;
    struct walreceive_place place; /* all before it is durable; timeline 0: not known yet */
    bool streamed;                 /* at least once */
    bool had_slot;
};

void receive_report(const struct receive *receive, struct walreceive_report report);

/* The slot is there. */
int receive_ensure_slot(struct receive *receive, struct pgstream *stream, struct err *err);
/* The histories of the server's timelines are stored; `place` is where streaming has to go on. */
int receive_find_place(struct receive *receive, struct pgstream *stream, struct err *err);
/* The server does not have the log at `place` any more: goes on where it has it, and tells. */
int receive_skip_gap(struct receive *receive, struct pgstream *stream, struct err *err);
