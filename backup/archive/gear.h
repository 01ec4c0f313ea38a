/*
 * gear — the rolling hash of the chunker (docs/format.md, "Content"), in several forms that find
 * the same places; which is fastest depends on the processor (docs/decisions/chunker.md).
 *
 * The hash of a byte depends on it and on the 63 before it, so places that are apart can be looked
 * at side by side.
 *
 * Ownership: forms are static.
 * Threads:   any.
 * Errors:    none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GEAR_WINDOW = 64 }; /* bytes that a hash of 64 bits depends on */

/* The first i in [from, to) where the hash that ends with data[i] is below the limit, or `to`.
 * GEAR_WINDOW - 1 bytes before `from` are there.  `table` has 256 entries. */
typedef size_t gear_scan(const uint64_t *table, const uint8_t *data, size_t from, size_t to,
                         uint64_t limit);

struct gear_form {
    const char *name;
    gear_scan *scan;
    bool (*usable)(void); /* by this processor */
};

const struct gear_form *gear_forms(size_t *out_count);

/* The form that is fastest here: measured, which takes some 0.2 ms. */
gear_scan *gear_fastest(const uint64_t *table);
