/*
 * reader — one archive opened for reading: header, toc and trailer checked, blocks on demand.
 *
 * Ownership: reader_close() ends it.
 * Threads:   immutable once open: any call from any thread, each with its own codec.
 * Errors:    ERR_CORRUPT, naming archive and block, for everything that is not as it was written;
 * ERR_NOT_FOUND.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"
#include "backup/archive/writer.h"

struct buf;
struct err;
struct reader;
struct repo;

struct block_info {
    uint32_t raw; /* where it begins in the raw space */
    uint32_t raw_size;
    uint64_t offset; /* in the object */
    uint32_t stored_size;
};

/* `object_name` NULL: by kind and id. */
int reader_open(struct repo *repo, enum archive_kind kind, const struct archive_id *id,
                const char *object_name, struct reader **out, struct err *err);
void reader_close(struct reader *reader); /* NULL is allowed */
void reader_closep(struct reader **reader);

const struct archive_id *
reader_id(const struct reader *reader); /* from the header: a root's is not in its name */
uint32_t reader_epoch(const struct reader *reader);
uint64_t reader_size(const struct reader *reader); /* of the object */
size_t reader_memory(const struct reader *reader); /* bytes that keeping it open takes */
uint32_t reader_raw_end(const struct reader *reader);
size_t reader_blocks(const struct reader *reader);
const struct block_info *reader_block(const struct reader *reader, size_t number);
/* The block in which `raw` lies; ERR_CORRUPT for a dead place. */
int reader_find(const struct reader *reader, uint32_t raw, size_t *out_number, struct err *err);

/* Fetches, opens and decodes one block into `out`, which has raw_size bytes. */
int reader_decode(const struct reader *reader, struct codec *codec, size_t number, uint8_t *out,
                  struct err *err);
/* The same from the stored bytes of this block, which the caller fetched. */
int reader_decode_fetched(const struct reader *reader, struct codec *codec, size_t number,
                          const uint8_t *stored, uint8_t *out, struct err *err);
/* The same where the stored bytes are the caller's own, and are overwritten; `out` has a byte in
 * front of it, which is as it was in the end. */
int reader_decode_own(const struct reader *reader, struct codec *codec, size_t number,
                      uint8_t *stored, uint8_t *out, struct err *err);
/* Opens the stored bytes of one block without decoding them: `out` gets stored_size - SEAL_TAG_SIZE
 * bytes, codec byte and content. */
int reader_open_block(const struct reader *reader, size_t number, const uint8_t *stored,
                      uint8_t *out, struct err *err);
/* The stored bytes of `count` blocks in one piece; block_info.offset tells where each begins. */
int reader_fetch(const struct reader *reader, size_t first, size_t count, uint8_t *out,
                 struct err *err);
/* The same with room around it: *out is malloc'ed, the first block is *out_skip further on. */
int reader_fetch_run(const struct reader *reader, size_t first, size_t count, uint8_t **out,
                     size_t *out_skip, struct err *err);

/* The same into the caller's room, which has READER_AROUND bytes more than the blocks. */
enum { READER_AROUND = 128 * 1024 };
int reader_fetch_into(const struct reader *reader, size_t first, size_t count, uint8_t *room,
                      size_t *out_skip, struct err *err);

/* The chunk table: `raw` of each chunk filled in.  *out is malloc'ed. */
int reader_chunks(const struct reader *reader, struct chunk **out, size_t *out_count,
                  struct err *err);
/* Metadata: the archives that it refers to; *out is malloc'ed. */
int reader_references(const struct reader *reader, struct archive_id **out, size_t *out_count,
                      struct err *err);

/* For verify: parts that no reader of blocks looks at.  Whether the first header is that of the
 * trailer, and whether the padding is as it was written. */
int reader_check_header(const struct reader *reader, struct err *err);
int reader_check_padding(const struct reader *reader, struct err *err);

/* One record of an index archive's stream; see docs/format.md, "Index archives". */
struct index_record {
    struct archive_id id;
    enum archive_kind kind;
    uint64_t size;
    const uint8_t *toc, *chunks; /* point into the parsed bytes */
    size_t toc_size, chunks_size;
};
int index_record_encode(const struct index_record *record, struct buf *out, struct err *err);
/* Takes one record off the front of *at (ERR_CORRUPT: bad; *out_need > 0 and 0: at least so many
 * more bytes are needed, and *at stays). */
int index_record_parse(const uint8_t **at, const uint8_t *end, struct index_record *out,
                       size_t *out_need, struct err *err);
/* Its blocks, and the chunks of a data archive; *out is malloc'ed. */
int index_record_blocks(const struct index_record *record, struct block_info **out,
                        size_t *out_count, struct err *err);
int index_record_chunks(const struct index_record *record, struct chunk **out, size_t *out_count,
                        struct err *err);
/* The same record made from an archive that no index names. */
int reader_index_record(const struct reader *reader, struct buf *index, struct err *err);
