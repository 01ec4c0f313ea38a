/*
 * move — blocks out of old archives into new ones, encoded as they are and sealed anew.
 *
 * For compaction (the live blocks of sparse archives) and for re-encryption (all blocks of an old
 * epoch's archive): new archives are sealed with keys of their own in the current epoch.  Every
 * block is opened, decoded once, compared with the ids of its chunks, and what is written is proved
 * as a backup does.  What is to come before and after stands in remap.h.
 *
 * All that is moved of one archive goes into one new archive, so that one remap entry tells of it;
 * a new archive is closed when the next one does not fit any more.
 *
 *     mover_new(repo, ARCHIVE_DATA, done, context, &mover, err)
 *     mover_add(mover, reader, live, err)      for each source
 *     mover_finish(mover, err)
 *     mover_entries(mover, &count)             for remap_publish()
 *
 * Ownership: borrows the readers for the call.  The entries belong to the mover.
 * Threads:   one at a time; several movers side by side.
 * Errors:    ERR_CORRUPT where a source is damaged: what was moved of it before is in no entry, and
 * the mover can be used on; those of the store and of `done`: mover_free() and nothing more.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/remap.h"

struct err;
struct mover;
struct reader;
struct repo;
struct writer_result;

/* Is told of each new archive when it is durable, with its index record (for job/runindex). */
typedef int mover_done_fn(void *context, const struct writer_result *archive, const void *index,
                          size_t size, struct err *err);

/* `kind`: ARCHIVE_DATA or ARCHIVE_METADATA, of all sources. */
int mover_new(struct repo *repo, enum archive_kind kind, mover_done_fn *done, void *context,
              struct mover **out, struct err *err);
void mover_free(struct mover *mover); /* drops what is not durable; NULL is allowed */

/* Moves the blocks whose bit is set in `live` (bit n % 8 of byte n / 8 for block n; NULL: all of
 * them).  No bit at all: nothing happens, and there is no entry. */
int mover_add(struct mover *mover, const struct reader *source, const uint8_t *live,
              struct err *err);
/* Makes the last archive durable. */
int mover_finish(struct mover *mover, struct err *err);
/* Of what is durable, in the order in which it was added. */
const struct remap_entry *mover_entries(const struct mover *mover, size_t *out_count);
uint64_t mover_stored(const struct mover *mover); /* sizes of the new archives so far */
