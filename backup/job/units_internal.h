/* units_internal — shared by units.c (who does what when), units_batch.c (many small files), scan.c
 * (reading) and pieces.c (cutting and storing). */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "backup/archive/chunker.h"
#include "backup/archive/writer.h"
#include "backup/base/err.h"
#include "backup/base/turns.h"
#include "backup/job/fileread.h"
#include "backup/job/parts.h"
#include "backup/job/units.h"

enum {
    UNIT_SIZE = 1024 * 1024,
    UNIT_FILES = 256,
    BUFFER_SIZE = UNIT_SIZE + CHUNK_MAX, /* with what the part before left over */
    BLOCK_CHUNKS = 1024,
    PORTION_EXTENTS = 256 * 1024, /* 6 MiB: more than these are handed over */
    READ_TRIES = 3,
    BIG_TRIES = 2,
    READ_GROUP = 32,              /* files that are open at once, to be read by one call */
    LANE_SIZE = 16 * 1024 * 1024, /* a file of that much gets a lane of the packer */
};

struct sighting;

enum piece_kind { PIECE_REGION, PIECE_CHUNK, PIECE_HOLE };

/* One step of a file's content, in order. */
struct piece {
    struct fileread *file;
    enum piece_kind kind;
    uint64_t length;
    const uint8_t *data; /* chunks: in the worker's buffer */
    uint8_t id[CHUNK_ID_SIZE];
    struct place place;
    struct sighting *other; /* another worker is storing it */
};

struct pieces {
    struct piece *at;
    size_t count, capacity;
};

/* A region of a file on its way into chunks. */
struct cutting {
    struct fileread *file;
    uint32_t page; /* chunks of this size; 0: cut by content */
    bool begun;    /* a chunk of the region was cut already */
};

/* How far a file has been read. */
struct scan {
    struct fileread *file;
    uint64_t offset;     /* of the next byte to read */
    uint64_t region_end; /* UINT64_MAX: the end of the file */
    bool in_region;
    size_t ready; /* bytes of the region that are in the buffer already, or 0 */
    struct cutting cutting;
    bool at_end;
};

/* A file that is read in parts by several workers. */
struct bigfile {
    struct scan scan; /* of whoever holds the rest */
    uint8_t *left;    /* bytes read but not cut: CHUNK_MAX of room */
    size_t left_size;
    uint64_t number; /* of the next part */
    size_t lane;     /* of the packer: its own from the first part on, if it is large enough */
    bool has_lane;
    unsigned tries;
    pthread_mutex_t lock;  /* guards what follows */
    uint64_t begun, ended; /* parts */
    bool all_begun;        /* the end of the file was read, or it cannot be read further */
    struct parts parts;    /* in order */
    bool handed;           /* a portion went out: it cannot be read again */
};

struct unit {
    struct fileread *files; /* a batch … */
    struct fileread **tail;
    size_t count;
    uint64_t size;
    struct bigfile *big;      /* … or the rest of a big file … */
    struct gather_part *part; /* … or what came in streams */
};

/* What storing takes.  There are as many as cores, and whoever may compute takes the one that was
 * left last: it is still in a core's cache. */
struct desk {
    struct desk *next; /* of those that nobody has */
    struct codec *codec;
    uint8_t *block; /* BLOCK_RAW_TARGET: new chunks on their way into a block */
    size_t block_size, block_count;
    struct chunk chunks[BLOCK_CHUNKS];
    size_t block_pieces[BLOCK_CHUNKS]; /* which piece each of them is */
};

struct worker {
    struct units *units;
    pthread_t thread;
    uint8_t *buffer;        /* BUFFER_SIZE */
    struct manyreads *many; /* NULL: not needed yet, or the kernel has none */
    struct desk *desk;      /* while it stores */
    size_t lane;            /* of the packer, for what it stores now */
    bool pages;             /* that is of files that are overwritten page by page */
    struct pieces pieces;
};

struct units {
    struct units_options options;
    struct chunker chunker;
    struct queue *queue;
    struct turns cores; /* who computes */
    struct desk *desks;
    size_t desk_count;
    struct worker *workers;
    size_t worker_count, worker_room; /* started; made room for */
    size_t descriptors;               /* that the process may have open */
    struct unit *filling;             /* the walk's: the batch being gathered */
    _Atomic uint64_t bytes_read;
    _Atomic bool no_manyreads; /* refused, or of no use */
    _Atomic bool ended;        /* `error` is set */
    pthread_mutex_t lock;      /* guards what follows */
    pthread_cond_t changed;
    struct fileread *done, **done_tail;
    size_t under_way; /* files submitted and not yet in `done` or taken */
    size_t waiting;   /* units in the queue */
    struct desk *free_desk;
    struct err error;
};

/* units.c: a file is done (or a portion of it); the queue's two ends; storing with a core's leave.
 */
void units_give(struct units *units, struct fileread *file);
void units_enqueue(struct units *units, struct unit *unit);
void units_put_back(struct units *units, struct unit *unit);
int units_store(struct worker *worker, struct err *err);
/* What is known of a file of a batch before its turn comes. */
struct early {
    bool open;       /* fileread_open() was called */
    size_t at, size; /* where in the worker's buffer all of it is; size 0: nowhere */
};

/* units_early.c: opens the next files of a batch, and reads what it can of them behind
 * buffer[fill]. At least one in *out_count, be it untouched. */
int early_read(struct worker *worker, struct fileread *files, size_t fill,
               struct early early[READ_GROUP], size_t *out_count, struct err *err);

/* units_batch.c: reads and stores the files of a batch; gives them all back, failed or not. */
int units_batch(struct worker *worker, struct unit *unit, struct err *err);

/* scan.c: reads into buffer[*fill … capacity) and appends pieces; stops at the file's end or a full
 * buffer.  *cut is where the bytes begin that are not in a piece yet.  A source error fails the
 * file and ends the scan. */
int scan_fill(struct worker *worker, struct scan *scan, uint8_t *buffer, size_t capacity,
              size_t *fill, size_t *cut, struct err *err);
struct scan scan_start(struct fileread *file);

/* pieces.c */
int pieces_add(struct pieces *pieces, const struct piece *piece, struct err *err);
/* Cuts what can be cut of buffer[*cut … fill); `ended`: the region goes no further. */
int pieces_cut(struct pieces *pieces, const struct chunker *chunker, struct cutting *cutting,
               const uint8_t *buffer, size_t fill, bool ended, size_t *cut, struct err *err);
/* Hashes every chunk, stores the new ones; each piece has its place then. */
int pieces_store(struct worker *worker, struct err *err);
/* Puts pieces into their files' digests and extents. */
int pieces_fold(struct worker *worker, const struct piece *pieces, size_t count, struct err *err);
