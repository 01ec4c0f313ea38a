/*
 * pgbase — PostgreSQL's base backup over the replication protocol, taken apart into files.
 *
 * The server sends its data directory as tar streams, the log that the backup needs to be
 * consistent (in pg_wal/, so that the backup can be restored by itself), and a manifest.  Here they
 * become files of one tree, as they would lie in the data directory: tablespaces are the
 * directories pg_tblspc/OID, and tablespace_map says where they were.  A temporary slot of the same
 * connection keeps the log that is still to be sent; it and the backup's state in the server end
 * with the connection, whatever becomes of this process.
 *
 * Servers up to 14 have an older grammar and send one stream for each tablespace; from 15 on there
 * is one stream of messages for all.  A server that finds wrong checksums in pages tells each in a
 * warning and fails at the very end: then all files are there, and `damaged` names those that hold
 * such pages.
 *
 * Ownership: borrows the connection, which is of no use for anything else afterwards;
 *            pgbase_result_clear() frees the result.
 * Threads:   one.
 * Errors:    ERR_DENIED (with the right that is missing), ERR_REMOTE, ERR_CANCELLED; those of the
 * sink.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/source/pgtar.h"

struct err;
struct pg_conn;
struct progress;

enum {
    PGBASE_TABLESPACES_MAX = 65536,
    PGBASE_DAMAGED_MAX = 1000, /* of those beyond only the number is kept */
    PGBASE_TEXT_SIZE = 64,
};

struct pgbase_tablespace {
    uint32_t oid;
    char *location; /* absolute */
    uint64_t size;  /* as the server estimates it */
    bool empty;     /* nothing came of it */
};

/* A file with pages whose checksums are wrong, and what the server said of the first of them. */
struct pgbase_damage {
    char *name; /* in the data directory */
    char *text;
};

struct pgbase_result {
    uint64_t system_id;
    int version_number; /* 150018 */
    char version[PGBASE_TEXT_SIZE];
    bool checksums;        /* pages have them */
    uint64_t segment_size; /* of the log */
    uint64_t start_lsn, end_lsn;
    uint32_t start_timeline, end_timeline;
    uint64_t size; /* of the data directory without tablespaces, as the server estimates it */
    struct pgbase_tablespace *tablespaces;
    size_t tablespace_count;
    struct pgbase_damage *damaged;
    size_t damaged_count;
    uint64_t damaged_more; /* warnings of further files, which are not named */
};

struct pgbase_options {
    const char *label; /* in backup_label */
    struct pgtar_sink sink;
    struct progress *progress;                     /* may be NULL */
    void (*note)(void *context, const char *text); /* another warning of the server */
    void *context;
};

/* `conn`: of pg_connect(), PG_REPLICATION; from version 13 on servers send a manifest.  When this
 * returns 0, the backup is whole, but for damaged pages. */
int pgbase_run(struct pg_conn *conn, const struct pgbase_options *options,
               struct pgbase_result *out, struct err *err);
void pgbase_result_clear(struct pgbase_result *result);
/* One more file with wrong pages; a name that is known already is not told again. */
int pgbase_result_damage(struct pgbase_result *out, const char *name, const char *text,
                         struct err *err);
