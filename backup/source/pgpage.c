#include "backup/source/pgpage.h"

#include <string.h>

enum {
    SUMS = 32,
    WIDE = 8,
    VECTORS = SUMS / WIDE,
    PRIME = 16777619,
    AT_CHECKSUM = 8,
    AT_UPPER = 14,
    CHECKSUM_MAX = 65535
};

/* Eight of the sums. */
typedef uint32_t wide __attribute__((vector_size(WIDE * sizeof(uint32_t))));

static const uint32_t begin[SUMS] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

static uint16_t read_u16(const uint8_t *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint32_t read_u32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static inline __attribute__((always_inline)) void mix(wide sums[VECTORS], const uint8_t *bytes)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < VECTORS; i++) {
        wide words;
        memcpy(&words, bytes + i * sizeof(words), sizeof(words));
        words ^= sums[i];
        sums[i] = words * PRIME ^ words >> 17;
    }
}

static inline __attribute__((always_inline)) uint32_t fold(const uint8_t *page, size_t size)
{
    static const uint8_t zeros[SUMS * sizeof(uint32_t)];
    uint8_t first[sizeof(zeros)];
    uint32_t folded = 0;
    wide sums[VECTORS];

    memcpy(sums, begin, sizeof(sums));
    memcpy(first, page, sizeof(first));
    memset(first + AT_CHECKSUM, 0, sizeof(uint16_t)); /* not of itself */
    mix(sums, first);
    for (size_t at = sizeof(first); at + sizeof(first) <= size; at += sizeof(first))
        mix(sums, page + at);
    mix(sums, zeros);
    mix(sums, zeros);
    for (size_t i = 0; i < SUMS; i++)
        folded ^= sums[i / WIDE][i % WIDE];
    return folded;
}

#ifdef __x86_64__
/* With eight of them in a register. */
__attribute__((target("avx2"))) static uint32_t fold_wide(const uint8_t *page, size_t size)
{
    return fold(page, size);
}
#endif

static uint32_t fold_any(const uint8_t *page, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return fold_wide(page, size);
#endif
    return fold(page, size);
}

uint16_t pgpage_checksum(const uint8_t *page, size_t size, uint32_t block)
{
    return (uint16_t)((fold_any(page, size) ^ block) % CHECKSUM_MAX + 1);
}

uint16_t pgpage_stored_checksum(const uint8_t *page)
{
    return read_u16(page + AT_CHECKSUM);
}

bool pgpage_valid(const uint8_t *page, size_t size, uint32_t block, uint64_t start_lsn)
{
    uint64_t lsn = (uint64_t)read_u32(page) << 32 | read_u32(page + sizeof(uint32_t));

    if (read_u16(page + AT_UPPER) == 0 || lsn >= start_lsn)
        return true;
    return pgpage_checksum(page, size, block) == pgpage_stored_checksum(page);
}
