/*
 * verify_internal — what the parts of verify share: verify.c (the order of things),
 * verify_marks.c (what is known of each archive), verify_snapshots.c (roots and what they refer
 * to), verify_archives.c (objects, blocks, chunks), verify_tree.c (directories and references),
 * verify_digest.c (files' digests from chunk tables).
 *
 * Each archive has a byte of marks, by its number.  A directory is looked at once, however many
 * snapshots share it, and marked when something at or below it is hurt; so what is hurt can be
 * listed for each snapshot without going through all of it again.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "backup/archive/blocks.h"
#include "backup/archive/entry.h"
#include "backup/archive/root.h"
#include "backup/base/err.h"
#include "backup/job/verify.h"

struct chunk;
struct dirref;
struct reader;
struct spillmap;

enum archive_mark {
    MARK_THERE = 1,  /* the store has it */
    MARK_BAD = 2,    /* missing, or something in it is damaged; told already */
    MARK_NEEDED = 4, /* a snapshot that is checked refers to it */
    MARK_CLOSED = 8, /* it cannot be opened at all */
    MARK_CHECKED = 16,
    MARK_COLD = 32, /* it is in cold storage */
};

enum { VERIFY_TABLES = 4 };

/* The chunks of one archive. */
struct chunk_table {
    uint32_t archive;
    struct chunk *chunks;
    size_t count;
    uint64_t used; /* when, in a count of uses */
};

struct verify {
    struct blocks *blocks;
    struct repo *repo;
    const struct verify_options *options;
    struct verify_result *result;
    struct spillmap *seen;       /* directories: 0, or 1 when something there is hurt */
    bool marking_only;           /* the second time through: nothing is counted */
    bool tree_trouble;           /* a directory could not be read */
    const struct reader *reader; /* the archive that was asked for last */
    uint32_t reader_archive;
    struct chunk_table tables[VERIFY_TABLES];
    uint64_t table_uses;

    pthread_mutex_t lock; /* of all below, and of the callbacks */
    uint8_t *marks;       /* by number */
    size_t mark_count;
    struct spillmap *bad_blocks; /* archive and number of block */
    struct err failure;          /* what keeps it from finding out; code ERR_NONE: nothing */
};

/* One that is checked, in its newest revision. */
struct verify_snapshot {
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t revision;
    bool hurt, unreadable;
};

struct verify_snapshots {
    struct verify_snapshot *at;
    size_t count;
    const struct verify_options *options;
};

/* verify_marks.c.  Marks are few; an archive that nobody has met has none. */
int verify_mark(struct verify *verify, uint32_t archive, uint8_t mark, struct err *err);
uint8_t verify_marks(struct verify *verify, uint32_t archive);
/* Tells of a damaged archive, once. */
void verify_damaged(struct verify *verify, uint32_t archive, const struct err *why);
/* Counts an archive that cannot be read before it is thawed, once. */
void verify_cold(struct verify *verify, uint32_t archive);
/* Tells that all of an archive was read, unless something in it was bad. */
void verify_whole(struct verify *verify, uint32_t archive);
bool verify_stopped(struct verify *verify);
/* Whether an error is damage, and not a reason to stop. */
bool verify_is_damage(const struct err *err);

/* verify_snapshots.c: those that are wanted, by name; each must be there. */
int verify_list_snapshots(struct verify *verify, struct verify_snapshots *out, struct err *err);
void verify_snapshots_clear(struct verify_snapshots *snapshots);
/* Their roots and directories: marks what they need, and who is hurt. */
int verify_walk_snapshots(struct verify *verify, struct verify_snapshots *snapshots,
                          struct err *err);
/* Tells the paths that are hurt. */
int verify_hurt_snapshots(struct verify *verify, struct verify_snapshots *snapshots,
                          struct err *err);

/* verify_archives.c: what the store has; then each archive that has one of these marks. */
int verify_list(struct verify *verify, struct err *err);
int verify_archives(struct verify *verify, uint8_t marks, bool metadata_blocks, struct err *err);

/* verify_tree.c */
int verify_tree(struct verify *verify, const struct dirref *directory, bool *out_hurt,
                struct err *err);
int verify_list_hurt(struct verify *verify, const char *snapshot, const char *prefix,
                     const struct dirref *directory, struct err *err);
/* An archive's reader, good until the next call. */
int verify_reader(struct verify *verify, uint32_t archive, const struct reader **out,
                  struct err *err);
void verify_release(struct verify *verify);

/* verify_digest.c: whether a file's digest is that of the chunks that it refers to. */
int verify_digest(struct verify *verify, const struct entry *entry, struct err *err);
void verify_tables_clear(struct verify *verify);
