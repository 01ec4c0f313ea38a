/*
 * schema — the tables of the catalog, and how an older file gets them.
 *
 * Everything here is a copy of what the repository says, so a file that cannot be brought forward
 * is made anew.
 *
 * Errors: those of sql; ERR_EXISTS for a file of a newer version, which is left as it is.
 */
#pragma once

#include <stdint.h>

#include "backup/crypto/keyring.h"

struct err;
struct sql;

enum { SCHEMA_VERSION = 1 };

/* Settings of the connection, then the tables of this version.  A file of another repository or
 * program is SQL_DAMAGED. */
int schema_prepare(struct sql *sql, const uint8_t repo_id[REPO_ID_SIZE], struct err *err);
/* Removes every row that came from the repository. */
int schema_empty(struct sql *sql, struct err *err);
