/* pgload_internal — shared by pgload.c (one database, from refusal to its name), pgload_globals.c,
 * pgload_rows.c (rows into tables, by workers), pgload_slices.c (into one, by several) and
 * pgload_rest.c (schema, sequences, large objects, views, settings). */
#pragma once

#include <pthread.h>

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

/* An open file of rows, and some of it in memory. */
enum { LOAD_PIECE = 1024 * 1024 };
struct load_source {
    const struct pgload_files *files;
    struct pgload_file *file;
    uint64_t size;
    uint8_t *piece; /* LOAD_PIECE */
};
int pgload_source_open(const struct load *load, const struct pgload_table *table,
                       struct load_source *out, struct err *err);
void pgload_source_clear(struct load_source *source);
int pgload_copy_begin(struct pg_conn *conn, const struct pgload_table *table, const char *qualified,
                      bool freeze, struct err *err);
/* What the server makes of the rows that were sent, or not all (`sent` negative); it has the better
 * word for what went wrong with them. */
int pgload_copy_end(struct pg_conn *conn, uint64_t *out_rows, int sent, struct err *err);
int pgload_qualify(const struct pgload_table *table, struct text *out, struct err *err);
/* Bytes of the piece into the server. */
int pgload_send(const struct load *load, struct pg_conn *conn, const struct load_source *source,
                size_t from, size_t to, struct err *err);

/* pgload_slices.c: a table into which several connections copy at the same time. */
struct load_shared {
    const struct load *load;
    const struct pgload_table *table;
    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* whoever waits to join may look again */
    uint64_t next;          /* where the slice begins that nobody has taken */
    uint64_t rows;
    bool stopped; /* nobody takes one any more, or keeps what came */
    size_t busy, wanted;
    size_t done;      /* slices since `busy` changed */
    int64_t since_ns; /* when the first of each connection was done */
    double best_rate; /* MEASURED slices a second */
    bool decided;     /* as many as are wanted now, to the end */
};
/* What nobody has taken, over this connection: waits until it is of use, or known not to be, or
 * nothing is left. */
int pgload_slices(struct load_shared *shared, struct pg_conn *conn, struct err *err);
void pgload_slices_stop(struct load_shared *shared);

/* pgload_rows.c */
int pgload_all_rows(const struct load *load, struct err *err);
/* One table, within the connection's transaction; `qualified` is where its rows go. */
int pgload_rows(const struct load *load, struct pg_conn *conn, const struct pgload_table *table,
                const char *qualified, bool freeze, struct err *err);
