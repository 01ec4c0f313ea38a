/*
 * cmd_restore_internal — one restore: of files onto the disk (cmd_restore.c), of databases into
 * their server (cmd_restore_load.c), of everything onto the running system (cmd_restore_whole.c).
 */
#pragma once

#include <stdbool.h>

#include "backup/base/progress.h"
#include "fs/extract.h"
#include "tools/command.h"
#include "tools/session.h"
#include "tools/thawing.h"

struct recovery {
    struct app *app;
    struct session session;
    struct selection selection;
    struct snapshot_path name;
    struct progress progress;
    struct extract_options how;
    struct extract_result result;
    struct thawing thawing;
    const char **includes, **excludes;
    const char *target;
    char *root; /* where it really is */
    bool whole; /* everything onto the running system, databases included */
};

/* --overwrite's word. */
int restore_parse_overwrite(const char *text, enum extract_overwrite *out, struct err *err);

/* Tells people which snapshots it comes from: `latest` may join several. */
void restore_name_sources(const struct recovery *recovery);

/* What `recovery->how` says, onto the disk; tells what came of it. */
int restore_files(struct recovery *recovery, struct err *err);

/* Whether it is databases, or tables, that are wanted in the server. */
bool restore_is_load(const struct recovery *recovery);
int restore_load(struct recovery *recovery, struct err *err);

/* Config, databases, files, in this order. */
int restore_whole(struct recovery *recovery, struct err *err);
