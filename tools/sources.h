/*
 * sources — what a backup is to read: from PATHs, --files-from and --stdin, else from the settings.
 *
 *     CLEANUP(sources_clear) struct sources sources = {0};
 *     int r = sources_make(app, &sources, err);
 *
 * Ownership: sources_clear() frees all that the backup's sources point to.
 * Threads:   one.
 * Errors:    ERR_USAGE, with a hint that says what to write where.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/job/backup.h"
#include "tools/database.h"

struct app;
struct catalog;
struct err;
struct patterns;

enum { SOURCES_MAX = TYPES, NEVER_MAX = 2 };

struct sources {
    struct backup_source at[SOURCES_MAX];
    size_t count;
    bool adhoc;
    struct strings exclusions; /* the patterns in force, as the snapshot keeps them */
    /* What the above borrows. */
    struct strings given;              /* PATHs, cleaned */
    struct strings paths[SOURCES_MAX]; /* by type, when there are none */
    struct patterns *excludes, *only;
    struct strings if_present;
    struct database database;
    struct root previous[SOURCES_MAX];
    uint64_t never[NEVER_MAX][2]; /* device and inode, as struct rules has them */
    size_t never_count;
};

int sources_make(struct app *app, struct sources *sources, struct err *err);
void sources_clear(struct sources *sources);

/* A directory that is never read: the repository's, the catalog's. */
void sources_never(struct sources *sources, const char *directory);

/* For each source the snapshot that it is compared with: of the same paths if there is one. */
int sources_find_previous(struct sources *sources, struct catalog *catalog, const char *host,
                          struct err *err);
