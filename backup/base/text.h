/*
 * text — text put together piece by piece: SQL, JSON, shell-free command lines.
 *
 * A failure (no memory, the limit) is kept, and told once at the end.
 *
 *     CLEANUP(text_clear) struct text sql = {.buf.limit = SQL_MAX};
 *     text_add(&sql, "LOCK TABLE ");
 *     text_identifier(&sql, name);
 *     int r = text_end(&sql, err);      then text_of(&sql)
 *
 * Ownership: the text belongs to the struct until text_clear().
 * Threads:   one at a time.
 * Errors:    text_end(): ERR_TOO_LARGE, ERR_NOMEM.
 */
#pragma once

#include <stddef.h>

#include "backup/base/buf.h"
#include "backup/base/err.h"

struct text {
    struct buf buf;
    int failed;
    struct err err;
};

void text_clear(struct text *text);
void text_add(struct text *text, const char *string);
void text_bytes(struct text *text, const char *bytes, size_t size);
__attribute__((format(printf, 2, 3))) void text_format(struct text *text, const char *format, ...);
/* "name", with quotes in it doubled. */
void text_identifier(struct text *text, const char *name);
/* 'text', as standard_conforming_strings has it. */
void text_literal(struct text *text, const char *string);
/* A JSON string of what is UTF-8 already. */
void text_json(struct text *text, const char *string);
/* 0, or the first failure; the text is terminated. */
int text_end(struct text *text, struct err *err);
const char *text_of(const struct text *text); /* after text_end() */
size_t text_size(const struct text *text);
