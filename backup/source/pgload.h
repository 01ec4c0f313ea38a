/*
 * pgload — what pgdump stored, loaded into a server again.
 *
 * A database is loaded beside the one that it is to replace, under a name of its own: the schema up
 * to the tables, the rows (several tables at a time, compared with the numbers of the manifest),
 * sequences and large objects, then indexes, constraints and triggers, materialised views, owner,
 * settings and rights.  Only when all of that is there the old database is renamed to
 * NAME_before_YYYYMMDD_HHMMSS, and the new one takes its name; nothing is dropped but what this
 * load itself began and could not finish.
 *
 * Ownership: borrows everything in the options and the description.
 * Threads:   called by one; starts `jobs` workers.
 * Errors:    ERR_EXISTS for a database or schema that is there (and not empty); ERR_CORRUPT where
 * the number of rows is not that of the manifest; those of pg and of the files.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/source/pg.h"

struct buf;
struct err;
struct pgload_file;
struct progress;

/* Where the stored files come from; paths are below database/.  Any call from any thread. */
struct pgload_files {
    void *context;
    int (*open)(void *context, const char *path, struct pgload_file **out, uint64_t *out_size,
                struct err *err);
    int (*read)(struct pgload_file *file, uint64_t offset, void *out, size_t count,
                struct err *err);
    void (*close)(struct pgload_file *file); /* NULL is allowed */
};

struct pgload_table {
    const char *schema, *name, *file; /* without ".copy" */
    const char *columns, *definition, *keys;
    uint64_t rows, bytes; /* of the rows' file */
    bool extension;
};

/* As the manifest has it. */
struct pgload_database {
    const char *name, *directory;
    const char *making; /* of CREATE DATABASE: encoding and locale */
    const struct pgload_table *tables;
    size_t table_count;
    const char *const *views; /* materialised, quoted */
    size_t view_count;
};

struct pgload_options {
    struct pg_server server;
    struct pgload_files files;
    unsigned jobs;
    const char *into;  /* NULL: its own name; of tables: the schema */
    const char *stamp; /* YYYYMMDD_HHMMSS, for names */
    bool replace;      /* a database that is there is renamed, not refused */
    bool dry_run;
    struct progress *progress;                     /* may be NULL */
    void (*note)(void *context, const char *text); /* what was done, or left as it is */
    void *context;
};

enum { PGLOAD_JOBS_MAX = 64, PGLOAD_FILE_MAX = 256 * 1024 * 1024 };

/* Roles and tablespaces; those that exist stay as they are, and are named. */
int pgload_globals(const struct pgload_options *options, struct err *err);
/* Whether it may be loaded; nothing is written. */
int pgload_check(const struct pgload_options *options, const struct pgload_database *database,
                 struct err *err);
int pgload_database(const struct pgload_options *options, const struct pgload_database *database,
                    struct err *err);
/* These tables alone, into a new schema of the database they come from: rows, primary and unique
 * keys; all of them or none. */
int pgload_tables(const struct pgload_options *options, const struct pgload_database *database,
                  struct err *err);

/* Reads a whole file of at most PGLOAD_FILE_MAX, terminated. */
int pgload_read(const struct pgload_options *options, const char *path, struct buf *out,
                struct err *err);
