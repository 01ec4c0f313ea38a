/* pgserver_internal — shared by pgserver.c (from start to stop) and pgserver_check.c (pg_amcheck).
 */
#pragma once

#include <sys/types.h>

#include "backup/source/pg.h"
#include "tools/pgserver.h"

struct pgserver {
    const struct pgserver_settings *settings;
    pid_t pid;      /* 0: it has ended */
    char place[64]; /* socket, hba file, log */
    char hba[96], log[96];
    char owner[64];
    struct pg_server address;
    struct pg_conn *conn;
};
