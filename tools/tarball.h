/*
 * tarball — a stored directory, and all below it, as a tar stream.
 *
 * Hard links among what is written stay hard links; sockets are left out, as tar does.  Holes are
 * written as zeros.
 *
 * Ownership: borrows everything.
 * Threads:   one.
 * Errors:    ERR_CORRUPT and store errors; those of writing.
 */
#pragma once

#include <stdint.h>

struct blocks;
struct content;
struct entry;
struct err;

int tarball_write(struct blocks *blocks, const struct entry *directory, int fd, struct err *err);

/* The content of one file, and nothing around it. */
int tarball_content(struct blocks *blocks, const struct content *content, uint64_t size, int fd,
                    struct err *err);
