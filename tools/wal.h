/*
 * wal — what the wal commands share: which server is meant, and how its log is named to people.
 *
 * Threads: one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/base/clock.h"

struct app;
struct err;
struct session;

/* The server whose data directory the current directory is, as its pg_control says; 0: it is none.
 */
int wal_system_here(uint64_t *out, struct err *err);
/* --system, else the one here, else the only one that the repository has a log of. */
int wal_system(struct app *app, struct session *session, uint64_t *out, struct err *err);
/* A number given as an option; 0: not given. */
int wal_number(struct app *app, const char *option, uint64_t limit, uint64_t *out, struct err *err);

/* Microseconds since 1970 as people read them: local, with its offset and the fraction. */
void wal_format_time(int64_t time_us, char out[CLOCK_TEXT_SIZE]);

#define OPTION_SYSTEM                                                                  \
    {                                                                                  \
        "system", 0, "ID", "the server's system identifier; found out where it can be" \
    }
