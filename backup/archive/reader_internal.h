/*
 * reader_internal — what the files of reader share: reader_open.c opens, reader.c reads.
 */
#pragma once

#include "backup/archive/format.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"

struct sealed;

enum { READER_NAME_SIZE = OBJECT_NAME_SIZE };

struct reader {
    struct sealed *object;
    char name[READER_NAME_SIZE]; /* of the object, for messages */
    uint64_t size;
    uint8_t header_bytes[HEADER_SIZE]; /* the trailer's copy */
    struct header header;
    struct part_key key;
    struct trailer trailer;
    struct block_info *blocks; /* trailer.blocks of them */
};

/* Opens a stored section in place and decodes it; *out is malloc'ed. */
int reader_section(const struct part_key *key, enum part part, uint8_t *stored, size_t size,
                   uint8_t **out, size_t *out_size, struct err *err);
/* `size` bytes of the object; *out is malloc'ed. */
int reader_bytes(const struct reader *reader, uint64_t offset, size_t size, uint8_t **out,
                 struct err *err);
