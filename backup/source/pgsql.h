/*
 * pgsql — SQL files taken apart into statements, as pg_dumpall and pgdump write them.
 *
 * Ownership: what pgsql_next() gives lies in the text.
 * Threads:   any.
 * Errors:    none: what has no end is a statement up to the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The next statement, without its semicolon; comments, psql's commands and empty lines in front of
 * it are left out.  False at the end. */
bool pgsql_next(const char **at, const char **out_statement, size_t *out_size);

/* Whether it begins with these words; what follows is at *out_rest. */
bool pgsql_begins(const char *statement, size_t size, const char *words, const char **out_rest);

/* The length of the name that is there, with its quotes. */
size_t pgsql_name_size(const char *at, const char *end);
