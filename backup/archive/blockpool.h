/*
 * blockpool — memory for decoded blocks that is used again.
 *
 * A cache of blocks takes and gives back nearly the same number of bytes over and over.  Each page
 * that is touched for the first time costs about as much as decoding what goes into it, so this
 * memory comes from the system in huge pages, where it has them, and is not given back before the
 * end.  The first 2 MiB are in pages of the usual size: who reads one block does not pay for
 * clearing as much.
 *
 * Ownership: what was taken is given back with its size, also after blockpool_close(); all of it is
 * kept until both have happened.
 * Threads:   any call from any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct blockpool;

enum { BLOCKPOOL_UNIT = 16 * 1024, BLOCKPOOL_MOST = 1024 * 1024 };

struct blockpool *blockpool_new(void); /* NULL: out of memory */
void blockpool_close(struct blockpool *pool);

/* Up to BLOCKPOOL_MOST bytes with anything in them; NULL: out of memory. */
uint8_t *blockpool_take(struct blockpool *pool, size_t size);
void blockpool_give(struct blockpool *pool, uint8_t *memory, size_t size);
/* What so many bytes take in it. */
size_t blockpool_weight(size_t size);
