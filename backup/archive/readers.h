/*
 * readers — open archives, a bounded number of them, by memory and by count.
 *
 * Opening one costs a read of 64 KiB, a derivation and a toc in memory, so they stay open; what was
 * let go longest ago is closed first.  Single-flight: of several threads that want one archive, one
 * opens it.
 *
 * Ownership: a reader from readers_acquire() is good until readers_release(); those in use are not
 *            closed and may exceed the bounds.
 * Threads:   any call from any thread; archives are opened and closed unlocked.
 * Errors:    those of reader_open(); who waited for a failed opening tries for itself.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;
struct reader;
struct readers;
struct repo;

/* NULL: out of memory. */
struct readers *readers_new(struct repo *repo, size_t memory, size_t count);
void readers_free(struct readers *readers); /* none in use any more; NULL is allowed */

/* `archive` is a number of the repository's idtable. */
int readers_acquire(struct readers *readers, uint32_t archive, const struct reader **out,
                    struct err *err);
/* Only if it is open: the reader, or NULL. */
const struct reader *readers_peek(struct readers *readers, uint32_t archive);
void readers_release(struct readers *readers, uint32_t archive);
/* Before it is released, by who read in it that it is gone: who comes after its last user opens it
 * anew. */
void readers_gone(struct readers *readers, uint32_t archive);
