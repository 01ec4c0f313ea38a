/* pgdump_internal — shared by pgdump.c (the server), pgdump_database.c (one database: the leader),
 * pgdump_workers.c (those who copy its tables), pgdump_list.c (what is in it), pgdump_copy.c (one
 * table), pgdump_rows.c (its rows, range by range), pgdump_files.c (everything that is not a table)
 * and pgdump_manifest.c. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/base/text.h"
#include "backup/source/pgdump.h"
#include "backup/source/sink.h"

enum { PGDUMP_TEXT_MAX = 256 * 1024 * 1024, PGDUMP_MODE = 0600, PGDUMP_DIRECTORY_MODE = 0700 };

/* Blocks of a range: 32 MiB, as the list of tables counts them.  The ranges that may be under way,
 * or wait for the one in front. */
enum { PGDUMP_RANGE_BLOCKS = 4096, PGDUMP_RANGES_MAX = 128 };

enum table_state { TABLE_TO_DO, TABLE_TAKEN, TABLE_DONE, TABLE_FAILED };

struct dump_table {
    char *schema, *name;
    char *path;              /* in the sink, without ".copy" */
    char *qualified;         /* quoted */
    char *current;           /* what it is called by now; NULL: the same, as far as is known */
    char *columns;           /* "(a, b)", or "" for a table that has none to copy */
    char *order;             /* of the primary key: "a, b"; "": as the rows lie there */
    char *condition;         /* of an extension's configuration table: "WHERE …", or "" */
    char *definition, *keys; /* for a restore of this table alone */
    char *oid, *node;        /* which table it is, and which file has its rows */
    bool extension;
    uint64_t ranges; /* of blocks, for several connections at a time; 0: one COPY for all of it */
    enum table_state state;
    struct copying *copying; /* while others may help */
    bool offered;            /* … or might have */
    uint64_t rows, bytes;
};

/* A table that is being copied. */
struct copying {
    struct dump_database *database;
    struct dump_table *table;
    struct sink_file *file;
    struct sink_file *csv_file; /* NULL: not wanted */
    pthread_mutex_t order;      /* of whoever takes a range and opens its streams */
    /* Guarded by the database's lock: */
    uint64_t next, first; /* the range nobody has taken; the first that is not over */
    bool over[PGDUMP_RANGES_MAX];
    unsigned helpers;
    _Atomic bool stopped; /* for one of the reasons below: nobody goes on */
    int failed;           /* the sink's, or an interrupt: `err` */
    bool elsewhere;       /* `why` is perhaps only that it is not what its name stands for by now */
    bool lost;            /* … or that the connection was lost */
    struct err err;       /* of `failed` */
    struct err why;       /* the server's */
};

struct dump {
    const struct pgdump_options *options;
    const struct sink *sink;
    const char *home;             /* the database that is there anyway */
    struct pg_conn *conn;         /* to that */
    bool passwords;               /* of roles may be read */
    bool restrict_key;            /* pg_dump knows --restrict-key */
    unsigned long client_version; /* 15; 0: not known */
    struct text databases;        /* their part of the manifest */
};

struct dump_database {
    struct dump *dump;
    const char *name;
    char *directory; /* in the sink */
    struct pg_conn *leader;
    char *snapshot, *lsn;
    struct text schema, archive; /* pg_dump's, as text and for pg_restore */
    struct dump_table *tables;
    size_t table_count;
    struct text sequences;
    uint64_t sequence_count, object_count;
    pthread_t workers[PGDUMP_JOBS_MAX];
    size_t worker_count;
    _Atomic bool again;   /* all is begun again: the workers stop */
    pthread_mutex_t lock; /* guards what follows, and the states of the tables */
    pthread_cond_t changed;
    bool incomplete;
    bool settled; /* whether it is begun again */
    size_t next;
    int failed; /* the sink's error ends the run */
    struct err err;
};

/* Tells what the server did not give; the result is the sink's. */
int pgdump_trouble(struct dump_database *database, const char *path, const struct err *why,
                   struct err *err);
bool pgdump_cancelled(const struct dump *dump, struct err *err);
/* The same of what is no database's; an interrupt is none of the source's troubles. */
int pgdump_tell(const struct dump *dump, const char *path, const struct err *why, struct err *err);

/* pgdump_database.c */
int pgdump_database(struct dump *dump, const char *name, struct err *err);
/* A query of the leader's; one that fails leaves its transaction as it was. */
int pgdump_ask(struct dump_database *database, const char *sql, struct pg_result **out,
               struct err *why);
/* Repeatable, read only, in the leader's snapshot. */
int pgdump_join(struct pg_conn *conn, const char *snapshot, struct err *why);

/* pgdump_workers.c */
/* `settled`: what they copy may be kept; else not before pgdump_workers_settle(). */
void pgdump_workers_start(struct dump_database *database, bool settled);
/* Whether what is copied may be kept, or all is begun `again`: not when the sink has failed.  The
 * result: it is. */
bool pgdump_workers_settle(struct dump_database *database, bool again);
/* Waits until that is known. */
bool pgdump_workers_keep(struct dump_database *database);
void pgdump_workers_end(struct dump_database *database);
void pgdump_fail(struct dump_database *database, const struct err *err);

/* A table that is read by others and has ranges nobody has taken; NULL: there will be none.  Until
 * pgdump_workers_left() it stays. */
struct copying *pgdump_workers_help(struct dump_database *database);
void pgdump_workers_left(struct copying *copying);
/* Others may help from now on; not any more, and who did has ended. */
void pgdump_workers_offer(struct copying *copying);
void pgdump_workers_withdraw(struct copying *copying);
/* For whoever waits for it. */
void pgdump_set_state(struct dump_database *database, struct dump_table *table,
                      enum table_state state);

/* pgdump_list.c: errors are the server's; ERR_NOT_FOUND: a table went, or was made anew. */
/* Begins the leader's transaction with a lock on each table, before it has a snapshot. */
int pgdump_lock(struct dump_database *database, struct err *why);
/* The tables that the snapshot has, all of them locked. */
int pgdump_list(struct dump_database *database, struct err *why);
void pgdump_tables_clear(struct dump_database *database);

/* pgdump_copy.c: one table into the sink; a table that fails is told and marked.  `again`: one that
 * is not what its name stands for by now is not told, but to do as before. */
int pgdump_copy(struct dump_database *database, struct pg_conn *conn, struct dump_table *table,
                bool again, struct err *err);

/* pgdump_rows.c: ranges that nobody has taken, or all rows where there are none; what comes of it
 * is in `copying`. */
void pgdump_rows(struct copying *copying, struct pg_conn *conn);
/* What a table is called by now, as far as is known. */
const char *pgdump_name(const struct dump_table *table);

/* pgdump_files.c: errors are the sink's. */
int pgdump_put(struct dump *dump, const char *path, const char *bytes, size_t size,
               struct err *err);
/* Into the database's schema and archive; errors are pg_dump's. */
int pgdump_schema(struct dump_database *database, struct err *why);
int pgdump_put_schema(struct dump_database *database, struct err *err);
int pgdump_globals(struct dump *dump, bool passwords, struct err *err);
int pgdump_sequences(struct dump_database *database, struct err *err);
int pgdump_properties(struct dump_database *database, struct err *err);
/* pgdump_objects.c */
int pgdump_objects(struct dump_database *database, struct err *err);

/* pgdump_manifest.c */
int pgdump_manifest_of(struct dump_database *database, struct err *err);
