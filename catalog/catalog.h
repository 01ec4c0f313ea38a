/*
 * catalog — the SQLite file that knows snapshots, archives and runs, and the chunk index beside it.
 *
 * A cache in the strict sense: all that is in it can be had again from the repository, but for
 * what it saw there and is gone (catalog_losses()).  One that is
 * missing, damaged, of another repository or of an older version is made anew without being asked;
 * one that is behind is caught up by catalog_sync().  One of a newer version is left alone, ours
 * then lies in vN/ beside it.  Where the directory cannot be written, the catalog is kept in
 * memory.
 *
 *     DIRECTORY/REPOSITORY-ID/catalog.sqlite     snapshots, archives, runs, segments
 *     DIRECTORY/REPOSITORY-ID/segment-*          sorted chunk tables, mapped
 *
 * Ownership: catalog_close() ends it; the repo must outlive it.
 * Threads:   catalog_* by one thread at a time (it locks itself); the baseline as its header says.
 * Several processes may have it open. Errors:    ERR_SYSTEM for its directory; SQLite's as
 * ERR_SYSTEM with their text; repository errors pass through.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/note.h"
#include "backup/archive/root.h"

struct baseline;
struct catalog;
struct err;
struct repo;

struct snapshot_row {
    char name[SNAPSHOT_NAME_SIZE];
    char host[HOST_NAME_MAX_SIZE + 1];
    uint64_t revision, sequence;
    int64_t start_ns, end_ns;
    bool complete, adhoc;
    uint8_t types;          /* bit 1 << enum snapshot_type */
    uint8_t complete_types; /* of which nothing was left out */
    uint64_t files, bytes, new_bytes, unreadable;
    bool held, forgotten;
    int64_t forgotten_ns; /* when */
    struct strings tags;
};

struct snapshot_rows {
    struct snapshot_row *at;
    size_t count;
};
void snapshot_rows_clear(struct snapshot_rows *rows);

/* $YESTER_CATALOG, else $XDG_CACHE_HOME/yester, else /var/lib/yester for root, else
 * ~/.cache/yester. */
int catalog_default_directory(char *out, size_t size, struct err *err);

int catalog_open(struct repo *repo, const char *directory, struct catalog **out, struct err *err);
void catalog_close(struct catalog *catalog); /* NULL is allowed */
void catalog_closep(struct catalog **catalog);
struct repo *catalog_repo(struct catalog *catalog);

/* What the repository has now: new snapshots, archives and chunks come in (from index archives,
 * else from archives' tails), gone ones go.  `deep` false looks at snapshots only (what list, mount
 * and restore need); true at archives and marks as well (backup, verify). */
int catalog_sync(struct catalog *catalog, bool deep, struct err *err);
/* Forget all, but what catalog_losses() goes by, and read the repository anew. */
int catalog_rebuild(struct catalog *catalog, struct err *err);

/* All snapshots by name (so by time) that are not forgotten; `host` NULL: of every host. */
int catalog_snapshots(struct catalog *catalog, const char *host, struct snapshot_rows *out,
                      struct err *err);
/* Also those that are forgotten and not pruned yet. */
int catalog_all_snapshots(struct catalog *catalog, const char *host, struct snapshot_rows *out,
                          struct err *err);
/* Names of hosts with a snapshot that is not forgotten, sorted. */
int catalog_hosts(struct catalog *catalog, struct strings *out, struct err *err);
/* The root of a snapshot in its highest revision, be it forgotten; ERR_NOT_FOUND. */
int catalog_root(struct catalog *catalog, const char *name, struct root *out, struct err *err);

/* What was decided about snapshots (docs/format.md, "Notes").  `row` says which snapshot is meant;
 * `by` is this host; `reason` may be NULL.  All of it is in the repository when they return 0. */
struct note_row {
    struct note note;
    bool damaged; /* only what its name says is known */
};
struct note_rows {
    struct note_row *at;
    size_t count;
};
void note_rows_clear(struct note_rows *rows);
int catalog_forget(struct catalog *catalog, const struct snapshot_row *row, const char *by,
                   const char *reason, struct err *err);
/* ERR_NOT_FOUND when prune was faster. */
int catalog_unforget(struct catalog *catalog, const struct snapshot_row *row, const char *by,
                     const char *reason, struct err *err);
int catalog_hold(struct catalog *catalog, const struct snapshot_row *row, const char *by,
                 const char *reason, struct err *err);
/* All holds of it; *out_count (may be NULL) is how many there were. */
int catalog_release(struct catalog *catalog, const struct snapshot_row *row, const char *by,
                    const char *reason, size_t *out_count, struct err *err);
/* Holds in force, by snapshot; `snapshot` NULL: of all. */
int catalog_holds(struct catalog *catalog, const char *snapshot, struct note_rows *out,
                  struct err *err);

/* Reads every note that the repository has, as verify does; `damaged` is told each that does not
 * open, and then ERR_CORRUPT. */
int catalog_check_notes(struct catalog *catalog,
                        void (*damaged)(void *context, const char *object, const struct err *err),
                        void *context, struct err *err);

/* Rollback: what this catalog saw and the repository has no more, though nobody forgot it, a line
 * each.  None: none was seen. */
int catalog_losses(struct catalog *catalog, struct strings *out, struct err *err);
/* The snapshots among them; only name, host, sequence, start and revision are known. */
int catalog_lost_snapshots(struct catalog *catalog, struct snapshot_rows *out, struct err *err);
/* Takes the repository as it is now for what it should be. */
int catalog_accept_losses(struct catalog *catalog, struct err *err);
/* The highest sequence that a snapshot of this host ever had, as far as is known; 0: none. */
int catalog_sequence(struct catalog *catalog, const char *host, uint64_t *out, struct err *err);

/* Snapshots whose root cannot be read, "NAME: REASON": they are in no other list. */
int catalog_damaged_snapshots(struct catalog *catalog, struct strings *out, struct err *err);

/* An archive was found damaged (or whole again): backups do not refer to it any more. */
int catalog_set_damaged(struct catalog *catalog, uint32_t archive, bool damaged, struct err *err);
bool catalog_is_damaged(const struct catalog *catalog, uint32_t archive);

/* For a backup, after a deep sync.  Good until catalog_close(). */
struct baseline *catalog_baseline(struct catalog *catalog);
/* A published run: its snapshot, and what its baseline gathered, become part of the catalog in one
 * transaction. */
int catalog_commit_run(struct catalog *catalog, const struct root *root, struct err *err);
