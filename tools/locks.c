#include "tools/locks.h"

#include <stdint.h>

#include "backup/archive/repo.h"
#include "backup/archive/root.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/job/renew.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "catalog/retained.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"
#include "tools/session.h"

enum { SAMPLE = 8 }; /* of what the catalog remembers */

static int64_t now_ns(void)
{
    struct clock *clock = clock_system();

    return clock->now_ns(clock);
}

/* A root is locked no longer than what its snapshot needs. */
static int root_retained(struct store *store, const struct snapshot_row *row, int64_t *out_ns,
                         struct err *err)
{
    char name[OBJECT_NAME_SIZE];

    root_object_name(row->name, row->revision, name);
    int r = store_retained(store, name, out_ns, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

void locks_tell_dropped(const struct app *app, const struct session *session,
                        const struct snapshot_row *rows, const bool *drop, size_t count)
{
    char snapshots[OUTPUT_SIZE], date[CLOCK_TEXT_SIZE];
    uint64_t locked = 0;
    int64_t last = 0;
    struct err err;
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        int64_t until = 0;

        if (drop[i])
            r = root_retained(session->repo->store, &rows[i], &until, &err);
        locked += until > 0;
        last = until > last ? until : last;
    }
    if (r < 0)
        console_say("until when they are locked cannot be told: %s", err.text);
    if (r < 0 || locked == 0 || app->quiet)
        return;
    if (last == INT64_MAX)
        console_line("%s: locked by a legal hold; until that ends, prune frees nothing of it",
                     output_count(locked, "snapshot", snapshots));
    else {
        clock_format_local(last, date);
        console_line("%s locked until %s: before that, prune frees nothing of %s",
                     output_count(locked, "snapshot", snapshots), date, locked > 1 ? "them" : "it");
    }
}

/* ---- renewing ---------------------------------------------------------------------------- */

struct renewing {
    struct session *session;
    const char *place; /* as the catalog calls it */
    const struct lock_needs *needs;
    struct retained_rows done;
};

static void renewing_clear(struct renewing *renewing)
{
    retained_rows_clear(&renewing->done);
}

static bool needs(void *context, uint32_t archive)
{
    const struct renewing *renewing = context;

    return renewing->needs->needs(renewing->needs->context, archive);
}

static int known(void *context, const char *object, int64_t *out_ns, struct err *err)
{
    const struct renewing *renewing = context;

    return retained_get(renewing->session->catalog, renewing->place, object, out_ns, err);
}

/* One that is not remembered is locked once more the next time. */
static void note_locked(void *context, const char *object, int64_t until_ns)
{
    struct renewing *renewing = context;
    struct err ignored;

    (void)retained_rows_add(&renewing->done, object, until_ns, &ignored);
}

/* Some of what the catalog remembers is asked for.  Where one ends earlier, nothing of it is
 * believed: somebody has shortened it, or it is another bucket. */
static int check_memory(struct renewing *renewing, struct store *store, struct err *err)
{
    CLEANUP(retained_rows_clear) struct retained_rows some = {0};
    struct catalog *catalog = renewing->session->catalog;
    int r = retained_sample(catalog, renewing->place, SAMPLE, &some, err);

    for (size_t i = 0; r == 0 && i < some.count; i++) {
        const struct retained_row *row = &some.at[i];
        int64_t until = 0;

        r = store_retained(store, row->object, &until, err);
        if (r == -ERR_NOT_FOUND) { /* pruned since */
            r = 0;
            continue;
        }
        if (r < 0 || until >= row->until_ns || row->until_ns <= now_ns())
            continue;
        console_say("%s: %s is locked for less long than it was: everything is locked anew",
                    store->location, row->object);
        return retained_forget(catalog, renewing->place, err);
    }
    return r;
}

static void tell_renewed(const struct app *app, const char *location,
                         const struct renew_result *result)
{
    char objects[OUTPUT_SIZE], date[CLOCK_TEXT_SIZE];

    if (app->quiet || result->renewed == 0)
        return;
    clock_format_local(result->until_ns, date);
    console_line("%s: %s of %llu locked until %s", location,
                 output_count(result->renewed, "object", objects),
                 (unsigned long long)result->objects, date);
}

int locks_renew(const struct app *app, struct session *session, const char *replica,
                struct store *store, const struct lock_needs *needed, struct err *err)
{
    CLEANUP(renewing_clear)
    struct renewing renewing = {session, replica ? replica : store->location, needed, {0}};
    const struct renew_options options = {.repo = session->repo,
                                          .store = store,
                                          .now_ns = now_ns(),
                                          .needs = needs,
                                          .known = known,
                                          .locked = note_locked,
                                          .context = &renewing};
    struct renew_result result = {0};
    struct err ignored;

    if (store->retention_ns == 0)
        return 0;
    int r = check_memory(&renewing, store, err);
    if (r == 0)
        r = renew_run(&options, &result, err);
    tell_renewed(app, store->location, &result);
    if (retained_set(session->catalog, renewing.place, &renewing.done, options.now_ns, &ignored) <
        0)
        console_say("catalog: %s; the next run locks once more", ignored.text);
    if (r == 0 && result.missing > 0)
        r = err_set(err, ERR_NOT_FOUND,
                    "%llu archives that a snapshot refers to are not in %.100s: see yester verify",
                    (unsigned long long)result.missing, store->location);
    return r < 0 ? err_context(err, "object lock") : 0;
}
