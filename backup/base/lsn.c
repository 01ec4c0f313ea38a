#include "backup/base/lsn.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIGITS_MAX = 8 };

/* Stops at the first character that is no digit; 0 digits or more than eight are none. */
static size_t read_half(const char *text, uint64_t *out)
{
    char *end;
    size_t digits = 0;

    while (isxdigit((unsigned char)text[digits]))
        digits++;
    if (digits == 0 || digits > DIGITS_MAX)
        return 0;
    *out = strtoull(text, &end, 16);
    return digits;
}

bool lsn_parse(const char *text, uint64_t *out)
{
    uint64_t high, low;
    size_t first = read_half(text, &high);

    if (first == 0 || text[first] != '/')
        return false;
    size_t second = read_half(text + first + 1, &low);
    if (second == 0 || text[first + 1 + second] != 0)
        return false;
    *out = high << 32 | low;
    return true;
}

void lsn_format(uint64_t lsn, char out[LSN_TEXT_SIZE])
{
    (void)snprintf(out, LSN_TEXT_SIZE, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
}
