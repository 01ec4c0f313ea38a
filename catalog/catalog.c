#include "catalog/catalog.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "catalog/catalog_internal.h"
#include "catalog/schema.h"
#include "catalog/segments.h"
#include "catalog/states.h"

/* An empty variable counts as not set. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

static const char *home_of_user(void)
{
    const char *home = variable("HOME");
    const struct passwd *user = home ? NULL : getpwuid(geteuid());

    return user ? user->pw_dir : home;
}

int catalog_default_directory(char *out, size_t size, struct err *err)
{
    const char *own = variable("YESTER_CATALOG");
    const char *cache = variable("XDG_CACHE_HOME");
    const char *home = home_of_user();
    int length;

    if (own)
        length = snprintf(out, size, "%s", own);
    else if (cache)
        length = snprintf(out, size, "%s/yester", cache);
    else if (geteuid() == 0)
        length = snprintf(out, size, "/var/lib/yester");
    else if (home)
        length = snprintf(out, size, "%s/.cache/yester", home);
    else
        return err_set(err, ERR_NOT_FOUND, "no home directory: set YESTER_CATALOG");
    if (length < 0 || (size_t)length >= size)
        return err_set(err, ERR_TOO_LARGE, "the catalog's directory has too long a name");
    return 0;
}

static struct catalog *catalog_new(struct repo *repo)
{
    struct catalog *catalog = calloc(1, sizeof(*catalog));

    if (!catalog)
        return NULL;
    catalog->repo = repo;
    catalog->lock_fd = -1;
    catalog->memory =
        (struct segment_home){.dirfd = -1, .key = keyring_id_key(repo->keyring), .ids = repo->ids};
    catalog->home = catalog->memory;
    pthread_mutex_init(&catalog->lock, NULL);
    pthread_mutex_init(&catalog->pending.lock, NULL);
    catalog->states = states_new();
    catalog->segments = segments_new(HOLD_BYTES);
    return catalog;
}

int catalog_open(struct repo *repo, const char *directory, struct catalog **out, struct err *err)
{
    CLEANUP(catalog_closep) struct catalog *catalog = catalog_new(repo);

    if (!catalog || !catalog->states || !catalog->segments)
        return err_set(err, ERR_NOMEM, "out of memory");
    int r = baseline_init(catalog, err);
    if (r < 0)
        return r;
    r = home_open(catalog, directory, err);
    if (r < 0 && r != -ERR_NOMEM && r != -ERR_BUSY) {
        log_debug("%s: the catalog is kept in memory", err->text);
        r = home_go_to_memory(catalog, err);
    }
    if (r < 0)
        return r;
    *out = STEAL(catalog);
    return 0;
}

void catalog_close(struct catalog *catalog)
{
    if (!catalog)
        return;
    baseline_clear(catalog);
    sync_let_go(catalog);
    chunks_drop_pending(catalog);
    free(catalog->pending.names);
    if (catalog->sql.db)
        sql_close(&catalog->sql);
    segments_free(catalog->segments);
    states_free(catalog->states);
    home_close(catalog);
    pthread_mutex_destroy(&catalog->pending.lock);
    pthread_mutex_destroy(&catalog->lock);
    free(catalog);
}

void catalog_closep(struct catalog **catalog)
{
    catalog_close(*catalog);
}

struct repo *catalog_repo(struct catalog *catalog)
{
    return catalog->repo;
}

static int sync_shallow(struct catalog *catalog, void *context, struct err *err)
{
    (void)context;
    return sync_snapshots(catalog, SYNC_NEW, err);
}

/* Segments before states: then every archive that a segment names has its state. */
static int sync_deep(struct catalog *catalog, void *context, struct err *err)
{
    (void)context;
    int r = sync_snapshots(catalog, SYNC_DEEP, err);

    if (r == 0)
        r = chunks_load(catalog, err);
    if (r == 0)
        r = sync_archives(catalog, err);
    if (r == 0)
        r = sync_load_states(catalog, err);
    if (r == 0)
        r = import_chunks(catalog, err);
    if (r == 0)
        r = sync_load_states(catalog, err);
    if (r < 0)
        return r;
    catalog->deep = true;
    chunks_tidy(catalog);
    return 0;
}

int catalog_guarded(struct catalog *catalog,
                    int (*work)(struct catalog *catalog, void *context, struct err *err),
                    void *context, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    bool deep = catalog->deep;
    catalog->sql.trouble = SQL_FINE;
    int r = work(catalog, context, err);
    if (r < 0 && home_recover(catalog)) {
        r = deep ? sync_deep(catalog, NULL, err) : sync_shallow(catalog, NULL, err);
        if (r == 0)
            r = work(catalog, context, err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return r;
}

int catalog_sync(struct catalog *catalog, bool deep, struct err *err)
{
    return catalog_guarded(catalog, deep ? sync_deep : sync_shallow, NULL, err);
}

static int rebuild(struct catalog *catalog, void *context, struct err *err)
{
    int r = schema_empty(&catalog->sql, err);

    if (r < 0)
        return r;
    catalog->deep = false;
    r = sync_deep(catalog, context, err);
    return r < 0 ? r : wal_sync_locked(catalog, context, err);
}

int catalog_rebuild(struct catalog *catalog, struct err *err)
{
    return catalog_guarded(catalog, rebuild, NULL, err);
}
