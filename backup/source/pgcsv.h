/*
 * pgcsv — rows as COPY's text form has them, as CSV (RFC 4180, each line ended by a newline).
 *
 *     struct pgcsv csv = {.take = push, .context = file};
 *     int r = pgcsv_header(&csv, "(id, \"the name\")", err);
 *     while (r == 0 && more)
 *         r = pgcsv_row(&csv, row, size, err);
 *     r = r < 0 ? r : pgcsv_end(&csv, err);
 *
 * NULL is an empty field without quotes, an empty string is "": PostgreSQL's COPY … CSV reads both
 * back as they were.  Else a field has quotes only when it needs them.
 *
 * Ownership: the context is the caller's; what take() is given is valid during the call.
 * Threads:   one at a time.
 * Errors:    take()'s; ERR_REMOTE for what is no whole row.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

enum { PGCSV_BUFFER = 16 * 1024 };

struct pgcsv {
    int (*take)(void *context, const void *bytes, size_t size, struct err *err);
    void *context;
    bool columnless; /* of a table without columns; pgcsv_header() sets it */
    size_t fill;     /* this and what follows is pgcsv.c's only */
    char buffer[PGCSV_BUFFER];
};

/* The first line.  `columns`: in parentheses, as quote_ident() has them, ", " between; or "". */
int pgcsv_header(struct pgcsv *csv, const char *columns, struct err *err);
/* One row of COPY … TO STDOUT with its newline. */
int pgcsv_row(struct pgcsv *csv, const char *row, size_t size, struct err *err);
/* Hands out what is left. */
int pgcsv_end(struct pgcsv *csv, struct err *err);
