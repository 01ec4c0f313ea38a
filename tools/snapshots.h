/*
 * snapshots — a snapshot in one row, as list and status show it.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct app;
struct err;
struct json_object;
struct session;
struct snapshot_row;
struct snapshot_rows;

enum { SNAPSHOT_TYPES_SIZE = 40 };

/* "files", "files,config" */
const char *snapshot_types(uint8_t types, char out[SNAPSHOT_TYPES_SIZE]);
struct json_object *snapshot_json(const struct snapshot_row *row);

/* The one row that `suits` and that somebody means by a name, the beginning of one, or latest; of
 * any host unless --host was given. */
int snapshots_find(struct app *app, struct session *session, const struct snapshot_rows *rows,
                   const char *text, bool (*suits)(const struct snapshot_row *row),
                   size_t *out_index, struct err *err);
/* One line: what was done with it. */
void snapshots_tell(const struct app *app, const struct snapshot_row *row, const char *done);
