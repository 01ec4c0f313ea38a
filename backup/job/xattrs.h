/*
 * xattrs — the extended attributes of a source file, ACLs and capabilities among them, as the set
 * that is stored.
 *
 * Threads: any.
 * Errors:  ERR_SYSTEM; a file system without attributes has none and that is no error.
 */
#pragma once

#include "backup/archive/writer.h"

struct buf;
struct err;
struct srcdir;

/* All of one file's: what one block takes.  More is ERR_TOO_LARGE. */
enum { XATTRS_SET_MAX = BLOCK_RAW_MAX };

/* Of an open file or directory. */
int xattrs_of_fd(int fd, struct buf *out, struct err *err);
/* Of a name that must not be opened or followed: symlinks, fifos, devices. */
int xattrs_of_name(const struct srcdir *dir, const char *name, struct buf *out, struct err *err);
