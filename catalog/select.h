/*
 * select — which snapshots somebody means: a timestamp, a prefix of one, latest, latest~N, before a
 * time, by type, of which host.
 *
 * The rules are those of docs "Choosing a snapshot": `latest` and latest~N mean, for each type, the
 * newest (N older) complete snapshot of this host that is not adhoc; so one answer may join several
 * snapshots.
 *
 * Ownership: selection_clear() releases its roots.
 * Threads:   as catalog.
 * Errors:    ERR_NOT_FOUND and ERR_USAGE (an ambiguous prefix, several other hosts), with texts
 * that list what there is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct catalog;
struct err;

struct select_query {
    const char *host;     /* this host */
    bool host_given;      /* by --host: then no other one is taken instead */
    const char *snapshot; /* what the user wrote, without a path; NULL: latest */
    uint8_t types;        /* 0: any */
    int64_t before_ns;    /* 0: none */
};

struct selection {
    char host[HOST_NAME_MAX_SIZE + 1]; /* whose snapshots these are */
    bool other_host;                   /* not this host's: to be said */
    struct root *roots;                /* the snapshots that are joined: mostly one */
    size_t count;
    const struct root *types[TYPES + 1]; /* from which of them each type comes; NULL: not there */
};

int select_snapshots(struct catalog *catalog, const struct select_query *query,
                     struct selection *out, struct err *err);
/* Only whose snapshots are meant: `host` and `other_host`. */
int select_host(struct catalog *catalog, const struct select_query *query, struct selection *out,
                struct err *err);
void selection_clear(struct selection *selection);
