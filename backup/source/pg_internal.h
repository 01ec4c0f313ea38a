/* pg_internal — shared by pg.c (connections), pg_query.c (statements), pg_copy.c (COPY), pg_error.c
 * and pgstream.c. */
#pragma once

#include "backup/source/pg.h"

/* The connection belongs to work that may be interrupted. */
int pg_watch(struct pg_conn *conn, struct progress *progress, struct err *err);
/* Until the server has said more, or for a moment; `writing`: or takes more. */
int pg_wait(struct pg_conn *conn, bool writing, struct err *err);
/* The last result of a statement, as PQexec() has it: of COPY, that it begins. */
int pg_execute(struct pg_conn *conn, const char *sql, struct pg_result **out, struct err *err);
