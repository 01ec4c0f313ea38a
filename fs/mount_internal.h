/*
 * mount_internal — what the parts of the mount share.
 *
 *     mount.c            the session: options, the kernel's capabilities, the loop
 *     mount_daemon.c     the background process and its log
 *     mount_undo.c       unmounting
 *     mount_nodes.c      node ids; the table of directories that the kernel knows
 *     mount_shots.c      the snapshots and hosts that there are
 *     mount_layout.c     the names that are no stored entries: roots, latest, hosts, manifests
 *     mount_attrs.c      attributes, symlinks, xattrs
 *     mount_dirs.c       lookup and readdir
 *     mount_history.c    history/: what a path was in all snapshots
 *     mount_past.c       what the nodes of history lead to, kept for a while
 *     mount_read.c       file content
 *     mount_ahead.c      prefetch
 *     mount_push.c       small files into the kernel's cache before they are asked for
 *     mount_watch.c      new snapshots, invalidation, counters
 *
 * Ownership: struct mount owns what it points to, but for repo, options and session.
 * Threads:   struct mount is fixed while the loop runs; its tables lock themselves.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>

#include "backup/archive/root.h"
#include "backup/archive/tree.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "fs/mount.h"

struct blocks;
struct buf;
struct catalog;
struct pool;
struct repo;
struct snapshot_rows;

enum {
    MOUNT_READ_MAX = 1024 * 1024,
    MOUNT_PIECES = 256, /* of one read; each lies in one block */
    MOUNT_CURSORS = 16,
    MOUNT_READ_AHEAD_KB = 4096,
    MOUNT_HOSTS_MAX = 65535,
    NODE_NAME_SIZE = 256,
};

/* Snapshots never change; what does is invalidated. */
#define MOUNT_TIMEOUT 86400.0

/* ---- mount_nodes.c ----------------------------------------------------------------------- */

/*
 * A node id with the top bit is the place of an entry that is no directory: nothing is kept for
 * it.  The others are slots of the table of nodes, with a generation above bit 32.
 */
#define NODE_PLACED (UINT64_C(1) << 63)
#define NODE_SHARED (UINT64_C(1) << 62)

enum node_kind {
    NODE_FREE,
    NODE_ROOT,
    NODE_LATEST,   /* of `host` */
    NODE_LINK,     /* latest/TYPE: to `snapshot` */
    NODE_HOSTS,    /* hosts */
    NODE_HOST,     /* hosts/NAME */
    NODE_SNAPSHOT, /* a timestamp */
    NODE_MANIFEST, /* its manifest.json */
    NODE_TYPE,     /* its directory of a type */
    NODE_STORED,   /* a directory in it; `key` is the place of its record */
    NODE_HISTORY,  /* history, of `host` */
    NODE_PAST,     /* history/TYPE, and a directory below it, by name */
    NODE_VERSIONS, /* what is or was no directory there: its versions */
};

struct node {
    uint64_t parent; /* node id */
    uint64_t key;    /* which of its parent's children; node_key() */
    uint64_t below;  /* of NODE_STORED: how much is in it, as its record says */
    uint32_t lookups;
    uint32_t snapshot; /* number in the table of snapshots */
    uint16_t host;     /* number in the table of hosts */
    uint8_t kind;      /* enum node_kind */
    uint8_t type;      /* enum snapshot_type of NODE_TYPE, _LINK, _STORED, _PAST, _VERSIONS */
    bool below_hosts;  /* in hosts/, not at the top */
    uint32_t generation;
    uint32_t next;    /* in its bucket, or among the free */
    const char *name; /* of NODE_PAST and _VERSIONS; in the table a copy; nodes_name() */
};

struct nodes;

uint64_t node_of_place(struct place place, bool shared);
bool node_is_placed(uint64_t id);
struct place node_place(uint64_t id, bool *out_shared);
/* The place of a stored directory's record, and back. */
uint64_t node_key_of_place(struct place place);
struct place node_place_of_key(uint64_t key);

struct nodes *nodes_new(void); /* with the root; NULL: out of memory */
void nodes_free(struct nodes *nodes);
/* The node with the parent and key of `wanted`, made if it is new; counts one lookup. */
int nodes_take(struct nodes *nodes, const struct node *wanted, uint64_t *out_id, struct err *err);
bool nodes_get(struct nodes *nodes, uint64_t id, struct node *out);
/* The id of a node that the kernel knows, or 0. */
uint64_t nodes_find(struct nodes *nodes, uint64_t parent, uint64_t key);
void nodes_forget(struct nodes *nodes, uint64_t id, uint64_t lookups);
size_t nodes_count(struct nodes *nodes);
/* The name of a node of history; "" of a type's directory. */
void nodes_name(struct nodes *nodes, uint64_t id, char out[NODE_NAME_SIZE]);
/* The ids of all nodes of history, malloc'ed. */
int nodes_of_history(struct nodes *nodes, uint64_t **out, size_t *out_count, struct err *err);
/* Which host's a metadata archive is: learned when an entry is shown, asked for by its attributes
 * alone. */
void nodes_note_host(struct nodes *nodes, uint32_t archive, uint16_t host);
uint16_t nodes_host(struct nodes *nodes, uint32_t archive);

/* ---- mount_shots.c ----------------------------------------------------------------------- */

struct shot {
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t revision;
    int64_t start_ns, end_ns;
    uint16_t host;
    bool gone, complete, adhoc;
    uint8_t types, complete_types;
    bool loaded; /* what follows is known: read from the root when first asked for */
    struct dirref directories[TYPES + 1];
    uint64_t manifest_size;
};

struct shots;

struct shot_change {
    uint16_t host;
    bool gone;
    char name[SNAPSHOT_NAME_SIZE];
};

struct shot_changes {
    struct shot_change *at;
    size_t count, room;
};

/* `wanted_host`: whose snapshots stand at the top, if there are any. */
struct shots *shots_new(struct repo *repo, const char *wanted_host); /* NULL: out of memory */
void shots_free(struct shots *shots);
/* Takes over what the catalog has; `out` (empty before) gets what is not as it was. */
int shots_update(struct shots *shots, const struct snapshot_rows *rows, struct shot_changes *out,
                 struct err *err);
void shot_changes_clear(struct shot_changes *changes);

bool shots_top(struct shots *shots, uint16_t *out_host); /* false: there is no snapshot */
size_t shots_host_count(struct shots *shots);
bool shots_host(struct shots *shots, uint16_t host, char out[HOST_NAME_MAX_SIZE + 1]);
/* The first snapshot of `host` with a number not less than *number. */
bool shots_next(struct shots *shots, uint16_t host, uint32_t *number, struct shot *out);
bool shots_by_name(struct shots *shots, uint16_t host, const char *name, uint32_t *out_number,
                   struct shot *out);
bool shots_get(struct shots *shots, uint32_t number, struct shot *out);
/* The same with all that its root says. */
int shots_load(struct shots *shots, uint32_t number, struct shot *out, struct err *err);
/* The newest complete one with that type that is not adhoc. */
bool shots_latest(struct shots *shots, uint16_t host, unsigned type, uint32_t *out_number,
                  struct shot *out);
/* Of the newest snapshot of a host; 0 without any. */
int64_t shots_newest_ns(struct shots *shots, uint16_t host);
int shots_manifest(struct shots *shots, uint32_t number, struct buf *out, struct err *err);
void shots_sums(struct shots *shots, uint64_t *out_files, uint64_t *out_bytes);

/* ---- mount_layout.c ---------------------------------------------------------------------- */

/* A name in one of the directories that are not stored. */
struct child {
    char name[HOST_NAME_MAX_SIZE + 1];
    struct node node; /* to be taken */
};

struct mount;

/* The first child whose number is not less than *number; false: no more. */
bool layout_next(struct mount *mount, uint64_t id, const struct node *node, uint64_t *number,
                 struct child *out);
bool layout_find(struct mount *mount, uint64_t id, const struct node *node, const char *name,
                 struct child *out);
int layout_stat(struct mount *mount, const struct node *node, struct stat *out, struct err *err);
/* "../20260205_120000/files" */
int layout_link(struct mount *mount, const struct node *node, char *out, size_t size,
                struct err *err);
/* A stable st_ino, another one for each name. */
uint64_t layout_inode(struct mount *mount, const struct node *node);
/* What invalidation has to name. */
uint64_t layout_key(enum node_kind kind, uint32_t number, unsigned type);
/* For the log: MNT-relative, as far as it is known. */
void layout_path(struct mount *mount, uint64_t id, char *out, size_t size);

/* ---- the mount itself -------------------------------------------------------------------- */

struct counters {
    atomic_ullong lookups, getattrs, readdirs, reads, opens, xattrs, seeks, others, forgets;
    atomic_ullong peeked, decoded, prefetched, pushed, bytes;
};

struct cursors;
struct ahead;
struct pasts;
struct push;

struct mount {
    struct repo *repo;
    const struct mount_options *options;
    struct catalog *catalog;
    struct blocks *blocks;
    struct nodes *nodes;
    struct shots *shots;
    struct cursors *cursors;
    struct ahead *ahead;
    struct push *push;
    struct pasts *pasts;
    struct pool *pool;
    struct fuse_session *session;
    char *directory;  /* absolute */
    char *repository; /* absolute, where it is a directory: its snapshots/ is watched */
    uid_t uid;
    gid_t gid;
    bool no_open, no_opendir; /* the kernel can do without */
    int ready_fd;             /* told when the mount answers; -1: nobody waits */
    struct counters counters;
    atomic_ullong damaged[1024]; /* nodes whose damage was logged */
    atomic_uint device;     /* the minor number of the mount: its connection's name; 0: not known */
    struct progress ending; /* cancelled: the watch ends, and nobody waits for the repository */
};

/* ---- mount_attrs.c ----------------------------------------------------------------------- */

/* The entry of a placed node or of a stored directory. */
int mount_entry(struct mount *mount, uint64_t id, struct held_entry *out, struct err *err);
/* `within`: for a directory, a node of its snapshot. */
void mount_stat_entry(struct mount *mount, const struct entry *entry, uint16_t host,
                      const struct node *within, struct stat *out);
/* A stored or type's directory of the table. */
int mount_directory(struct mount *mount, uint64_t id, const struct node *node, struct dirref *out,
                    struct err *err);
int mount_stat(struct mount *mount, uint64_t id, struct stat *out, struct err *err);
/* The errno for the kernel; damage is logged, once for each node. */
int mount_errno(struct mount *mount, uint64_t id, const struct err *err);

void mount_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *file);
void mount_readlink(fuse_req_t req, fuse_ino_t id);
void mount_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size);
void mount_listxattr(fuse_req_t req, fuse_ino_t id, size_t size);
void mount_statfs(fuse_req_t req, fuse_ino_t id);

/* ---- mount_dirs.c ------------------------------------------------------------------------ */

struct cursors *cursors_new(void); /* NULL: out of memory */
void cursors_free(struct cursors *cursors);

void mount_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void mount_forget(fuse_req_t req, fuse_ino_t id, uint64_t lookups);
void mount_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void mount_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                   struct fuse_file_info *file);
void mount_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                       struct fuse_file_info *file);

/* ---- mount_history.c --------------------------------------------------------------------- */

struct pasts *pasts_new(void); /* NULL: out of memory */
void pasts_free(struct pasts *pasts);
/* Snapshots came or went: nothing that is kept holds any more. */
void pasts_forget(struct pasts *pasts);
/* NODE_PAST or NODE_VERSIONS: what follows is about these. */
bool history_is(const struct node *node);
int history_stat(struct mount *mount, uint64_t id, const struct node *node, struct stat *out,
                 struct err *err);
/* out->ino stays 0 where there is no such name. */
int history_lookup(struct mount *mount, uint64_t parent_id, const struct node *parent,
                   const char *name, struct fuse_entry_param *out, struct err *err);
/* Takes an entered name; `next` is the position behind it.  False: it does not fit, no more. */
typedef bool history_fn(void *context, const char *name, struct fuse_entry_param *entry,
                        uint64_t next);
int history_list(struct mount *mount, uint64_t id, const struct node *node, uint64_t position,
                 history_fn *each, void *context, struct err *err);

/* ---- mount_read.c ------------------------------------------------------------------------ */

void mount_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                struct fuse_file_info *file);
void mount_lseek(fuse_req_t req, fuse_ino_t id, off_t offset, int whence,
                 struct fuse_file_info *file);

/* ---- mount_ahead.c ----------------------------------------------------------------------- */

struct ahead *ahead_new(struct mount *mount); /* NULL: out of memory */
void ahead_free(struct ahead *ahead);         /* after its jobs: pool_wait_idle() first */
/* A read took place: what will be wanted next is decoded, if it looks like going on. */
void ahead_note(struct ahead *ahead, uint64_t id, uint64_t offset, size_t count,
                uint64_t file_size);
/* Bytes at a place were missed: small files lie one behind the other. */
void ahead_missed(struct ahead *ahead, struct place place, size_t count);

/* ---- mount_push.c ------------------------------------------------------------------------ */

struct push *push_new(struct mount *mount); /* NULL: out of memory */
void push_free(struct push *push);          /* after its thread */
/* A directory is listed from its beginning; a file of it is shown. */
void push_listing(struct push *push, uint64_t directory);
void push_listed(struct push *push, uint64_t directory, uint64_t id, uint64_t size);
/* An answer with so many files of it goes out. */
void push_shown(struct push *push, uint64_t directory, size_t count);
/* A file is read from its beginning. */
void push_asked(struct push *push, uint64_t id);
/* Its thread; what pthread_create() says.  The thread ends some time after push_stop(): it may be
 * waiting for a page that a reader has locked. */
int push_start(struct push *push, pthread_t *out);
void push_stop(struct push *push);

/* ---- mount_watch.c ----------------------------------------------------------------------- */

/* Brings the table of snapshots up to what the repository has, and tells the kernel. */
int watch_refresh(struct mount *mount, bool notify, struct err *err);
/* The same before anything is mounted, from what the catalog has where that is enough. */
int watch_begin(struct mount *mount, struct err *err);
/* Runs until mount->ending is cancelled. */
void *watch_run(void *mount);

/* ---- mount_daemon.c ---------------------------------------------------------------------- */

/* Runs `serve` in a detached child; returns when it has reported through `ready_fd` or failed. */
int daemon_run(struct mount *mount, int (*serve)(struct mount *mount, struct err *err),
               struct err *err);
/* Tells who waits that the mount answers, and lets go of the terminal. */
void daemon_ready(struct mount *mount);

/* ---- mount_undo.c ------------------------------------------------------------------------ */

/* The absolute path of a directory that may be a dead mount point. */
int mount_point_path(const char *directory, char **out, struct err *err);
/* False where the process behind a mount is gone. */
bool mount_point_answers(const char *path);
/* Whether a yester is mounted there. */
int mount_point_is_ours(const char *path, bool *out, struct err *err);
