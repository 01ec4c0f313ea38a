/*
 * wal_internal — what wal.c (names, the document), walwriter.c and walreader.c share.
 */
#pragma once

#include "backup/archive/wal.h"

enum {
    WAL_BLOCK_RAW = 256 * 1024, /* of content and index, as writers cut it */
    WAL_DOCUMENT_MAX = 256 * 1024,
    WAL_MARK_BYTES_MAX = 30, /* three varints */
};

/* Within microseconds that are nanoseconds in an int64_t. */
#define WAL_TIME_LIMIT_US INT64_C(9000000000000000)

static inline bool wal_time_valid(int64_t time_us)
{
    return time_us >= -WAL_TIME_LIMIT_US && time_us <= WAL_TIME_LIMIT_US;
}
