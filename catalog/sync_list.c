/* What a store lists, into tables of this connection. */
#include <assert.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/together.h"
#include "backup/store/store.h"
#include "catalog/catalog_internal.h"

static void finalize_all(struct listing *listings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sqlite3_finalize(listings[i].insert);
}

/* The statements take turns (store_list_all), whichever thread has them. */
static int list_all(struct catalog *catalog, const struct sync_list *lists, size_t count,
                    struct err *err)
{
    struct store_listing stores[TOGETHER_MAX];
    struct listing listings[TOGETHER_MAX] = {0};
    int r = 0;

    assert(count <= TOGETHER_MAX);
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct listing *listing = &listings[i];
        *listing = (struct listing){&catalog->sql, NULL, lists[i].kind, lists[i].prefix};
        stores[i] = (struct store_listing){lists[i].prefix, lists[i].each, listing};
        r = sql_prepare(&catalog->sql, lists[i].insert, &listing->insert, err);
    }
    if (r == 0)
        r = store_list_all(catalog->repo->store, stores, count, err);
    finalize_all(listings, count);
    return r;
}

int sync_list(struct catalog *catalog, const char *empty, const struct sync_list *lists,
              size_t count, struct err *err)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    /* Deferred: only this connection's own tables are written, so nobody is locked out. */
    int r = sql_exec(&catalog->sql, "BEGIN", err);

    transaction = &catalog->sql;
    if (r == 0)
        r = sql_exec(&catalog->sql, empty, err);
    if (r == 0)
        r = list_all(catalog, lists, count, err);
    return r < 0 ? r : sql_commit(&transaction, err);
}
