/* pgserver_internal — shared by pgserver.c (from start to stop), pgserver_check.c (pg_amcheck) and
 * pgserver_reads.c (for servers that have none). */
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

/* Each damaged table and index of the connection's database, which has the extension amcheck. */
int pgserver_check_by_reading(struct pg_conn *conn, const char *database,
                              void (*found)(const char *line), struct err *err);
