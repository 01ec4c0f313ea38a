/*
 * rights — what the given credentials may do in a store, found out by doing it.
 *
 * Threads: one.
 * Errors:  a refusal is a finding; whatever else goes wrong is an error.
 */
#pragma once

#include <stdbool.h>

struct err;
struct store;

struct rights {
    bool lists, reads, writes, removes;
};

/* Writes a small object below claims/, removes it, and removes an archive that nobody has. */
int rights_find(struct store *store, struct rights *out, struct err *err);
/* What they are enough for: each includes the one before. */
bool rights_to_read(const struct rights *rights);
bool rights_to_write(const struct rights *rights);
bool rights_to_prune(const struct rights *rights);
