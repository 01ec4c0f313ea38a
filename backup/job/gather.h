/*
 * gather — a type's stored tree made of streams that come in any order.
 *
 * For sources that are no directory tree: what a database sends.  A backup_source with `produce`
 * set (backup/job/backup.h) is handed a gather and puts into it, from as many threads as it likes,
 * files whose bytes it pushes, directories and symlinks, in whatever order they come.  Content goes
 * to the run's workers like that of files: cut, hashed, deduplicated, compressed, sealed.  What is
 * known of each entry goes to a sorter on disk; when produce has returned, gather_finish() (called
 * by backup_run()) writes the directories from it, children first.
 *
 *     int produce(void *context, struct gather *gather, struct err *err)
 *     {
 *         struct gather_attributes attributes = {.mode = 0600, .uid = 26, .mtime_s = now};
 *         struct gather_file *file;
 *
 *         gather_directory(gather, "base", &directory, err);
 *         gather_open(gather, "base/1", &attributes, 16384, &file, err);
 *         while (more)
 *             gather_push(file, bytes, size, err);
 *         gather_close(file, err);           or gather_drop(file): as if it had never been opened
 *     }
 *
 * Paths are below the type's root, without "/" in front: "base/1/2619".  Directories that nobody
 * put are made up as 0700 of this process.  The same path twice is refused when all is there.
 *
 * The result of produce: 0, or the error of a gather function or ERR_CANCELLED, which end the run.
 * What could not be read of the source is told to gather_trouble(), counts the snapshot as
 * incomplete, and is no error.
 *
 * Memory: about 1.2 MiB for each file or section that is open at a time and for each core a few
 * times that; nothing for files that are done, whatever their number and size.
 *
 * Ownership: gather_close() and gather_drop() free the file, also when they fail.  All files must
 * be closed or dropped when produce returns.  Names, attributes and bytes are copied.
 * Threads:   any call on a gather from any thread; a file belongs to one thread at a time.
 * gather_push() waits while the workers are behind.
 * Errors:    those of the repository; ERR_USAGE for a path that cannot be; gather_finish():
 * ERR_EXISTS for a path that came twice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct gather;
struct gather_file;
struct progress;
struct sink;

struct gather_attributes {
    uint32_t mode; /* 07777 only */
    uint32_t uid, gid;
    int64_t mtime_s;
    uint32_t mtime_ns;
    const struct buf *xattrs; /* a set as of xattrs_append(), up to 4 KiB; NULL: none */
};

enum { GATHER_BY_CONTENT = 0, GATHER_PAGE_MAX = 128 * 1024 };

/* Begins a file.  `page`: it is cut by content (GATHER_BY_CONTENT, for text and whatever grows in
 * the middle), or into chunks of that many bytes counted from its beginning (16–32 KiB: for files
 * that are overwritten in place, such as a relation's segments). */
int gather_open(struct gather *gather, const char *path, const struct gather_attributes *attributes,
                uint32_t page, struct gather_file **out, struct err *err);
/* Before the first push, once: a second file beside it that holds `head`, the same content, and
 * what gather_twin_tail() adds.  The content is stored once.  It is closed and dropped with the
 * first. */
int gather_twin(struct gather_file *file, const char *path, const void *head, size_t head_size,
                struct err *err);
/* After the last push, before gather_close(). */
int gather_twin_tail(struct gather_file *file, const void *tail, size_t tail_size, struct err *err);
int gather_push(struct gather_file *file, const void *bytes, size_t size, struct err *err);
/* The same without a copy: where the next bytes may be put (one at least, most often some hundred
 * KiB), good until the next call on the file; and then that so many of them are there. */
int gather_room(struct gather_file *file, void **out, size_t *out_size, struct err *err);
int gather_filled(struct gather_file *file, size_t size, struct err *err);
/* A stream into the file, whose bytes come behind those of the sections that were opened before,
 * whatever order they are pushed in; each from a thread of its own if it likes.  It is pushed into,
 * closed and dropped (which drops the file) like a file.  All sections are closed before the file
 * goes on.  Cuts are made anew at its beginning: so it should begin where it will begin again. */
int gather_section(struct gather_file *file, struct gather_file **out, struct err *err);
/* From now on the file counts as changed while it was read: `ls` says so, and the snapshot is as
 * complete as before.  For content that is kept though something is known to be wrong with it. */
void gather_mark(struct gather_file *file);
int gather_close(struct gather_file *file, struct err *err);
void gather_drop(struct gather_file *file); /* NULL is allowed */

/* A whole file at once, cut by content. */
int gather_put(struct gather *gather, const char *path, const struct gather_attributes *attributes,
               const void *bytes, size_t size, struct err *err);
int gather_directory(struct gather *gather, const char *path,
                     const struct gather_attributes *attributes, struct err *err);
int gather_symlink(struct gather *gather, const char *path,
                   const struct gather_attributes *attributes, const char *target, struct err *err);

/* Something of the source could not be read, or should be known: goes to the run's `trouble` and
 * `note`, from one thread. */
int gather_trouble(struct gather *gather, const char *path, const struct err *failure,
                   struct err *err);
int gather_note(struct gather *gather, const char *path, const char *text, struct err *err);
struct progress *gather_progress(struct gather *gather); /* may be NULL */
bool gather_is_dry(const struct gather *gather); /* nothing is written: content may be left out */
/* The same as the interface that backup/source knows: cut by content, of this process's user. */
void gather_sink(struct gather *gather, struct sink *out);
/* When the run began: the time for whatever has none of its own. */
int64_t gather_start_ns(const struct gather *gather);

/* ---- for backup.c -------------------------------------------------------------------------- */

struct backup_options;
struct root_type;
struct treewriter;
struct units;

struct gather_options {
    const struct backup_options *backup;
    struct units *units;
    struct treewriter *treewriter; /* NULL: dry run */
    int64_t start_ns;
};

int gather_new(const struct gather_options *options, struct gather **out, struct err *err);
void gather_free(struct gather *gather); /* waits for what is under way; NULL is allowed */
/* Writes the directories.  Everything in `out` but new_bytes and complete is filled in. */
int gather_finish(struct gather *gather, struct root_type *out, struct err *err);
