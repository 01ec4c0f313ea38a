#include "backup/archive/chunker.h"

#include "backup/base/bytes.h"
#include "backup/crypto/digest.h"

/* `h & MASK == 0` for a mask of the top bits is `h < limit`. */
static const uint64_t limit_short = (uint64_t)1 << (64 - 18);
static const uint64_t limit_long = (uint64_t)1 << (64 - 14);

void chunker_init(struct chunker *chunker, const struct digest_key *gear_key)
{
    uint8_t bytes[sizeof(chunker->table)];

    digest_expand(gear_key, bytes, sizeof(bytes));
    for (size_t i = 0; i < 256; i++)
        chunker->table[i] = load_le64(bytes + 8 * i);
    chunker->scan = gear_fastest(chunker->table);
}

size_t chunker_next(const struct chunker *chunker, const uint8_t *data, size_t count, bool last)
{
    size_t end = count < CHUNK_MAX ? count : CHUNK_MAX;
    size_t aim = end < CHUNK_AIM - 1 ? end : CHUNK_AIM - 1;

    if (count < CHUNK_MAX && !last)
        return 0;
    if (end <= CHUNK_MIN)
        return end;

    size_t cut = chunker->scan(chunker->table, data, CHUNK_MIN - 1, aim, limit_short);
    if (cut == aim && aim < end)
        cut = chunker->scan(chunker->table, data, aim, end, limit_long);
    return cut < end ? cut + 1 : end;
}
