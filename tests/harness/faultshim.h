/*
 * faultshim — makes the Nth call of a program fail, kill it, or be written to a log.
 *
 * A library for LD_PRELOAD.  It counts the calls on files that concern $FAULT_DIR or what is below
 * it, and does to call number $FAULT_N what the environment says; everything else it passes on.
 *
 *   FAULT_DIR        absolute, without symbolic links
 *   FAULT_CALLS      what is counted: open create read write size sync name look attribute
 *                    memory, with commas between (default: all but memory)
 *   FAULT_N          which of them, from 1 on
 *   FAULT_STICKY     if set: that one and all later ones
 *   FAULT_ERRNO      EIO ENOSPC EDQUOT ENOMEM EMFILE EINTR, or `short`: half of a read or write
 *   FAULT_KILL       `before` or `after`: SIGKILL instead of an error
 *   FAULT_COUNT_FILE where the count is kept, a number of 64 bits (also after a kill)
 *   FAULT_TELL       where a line is appended about the first call that was hit
 *   FAULT_LOG        where all that changes something below FAULT_DIR is appended, for powercut.py
 *   FAULT_DROP_SYNC  which sync of a file or directory is to do nothing, and say that it did
 *
 * io_uring is refused, since what is read by it would not be seen.
 *
 * Not seen: what libc does inside itself (stdio, mkostemp, the reading of opendir's first block)
 * and writes to a mapping.  `memory` is malloc, calloc and realloc, wherever they are called from;
 * only faultshim_memory.so has them.
 *
 * Ownership: nothing is handed out.  Threads: any; with a log, calls that change something run one
 * at a time, so that the log has their order.  Errors: a plan that makes no sense ends the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

enum { FAULT_PATH_SIZE = 8192 };

enum fault_class {
    FAULT_OPEN = 1,
    FAULT_CREATE = 2, /* an open that makes or empties a file */
    FAULT_READ = 4,
    FAULT_WRITE = 8,
    FAULT_SIZE = 16, /* truncate, allocate */
    FAULT_SYNC = 32,
    FAULT_NAME = 64,
    FAULT_LOOK = 128, /* stat, list */
    FAULT_ATTRIBUTE = 256,
    FAULT_MEMORY = 512,
    FAULT_CHANGES = FAULT_CREATE | FAULT_WRITE | FAULT_SIZE | FAULT_SYNC | FAULT_NAME,
};

/* What is to become of one call. */
struct fate {
    bool is_below; /* it concerns the directory */
    bool is_logged;
    bool is_dropped; /* a sync that does nothing */
    bool is_short;
    bool kill_after;
    int error; /* 0, or what it fails with */
};

/* One record of the log; powercut.py reads it. */
struct fault_record {
    uint64_t kind; /* a letter: C M W T S A L U R */
    uint64_t inode;
    uint64_t dir;
    uint64_t other_dir;
    uint64_t offset; /* or size */
    const char *name;
    const char *other_name;
    const void *data;
    size_t data_size;
};

/* The kernel's call, with six arguments: sets errno. */
long fault_raw(long number, ...);

/* The absolute path that a call means; "" where there is none.  `path` may be NULL or "". */
void fault_path(int dirfd, const char *path, char out[FAULT_PATH_SIZE]);

/* Counts the call and says what is to become of it; fault_end() must follow unless .error is set.
 */
struct fate fault_begin(enum fault_class what, const char *call, const char *path);
struct fate fault_begin_at(enum fault_class what, const char *call, int dirfd, const char *path);
/* Sets errno to the error; -1. */
int fault_refuse(const struct fate *fate);
/* The end of a call that was made; returns `result`, and leaves errno alone. */
long fault_end(const struct fate *fate, long result);

/* Opens the log; false if it cannot. */
bool fault_log_open(const char *path);
bool fault_log_is_open(void);
/* Between begin and end only one thread changes anything. */
void fault_log_lock(void);
void fault_log_unlock(void);
void fault_log_write(const struct fault_record *record);
/* Records of what was just done; `path` is absolute. */
void fault_log_fd(char kind, int fd, uint64_t offset, const void *data, size_t size);
void fault_log_name(char kind, const char *path);
void fault_log_rename(const char *from, const char *to);
