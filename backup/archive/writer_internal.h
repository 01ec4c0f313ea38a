/*
 * writer_internal — what writer.c (blocks) and writer_commit.c (all behind them) share.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/format.h"
#include "backup/archive/reader.h"
#include "backup/archive/writer.h"
#include "backup/base/err.h"

struct store_put;

struct writer {
    struct repo *repo; /* these are fixed when it is made */
    struct store_put *put;
    struct header header;
    uint8_t header_bytes[HEADER_SIZE];
    struct part_key key;
    uint32_t number;
    int64_t begun_ns; /* clock_boot_ns() */

    pthread_mutex_t lock; /* guards what follows */
    struct err failure;   /* a block has its place, but is not in it: why; code ERR_NONE: all are */
    struct block_info *blocks;
    size_t block_count, block_capacity;
    struct chunk *chunks;
    size_t chunk_count, chunk_capacity;
    uint8_t *referred; /* a bit for each archive's number */
    size_t referred_size, reference_count;
};

/* Seals a plaintext in place and proves that what is stored decodes to `raw`: bad memory or a bad
 * encoder shall show now, not when the data is needed. */
int writer_seal(struct writer *writer, struct codec *codec, enum part part, uint64_t counter,
                uint8_t *plain, size_t plain_size, const uint8_t *raw, size_t raw_size,
                struct err *err);
