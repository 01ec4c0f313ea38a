/*
 * sink — where a source that is no tree of files puts its files: an interface.
 *
 * The job's gather implements it (backup/job/gather.h, gather_sink()), so that what talks to a
 * database knows nothing of how things are stored.
 *
 * Ownership: close() and drop() end a file.
 * Threads:   any call from any thread; a file belongs to one thread at a time.
 * Errors:    the implementer's: they end the run, while the source's own go to trouble().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct progress;
struct sink_file;

struct sink {
    void *context;
    bool dry; /* nothing is kept: content may be left out */
    int64_t start_ns;
    struct progress *progress; /* may be NULL */
    int (*open)(void *context, const char *path, uint32_t mode, struct sink_file **out,
                struct err *err);
    /* A second file beside it: head, the same content, and what tail() adds. */
    int (*twin)(struct sink_file *file, const char *path, const void *head, size_t size,
                struct err *err);
    int (*push)(struct sink_file *file, const void *bytes, size_t size, struct err *err);
    /* A stream into the file, behind the sections that were opened before it: pushed into, closed
     * and dropped like a file, and before it. */
    int (*section)(struct sink_file *file, struct sink_file **out, struct err *err);
    int (*tail)(struct sink_file *file, const void *bytes, size_t size, struct err *err);
    int (*close)(struct sink_file *file, struct err *err);
    void (*drop)(struct sink_file *file); /* as if it had never been; NULL is allowed */
    int (*directory)(void *context, const char *path, uint32_t mode, struct err *err);
    /* What could not be read; what should be known. */
    int (*trouble)(void *context, const char *path, const struct err *failure, struct err *err);
    int (*note)(void *context, const char *path, const char *text, struct err *err);
};
