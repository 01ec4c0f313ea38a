/*
 * httprequests — what kinds of requests go by in the bytes of an HTTP/1.1 client.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEAD_SIZE = 64 * 1024 };

enum kind { LIST, GET, HEAD, PUT, POST, DELETE, OTHER, KINDS };

enum state { IN_HEAD, IN_BODY, IN_SIZE_LINE, IN_TRAILER };

/* Where in the client's requests we are. */
struct parser {
    enum state state;
    bool is_chunked;
    uint64_t left;             /* of a body or chunk, its end of line included */
    unsigned long long *count; /* of each kind; the owner's */
    size_t size;
    char head[HEAD_SIZE];
};

static inline enum kind kind_of(const char *head)
{
    static const char *const words[] = {
        [GET] = "GET ", [HEAD] = "HEAD ", [PUT] = "PUT ", [POST] = "POST ", [DELETE] = "DELETE "};

    for (int kind = GET; kind <= DELETE; kind++) {
        if (strncmp(head, words[kind], strlen(words[kind])) != 0)
            continue;
        const char *query = memchr(head, '?', strcspn(head, "\r"));
        bool lists = kind == GET && query && memmem(query, strcspn(query, "\r"), "prefix=", 7);
        return lists ? LIST : (enum kind)kind;
    }
    return OTHER;
}

/* The value of a header, or NULL. */
static inline const char *header(const char *head, const char *name)
{
    for (const char *at = strstr(head, "\r\n"); at; at = strstr(at + 2, "\r\n"))
        if (strncasecmp(at + 2, name, strlen(name)) == 0)
            return at + 2 + strlen(name);
    return NULL;
}

static inline void take_head(struct parser *parser)
{
    const char *length = header(parser->head, "content-length:");
    const char *coding = header(parser->head, "transfer-encoding:");

    parser->count[kind_of(parser->head)]++;
    parser->is_chunked = coding && strncasecmp(coding + strspn(coding, " "), "chunked", 7) == 0;
    parser->left = length && !parser->is_chunked ? strtoull(length, NULL, 10) : 0;
    parser->state = parser->is_chunked ? IN_SIZE_LINE : parser->left > 0 ? IN_BODY : IN_HEAD;
}

static inline void take_size(struct parser *parser)
{
    uint64_t size = strtoull(parser->head, NULL, 16);

    parser->state = size > 0 ? IN_BODY : IN_TRAILER;
    parser->left = size + 2;
}

/* A line, or all lines of a head, is complete. */
static inline void take_text(struct parser *parser)
{
    parser->head[parser->size] = '\0';
    if (parser->state == IN_HEAD)
        take_head(parser);
    else if (parser->state == IN_SIZE_LINE)
        take_size(parser);
    else if (parser->size == 2)
        parser->state = IN_HEAD;
    parser->size = 0;
}

static inline void read_text(struct parser *parser, char c)
{
    if (parser->size < HEAD_SIZE - 1)
        parser->head[parser->size++] = c;
    const char *end = parser->state == IN_HEAD ? "\r\n\r\n" : "\r\n";
    size_t length = strlen(end);
    if (parser->size >= length && memcmp(parser->head + parser->size - length, end, length) == 0)
        take_text(parser);
}

static inline void parser_read(struct parser *parser, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        size_t step = 1;
        if (parser->state == IN_BODY) {
            step = parser->left < size ? (size_t)parser->left : size;
            parser->left -= step;
            if (parser->left == 0)
                parser->state = parser->is_chunked ? IN_SIZE_LINE : IN_HEAD;
        } else {
            read_text(parser, (char)*bytes);
        }
        bytes += step;
        size -= step;
    }
}
