/*
 * pgdump — a server's databases as trees of files: the logical backup.
 *
 * Each database is read in one exported snapshot: a leader holds it, with a lock on each table that
 * keeps it from being dropped meanwhile, and workers copy the tables straight into the sink,
 * several at a time.  What only pg_dump knows (the schema) comes from pg_dump in the same snapshot.
 *
 *     globals.sql                    roles and tablespaces (with password hashes)
 *     manifest.json                  server, versions, databases
 *     DB/manifest.json               tables with rows, sizes, order, names; the snapshot's LSN
 *     DB/database.sql                owner, settings and rights of the database itself
 *     DB/schema.sql, DB/schema.dump  the schema to read, and for pg_restore
 *     DB/sequences.sql               where sequences stand
 *     DB/large_objects/OID           content; objects.sql: owners, rights, comments
 *     DB/SCHEMA/TABLE.copy, .sql     the rows, in COPY's text form, and ready for psql -f
 *     DB/SCHEMA/TABLE.csv            the same as CSV, where the options say so
 *
 * Ownership: borrows everything in the options.
 * Threads:   called by one; starts `jobs` workers.
 * Errors:    those of the sink, and ERR_CANCELLED.  What the server does not give is told to the
 * sink as trouble.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "backup/source/pg.h"

struct err;
struct sink;

struct pgdump_options {
    struct pg_server server;
    const char *const *databases; /* none: all that take connections and are no templates */
    size_t database_count;
    unsigned jobs; /* tables at a time, 1 … PGDUMP_JOBS_MAX */
    bool csv;      /* each table also as CSV: a second copy, compressed by itself */
    bool ranges;   /* large tables by several connections, range by range */
    const struct sink *sink;
};

enum { PGDUMP_JOBS_MAX = 64 };

int pgdump_run(const struct pgdump_options *options, struct err *err);
