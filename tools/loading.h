/*
 * loading — databases of a snapshot into the server of the settings.
 *
 *     struct loading_request request = {.selection = &selection, …};
 *     int r = loading_run(app, &session, &request, err);
 *
 * Ownership: borrows everything.
 * Threads:   one; pgload has its workers.
 * Errors:    those of pgload; all databases are checked before the first is touched.
 */
#pragma once

#include <stdbool.h>

#include "backup/archive/root.h"

struct app;
struct err;
struct progress;
struct selection;
struct session;

struct loading_request {
    const struct selection *selection;
    const char *path; /* "database/shop", "database/shop/public/orders"; NULL: all databases */
    const char *into; /* another name; NULL: their own */
    bool replace, dry_run;
    bool check_only; /* say what stands against it, load nothing */
    struct progress *progress;
};

/* Whether the selection has databases that can be loaded. */
bool loading_is_possible(struct session *session, const struct selection *selection);
/* The databases that a snapshot leaves out by its settings. */
int loading_left_out(struct app *app, struct session *session, const struct selection *selection,
                     struct strings *out, struct err *err);
int loading_run(struct app *app, struct session *session, const struct loading_request *request,
                struct err *err);
