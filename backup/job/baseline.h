/*
 * baseline — "what did we have?": what a backup asks of whoever remembers earlier runs.
 *
 * The catalog implements it; a backup that is given none stores everything again and is none the
 * worse.
 *
 * Ownership: the implementer's.
 * Threads:   find_chunk and archive_usable from any thread while others add.
 * Errors:    a chunk that is not found is no error; add_archive's are those of memory and the
 * catalog's directory, and may be passed over: what cannot be remembered is stored again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct baseline;
struct err;
struct writer_result;

struct baseline_ops {
    /* Where a chunk of this id and length is stored, in an archive that is there and under no mark.
     */
    bool (*find_chunk)(struct baseline *baseline, const uint8_t id[32], uint32_t length,
                       struct place *out);
    /* Whether what is in this archive may be referred to: it is there, whole as far as is known,
     * and under no mark. */
    bool (*archive_usable)(struct baseline *baseline, uint32_t archive);
    /* An archive of this run is durable; `index` is its index record.  Its chunks can be found from
     * now on. */
    int (*add_archive)(struct baseline *baseline, const struct writer_result *archive,
                       const void *index, size_t size, struct err *err);
    /* Whether it is known to be damaged.  NULL: nobody knows. */
    bool (*archive_damaged)(struct baseline *baseline, uint32_t archive);
};

struct baseline {
    const struct baseline_ops *ops;
};
