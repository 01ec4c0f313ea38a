/*
 * local — a store in a directory.
 *
 * A put is a file in tmp/ (named after its process; what dead processes of this host left is
 * removed before the first put: who only reads, or tries with --dry-run, changes nothing), synced,
 * linked to its name without overwriting, and the directory synced.  Names map to paths one to one;
 * directories are made when first needed, 0700.  The lock is flock(2) on the object `repository`;
 * where the file system has no such locks, sharing does nothing, and nobody can have it alone.
 *
 * Ownership, threads, errors: as store.h says.  ERR_NO_REPOSITORY where the directory does not
 * exist and `create` is false.
 */
#pragma once

#include <stdbool.h>

struct err;
struct store;

int local_store_open(const char *directory, bool create, struct store **out, struct err *err);
