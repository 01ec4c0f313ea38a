#include "tools/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/pace.h"
#include "backup/store/sealedcache.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/location.h"
#include "tools/replicas.h"
#include "tools/secret.h"

enum { DIRECTORY_SIZE = 4096, LOSSES_SHOWN = 3 };

#define PATIENCE (600 * NS_PER_SECOND)
#define PAUSE (NS_PER_SECOND / 5)

int session_store(struct app *app, bool create, struct store **out, struct err *err)
{
    const char *location = config_text(&app->config, SET_LOCATION);

    if (!location)
        return err_set(err, ERR_USAGE, "the repository's location is empty");
    return session_store_at(app, NULL, location, create, out, err);
}

int session_store_at(struct app *app, const struct config_replica *replica, const char *location,
                     bool create, struct store **out, struct err *err)
{
    if (!replica)
        replica = config_replica_at(&app->config, location);
    return location_open(&app->config, replica, location, create, out, err);
}

void session_follow(const struct session *session, struct progress *progress)
{
    repo_follow(session->repo, progress);
}

int session_pace(const struct app *app, struct store *store, struct err *err)
{
    uint64_t rate = config_number(&app->config, SET_BACKUP_BWLIMIT);
    struct pace *pace = rate > 0 ? pace_new(rate) : NULL;

    if (rate > 0 && !pace)
        return err_set(err, ERR_NOMEM, "no memory for a limit");
    store_set_pace(store, pace);
    return 0;
}

/* Somebody who wants something back takes it from a replica where the repository is gone. */
static int fall_back(struct app *app, struct session *session, struct store **out,
                     struct repo_seen *out_seen, struct err *err)
{
    const struct config_replica *replica = NULL;
    struct err first = *err, ignored;

    if (!app->command->falls_back || app->config.replica_count == 0 || err->code == ERR_USAGE)
        return -(int)err->code;
    console_say("%s", first.text);
    if (replicas_open(app, out, out_seen, &replica, &ignored) < 0)
        return -(int)err->code;
    session->replica = replica;
    console_say("taken from replica %s instead: %s", replica->name, replica->location);
    return 0;
}

static int find_store(struct app *app, struct session *session, struct store **out,
                      struct repo_seen *out_seen, struct err *err)
{
    CLEANUP(store_closep) struct store *store = NULL;
    int r = session_store(app, false, &store, err);

    if (r == 0)
        r = repo_probe(store, out_seen, err);
    if (r < 0)
        return fall_back(app, session, out, out_seen, err);
    *out = STEAL(store);
    return 0;
}

static int open_repo(struct app *app, struct secret *secret, struct session *out, struct err *err)
{
    CLEANUP(store_closep) struct store *store = NULL;
    char from[SECRET_FROM_SIZE];
    struct repo_seen seen;
    int r = find_store(app, out, &store, &seen, err);

    if (r < 0)
        return r;
    r = secret_find(&app->config, false, secret, from, err);
    if (r < 0 && r != -ERR_CANCELLED)
        app_hint(app, "give the key by --key-file, YESTER_KEY_FILE, YESTER_KEY_COMMAND or "
                      "BACKUP_ENCRYPTION_KEY, or in the settings");
    if (r < 0)
        return r;
    r = repo_open(STEAL(store), &seen, secret, 1, &out->repo, err);
    if (r == -ERR_WRONG_KEY)
        app_hint(app, "the key came from: %.140s; is it this repository's?", from);
    return r;
}

int session_catalog_directory(const struct app *app, const struct session *session, char *out,
                              size_t size, struct err *err)
{
    const struct config_replica *replica = session->replica;
    int r = catalog_default_directory(out, size, err);

    if (!replica)
        replica = config_replica_at(&app->config, repo_location(session->repo));
    if (r < 0 || !replica)
        return r;
    size_t used = strlen(out);
    if (snprintf(out + used, size - used, "/replica-%s", replica->name) >= (int)(size - used))
        return err_set(err, ERR_USAGE, "the catalogs' directory has too long a name");
    return 0;
}

/* Beside the catalog.  Who looks at what the store has (verify, prune, backup …) has none. */
static void use_cache(const struct app *app, struct session *session, const char *directory)
{
    char id[2 * REPO_ID_SIZE + 1], path[DIRECTORY_SIZE];
    struct sealedcache_options options = {
        .directory = path,
        .bytes = config_number(&app->config, SET_S3_DISK_CACHE),
        .keeps_data = app->command->cache == CACHE_ALL,
    };

    hex_encode(session->repo->id, REPO_ID_SIZE, id);
    if (app->command->cache == CACHE_NOTHING || !repo_is_remote(session->repo) ||
        snprintf(path, sizeof(path), "%s/%s", directory, id) >= (int)sizeof(path))
        return;
    memcpy(options.repository, session->repo->id, sizeof(options.repository));
    repo_use_cache(session->repo, sealedcache_open(&options));
}

static int open_catalog(struct app *app, struct session *session, enum session_depth depth,
                        struct err *err)
{
    char directory[DIRECTORY_SIZE];
    int r = session_catalog_directory(app, session, directory, sizeof(directory), err);

    if (r == 0)
        r = catalog_open(session->repo, directory, &session->catalog, err);
    if (r == 0)
        use_cache(app, session, directory);
    if (r == 0 && depth > SESSION_CATALOG)
        r = catalog_sync(session->catalog, depth == SESSION_ALL, err);
    return r;
}

/* What was there and is gone is said by every command: somebody may have put an older state back.
 */
static int warn_of_losses(struct session *session, struct err *err)
{
    CLEANUP(strings_clear) struct strings losses = {0};
    int r = catalog_losses(session->catalog, &losses, err);

    for (size_t i = 0; i < losses.count && i < LOSSES_SHOWN && r == 0; i++)
        console_say("warning: %s", losses.at[i]);
    if (losses.count > LOSSES_SHOWN)
        console_say("warning: and %zu more", losses.count - LOSSES_SHOWN);
    return r;
}

int session_take_lock(struct store *store, bool alone, int64_t patience_ns, struct store_lock **out,
                      struct err *err)
{
    struct clock *clock = clock_system();
    int64_t end = clock_monotonic_ns() + (patience_ns > 0 ? patience_ns : PATIENCE);
    bool said = false;
    int r;

    while ((r = store_try_lock(store, alone, out, err)) == -ERR_BUSY &&
           clock_monotonic_ns() < end) {
        if (!said)
            console_say("%s; waiting", err->text);
        said = true;
        clock->sleep_ns(clock, PAUSE);
    }
    return r == -ERR_BUSY ? err_context(err, "gave up waiting") : r;
}

int session_open_secret(struct app *app, struct secret *secret, struct session *out,
                        struct err *err)
{
    int r = open_repo(app, secret, out, err);

    if (r < 0 || out->locked == LOCK_NONE)
        return r;
    r = session_take_lock(out->repo->store, out->locked == LOCK_ALONE, out->patience_ns, &out->lock,
                          err);
    /* Whoever held it may have ended the epoch that was the current one; in a bucket nobody holds.
     */
    return r < 0 || !out->lock ? r : repo_refresh_keys(out->repo, err);
}

int session_open(struct app *app, enum session_depth depth, struct session *out, struct err *err)
{
    CLEANUP(secret_clear) struct secret secret = {0};
    int r = session_open_secret(app, &secret, out, err);

    if (r == 0 && depth > SESSION_REPOSITORY)
        r = open_catalog(app, out, depth, err);
    if (r == 0 && depth > SESSION_CATALOG)
        r = warn_of_losses(out, err);
    return r;
}

int session_blocks(struct session *session, size_t cache_bytes, struct err *err)
{
    session->blocks = blocks_new(session->repo, cache_bytes);
    if (!session->blocks)
        return err_set(err, ERR_NOMEM, "no memory for a cache of %zu bytes", cache_bytes);
    return 0;
}

void session_close(struct session *session)
{
    blocks_freep(&session->blocks);
    catalog_closep(&session->catalog);
    store_unlock(STEAL(session->lock));
    repo_freep(&session->repo);
}

int snapshot_path_parse(const char *text, struct snapshot_path *out, struct err *err)
{
    const char *colon = strchr(text, ':');
    size_t size = colon ? (size_t)(colon - text) : strlen(text);

    if (size == 0)
        return err_set(err, ERR_USAGE, "\"%.100s\" names no snapshot", text);
    out->snapshot = strndup(text, size);
    if (!out->snapshot)
        return err_set(err, ERR_NOMEM, "no memory for a name");
    out->path = colon ? colon + 1 : NULL;
    return 0;
}

void snapshot_path_clear(struct snapshot_path *path)
{
    free(path->snapshot);
    *path = (struct snapshot_path){0};
}

static int type_bit(const char *word, size_t size, uint8_t *out, struct err *err)
{
    for (int type = TYPE_FILES; type <= TYPES; type++) {
        const char *name = snapshot_type_name((enum snapshot_type)type);

        if (strlen(name) != size || memcmp(name, word, size) != 0)
            continue;
        *out = (uint8_t)(*out | 1 << type);
        return 0;
    }
    return err_set(err, ERR_USAGE, "\"%.*s\" is no type: files, config, database, all",
                   (int)(size < 40 ? size : 40), word);
}

int types_parse(const char *text, uint8_t *out, struct err *err)
{
    uint8_t types = 0;

    while (text && strcmp(text, "all") != 0) {
        size_t size = strcspn(text, ",");
        int r = type_bit(text, size, &types, err);

        if (r < 0)
            return r;
        if (!text[size])
            break;
        text += size + 1;
    }
    *out = types;
    return 0;
}

static int parse_before(const char *text, int64_t *out, struct err *err)
{
    char echoed[CLOCK_TEXT_SIZE];
    int r = clock_parse_time(text, out, err);

    if (r < 0)
        return err_context(err, "--before");
    clock_format_rfc3339_utc(*out, echoed);
    console_say("before %s", echoed);
    return 0;
}

static void say_other_host(const struct select_query *query, const struct selection *selection)
{
    if (selection->other_host)
        console_say("no snapshot of %s here; taking those of %s", query->host, selection->host);
}

int session_host(struct app *app, struct session *session, struct selection *out, struct err *err)
{
    const struct select_query query = {.host = config_text(&app->config, SET_BACKUP_HOST),
                                       .host_given = app_text(app, "host") != NULL};
    int r = select_host(session->catalog, &query, out, err);

    if (r < 0)
        app_hint(app, "`yester list` shows the snapshots that there are");
    else
        say_other_host(&query, out);
    return r;
}

int session_select(struct app *app, struct session *session, const char *snapshot, uint8_t types,
                   const char *before, struct selection *out, struct err *err)
{
    struct select_query query = {.host = config_text(&app->config, SET_BACKUP_HOST),
                                 .host_given = app_text(app, "host") != NULL,
                                 .snapshot = snapshot,
                                 .types = types};
    int r = before ? parse_before(before, &query.before_ns, err) : 0;

    if (r == 0)
        r = select_snapshots(session->catalog, &query, out, err);
    if (r < 0) {
        app_hint(app, "`yester list` shows the snapshots that there are");
        return r;
    }
    say_other_host(&query, out);
    return 0;
}
