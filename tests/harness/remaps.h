/*
 * remaps — entries of a remap between archives that a letter names.
 */
#pragma once

#include <string.h>

#include "backup/archive/remap.h"

static inline struct archive_id id_of(char letter)
{
    struct archive_id id;

    memset(id.bytes, letter, sizeof(id.bytes));
    return id;
}

/* "What lay in `old` from … to … lies in `new` at …". */
static inline struct remap_entry entry(char old, char new, uint32_t from, uint32_t end, uint32_t at)
{
    return (struct remap_entry){.old = id_of(old),
                                .new = id_of(new),
                                .kind = ARCHIVE_DATA,
                                .from = from,
                                .end = end,
                                .at = at};
}
