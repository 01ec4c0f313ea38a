/*
 * crc32c — the checksum that PostgreSQL puts on records of its log and on files of a base backup.
 *
 * It finds accidents, nothing else: what is to be trusted has a keyed digest or a seal.
 *
 * Threads: any.
 * Errors:  none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Goes on from `crc`, which is 0 at first. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t count);
/* The same, as it is found where the processor has no instruction for it. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t count);
