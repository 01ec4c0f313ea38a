/*
 * look — what ls, cat and diff have in common: a place in a snapshot that somebody named.
 *
 *     CLEANUP(look_clear) struct look look = {0};
 *     int r = look_open(app, &session, "latest:config/srv", 0, &look, err);
 *
 * Ownership: look_clear() releases the selection and the entry.
 * Threads:   one.
 * Errors:    those of select and view, with hints.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "catalog/select.h"
#include "fs/view.h"

struct app;
struct err;
struct session;

struct look {
    struct selection selection;
    bool has_path;             /* else: all types of the selection */
    struct view_target target; /* where there is a path */
};

/* `text` is SNAP or SNAP:PATH; `session` has its blocks. */
int look_open(struct app *app, struct session *session, const char *text, uint8_t types,
              struct look *out, struct err *err);
void look_clear(struct look *look);

/* "files/srv/app": a target's path as other commands take it, terminated; the caller frees it. */
int look_path(const struct view_target *target, char **out, struct err *err);
