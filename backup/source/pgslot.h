/*
 * pgslot — a temporary slot by which a server keeps its log for as long as a base backup takes.
 *
 * Without it the server may remove the log of the backup before that has been copied.  A server
 * that gives none is no reason to have no backup: that is noted, and should the log be gone, the
 * backup fails in the end.
 *
 * Ownership: the slot ends with the connection.
 * Threads:   one.
 * Errors:    ERR_CANCELLED; ERR_REMOTE for a connection that is lost.
 */
#pragma once

#include <stdbool.h>

struct err;
struct pg_conn;

/* `replicates`: the connection is of PG_REPLICATION. */
int pgslot_make(struct pg_conn *conn, bool replicates,
                void (*note)(void *context, const char *text), void *context, struct err *err);
