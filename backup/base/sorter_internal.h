/*
 * sorter_internal — what collecting (sorter.c) and merging (sorter_merge.c) share.
 *
 * A record is its length as 32 bits and its bytes, in memory and in a run alike.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/base/bytes.h"

struct err;
struct merge;

enum { RECORD_HEADER = 4 };

/* A part of the temporary file. */
struct run {
    uint64_t start;
    uint64_t end;
};

/* Both point to the header of a record. */
static inline int compare_records(const uint8_t *a, const uint8_t *b)
{
    uint32_t a_size = load_le32(a);
    uint32_t b_size = load_le32(b);
    int order = memcmp(a + RECORD_HEADER, b + RECORD_HEADER, a_size < b_size ? a_size : b_size);

    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* `runs` and `fd` stay the caller's, and in place, until merge_free(). */
int merge_new(int fd, const struct run *runs, size_t count, size_t memory_limit, struct merge **out,
              struct err *err);
void merge_free(struct merge *merge);
void merge_freep(struct merge **merge);

/* The header of the smallest record left, good until the next call; NULL after the last. */
int merge_next(struct merge *merge, const uint8_t **out_record, struct err *err);
