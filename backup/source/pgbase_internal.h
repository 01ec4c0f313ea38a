/* pgbase_internal — shared by pgbase.c (the conversation), pgbase_stream.c (what comes as COPY) and
 * pgbase_damage.c (warnings about pages). */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "backup/source/pg.h"
#include "backup/source/pgbase.h"

enum pgbase_part { PART_NONE, PART_TAR, PART_MANIFEST };

struct pgbase {
    PGconn *conn;
    const struct pgbase_options *options;
    struct pgbase_result *out;
    struct pgtar tar;
    enum pgbase_part part;           /* what is being sent */
    char prefix[32];                 /* in front of a tar's names: "" or "pg_tblspc/16385/" */
    struct pgbase_tablespace *space; /* whose tar it is; NULL: the data directory's */
    bool top_due;                    /* the tablespace's own directory did not come yet */
    bool no_memory;                  /* for a damaged file's name */
};

/* The next result; NULL when there is none.  Gives up when the work is cancelled. */
int pgbase_next_result(struct pgbase *base, PGresult **out, struct err *err);
/* Waits until the server has sent something. */
int pgbase_wait(struct pgbase *base, struct err *err);

/* COPY from a server of version 15 or newer: one stream of messages. */
int pgbase_read_messages(struct pgbase *base, struct err *err);
/* COPY from an older one: the tar of one tablespace (NULL: of the data directory), the manifest. */
int pgbase_read_tar(struct pgbase *base, struct pgbase_tablespace *space, struct err *err);
int pgbase_read_manifest(struct pgbase *base, struct err *err);
/* When all tars have come: the directories of tablespaces of which nothing did. */
int pgbase_put_empty(struct pgbase *base, struct err *err);

/* A notice receiver for libpq; `context` is the struct pgbase. */
void pgbase_notice(void *context, const PGresult *result);
