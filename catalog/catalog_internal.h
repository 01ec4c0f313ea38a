/*
 * catalog_internal — what the parts of the catalog share: home (its directory and file), chunks
 * (the segments and who names them), sync and import, snapshots, baseline.
 *
 * Lock order: catalog.lock, then baseline's, then pending's; segments, memtables and states lock
 * themselves.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "backup/archive/place.h"
#include "backup/archive/root.h"
#include "backup/job/baseline.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "catalog/segment.h"
#include "catalog/sql.h"

struct memtable;
struct segments;
struct states;

enum {
    MEMTABLE_MAX = 512 * 1024,      /* chunks; then they become a segment */
    HOLD_BYTES = 128 * 1024 * 1024, /* of the chunk index, asked to stay in memory */
};

/* Segment files that no row names yet.  The directory's lock is shared while there are any, so that
 * nobody takes them for leftovers. */
struct pending {
    pthread_mutex_t lock; /* guards what follows */
    unsigned users;
    size_t count, capacity;
    char (*names)[SEGMENT_NAME_SIZE];
};

/* An archive whose chunks (or records) have been gathered. */
struct gathered {
    struct archive_id id, index;
    bool indexed, imported, damaged;
    uint8_t kind;
    uint64_t size; /* 0: as it was listed */
};

struct gathered_list {
    struct gathered *at;
    size_t count, capacity;
};

struct catalog_baseline {
    struct baseline base;
    struct catalog *catalog;
    pthread_mutex_t flush;          /* held by who turns a memtable into a segment */
    pthread_rwlock_t tables;        /* guards the next two */
    struct memtable *active, *full; /* `full` is being flushed, and still answers */
    pthread_mutex_t lock;           /* guards what follows */
    struct gathered_list run;       /* archives of this run */
    bool lost;                      /* some of its chunks did not get into a segment */
};

enum { ROOTS_KEPT = 4 };

struct catalog {
    struct repo *repo;
    char *directory; /* of this repository's catalog */
    ino_t inode;     /* of the database when it was opened */
    int lock_fd;
    struct segment_home home, memory; /* where segments go, and where when that fails */
    atomic_bool in_memory;
    struct states *states;
    struct segments *segments;
    struct pending pending;
    struct catalog_baseline baseline;
    pthread_mutex_t lock; /* guards what follows */
    struct sql sql;
    bool deep;                    /* states and segments are as the repository was once */
    struct root kept[ROOTS_KEPT]; /* the newest that the last sync read */
    size_t kept_count;
};

/* home.c: the directory and the database in it. */
int home_open(struct catalog *catalog, const char *directory, struct err *err);
void home_close(struct catalog *catalog);
int home_go_to_memory(struct catalog *catalog, struct err *err);
/* After an error: whether the database was made anew (here or in memory), so that the work is worth
 * another try. */
bool home_recover(struct catalog *catalog);
void home_lock_shared(struct catalog *catalog);
bool home_try_lock(struct catalog *catalog);
void home_unlock(struct catalog *catalog);
/* Removes segment files; `keep` (may be NULL) says which stay. */
void home_remove_segments(struct catalog *catalog, bool (*keep)(void *context, const char *name),
                          void *context);

/* Runs `work` locked; once more when the database had to be made anew. */
int catalog_guarded(struct catalog *catalog,
                    int (*work)(struct catalog *catalog, void *context, struct err *err),
                    void *context, struct err *err);

/* chunks.c: memtables into segments, segments into rows. */
int chunks_flush(struct catalog *catalog, struct memtable *table, struct err *err);
/* Within a transaction: a row for each segment that is pending.  After its commit: chunks_named().
 */
int chunks_name(struct catalog *catalog, size_t *out_count, struct err *err);
void chunks_named(struct catalog *catalog, size_t count);
/* Opens what the rows name.  A segment that is gone or damaged: all chunks are to be imported
 * again. */
int chunks_load(struct catalog *catalog, struct err *err);
/* Best effort: segments of similar size into one, leftovers away. */
void chunks_tidy(struct catalog *catalog);
void chunks_drop_pending(struct catalog *catalog);

/* A listing that goes into a table of this connection. */
struct listing {
    struct sql *sql;
    sqlite3_stmt *insert;
    enum archive_kind kind; /* 0: no archives of data, metadata or index */
    const char *prefix;
};

/* What is listed, and which statement takes it. */
struct sync_list {
    const char *prefix;
    store_list_fn *each; /* gets a struct listing */
    const char *insert;
    enum archive_kind kind;
};

/* sync_list.c: runs `empty`, then lists all of these at once (store_list_all). */
int sync_list(struct catalog *catalog, const char *empty, const struct sync_list *lists,
              size_t count, struct err *err);

/* How much a sync looks at. */
enum sync_depth {
    SYNC_NEW,   /* snapshots and notes, of those that are damaged only what was not known */
    SYNC_AGAIN, /* … damaged ones once more */
    SYNC_DEEP,  /* … and archives and marks are listed, for sync_archives() */
};

/* sync.c, sync_archives.c and import.c, locked. */
int sync_snapshots(struct catalog *catalog, enum sync_depth depth, struct err *err);
/* What SYNC_DEEP listed counts from now on. */
int sync_archives(struct catalog *catalog, struct err *err);
enum { SYNC_ARCHIVE_LISTS = 4 };
extern const struct sync_list sync_archive_lists[SYNC_ARCHIVE_LISTS];
#define SYNC_EMPTY_ARCHIVES "DELETE FROM temp.listed_archives; DELETE FROM temp.listed_marks;"
int import_chunks(struct catalog *catalog, struct err *err);
int sync_load_states(struct catalog *catalog, struct err *err);
/* Lets go what the last one kept. */
void sync_let_go(struct catalog *catalog);
/* 1: there is no such object.  Asked before anything is forgotten: a listing that was cut short
 * takes nothing away from us. */
int sync_is_gone(struct catalog *catalog, const char *object, struct err *err);
/* Whether an object that could not be read is damaged, rather than out of reach. */
bool sync_is_damage(int r, const struct err *err);

/* rows.c */
int rows_select_strings(struct catalog *catalog, const char *text, struct strings *out,
                        struct err *err);
/* Two tables speak of one snapshot (their names are compared already). */
#define SAME(a, b) \
    a ".host = " b ".host AND " a ".sequence = " b ".sequence AND " a ".start_ns = " b ".start_ns"

/* notes_sync.c, seen.c: part of sync_snapshots(). */
int notes_sync(struct catalog *catalog, enum sync_depth depth, struct err *err);
int seen_sync_keys(struct catalog *catalog, struct err *err);
/* Into temp.listed_wal. */
int wal_list_locked(struct catalog *catalog, struct err *err);
int wal_sync_locked(struct catalog *catalog, void *context, struct err *err);
int notes_insert(struct catalog *catalog, const struct note_row *row, struct err *err);
/* Within a transaction. */
int seen_insert(struct catalog *catalog, const struct root *root, struct err *err);

/* Within a transaction. */
int snapshots_insert(struct catalog *catalog, const struct root *root, struct err *err);
int archives_insert(struct catalog *catalog, const struct gathered_list *list, struct err *err);

int gathered_add(struct gathered_list *list, const struct gathered *archive, struct err *err);
void gathered_clear(struct gathered_list *list);

/* baseline.c */
int baseline_init(struct catalog *catalog, struct err *err);
void baseline_clear(struct catalog *catalog);
/* Pending segments are gone: what this run stored is to be imported again. */
void baseline_lost(struct catalog *catalog);
