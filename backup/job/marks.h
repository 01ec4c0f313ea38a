/*
 * marks — what a pruner is about to delete: docs/format.md, "Marks".
 *
 * Ownership: borrows.
 * Threads:   one.
 * Errors:    those of the store.
 */
#pragma once

struct err;
struct references;
struct repo;

/* Adds the archives that are under a mark, of those that the idtable knows. */
int marks_note(struct repo *repo, const struct references *out, struct err *err);
/* Adds those of `needed` that the store has no more, mark and all. */
int marks_find_gone(struct repo *repo, const struct references *needed,
                    const struct references *out, struct err *err);
