/*
 * pgname — names of databases, schemas and tables as names of files.
 *
 * Percent-encoded are '/', '%', control characters, a leading '.', and the first letter of a name
 * that would be taken for one of the files beside it.  The manifest has the names as they are.
 *
 * Ownership: appends to the text.
 * Threads:   any.
 */
#pragma once

#include <stddef.h>

struct text;

/* `reserved`: names that are taken, ended by NULL; NULL: none. */
void pgname_encode(struct text *out, const char *name, const char *const *reserved);

extern const char *const pgname_reserved_databases[]; /* beside the databases */
extern const char *const pgname_reserved_schemas[];   /* beside the schemas of one */
