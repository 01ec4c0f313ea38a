/*
 * thawing — what of a recovery, or of a copy, lies in cold storage: said, asked for, waited for.
 *
 * What --dry-run, --thaw, --thaw-days and --wait of `restore` and `copy` mean.  Without any of them
 * nothing is asked where the settings name no storage class: whatever is cold is met when it is
 * read.
 *
 *     CLEANUP(thawing_clear) struct thawing thawing = {0};
 *     int r = thawing_start(&thawing, app, &session, &progress, err);
 *     … how.thaw = thawing.thaw; how.ready = thawing_ready; how.context = &thawing …
 *
 * Ownership: borrows app, session and progress.
 * Threads:   one.
 * Errors:    ERR_COLD: nobody asked for it; ERR_BUSY: asked for, and not there yet (the same
 * command goes on later); those of thaw.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/thaw.h"

struct app;
struct err;
struct json_object;
struct progress;
struct selection;
struct session;

struct thawing {
    struct app *app;
    struct session *session;
    struct progress *progress;
    struct thaw *thaw; /* NULL: nothing is cold, as far as is known */
    bool asks;
    enum cold_tier tier;
    unsigned days;
    uint64_t wait_ns;
    struct thaw_sum sum;
};

#define THAWING_OPTIONS                                                                    \
    {"thaw", 0, "[=HASTE]", "ask for what is in cold storage: standard, expedited, bulk"}, \
        {"thaw-days", 0, "DAYS", "how long it can be read then: 7"},                       \
    {                                                                                      \
        "wait", 0, "TIME", "with --thaw: wait so long for it, as 12h, then go on"          \
    }

/* Wrong usage is told before anything is opened. */
int thawing_parse(struct thawing *thawing, struct app *app, struct err *err);
int thawing_start(struct thawing *thawing, struct session *session, struct progress *progress,
                  struct err *err);
void thawing_clear(struct thawing *thawing);
/* When all that is needed is known: 0 when it can be read, or in a dry run. */
int thawing_ready(struct thawing *thawing, struct err *err);
/* Counts the databases of a snapshot among what is needed, or what loading this PATH of them reads
 * ("database/shop/public/orders"; NULL: all). */
int thawing_need_databases(struct thawing *thawing, const struct selection *selection,
                           const char *path, struct err *err);
/* Whether something cannot be read yet: in a dry run nobody can look further. */
bool thawing_is_missing(const struct thawing *thawing);
/* For --json; NULL where nothing is cold. */
struct json_object *thawing_json(const struct thawing *thawing);
