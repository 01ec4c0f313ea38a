/* gather_internal — shared by gather.c (lanes, the end), gather_file.c (files, what is pushed),
 * gather_put.c (what is put at once), gather_store.c (the workers' side), gather_collect.c (the
 * thread that takes what is done), gather_record.c (an entry as a record of the sorter) and
 * gather_tree.c (directories from records). */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "backup/archive/entry.h"
#include "backup/archive/root.h"
#include "backup/base/buf.h"
#include "backup/base/err.h"
#include "backup/job/gather.h"
#include "backup/job/units_internal.h"

struct contentwriter;
struct sorter;

enum {
    GATHER_PATH_MAX = 16 * 1024,
    GATHER_INBOX_MAX = 4096,
    GATHER_RECORD_MAX = 64 * 1024,
    GATHER_SORT_MEMORY = 8 * 1024 * 1024,
    SECTION_BITS = 32, /* below them: the number within the section */
};

/* One of the two files that the same stream may make. */
struct gather_name {
    char *path; /* NULL: there is no twin */
    struct fileread *read;
    struct contentwriter *content; /* the collector's: the extents of portions */
};

/* A file, or a section of one: a stream that is pushed into. */
struct gather_file {
    struct gather *gather;
    struct gather_file *whole; /* the file itself; the section's file */
    struct gather_lane *lane;  /* NULL: it has sections, and nothing was pushed behind them yet */
    struct cutting cutting;
    uint64_t number; /* of its next run: which section, and which of its runs */
    /* Of a file only: */
    struct cutting twin_cutting;
    struct gather_name self, twin;
    struct entry entry; /* attributes; its xattrs are in `xattrs` */
    struct buf xattrs;
    pthread_mutex_t lock; /* guards what follows */
    struct parts parts;
    uint64_t begun, ended; /* runs; stored ones */
    bool closed;           /* no run comes any more */
    bool dropped, changed;
    struct gather_item *done; /* made when the last run is stored, for the collector */
};

/* What one file has in a part: some of the part's pieces. */
struct gather_run {
    struct gather_file *file;
    uint64_t number, next; /* `next` comes behind it */
    size_t first, count;
    bool last; /* of the file */
};

/* Up to a MiB of streams on its way through one worker: the next bytes of one file, or several
 * small files. */
struct gather_part {
    struct gather *gather;
    struct gather_part *next; /* of those that are spare */
    uint8_t *buffer;          /* BUFFER_SIZE */
    struct pieces pieces;
    size_t bytes;
    struct gather_run runs[UNIT_FILES];
    size_t run_count;
};

/* Where somebody pushes: a part that is being filled.  Small files follow one another in it. */
struct gather_lane {
    struct gather_lane *next;
    struct gather_part *part;
    size_t fill, cut;  /* of the part's buffer */
    size_t file_start; /* where the open file's bytes begin */
};

enum gather_item_kind { ITEM_PORTION, ITEM_FILE, ITEM_RECORD, ITEM_TROUBLE, ITEM_NOTE };

/* Something for the collector. */
struct gather_item {
    struct gather_item *next;
    enum gather_item_kind kind;
    struct gather_file *file; /* ITEM_PORTION, ITEM_FILE */
    bool twin;                /* ITEM_PORTION: of the second name */
    struct extent *extents;
    size_t extent_count;
    struct buf record; /* ITEM_RECORD */
    char *path, *text; /* ITEM_TROUBLE, ITEM_NOTE */
    struct err failure;
};

struct gather {
    struct gather_options options;
    struct sorter *sorter; /* the collector's, then gather_finish()'s */
    struct buf record;     /* the same */
    pthread_t collector;
    bool collecting;
    uint64_t unreadable;  /* the collector's */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct gather_lane *idle;
    size_t under_way, under_way_max; /* parts with the workers */
    struct gather_part *spare;       /* for the next ones: `under_way_max` at most */
    size_t spare_count;
    struct gather_item *inbox, **inbox_tail;
    size_t inbox_count;
    bool closing;
};

/* gather.c: a lane that nobody pushes into; and back. */
int gather_take_lane(struct gather *gather, struct gather_lane **out, struct err *err);
void gather_give_lane(struct gather *gather, struct gather_lane *lane);

/* gather_file.c: name and attributes of an entry. */
int gather_file_new(struct gather *gather, const char *path,
                    const struct gather_attributes *attributes, struct gather_file **out,
                    struct err *err);

/* gather_store.c: what a worker does with a part; frees it. */
int gather_store(struct worker *worker, struct gather_part *part, struct err *err);
/* No run comes any more. */
void gather_end(struct gather_file *file);
/* One that is spare, or a new one; and back. */
int gather_part_new(struct gather *gather, struct gather_part **out, struct err *err);
void gather_part_free(struct gather_part *part);
void gather_free_spare(struct gather *gather);
/* Hands the lane's part to the workers; waits while they are behind. */
int gather_send(struct gather *gather, struct gather_lane *lane, struct err *err);
/* It is not stored after all; its files are told. */
void gather_part_abandon(struct gather_part *part);
/* Waits until the collector has caught up. */
void gather_wait_room(struct gather *gather);
void gather_wait_stored(struct gather *gather);

/* gather_collect.c */
int gather_collect_start(struct gather *gather, struct err *err);
void gather_collect_end(struct gather *gather); /* when all is in the inbox */
/* Never waits: who pushes has waited. */
void gather_tell(struct gather *gather, struct gather_item *item);
void gather_file_free(struct gather_file *file);

/* gather_record.c: sorted as bytes, records come in the order of a walk: a directory before what
 * is below it, and names as a directory has them. */
int gather_record_encode(const char *path, const struct entry *entry, struct buf *out,
                         struct err *err);
struct gather_record {
    const uint8_t *key; /* each component of the path with a NUL behind it */
    size_t key_size;
    struct entry entry; /* its pointers are into the record, and to `extents` */
    struct extent extents[INLINE_EXTENTS_MAX];
};
int gather_record_decode(const uint8_t *bytes, size_t size, struct gather_record *out,
                         struct err *err);
/* Whether the path can be one of an entry. */
int gather_path_check(const char *path, struct err *err);

/* gather_tree.c: the records of the finished sorter into directories. */
int gather_tree(struct gather *gather, struct root_type *out, struct err *err);
