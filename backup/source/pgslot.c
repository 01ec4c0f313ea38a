#include "backup/source/pgslot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/random.h"
#include "backup/source/pg.h"

enum { EXPIRE_SINCE = 180000, DAY_S = 86400, COMMAND_SIZE = 200, TEXT_SIZE = 300 };

/* As a server shows a time: "0", "90min", "2d". */
static uint64_t read_seconds(const char *text)
{
    static const struct {
        const char *unit;
        uint64_t seconds;
    } units[] = {{"s", 1}, {"min", 60}, {"h", 3600}, {"d", DAY_S}};
    char *unit;
    uint64_t number = strtoull(text, &unit, 10);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].unit) == 0 && number <= UINT32_MAX)
            return number * units[i].seconds;
    return 0;
}

/* Since version 18 a server may give up slots that are not read from, and ends who holds one. */
static int expires(struct pg_conn *conn, bool *out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    *out = false;
    if (pg_version(conn) < EXPIRE_SINCE)
        return 0;
    int r = pg_query(conn, "SHOW idle_replication_slot_timeout", &rows, err);
    uint64_t after = r == 0 && pg_count(rows) == 1 ? read_seconds(pg_text(rows, 0, 0)) : 0;
    *out = after > 0 && after < DAY_S;
    return r;
}

static int make_command(bool replicates, char out[COMMAND_SIZE], struct err *err)
{
    uint64_t number;

    int r = random_bytes(&number, sizeof(number), err);
    if (r < 0)
        return r;
    if (replicates)
        (void)snprintf(out, COMMAND_SIZE,
                       "CREATE_REPLICATION_SLOT \"yester_base_%016" PRIx64
                       "\" TEMPORARY PHYSICAL RESERVE_WAL",
                       number);
    else
        (void)snprintf(out, COMMAND_SIZE,
                       "SELECT pg_create_physical_replication_slot('yester_base_%016" PRIx64
                       "', true, true)",
                       number);
    return 0;
}

int pgslot_make(struct pg_conn *conn, bool replicates,
                void (*note)(void *context, const char *text), void *context, struct err *err)
{
    char command[COMMAND_SIZE], text[TEXT_SIZE];
    struct err refused;
    bool given_up;

    int r = expires(conn, &given_up, err);
    if (r == 0 && given_up) {
        note(context, "no slot keeps the log meanwhile, since idle_replication_slot_timeout is "
                      "less than a day: wal_keep_size has to be large enough");
        return 0;
    }
    if (r == 0)
        r = make_command(replicates, command, err);
    if (r < 0 || pg_run(conn, command, &refused) == 0)
        return r;
    if (refused.code == ERR_CANCELLED || pg_is_lost(conn)) {
        *err = refused;
        return -(int)err->code;
    }
    (void)snprintf(text, sizeof(text), "no slot to keep the log meanwhile: %.200s", refused.text);
    note(context, text);
    return 0;
}
