/*
 * pgpage — whether a page of a PostgreSQL relation is what the server wrote.
 *
 * The checksum is the server's (src/include/storage/checksum_impl.h of PostgreSQL 13 to 18: 32 sums
 * in the manner of FNV-1a side by side, folded to 16 bits with the block's number).  It is in the
 * byte order of the machine that runs the server, which is this one.
 *
 * Threads: any.
 * Errors:  none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PGPAGE_SIZE_MIN = 1024, PGPAGE_SIZE_MAX = 32 * 1024 }; /* powers of two between them */

uint16_t pgpage_checksum(const uint8_t *page, size_t size, uint32_t block);
uint16_t pgpage_stored_checksum(const uint8_t *page);
/* Pages that were never used have none, and those that changed since `start_lsn` may be half
 * written: the log has them whole. */
bool pgpage_valid(const uint8_t *page, size_t size, uint32_t block, uint64_t start_lsn);
