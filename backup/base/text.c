#include "backup/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_clear(struct text *text)
{
    buf_clear(&text->buf);
    text->failed = 0;
}

void text_bytes(struct text *text, const char *bytes, size_t size)
{
    if (text->failed == 0 && size > 0)
        text->failed = buf_append(&text->buf, bytes, size, &text->err);
}

void text_add(struct text *text, const char *string)
{
    text_bytes(text, string, strlen(string));
}

void text_format(struct text *text, const char *format, ...)
{
    va_list arguments;
    char line[1024];

    va_start(arguments, format);
    int size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (text->failed == 0 && (size < 0 || (size_t)size >= sizeof(line)))
        text->failed = err_set(&text->err, ERR_TOO_LARGE, "a line of %d bytes", size);
    if (text->failed == 0)
        text_bytes(text, line, (size_t)size);
}

static void add_quoted(struct text *text, const char *string, char quote)
{
    const char twice[] = {quote, quote, 0};

    text_bytes(text, &quote, 1);
    for (; *string; string++)
        text_bytes(text, *string == quote ? twice : string, *string == quote ? 2 : 1);
    text_bytes(text, &quote, 1);
}

void text_identifier(struct text *text, const char *name)
{
    add_quoted(text, name, '"');
}

void text_literal(struct text *text, const char *string)
{
    add_quoted(text, string, '\'');
}

void text_json(struct text *text, const char *string)
{
    text_add(text, "\"");
    for (; *string; string++) {
        unsigned char byte = (unsigned char)*string;
        if (byte == '"' || byte == '\\')
            text_format(text, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7F)
            text_format(text, "\\u%04x", byte);
        else
            text_bytes(text, string, 1);
    }
    text_add(text, "\"");
}

int text_end(struct text *text, struct err *err)
{
    const char end = 0;

    if (text->failed == 0)
        text->failed = buf_append(&text->buf, &end, 1, &text->err);
    if (text->failed < 0)
        *err = text->err;
    else
        text->buf.size--;
    return text->failed;
}

const char *text_of(const struct text *text)
{
    return (const char *)text->buf.data;
}

size_t text_size(const struct text *text)
{
    return text->buf.size;
}
