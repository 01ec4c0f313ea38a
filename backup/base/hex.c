#include "backup/base/hex.h"

#include <stdint.h>

void hex_encode(const void *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = bytes;

    for (size_t i = 0; i < size; i++) {
        *out++ = digits[at[i] >> 4];
        *out++ = digits[at[i] & 15];
    }
    *out = '\0';
}

static bool is_hex_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static uint8_t digit_value(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

bool hex_decode(const char *text, size_t text_size, void *out, size_t size)
{
    uint8_t *bytes = out;

    if (text_size % 2 != 0 || text_size / 2 != size)
        return false;
    for (size_t i = 0; i < text_size; i++)
        if (!is_hex_digit(text[i]))
            return false;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(digit_value(text[2 * i]) << 4 | digit_value(text[2 * i + 1]));
    return true;
}
