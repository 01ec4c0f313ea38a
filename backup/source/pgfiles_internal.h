/* pgfiles_internal — shared by pgfiles.c (the backup), pgfiles_home.c (whether the data directory
 * is here), pgfiles_spaces.c (tablespaces), pgfiles_walk.c (what is in it), pgfiles_read.c (files
 * into the sink) and pgfiles_log.c (the log). */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "backup/base/crew.h"
#include "backup/source/pg.h"
#include "backup/source/pgfiles.h"
#include "backup/source/pgtree.h"

enum { PGFILES_PATH_SIZE = 1024, PGFILES_NAME_SIZE = 32 };

/* Beside each tablespace of the result. */
struct pgfiles_space {
    dev_t device;
    ino_t inode;
    bool has_top, has_content; /* met by the walk: itself, the server's directory in it */
};

struct pgfiles {
    struct pg_conn *conn;
    int directory; /* the data directory */
    uint64_t system_id, wal_segment_size;
    uint32_t block_size, segment_blocks; /* of a relation */
    bool checksums;
    char version_directory[PGFILES_NAME_SIZE]; /* in each tablespace */
    const struct pgfiles_options *options;     /* of the run, as what follows */
    struct pgbase_result *out;
    struct pgfiles_space *spaces;
    int socket; /* of the connection */
    struct crew crew;
    pthread_mutex_t lock; /* guards the damage in `out` */
};

/* pgfiles_home.c: connects, and finds the directory.  1: not here, `why` says why not. */
int pgfiles_find(struct pgfiles *files, const struct pg_server *server, struct err *why);

/* ---- pgfiles_spaces.c: tablespaces, which are links in pg_tblspc ---- */

int pgfiles_find_spaces(struct pgfiles *files, struct err *err);
/* The tablespace in which this is; `out_count` of all where it is in none. */
size_t pgfiles_space_of(const struct pgbase_result *out, const char *path);
/* After the walk: one that was dropped meanwhile becomes an empty directory; one that was not has
 * to have been there. */
int pgfiles_check_spaces(struct pgfiles *files, struct err *err);
/* Whether backup's tablespace_map has the same. */
bool pgfiles_same_spaces(const struct pgbase_result *out, const char *map);

/* ---- pgfiles_walk.c ---- */

struct pgfiles_item {
    const char *path; /* below the data directory; "" for itself */
    const char *name; /* the last of it */
    int parent;       /* the directory it is in */
    enum pgtree_kind kind;
    bool has_pages; /* it is in a directory of relations */
    struct stat st;
};

/* Directories before what is in them.  What vanishes meanwhile is passed over, as are files that
 * are none: where it `tells`, the options' note is told. */
int pgfiles_walk(struct pgfiles *files,
                 int (*visit)(void *context, const struct pgfiles_item *item, struct err *err),
                 bool tells, void *context, struct err *err);

/* ---- pgfiles_read.c ---- */

void pgfiles_entry(const char *path, const struct stat *st, struct pgtar_entry *out);
/* Hands a file to the crew, which reads it into the sink.  `whole_size`: it has to be of that size
 * (0: of any), and `parent` to stay open until the crew has settled.  A file that is gone is passed
 * over where it may be of any size. */
int pgfiles_submit(struct pgfiles *files, int parent, const char *name, const char *path,
                   bool has_pages, uint64_t whole_size, struct err *err);
/* What the server made for this backup; whatever has no bytes. */
int pgfiles_put(struct pgfiles *files, const char *path, const void *bytes, size_t size,
                struct err *err);
/* global/pg_control, which the server may be writing: a whole one. */
int pgfiles_put_control(struct pgfiles *files, struct err *err);

/* ---- pgfiles_log.c: when the backup has ended ---- */

int pgfiles_read_log(struct pgfiles *files, struct err *err);
