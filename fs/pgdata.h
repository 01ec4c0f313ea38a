/*
 * pgdata — a physical backup brought back as a data directory, ready to start and to recover.
 *
 * In this order: the checks; tablespaces; all else but global/pg_control; the links to tablespaces;
 * the settings of the recovery; global/pg_control.  A server does not start without that file, so
 * an interrupted restore never passes for a database, and the same call goes on with it.
 *
 * Ownership: borrows everything; pgdata_close() frees what was found out.
 * Threads:   called by one.
 * Errors:    as extract_run().  ERR_EXISTS for a directory that is not empty, ERR_BUSY where a
 * server runs, ERR_NOT_FOUND for a snapshot without a physical backup, ERR_USAGE for a mapping of
 * nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/extract.h"

struct blocks;
struct err;
struct pgdata;
struct progress;
struct selection;

/* How far the server recovers. */
enum pgdata_until {
    UNTIL_IMMEDIATE, /* no further than it must to be consistent */
    UNTIL_LATEST,
    UNTIL_TIME,
    UNTIL_LSN,
    UNTIL_XID,
    UNTIL_NAME,
};

struct pgdata_recovery {
    enum pgdata_until until;
    const char *value;           /* of time, lsn, xid, name; else NULL */
    const char *timeline;        /* a number, "current" or "latest"; NULL: by `until` */
    const char *restore_command; /* what the server runs for each file of the log */
};

struct pgdata_map {
    const char *from, *to; /* absolute */
};

struct pgdata_options {
    const char *directory; /* absolute */
    const struct pgdata_map *maps;
    size_t map_count;
    bool delta; /* the directory may hold an older or newer state: only what differs is written */
    bool dry_run;
    struct pgdata_recovery recovery;
    void (*trouble)(void *context, const char *path, const struct err *err);
    void (*note)(void *context, const char *text);
    void *context;
    struct progress *progress;
};

struct pgdata_tablespace {
    uint32_t oid;
    char *location; /* where it was */
    const char *to; /* where it comes to: `location`, or of a map */
};

/* What is known before anything is written. */
struct pgdata_facts {
    uint64_t system;    /* identifier of the server */
    int major;          /* of the server that the backup was made of */
    uint64_t start_lsn; /* where recovery begins */
    uint64_t end_lsn;   /* where it is consistent at the earliest; 0: not known */
    uint32_t timeline;  /* at the start */
    uint32_t uid, gid;  /* whom the data directory belonged to: root gives it to them again */
    bool damaged;       /* the server found pages with wrong checksums */
    const struct pgdata_tablespace *tablespaces;
    size_t tablespace_count;
};

/* Reads what the snapshot says of itself. */
int pgdata_open(struct blocks *blocks, const struct selection *selection,
                const struct pgdata_options *options, struct pgdata **out, struct err *err);
void pgdata_close(struct pgdata *data); /* NULL is allowed */
const struct pgdata_facts *pgdata_facts(const struct pgdata *data);
/* Whether the places are fit for it. */
int pgdata_check(struct pgdata *data, struct err *err);
int pgdata_restore(struct pgdata *data, struct extract_result *out, struct err *err);
