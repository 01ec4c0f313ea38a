/*
 * fileread — one file of the source on its way into the repository: what it is, what it holds,
 * where that is stored.
 *
 * The walk makes a struct fileread for each file that has to be read and puts it into a unit; a
 * worker fills it in; the walk takes what it found.  Content is folded in order: regions of chunks,
 * and holes.
 *
 * Ownership: made by fileread_new(), freed by fileread_free(); passed from thread to thread, never
 * shared, but for the parts of a big file, which units.c keeps in order. Errors:    `failed` and
 * `err` are the source's: the file could not be read.  Repository errors end the run instead.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "backup/archive/entry.h"
#include "backup/base/buf.h"
#include "backup/base/err.h"
#include "backup/crypto/digest.h"

struct repo;
struct srcdir;

struct fileread {
    struct fileread *next; /* in a unit, then in the list of what is done */
    void *owner;           /* the walk's */
    struct srcdir *dir;    /* NULL: standard input, or a stream */
    struct fileread *twin; /* NULL, or a file that has the same content between bytes of its own */
    char *name;
    int fd;        /* open while it is read in parts; else -1 */
    uint64_t size; /* as the walk saw it */
    /* Filled in by who reads it: */
    struct statx st;
    struct buf xattrs; /* the set */
    struct extent *extents;
    size_t extent_count, extent_capacity;
    uint64_t content_size;
    struct digest_stream digest;
    bool digest_started;
    bool unbroken; /* it has no holes: one region, in however many streams it comes */
    bool changed;  /* while it was read, again and again */
    bool vanished; /* not there any more: not an error */
    bool more;     /* extents so far: the file is not done */
    bool bare;     /* its attributes could not be read: `err` says why */
    bool failed;
    struct err err;
};

struct fileread *fileread_new(struct srcdir *dir, const char *name, uint64_t size, void *owner);
void fileread_free(struct fileread *file); /* NULL is allowed */

/* Opens the file, without following a symlink and without touching its atime; `st` and `xattrs` are
 * filled in.  1: open; 0: it cannot be read, which is noted in the file.  Negative: no file at all
 * can be opened any more. */
int fileread_open(struct fileread *file, struct err *err);
/* Whether the file is still as fileread_open() found it, with `got` bytes. */
bool fileread_unchanged(const struct fileread *file, uint64_t got);
void fileread_fail(struct fileread *file, const struct err *err);
void fileread_close(struct fileread *file);
/* Lets go of the directory: what was found is kept, the file cannot be opened any more. */
void fileread_detach(struct fileread *file);
/* Back to the beginning, to be read again. */
void fileread_restart(struct fileread *file);

/* The next bytes: [at, *out_end) is data when the result is true, else a hole.  Nothing is asked of
 * files without holes. */
bool fileread_region(const struct fileread *file, uint64_t at, uint64_t *out_end);

/* The content in order: a region begins, a chunk of it is stored at a place, a hole. */
void fileread_fold_region(struct fileread *file, const struct repo *repo);
int fileread_fold_chunk(struct fileread *file, const uint8_t id[32], uint32_t length,
                        struct place place, struct err *err);
int fileread_fold_hole(struct fileread *file, const struct repo *repo, uint64_t length,
                       struct err *err);
