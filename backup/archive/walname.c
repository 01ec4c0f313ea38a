#include "backup/archive/walname.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS = 8, SEGMENT_DIGITS = 3 * DIGITS };

/* Exactly eight upper-case digits. */
static bool parse_hex(const char *text, uint32_t *out)
{
    uint32_t value = 0;

    for (size_t i = 0; i < DIGITS; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value << 4 | (uint32_t)(c - 'A' + 10);
        else
            return false;
    }
    *out = value;
    return true;
}

static bool is_beside(const char *rest)
{
    uint32_t offset;

    if (strcmp(rest, ".partial") == 0)
        return true;
    return rest[0] == '.' && strlen(rest) == 1 + DIGITS + strlen(".backup") &&
           parse_hex(rest + 1, &offset) && strcmp(rest + 1 + DIGITS, ".backup") == 0;
}

bool walname_parse(const char *name, struct walname *out)
{
    struct walname parsed = {.what = WAL_SEGMENT};
    size_t size = strlen(name);

    if (size < DIGITS || !parse_hex(name, &parsed.timeline) || parsed.timeline == 0)
        return false;
    if (strcmp(name + DIGITS, ".history") == 0)
        parsed.what = WAL_HISTORY;
    else if (size < SEGMENT_DIGITS || !parse_hex(name + DIGITS, &parsed.high) ||
             !parse_hex(name + 2 * DIGITS, &parsed.number))
        return false;
    else if (size > SEGMENT_DIGITS)
        parsed.what = WAL_FILE;
    if (parsed.what == WAL_FILE && !is_beside(name + SEGMENT_DIGITS))
        return false;
    *out = parsed;
    return true;
}

bool walname_start(const struct walname *name, uint64_t segment_size, uint64_t *out)
{
    if (name->number >= (UINT64_C(1) << 32) / segment_size || name->high > INT32_MAX)
        return false;
    *out = (uint64_t)name->high << 32 | name->number * segment_size;
    return true;
}

void walname_format(uint32_t timeline, uint64_t start, uint64_t segment_size,
                    char out[WALNAME_SIZE])
{
    (void)snprintf(out, WALNAME_SIZE, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, timeline,
                   (uint32_t)(start >> 32), (uint32_t)((start & UINT32_MAX) / segment_size));
}

void walname_meta(const struct walname *name, const char *text, uint64_t system,
                  uint64_t segment_size, struct wal_meta *out)
{
    *out = (struct wal_meta){.what = name->what, .system = system, .timeline = name->timeline};
    if (name->what == WAL_FILE)
        (void)snprintf(out->name, sizeof(out->name), "%s", text);
    if (name->what != WAL_SEGMENT)
        return;
    out->segment_size = segment_size;
    out->start = (uint64_t)name->high << 32 | name->number * segment_size;
}
