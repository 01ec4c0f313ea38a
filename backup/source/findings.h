/*
 * findings — the attributes that a scout saw in one directory, for the walk that comes after it.
 *
 * They are some moments old when they are used.  So they only ever say of an entry that it is as it
 * was in the snapshot before; whatever differs is looked at again (walk_look_again()), and what a
 * directory holds, and directories themselves, the walk asks the kernel.  After MOST_NS they say
 * nothing any more.
 *
 * Ownership: the scout hands them over; whoever has them frees them.
 * Threads:   one at a time.
 * Errors:    none: without memory nothing is noted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct findings;
struct srcdir;

enum { FINDINGS_MOST = 4096 }; /* of a directory with more, the others are not noted */

struct findings *findings_new(const struct srcdir *dir); /* NULL: no memory */
/* What is noted must not be a directory; the order does not matter. */
void findings_note(struct findings *findings, const char *name, const struct statx *st);
/* All are noted. */
void findings_finish(struct findings *findings);
size_t findings_count(const struct findings *findings);
bool findings_are_of(const struct findings *findings, const struct srcdir *dir);
/* To be asked for names in the order of their bytes; false: not noted, or too old. */
bool findings_find(struct findings *findings, const char *name, struct statx *out);
void findings_free(struct findings *findings); /* NULL is allowed */
