#include "backup/archive/chunker.h"

#include "backup/base/bytes.h"
#include "backup/crypto/digest.h"

enum { WINDOW = 64 }; /* bytes that a hash of 64 bits depends on */

/* `h & MASK == 0` for a mask of the top bits is `h < limit`. */
static const uint64_t limit_short = (uint64_t)1 << (64 - 18);
static const uint64_t limit_long = (uint64_t)1 << (64 - 14);

void chunker_init(struct chunker *chunker, const struct digest_key *gear_key)
{
    uint8_t bytes[sizeof(chunker->table)];

    digest_expand(gear_key, bytes, sizeof(bytes));
    for (size_t i = 0; i < 256; i++)
        chunker->table[i] = load_le64(bytes + 8 * i);
}

static inline uint64_t roll(const uint64_t *table, uint64_t hash, uint8_t byte)
{
    return (hash << 1) + table[byte];
}

/* The first i in [from, to) where the hash that ends with data[i] is below the limit, or `to`.
 * WINDOW - 1 bytes before `from` are there: with them the hash is what it would be had it begun
 * with the chunk. */
static size_t scan(const uint64_t *table, const uint8_t *data, size_t from, size_t to,
                   uint64_t limit)
{
    uint64_t hash = 0;

    for (size_t i = from - (WINDOW - 1); i < from; i++)
        hash = roll(table, hash, data[i]);
    for (size_t i = from; i < to; i++) {
        hash = roll(table, hash, data[i]);
        if (hash < limit)
            return i;
    }
    return to;
}

size_t chunker_next(const struct chunker *chunker, const uint8_t *data, size_t count, bool last)
{
    size_t end = count < CHUNK_MAX ? count : CHUNK_MAX;
    size_t aim = end < CHUNK_AIM - 1 ? end : CHUNK_AIM - 1;

    if (count < CHUNK_MAX && !last)
        return 0;
    if (end <= CHUNK_MIN)
        return end;

    size_t cut = scan(chunker->table, data, CHUNK_MIN - 1, aim, limit_short);
    if (cut == aim && aim < end)
        cut = scan(chunker->table, data, aim, end, limit_long);
    return cut < end ? cut + 1 : end;
}
