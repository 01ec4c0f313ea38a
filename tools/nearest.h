/*
 * nearest — which known word somebody probably meant.
 *
 * Threads: any.
 */
#pragma once

#include <stddef.h>

/* The better of `best` (may be NULL) and `candidate` as a reading of `word`, by the number of
 * letters to change (the rest of a word that was only begun counts as one); NULL when neither is
 * close. */
const char *nearest_of(const char *word, const char *best, const char *candidate);
