#include "tools/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "catalog/catalog.h"
#include "catalog/wal.h"
#include "tools/command.h"
#include "tools/session.h"

enum {
    CONTROL_SIZE = 64 * 1024,
    CONTROL_VERSION_FIRST = 1300, /* of PostgreSQL 13 */
    CONTROL_VERSION_END = 3000,
};

int wal_system_here(uint64_t *out, struct err *err)
{
    CLEANUP(buf_clear) struct buf control = {.limit = CONTROL_SIZE};
    int r = io_read_file(AT_FDCWD, "global/pg_control", CONTROL_SIZE, &control, err);

    *out = 0;
    if (r < 0)
        return r == -ERR_NOT_FOUND || err->cause == ENOTDIR ? 0
                                                            : err_context(err, "global/pg_control");
    uint32_t version = control.size >= 12 ? load_le32(control.data + 8) : 0;
    if (version < CONTROL_VERSION_FIRST || version >= CONTROL_VERSION_END)
        return err_set(err, ERR_CORRUPT,
                       "global/pg_control is not that of a PostgreSQL server that we know");
    *out = load_le64(control.data);
    return 0;
}

int wal_number(struct app *app, const char *option, uint64_t limit, uint64_t *out, struct err *err)
{
    const char *text = app_text(app, option);
    char *end;

    *out = 0;
    if (!text)
        return 0;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number == 0 || number > limit)
        return err_set(err, ERR_USAGE, "--%s: \"%.40s\" is no such number", option, text);
    *out = number;
    return 0;
}

static int only_system(struct app *app, struct session *session, uint64_t *out, struct err *err)
{
    CLEANUP(wal_ranges_clear) struct wal_ranges ranges = {0};
    char directory[4096];
    int r = 0;

    if (!session->catalog) {
        r = session_catalog_directory(app, session, directory, sizeof(directory), err);
        if (r == 0)
            r = catalog_open(session->repo, directory, &session->catalog, err);
        if (r == 0)
            r = wal_sync(session->catalog, err);
    }
    if (r == 0)
        r = wal_ranges_find(session->catalog, 0, &ranges, err);
    if (r < 0)
        return r;
    for (size_t i = 1; i < ranges.count; i++)
        if (ranges.at[i].system != ranges.at[0].system)
            return err_set(err, ERR_USAGE,
                           "the logs of several servers are stored (%llu, %llu …): --system ID",
                           (unsigned long long)ranges.at[0].system,
                           (unsigned long long)ranges.at[i].system);
    if (ranges.count == 0)
        return err_set(err, ERR_NOT_FOUND, "no server's log is stored here");
    *out = ranges.at[0].system;
    return 0;
}

int wal_system(struct app *app, struct session *session, uint64_t *out, struct err *err)
{
    int r = wal_number(app, "system", UINT64_MAX, out, err);

    if (r == 0 && *out == 0)
        r = wal_system_here(out, err);
    if (r == 0 && *out == 0)
        r = only_system(app, session, out, err);
    return r;
}

void wal_format_time(int64_t time_us, char out[CLOCK_TEXT_SIZE])
{
    char seconds[CLOCK_TEXT_SIZE];
    int64_t fraction = (time_us % 1000000 + 1000000) % 1000000;

    clock_format_local((time_us - fraction) * 1000, seconds);
    char *offset = strrchr(seconds, ' ');
    (void)snprintf(out, CLOCK_TEXT_SIZE, "%.*s.%06d%s", offset ? (int)(offset - seconds) : 0,
                   seconds, (int)fraction, offset ? offset : "");
}
