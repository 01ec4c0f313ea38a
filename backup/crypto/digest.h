/*
 * digest — keyed BLAKE3: the names of chunks, the digests of files, the hash of names.
 *
 * The key is the repository's id key: without it nobody can tell whether a known file is stored.
 *
 * Ownership: plain values.
 * Threads:   any; a struct digest_stream belongs to one at a time.
 * Errors:    none.
 */
#pragma once

#include <blake3.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGEST_SIZE = 32, DIGEST_KEY_SIZE = 32 };

struct digest_key {
    uint8_t bytes[DIGEST_KEY_SIZE];
};

/* A digest of bytes that come in pieces. */
struct digest_stream {
    blake3_hasher hasher;
};

void digest_bytes(const struct digest_key *key, const void *bytes, size_t count,
                  uint8_t out[DIGEST_SIZE]);

void digest_stream_start(struct digest_stream *stream, const struct digest_key *key);
void digest_stream_add(struct digest_stream *stream, const void *bytes, size_t count);
void digest_stream_finish(const struct digest_stream *stream, uint8_t *out, size_t count);

/* The first eight bytes of the digest as a number: where leaves end, which shard, st_ino. */
uint64_t digest_hash64(const struct digest_key *key, const void *bytes, size_t count);

/* `count` bytes of key stream from a key: the chunker's table. */
void digest_expand(const struct digest_key *key, uint8_t *out, size_t count);
