/*
 * place — where stored bytes are: an archive, and an offset in its raw (decoded) space.
 *
 * Archives have ids of 256 bits; within a process each known archive also has a number, given out
 * by the idtable in the order of first mention and good until the process ends.  A place names the
 * archive by it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { ARCHIVE_ID_SIZE = 32, OBJECT_NAME_SIZE = 80 /* of an archive's object */ };

struct archive_id {
    uint8_t bytes[ARCHIVE_ID_SIZE];
};

/* As docs/format.md numbers them. */
enum archive_kind {
    ARCHIVE_DATA = 1,
    ARCHIVE_METADATA = 2,
    ARCHIVE_ROOT = 3,
    ARCHIVE_INDEX = 4,
    ARCHIVE_REMAP = 5,
    ARCHIVE_WAL = 6,
    ARCHIVE_NOTE = 9,
};

enum { NO_ARCHIVE = UINT32_MAX };

struct place {
    uint32_t archive; /* number in the idtable; NO_ARCHIVE: nowhere */
    uint32_t raw;
};

/* A run of a file's content: a hole, or bytes that lie together in one archive's raw space. */
struct extent {
    uint64_t length;
    struct place place; /* archive is NO_ARCHIVE for a hole */
};

static inline bool extent_is_hole(const struct extent *extent)
{
    return extent->place.archive == NO_ARCHIVE;
}

static inline bool place_equal(struct place a, struct place b)
{
    return a.archive == b.archive && a.raw == b.raw;
}

static inline bool archive_id_equal(const struct archive_id *a, const struct archive_id *b)
{
    return memcmp(a->bytes, b->bytes, ARCHIVE_ID_SIZE) == 0;
}
