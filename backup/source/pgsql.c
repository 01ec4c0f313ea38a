#include "backup/source/pgsql.h"

#include <string.h>

/* Behind blanks, comments and lines that begin with a backslash. */
static const char *skip(const char *at)
{
    for (;;) {
        at += strspn(at, " \t\r\n");
        if (strncmp(at, "--", 2) != 0 && *at != '\\')
            return at;
        at += strcspn(at, "\n");
    }
}

bool pgsql_next(const char **at, const char **out_statement, size_t *out_size)
{
    const char *start = skip(*at), *end = start;
    char quote = 0;

    if (!*start)
        return false;
    for (; *end && (quote || *end != ';'); end++) {
        if (quote ? *end == quote : *end == '\'' || *end == '"')
            quote = quote ? 0 : *end;
    }
    *out_statement = start;
    *out_size = (size_t)(end - start);
    *at = *end ? end + 1 : end;
    return true;
}

bool pgsql_begins(const char *statement, size_t size, const char *words, const char **out_rest)
{
    size_t length = strlen(words);

    if (size < length || strncmp(statement, words, length) != 0)
        return false;
    *out_rest = statement + length;
    return true;
}

size_t pgsql_name_size(const char *at, const char *end)
{
    const char *start = at;

    if (at < end && *at == '"') {
        for (at++; at < end && (*at != '"' || (at + 1 < end && at[1] == '"')); at++)
            at += *at == '"';
        return (size_t)(at - start) + (at < end);
    }
    while (at < end && !strchr(" \t\r\n;,", *at))
        at++;
    return (size_t)(at - start);
}
