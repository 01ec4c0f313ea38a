#include "tools/locks.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#include "backup/archive/repo.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"
#include "tools/session.h"

/* A root is locked no longer than what its snapshot needs. */
static int root_retained(struct store *store, const struct snapshot_row *row, int64_t *out_ns,
                         struct err *err)
{
    char name[OBJECT_NAME_SIZE];

    (void)snprintf(name, sizeof(name), "snapshots/%s/%08" PRIu64, row->name, row->revision);
    int r = store_retained(store, name, out_ns, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

int locks_tell_dropped(const struct app *app, const struct session *session,
                       const struct snapshot_row *rows, const bool *drop, size_t count,
                       struct err *err)
{
    char snapshots[OUTPUT_SIZE], date[CLOCK_TEXT_SIZE];
    uint64_t locked = 0;
    int64_t last = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        int64_t until = 0;

        if (drop[i])
            r = root_retained(session->repo->store, &rows[i], &until, err);
        locked += until > 0;
        last = until > last ? until : last;
    }
    if (r < 0 || locked == 0 || app->quiet)
        return r;
    if (last == INT64_MAX)
        console_line("%s: locked by a legal hold; until that ends, prune frees nothing of it",
                     output_count(locked, "snapshot", snapshots));
    else {
        clock_format_local(last, date);
        console_line("%s locked until %s: before that, prune frees nothing of %s",
                     output_count(locked, "snapshot", snapshots), date, locked > 1 ? "them" : "it");
    }
    return 0;
}
