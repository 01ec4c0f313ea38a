/*
 * catalog — the SQLite file that knows snapshots, archives and runs, and the chunk index beside it.
 *
 * A cache in the strict sense: all that is in it can be had again from the repository.  One that is
 * missing, damaged, of another repository or of an older version is made anew without being asked;
 * one that is behind is caught up by catalog_sync().  One of a newer version is left alone, ours
 * then lies in v1/ beside it.  Where the directory cannot be written, the catalog is kept in
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
/* Forget all and read the repository anew. */
int catalog_rebuild(struct catalog *catalog, struct err *err);

/* All snapshots by name (so by time); `host` NULL: of every host. */
int catalog_snapshots(struct catalog *catalog, const char *host, struct snapshot_rows *out,
                      struct err *err);
/* Names of hosts with a snapshot, sorted. */
int catalog_hosts(struct catalog *catalog, struct strings *out, struct err *err);
/* The root of a snapshot in its highest revision; ERR_NOT_FOUND. */
int catalog_root(struct catalog *catalog, const char *name, struct root *out, struct err *err);

/* Snapshots whose root cannot be read, "NAME: REASON": they are in no other list. */
int catalog_damaged_snapshots(struct catalog *catalog, struct strings *out, struct err *err);

/* An archive was found damaged (or whole again): backups do not refer to it any more. */
int catalog_set_damaged(struct catalog *catalog, uint32_t archive, bool damaged, struct err *err);

/* For a backup, after a deep sync.  Good until catalog_close(). */
struct baseline *catalog_baseline(struct catalog *catalog);
/* A published run: its snapshot, and what its baseline gathered, become part of the catalog in one
 * transaction. */
int catalog_commit_run(struct catalog *catalog, const struct root *root, struct err *err);
