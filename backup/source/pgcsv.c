#include "backup/source/pgcsv.h"

#include <string.h>

#include "backup/base/err.h"

int pgcsv_end(struct pgcsv *csv, struct err *err)
{
    size_t size = csv->fill;

    csv->fill = 0;
    return size > 0 ? csv->take(csv->context, csv->buffer, size, err) : 0;
}

static int put(struct pgcsv *csv, char byte, struct err *err)
{
    int r = csv->fill == sizeof(csv->buffer) ? pgcsv_end(csv, err) : 0;

    if (r == 0)
        csv->buffer[csv->fill++] = byte;
    return r;
}

static int put_all(struct pgcsv *csv, const char *bytes, size_t size, struct err *err)
{
    int r = 0;

    while (r == 0 && size > 0) {
        size_t room = sizeof(csv->buffer) - csv->fill;
        size_t count = size < room ? size : room;
        memcpy(csv->buffer + csv->fill, bytes, count);
        csv->fill += count;
        bytes += count;
        size -= count;
        if (csv->fill == sizeof(csv->buffer))
            r = pgcsv_end(csv, err);
    }
    return r;
}

/* What stands behind the backslash at field[*at]; *at moves onto it. */
static char unescaped(const char *field, size_t size, size_t *at)
{
    if (*at + 1 == size)
        return '\\';
    switch (field[++*at]) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'v':
        return '\v';
    default:
        return field[*at];
    }
}

static char byte_at(const char *field, size_t size, size_t *at)
{
    return field[*at] == '\\' ? unescaped(field, size, at) : field[*at];
}

static bool is(const char *field, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(field, text, size) == 0;
}

static bool needs_quotes(const char *field, size_t size)
{
    bool needs = size == 0 || is(field, size, "\\\\."); /* \. alone would end COPY's input */

    for (size_t at = 0; at < size && !needs; at++) {
        char byte = byte_at(field, size, &at);
        needs = byte == ',' || byte == '"' || byte == '\n' || byte == '\r';
    }
    return needs;
}

/* Most fields are the same in both forms; those that are empty are not. */
static bool is_plain(const char *field, size_t size)
{
    return size > 0 && !memchr(field, '\\', size) && !memchr(field, ',', size) &&
           !memchr(field, '"', size) && !memchr(field, '\r', size);
}

static int put_field(struct pgcsv *csv, const char *field, size_t size, struct err *err)
{
    if (is_plain(field, size))
        return put_all(csv, field, size, err);
    if (is(field, size, "\\N"))
        return 0;
    bool quotes = needs_quotes(field, size);
    int r = quotes ? put(csv, '"', err) : 0;
    for (size_t at = 0; r == 0 && at < size; at++) {
        char byte = byte_at(field, size, &at);
        r = byte == '"' ? put(csv, '"', err) : 0;
        if (r == 0)
            r = put(csv, byte, err);
    }
    return r == 0 && quotes ? put(csv, '"', err) : r;
}

/* A column's quotes are those of CSV already; only the blanks between them are in the way. */
int pgcsv_header(struct pgcsv *csv, const char *columns, struct err *err)
{
    size_t size = strlen(columns);
    bool quoted = false;
    int r = 0;

    csv->columnless = size == 0;
    for (size_t at = 1; r == 0 && at + 1 < size; at++) {
        quoted = quoted != (columns[at] == '"');
        if (quoted || columns[at] != ' ')
            r = put(csv, columns[at], err);
    }
    return r < 0 ? r : put(csv, '\n', err);
}

static int put_fields(struct pgcsv *csv, const char *row, const char *end, struct err *err)
{
    const char *tab;
    int r = 0;

    while (r == 0 && (tab = memchr(row, '\t', (size_t)(end - row)))) {
        r = put_field(csv, row, (size_t)(tab - row), err);
        if (r == 0)
            r = put(csv, ',', err);
        row = tab + 1;
    }
    return r < 0 ? r : put_field(csv, row, (size_t)(end - row), err);
}

int pgcsv_row(struct pgcsv *csv, const char *row, size_t size, struct err *err)
{
    if (size == 0 || row[size - 1] != '\n' || memchr(row, '\n', size - 1))
        return err_set(err, ERR_REMOTE, "the server sent what is no whole row");
    int r = csv->columnless ? 0 : put_fields(csv, row, row + size - 1, err);
    return r < 0 ? r : put(csv, '\n', err);
}
