/* pgdata_internal — shared by pgdata.c (the order of things), pgdata_facts.c (what the snapshot
 * says), pgdata_check.c (places), pgdata_spaces.c (links and map of tablespaces) and
 * pgdata_settings.c. */
#pragma once

#include "backup/base/buf.h"
#include "fs/pgdata.h"

#define PGDATA_TOP "database/cluster"
#define PGDATA_CONTROL "global/pg_control"

enum { PGDATA_PATH_SIZE = 4096, PGDATA_TABLESPACES_MAX = 65536 };

struct pgdata {
    struct blocks *blocks;
    const struct selection *selection;
    const struct pgdata_options *options;
    struct pgdata_facts facts;
    struct pgdata_tablespace *tablespaces;
    uint32_t mode; /* of the directory: 0700, or 0750 where the group may read */
    int fd;        /* the directory, once it is there; else -1 */
    bool there;    /* it was, and not empty */
    bool resumed;  /* … with what an interrupted restore left */
};

/* The last bytes, at most `limit`, of a file of the backup; ERR_NOT_FOUND. */
int pgdata_read(const struct pgdata *data, const char *name, size_t limit, struct buf *out,
                struct err *err);
int pgdata_learn(struct pgdata *data, struct err *err);

/* pg_tblspc/OID become links, tablespace_map says where they lead now. */
int pgdata_link_spaces(struct pgdata *data, struct err *err);
/* The lines of tablespace_map, with a NUL behind them, taken apart. */
int pgdata_parse_map(struct pgdata *data, const struct buf *map, struct err *err);

/* postgresql.auto.conf and recovery.signal. */
int pgdata_configure(struct pgdata *data, struct err *err);

/* A file of the data directory, written anew and durable. */
int pgdata_write(const struct pgdata *data, const char *name, const void *bytes, size_t size,
                 struct err *err);
