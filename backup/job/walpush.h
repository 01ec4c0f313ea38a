/*
 * walpush — one file of a server's archive into the repository: what archive_command is for.
 *
 * The same file again is fine, however often; another content under a name that is stored is an
 * error, and changes nothing.  A segment is taken only when it is whole: of a valid size, each page
 * where it belongs.
 *
 * Threads: one.
 * Errors:  ERR_USAGE for a name that an archive does not have, ERR_CORRUPT for a file that is not
 *          what its name says, ERR_EXISTS; those of the store.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct repo;

struct walpush_settings {
    struct repo *repo;
    int level;
    const char *host;
    uint64_t system; /* as the data directory says; 0: not known, then segments say it themselves */
    bool dry_run;
};

struct walpush_result {
    bool already; /* it was stored before */
    uint64_t size, system;
    uint64_t commits, points; /* in it */
    const char *trouble;      /* why its commits are not listed in full; NULL: they are */
};

/* `path` as the server gives it: its last part is the name. */
int walpush_file(const struct walpush_settings *settings, const char *path,
                 struct walpush_result *out, struct err *err);
