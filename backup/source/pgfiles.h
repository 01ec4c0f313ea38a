/*
 * pgfiles — a base backup read from the data directory itself, where the server runs beside us.
 *
 * Over the replication protocol one process of the server reads every byte, checks it and sends it
 * through a socket.  Where the data directory can be read here, its files are read by as many
 * threads as there are jobs, between the two calls by which the server is told ("Making a Base
 * Backup Using the Low Level API" in its manual): from the first on it logs pages whole, so what is
 * read while it is written comes right when the log is replayed; the second gives backup_label.
 * What comes out is the same tree that pgbase makes of the server's tar.
 *
 * It has to be certain that the directory is the one of the server that answers: its socket's peer
 * is the process that runs there, in the same namespace of mounts, and the directory is that
 * process's current one (the system says so, not the server).  Else, for standbys, and for roles
 * that may not begin a backup by a function, there is pgbase.
 *
 * Ownership: borrows the options; pgbase_result_clear() frees the result.
 * Threads:   called by one; up to `jobs` threads call the sink.
 * Errors:    ERR_DENIED and ERR_SYSTEM (a file that cannot be read), ERR_REMOTE, ERR_CANCELLED,
 * ERR_BUSY: a tablespace came or went as it began; those of the sink.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/source/pgbase.h"

struct err;
struct pg_server;
struct pgfiles;
struct progress;
struct sink_file;

/* Where the files go; files by any thread. */
struct pgfiles_sink {
    void *context;
    int (*directory)(void *context, const struct pgtar_entry *entry, struct err *err);
    int (*open)(void *context, const struct pgtar_entry *entry, struct sink_file **out,
                struct err *err);
    /* Where the file's next bytes may be put, one at least; then that so many of them are there. */
    int (*room)(struct sink_file *file, void **out, size_t *out_size, struct err *err);
    int (*filled)(struct sink_file *file, size_t size, struct err *err);
    int (*push)(struct sink_file *file, const void *bytes, size_t size, struct err *err);
    /* `entry` as in open(), but for its size, which is what was read; `crc` is CRC-32C of that. */
    int (*close)(void *context, struct sink_file *file, const struct pgtar_entry *entry,
                 uint32_t crc, struct err *err);
    void (*drop)(struct sink_file *file);
};

struct pgfiles_options {
    const char *label; /* in backup_label */
    unsigned jobs;     /* files at a time, but no more than there are processors */
    struct pgfiles_sink sink;
    struct progress *progress;                     /* may be NULL */
    void (*note)(void *context, const char *text); /* something left out, or done without */
    void *context;
};

/* *out is NULL where it has to be done over the replication protocol; why is in the log.  Errors:
 * ERR_CANCELLED, ERR_NOMEM. */
int pgfiles_open(const struct pg_server *server, struct pgfiles **out, struct err *err);
void pgfiles_close(struct pgfiles *files); /* ends a backup that has begun; NULL is allowed */
void pgfiles_closep(struct pgfiles **files);

/* The data directory itself; of `out` what is known before the run. */
int pgfiles_describe(struct pgfiles *files, struct pgtar_entry *out_top, struct pgbase_result *out,
                     struct err *err);
/* Once. */
int pgfiles_run(struct pgfiles *files, const struct pgfiles_options *options,
                struct pgbase_result *out, struct err *err);
