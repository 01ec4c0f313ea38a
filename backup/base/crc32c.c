#include "backup/base/crc32c.h"

#include <pthread.h>

#include "backup/base/bytes.h"

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

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;

    (void)pthread_once(&tables_once, make_tables);
    crc = ~crc;
    for (; count >= SLICES; count -= SLICES, at += SLICES)
        crc = eight_bytes(crc, at);
    for (; count > 0; count--, at++)
        crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xFF];
    return ~crc;
}
