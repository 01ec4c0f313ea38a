/*
 * toc — the bytes of an archive's sections: its table of blocks, its chunks, its references.
 *
 * Contents of the sections only: neither codec byte nor seal.  The index archives hold them in the
 * same form.
 *
 * Ownership: what is decoded is malloc'ed for the caller.
 * Threads:   any call from any thread.
 * Errors:    ERR_CORRUPT for what docs/format.md does not allow; ERR_NOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/reader.h"

struct buf;
struct err;

int toc_encode(const struct block_info *blocks, size_t count, struct buf *out, struct err *err);
/* As many blocks as there are, 1…ARCHIVE_BLOCKS_MAX; offsets and raw offsets are filled in. */
int toc_decode(const uint8_t *bytes, size_t size, struct block_info **out, size_t *out_count,
               struct err *err);
/* Where the blocks end, in the object. */
uint64_t toc_stored_end(const struct block_info *blocks, size_t count);
uint32_t toc_raw_end(const struct block_info *blocks, size_t count);

/* Chunks by ascending raw offset. */
int toc_encode_chunks(const struct chunk *chunks, size_t count, struct buf *out, struct err *err);
/* Each must lie within one of the blocks.  None: *out is NULL. */
int toc_decode_chunks(const uint8_t *bytes, size_t size, const struct block_info *blocks,
                      size_t block_count, struct chunk **out, size_t *out_count, struct err *err);
/* Ascending, each once. */
int toc_decode_references(const uint8_t *bytes, size_t size, struct archive_id **out,
                          size_t *out_count, struct err *err);
