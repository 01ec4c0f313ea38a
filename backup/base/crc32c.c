#include "backup/base/crc32c.h"

#include <pthread.h>

#include "backup/base/bytes.h"

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

enum { SLICES = 8 };
static const uint32_t polynomial = 0x82F63B78; /* Castagnoli, bits reversed */

static uint32_t tables[SLICES][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

/* tables[n][b]: what byte b does to the checksum when n bytes come behind it. */
static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
        tables[0][byte] = crc;
    }
    for (int n = 1; n < SLICES; n++)
        for (uint32_t byte = 0; byte < 256; byte++)
            tables[n][byte] = tables[n - 1][byte] >> 8 ^ tables[0][tables[n - 1][byte] & 0xFF];
}

static uint32_t eight_bytes(uint32_t crc, const uint8_t *at)
{
    uint32_t low = crc ^ load_le32(at), high = load_le32(at + 4);

    return tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^
           tables[4][low >> 24] ^ tables[3][high & 0xFF] ^ tables[2][high >> 8 & 0xFF] ^
           tables[1][high >> 16 & 0xFF] ^ tables[0][high >> 24];
}

static uint32_t by_table(uint32_t crc, const uint8_t *at, size_t count)
{
    (void)pthread_once(&tables_once, make_tables);
    for (; count >= SLICES; count -= SLICES, at += SLICES)
        crc = eight_bytes(crc, at);
    for (; count > 0; count--, at++)
        crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xFF];
    return crc;
}

#ifdef __x86_64__
#define WITH_CRC __attribute__((target("sse4.2")))

/* Processors since 2008 have an instruction for just this polynomial.  It takes three cycles and
 * can begin in each: so three pieces go side by side, and are put together by what follows from
 * the sum being linear. */
enum { PIECE = 1024 };

static uint32_t shift_tables[sizeof(uint32_t)][256];
static pthread_once_t shift_once = PTHREAD_ONCE_INIT;

WITH_CRC static uint32_t one_piece(uint32_t crc, const uint8_t *at, size_t count)
{
    uint64_t sum = crc;

    for (; count >= sizeof(uint64_t); count -= sizeof(uint64_t), at += sizeof(uint64_t))
        sum = _mm_crc32_u64(sum, load_le64(at));
    for (; count > 0; count--, at++)
        sum = _mm_crc32_u8((uint32_t)sum, *at);
    return (uint32_t)sum;
}

/* What each byte of a sum becomes when a piece of zeros comes behind it. */
static void make_shift_tables(void)
{
    static const uint8_t zeros[PIECE];

    for (uint32_t n = 0; n < sizeof(uint32_t); n++)
        for (uint32_t byte = 0; byte < 256; byte++)
            shift_tables[n][byte] = one_piece(byte << 8 * n, zeros, PIECE);
}

static uint32_t behind_it(uint32_t crc, uint32_t next)
{
    return shift_tables[0][crc & 0xFF] ^ shift_tables[1][crc >> 8 & 0xFF] ^
           shift_tables[2][crc >> 16 & 0xFF] ^ shift_tables[3][crc >> 24] ^ next;
}

WITH_CRC static uint32_t three_pieces(uint32_t crc, const uint8_t *at)
{
    uint64_t first = crc, second = 0, third = 0;

    for (size_t i = 0; i < PIECE; i += sizeof(uint64_t)) {
        first = _mm_crc32_u64(first, load_le64(at + i));
        second = _mm_crc32_u64(second, load_le64(at + PIECE + i));
        third = _mm_crc32_u64(third, load_le64(at + 2 * PIECE + i));
    }
    return behind_it(behind_it((uint32_t)first, (uint32_t)second), (uint32_t)third);
}

static uint32_t by_instruction(uint32_t crc, const uint8_t *at, size_t count)
{
    (void)pthread_once(&shift_once, make_shift_tables);
    for (; count >= 3 * PIECE; count -= 3 * PIECE, at += 3 * PIECE)
        crc = three_pieces(crc, at);
    return one_piece(crc, at, count);
}
#endif

uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t count)
{
    return ~by_table(~crc, bytes, count);
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~by_instruction(~crc, bytes, count);
#endif
    return crc32c_by_table(crc, bytes, count);
}
