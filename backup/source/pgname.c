#include "backup/source/pgname.h"

#include <stdbool.h>
#include <string.h>

#include "backup/base/text.h"

const char *const pgname_reserved_databases[] = {"cluster", "globals.sql", "manifest.json", NULL};
const char *const pgname_reserved_schemas[] = {"database.sql",
                                               "large_objects",
                                               "manifest.json",
                                               "schema.dump",
                                               "schema.sql",
                                               "sequences.sql",
                                               NULL};

static bool is_among(const char *name, const char *const *list)
{
    for (; list && *list; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

void pgname_encode(struct text *out, const char *name, const char *const *reserved)
{
    bool first = name[0] == '.' || is_among(name, reserved);

    for (const char *at = name; *at; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '/' || byte == '%' || byte < 0x20 || byte == 0x7F || (first && at == name))
            text_format(out, "%%%02X", byte);
        else
            text_bytes(out, at, 1);
    }
}
