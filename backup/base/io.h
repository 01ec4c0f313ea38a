/*
 * io — system calls on file descriptors that finish what they began.
 *
 * Short reads and writes are continued and EINTR is tried again, here and nowhere else.  None of
 * these functions knows a file's name: callers put it in front with err_context().
 *
 *     CLEANUP(closep) int fd = -1;
 *
 * Ownership: the caller closes what io_openat() opened.
 * Threads:   any; the descriptor's own rules apply.
 * Errors:    those of err_sys(), with the errno in `cause`.  ERR_TOO_LARGE from io_read_file().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;
struct err;

/* Reads up to `count` bytes; fewer arrive only at the end of the file. */
int io_read_full(int fd, void *bytes, size_t count, size_t *out_got, struct err *err);
int io_pread_full(int fd, void *bytes, size_t count, uint64_t offset, size_t *out_got,
                  struct err *err);

/* Writes all of it. */
int io_write_full(int fd, const void *bytes, size_t count, struct err *err);
int io_pwrite_full(int fd, const void *bytes, size_t count, uint64_t offset, struct err *err);

/* fsync(2); `what` is named in the error.  After a failure the data may be lost: never retry. */
int io_fsync(int fd, const char *what, struct err *err);

/* Cuts or extends the file. */
int io_truncate(int fd, uint64_t size, struct err *err);

/* Makes the entries of directory `name` below `dirfd` durable ("." is dirfd itself). */
int io_fsync_dir_at(int dirfd, const char *name, struct err *err);

/* Opens with O_CLOEXEC added. */
int io_openat(int dirfd, const char *name, int flags, mode_t mode, int *out_fd, struct err *err);

/* Where temporary files go: $TMPDIR, else /var/tmp. */
const char *io_scratch(void);

/* Opens a new file in directory `dir` that has no name and is gone when it is closed. */
int io_open_temporary(const char *dir, int *out_fd, struct err *err);

/* The descriptor is gone in any case; -ERR_SYSTEM, with errno, when a delayed write failed. */
int io_close(int fd);

/* For CLEANUP(): closes *fd unless it is -1, keeps errno. */
void closep(int *fd);

/* Reads a whole file of at most `limit` bytes to the end of `out`. */
int io_read_file(int dirfd, const char *name, size_t limit, struct buf *out, struct err *err);
