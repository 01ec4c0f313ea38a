/*
 * sql — SQLite as the catalog uses it: one connection, errors as struct err, transactions that end.
 *
 * What SQLite answers is kept in `trouble`, so that whoever owns the file can tell one that has to
 * be made anew from one that cannot be written just now.
 *
 *     CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
 *     int r = sql_begin(sql, &transaction, err);
 *     ...
 *     return sql_commit(&transaction, err);
 *
 * Ownership: sql_close() when all statements are finalised.  What is bound must live until the
 * step. Threads:   one at a time. Errors:    ERR_BUSY when others held it for too long, else
 * ERR_SYSTEM with SQLite's text.
 */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum sql_trouble {
    SQL_FINE,
    SQL_BUSY,       /* somebody else has it */
    SQL_DAMAGED,    /* not a database, or not ours: to be made anew */
    SQL_UNWRITABLE, /* full, read-only, unreadable */
};

struct sql {
    sqlite3 *db;
    enum sql_trouble trouble; /* of the last failure */
};

/* `path` NULL: in memory. */
int sql_open(const char *path, struct sql *out, struct err *err);
void sql_close(struct sql *sql);

/* One or several statements without results. */
int sql_exec(struct sql *sql, const char *text, struct err *err);
/* The first column of the first row of a query; 0 without one. */
int sql_number(struct sql *sql, const char *text, int64_t *out, struct err *err);

int sql_prepare(struct sql *sql, const char *text, sqlite3_stmt **out, struct err *err);
void sql_finalizep(sqlite3_stmt **statement);
/* 1: a row is there; 0: done. */
int sql_step(struct sql *sql, sqlite3_stmt *statement, struct err *err);
/* Runs a statement that gives no rows, ready to run again. */
int sql_run(struct sql *sql, sqlite3_stmt *statement, struct err *err);

/* Parameters from 1.  What they point to is not copied. */
void sql_bind_number(sqlite3_stmt *statement, int index, uint64_t value);
void sql_bind_text(sqlite3_stmt *statement, int index, const char *text);
void sql_bind_blob(sqlite3_stmt *statement, int index, const void *bytes, size_t count);

/* Columns from 0. */
uint64_t sql_column_number(sqlite3_stmt *statement, int index);
/* Copies a text; false when it does not fit. */
bool sql_column_text(sqlite3_stmt *statement, int index, char *out, size_t size);
/* Copies exactly `count` bytes; false when there are not as many. */
bool sql_column_blob(sqlite3_stmt *statement, int index, void *out, size_t count);

/* A transaction that writes.  *out is `sql` until it is committed. */
int sql_begin(struct sql *sql, struct sql **out, struct err *err);
int sql_commit(struct sql **transaction, struct err *err);
void sql_rollbackp(struct sql **transaction); /* for CLEANUP(); *transaction may be NULL */
