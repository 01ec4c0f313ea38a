#include "backup/crypto/digest.h"

#include "backup/base/bytes.h"

void digest_bytes(const struct digest_key *key, const void *bytes, size_t count,
                  uint8_t out[DIGEST_SIZE])
{
    blake3_hasher hasher;

    blake3_hasher_init_keyed(&hasher, key->bytes);
    blake3_hasher_update(&hasher, bytes, count);
    blake3_hasher_finalize(&hasher, out, DIGEST_SIZE);
}

void digest_stream_start(struct digest_stream *stream, const struct digest_key *key)
{
    blake3_hasher_init_keyed(&stream->hasher, key->bytes);
}

void digest_stream_add(struct digest_stream *stream, const void *bytes, size_t count)
{
    blake3_hasher_update(&stream->hasher, bytes, count);
}

void digest_stream_finish(const struct digest_stream *stream, uint8_t *out, size_t count)
{
    blake3_hasher_finalize(&stream->hasher, out, count);
}

uint64_t digest_hash64(const struct digest_key *key, const void *bytes, size_t count)
{
    uint8_t out[DIGEST_SIZE];

    digest_bytes(key, bytes, count, out);
    return load_le64(out);
}

void digest_expand(const struct digest_key *key, uint8_t *out, size_t count)
{
    blake3_hasher hasher;

    blake3_hasher_init_keyed(&hasher, key->bytes);
    blake3_hasher_finalize(&hasher, out, count);
}
