/* pgload_internal — shared by pgload.c (one database, from refusal to its name), pgload_globals.c,
 * pgload_rows.c (rows into tables, by workers) and pgload_rest.c (schema, sequences, large objects,
 * views, settings). */
#pragma once

#include "backup/source/pgload.h"

struct text;

/* What is being loaded, and where it is by now. */
struct load {
    const struct pgload_options *options;
    const struct pgload_database *database;
    const char *name; /* of the database that is being filled */
    bool no_tablespaces;
};

int pgload_path(const struct load *load, const char *file, struct text *out, struct err *err);

/* pgload_rest.c: each of them into load->name. */
enum load_section { LOAD_PRE_DATA, LOAD_POST_DATA };
int pgload_section(const struct load *load, enum load_section section, struct err *err);
int pgload_sequences(const struct load *load, struct pg_conn *conn, struct err *err);
int pgload_objects(const struct load *load, struct pg_conn *conn, struct err *err);
int pgload_views(const struct load *load, struct pg_conn *conn, struct err *err);
int pgload_properties(const struct load *load, struct pg_conn *conn, struct err *err);

/* pgload_rows.c */
int pgload_all_rows(const struct load *load, struct err *err);
/* One table, within the connection's transaction; `qualified` is where its rows go. */
int pgload_rows(const struct load *load, struct pg_conn *conn, const struct pgload_table *table,
                const char *qualified, bool freeze, struct err *err);
