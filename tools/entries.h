/*
 * entries — one entry of a snapshot as ls, history and find show it.
 *
 * Threads: any.
 */
#pragma once

#include <stddef.h>

#include "backup/base/clock.h"

struct entry;
struct json_object;

enum { ENTRIES_MODE_SIZE = 11 };

/* "-rw-r--r--" */
const char *entries_mode(const struct entry *entry, char out[ENTRIES_MODE_SIZE]);
/* Its mtime: local, or "@SECONDS" beyond what clock can say. */
const char *entries_time(const struct entry *entry, char out[CLOCK_TEXT_SIZE]);
/* "file", "directory" …; of an enum entry_type. */
const char *entries_kind(unsigned type);
/* Adds kind, mode, uid, gid, size, links, mtime, and a symlink's target. */
void entries_json(struct json_object *object, const struct entry *entry);
/* Prints bytes on one line: control characters and what is no UTF-8 as \ooo. */
void entries_print(const char *bytes, size_t size);
