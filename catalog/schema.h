/*
 * schema — the tables of the catalog, and how an older file gets them.
 *
 * Nearly everything here is a copy of what the repository says, so a file that cannot be brought
 * forward is made anew.  What is not a copy: seen_snapshots, notes that are gone and seen_keys in
 * meta.  They are how this host tells a repository that was rolled back.
 *
 * Errors: those of sql; ERR_EXISTS for a file of a newer version, which is left as it is.
 */
#pragma once

#include <stdint.h>

#include "backup/crypto/keyring.h"

struct err;
struct sql;

enum { SCHEMA_VERSION = 4 };

/* Settings of the connection, then the tables of this version.  A file of another repository or
 * program is SQL_DAMAGED. */
int schema_prepare(struct sql *sql, const uint8_t repo_id[REPO_ID_SIZE], struct err *err);
/* Removes every row that came from the repository, but not what was seen of it (seen_…, notes). */
int schema_empty(struct sql *sql, struct err *err);
/* Removes also what was seen. */
int schema_unsee(struct sql *sql, struct err *err);
