/*
 * pgstream — a server's log over the replication protocol: who it is, its slot, its histories, the
 * stream itself.
 *
 * Ownership: pgstream_close() ends the connection.  A message's bytes are good until the next call.
 * Threads:   one.
 * Errors:    those of pg; ERR_NOT_FOUND when the server has the log (or the slot) no more,
 * ERR_BUSY when somebody else has the slot, ERR_REMOTE for what is not the protocol.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct pg_server;
struct pgstream;

struct pgstream_server {
    uint64_t system, segment_size;
    uint32_t timeline;
    uint64_t lsn; /* up to where its log is written */
    int version;
    bool limited; /* what slots keep is limited: max_slot_wal_keep_size */
};

/* A slot as the server has it; what is not known (servers before 15 do not tell) is 0. */
struct pgstream_slot {
    bool there;
    uint64_t lsn; /* the log is kept from here on; 0: nothing is (it was given up), or not known */
};

enum pgstream_event {
    PGSTREAM_NOTHING,      /* time is over, or stop_fd has something to read */
    PGSTREAM_LOG,          /* bytes of the log */
    PGSTREAM_ALIVE,        /* the server says where it is */
    PGSTREAM_TIMELINE_END, /* the server has left this timeline: no more comes */
};

struct pgstream_message {
    enum pgstream_event event;
    uint64_t lsn; /* of the first byte */
    const uint8_t *bytes;
    size_t count;
    uint64_t server_lsn;
    bool answer; /* the server wants to hear from us at once */
};

int pgstream_open(const struct pg_server *server, struct pgstream **out,
                  struct pgstream_server *out_server, struct err *err);
void pgstream_close(struct pgstream *stream); /* NULL is allowed */
void pgstream_closep(struct pgstream **stream);

/* Letters, digits and "_", at most 63. */
bool pgstream_slot_name_valid(const char *name);
int pgstream_slot_find(struct pgstream *stream, const char *name, struct pgstream_slot *out,
                       struct err *err);
/* The log is kept from now on.  ERR_EXISTS. */
int pgstream_slot_create(struct pgstream *stream, const char *name, struct err *err);
int pgstream_slot_drop(struct pgstream *stream, const char *name, struct err *err);

/* The content of a timeline's history file. */
int pgstream_history(struct pgstream *stream, uint32_t timeline, struct buf *out, struct err *err);

int pgstream_start(struct pgstream *stream, const char *slot, uint32_t timeline, uint64_t lsn,
                   struct err *err);
/* Waits until `deadline_ns` of clock_monotonic_ns() at most, and while `stop_fd` (-1: none) has
 * nothing to read. */
int pgstream_next(struct pgstream *stream, int64_t deadline_ns, int stop_fd,
                  struct pgstream_message *out, struct err *err);
/* All before `lsn` is durable here: the server need not keep it for us. */
int pgstream_confirm(struct pgstream *stream, uint64_t lsn, struct err *err);
