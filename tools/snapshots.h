/*
 * snapshots — a snapshot in one row, as list and status show it.
 *
 * Threads: any.
 */
#pragma once

#include <stdint.h>

struct json_object;
struct snapshot_row;

enum { SNAPSHOT_TYPES_SIZE = 40 };

/* "files", "files,config" */
const char *snapshot_types(uint8_t types, char out[SNAPSHOT_TYPES_SIZE]);
struct json_object *snapshot_json(const struct snapshot_row *row);
