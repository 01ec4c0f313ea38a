/*
 * walname — the names that a server's archive uses: segments, histories, and files beside them.
 *
 * The name of a segment says its place only together with the segments' size.
 *
 * Ownership: plain values.
 * Threads:   any.
 * Errors:    none; what is no such name is false.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/wal.h"

enum { WALNAME_SIZE = 25 };

struct walname {
    enum wal_what what;    /* never WAL_TAIL */
    uint32_t timeline;     /* of a segment or a history */
    uint32_t high, number; /* of a segment: high half of its LSN, and which in there */
};

/* "000000010000000A000000FE", "00000002.history", "….partial", "….00000028.backup" */
bool walname_parse(const char *name, struct walname *out);
/* Where it begins; false: there is no such segment where they are of this size. */
bool walname_start(const struct walname *name, uint64_t segment_size, uint64_t *out);
void walname_format(uint32_t timeline, uint64_t start, uint64_t segment_size,
                    char out[WALNAME_SIZE]);
/* What an archive of this name says of itself, as far as the name tells; `segment_size` may be any
 * valid one for the object's name. */
void walname_meta(const struct walname *name, const char *text, uint64_t system,
                  uint64_t segment_size, struct wal_meta *out);
