/* datadir_internal — shared by datadir.c (the run), datadir_options.c (what was asked for),
 * datadir_reach.c (how far the stored log leads) and datadir_server.c (whether the server gets at
 * it). */
#pragma once

#include "backup/base/progress.h"
#include "backup/base/text.h"
#include "catalog/select.h"
#include "fs/pgdata.h"
#include "tools/command.h"
#include "tools/session.h"
#include "tools/thawing.h"

struct datadir {
    struct app *app;
    struct session session;
    struct selection selection;
    struct progress progress;
    struct thawing thawing;
    char *directory; /* absolute */
    struct pgdata_map *maps;
    struct strings map_words; /* what the maps point into */
    struct pgdata_options how;
    struct pgdata *data;
    struct text command; /* restore_command */
    uint64_t lsn;        /* --to lsn: */
    int64_t time_us;     /* --to time: */
    uint32_t timeline;   /* 0: the newest */
    char value[64];      /* of the target, as the server wants it */
};

int datadir_parse(struct datadir *run, struct err *err);
/* What the server is to call for each file of the log. */
int datadir_command(struct datadir *run, struct err *err);
/* Whether the stored log leads to the target; says how far it does. */
int datadir_reach(struct datadir *run, struct err *err);
/* Runs restore_command as the server will: an error is what it says. */
int datadir_server(struct datadir *run, struct err *err);
