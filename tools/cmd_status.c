/* cmd_status — the repository, its keys, its snapshots, and what is to be done. */
#include <stdio.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/loading.h"
#include "tools/output.h"
#include "tools/replicas.h"
#include "tools/rights.h"
#include "tools/session.h"

static const struct option_spec options[] = {
    {"rights", 0, NULL, "find out what the credentials may do here, by doing it"},
    {0},
};

enum { STALE_DAYS = 2, HINTS_MAX = 8, CATALOG_SIZE = 4096, EXIT_LOSSES = 4 };

struct status {
    struct app *app;
    const char *location;
    char id[2 * REPO_ID_SIZE + 1];
    char catalog[CATALOG_SIZE];
    uint64_t objects, bytes, room;
    struct snapshot_rows rows;
    struct strings hosts, losses;
    struct strings left_out; /* databases that the last snapshot of them does not have */
    size_t slots, older_epochs;
    struct {
        size_t count;
        const struct snapshot_row *newest; /* complete, not adhoc, of this host */
    } types[TYPES + 1];
    const char *hints[HINTS_MAX];
    size_t hint_count;
    struct {
        struct replica_lag lag;
        struct err err; /* code ERR_NONE: it could be reached */
    } replicas[REPLICAS_MAX];
};

static void status_clear(struct status *status)
{
    snapshot_rows_clear(&status->rows);
    strings_clear(&status->hosts);
    strings_clear(&status->losses);
    strings_clear(&status->left_out);
}

static int count_object(void *context, const char *name, uint64_t size, struct err *err)
{
    struct status *status = context;

    (void)name;
    (void)err;
    status->objects++;
    status->bytes += size;
    return 0;
}

static int measure(struct status *status, struct store *store, struct err *err)
{
    const struct store_listing folders[] = {{"data/", count_object, status},
                                            {"meta/", count_object, status},
                                            {"index/", count_object, status},
                                            {"snapshots/", count_object, status}};
    int r = store_room(store, &status->room, err);

    return r < 0 ? r : store_list_all(store, folders, sizeof(folders) / sizeof(folders[0]), err);
}

static void count_types(struct status *status)
{
    const char *host = config_text(&status->app->config, SET_BACKUP_HOST);

    for (size_t i = 0; i < status->rows.count; i++) {
        const struct snapshot_row *row = &status->rows.at[i];

        for (int type = TYPE_FILES; type <= TYPES; type++) {
            if (!(row->types & 1 << type))
                continue;
            status->types[type].count++;
            if ((row->complete_types & 1 << type) && !row->adhoc && strcmp(row->host, host) == 0)
                status->types[type].newest = row;
        }
    }
}

static void hint(struct status *status, const char *text)
{
    if (status->hint_count < HINTS_MAX)
        status->hints[status->hint_count++] = text;
}

static void gather_hints(struct status *status)
{
    const struct config *config = &status->app->config;
    struct clock *clock = clock_system();
    int64_t stale = clock->now_ns(clock) - STALE_DAYS * 86400 * NS_PER_SECOND;
    const struct snapshot_row *files = status->types[TYPE_FILES].newest;

    if (status->rows.count == 0)
        hint(status, "there is no snapshot yet: `yester backup`");
    else if (!files)
        hint(status, "this host has no complete snapshot of its files: `yester backup`");
    else if (files->start_ns < stale)
        hint(status, "the last complete snapshot of the files is more than two days old");
    if (!config_is_set(config, SET_FILES_PATHS))
        hint(status, "no paths are configured: write [files] paths = … into " CONFIG_DEFAULT_FILE);
    if (status->losses.count > 0)
        hint(status, "somebody took away what this host has seen: was an older state put back? "
                     "`yester forget NAME` ends missing a snapshot, `yester catalog rebuild "
                     "--accept-losses` all");
    if (status->older_epochs > 0)
        hint(status, "older epochs of keys are left: `yester key rotate --reencrypt` ends them");
    if (status->slots == 1)
        hint(status, "one key opens this repository: add a second one (`yester key add`), and "
                     "keep it elsewhere");
}

static int gather(struct status *status, struct session *session, struct err *err)
{
    int r = session_catalog_directory(status->app, session, status->catalog,
                                      sizeof(status->catalog), err);

    if (r == 0)
        r = measure(status, session->repo->store, err);
    if (r == 0)
        r = catalog_snapshots(session->catalog, NULL, &status->rows, err);
    if (r == 0)
        r = catalog_hosts(session->catalog, &status->hosts, err);
    if (r == 0)
        r = catalog_losses(session->catalog, &status->losses, err);
    if (r < 0)
        return r;
    status->location = config_text(&status->app->config, SET_LOCATION);
    status->slots = keyring_slots(session->repo->keyring);
    status->older_epochs = keyring_older(session->repo->keyring);
    hex_encode(session->repo->id, REPO_ID_SIZE, status->id);
    count_types(status);
    gather_hints(status);
    return 0;
}

/* A snapshot that cannot be read is for verify to tell. */
static void find_left_out(struct status *status, struct session *session)
{
    const struct snapshot_row *newest = status->types[TYPE_DATABASE].newest;
    CLEANUP(selection_clear) struct selection selection = {0};
    struct err ignored;

    if (newest && session_blocks(session, LOOK_CACHE, &ignored) == 0 &&
        session_select(status->app, session, newest->name, 1 << TYPE_DATABASE, NULL, &selection,
                       &ignored) == 0)
        (void)loading_left_out(status->app, session, &selection, &status->left_out, &ignored);
}

static void print_types(const struct status *status)
{
    char age[OUTPUT_SIZE], count[OUTPUT_SIZE], made[CLOCK_TEXT_SIZE];

    for (int type = TYPE_FILES; type <= TYPES; type++) {
        const struct snapshot_row *newest = status->types[type].newest;

        if (status->types[type].count == 0)
            continue;
        printf("%-11s %s", snapshot_type_name((enum snapshot_type)type),
               output_count(status->types[type].count, "snapshot", count));
        if (newest) {
            clock_format_local(newest->start_ns, made);
            printf("; last complete one of this host %s, %s ago (%s)", newest->name,
                   output_age(newest->start_ns, age), made);
        }
        printf("\n");
    }
}

static void compare_replicas(struct status *status, struct session *session)
{
    const struct config *config = &status->app->config;

    for (size_t i = 0; i < config->replica_count; i++)
        (void)replica_lag(status->app, session, &config->replicas[i], &status->replicas[i].lag,
                          &status->replicas[i].err);
}

static void print_replicas(const struct status *status)
{
    const struct config *config = &status->app->config;
    char count[OUTPUT_SIZE], age[OUTPUT_SIZE];

    for (size_t i = 0; i < config->replica_count; i++) {
        const struct replica_lag *lag = &status->replicas[i].lag;
        struct err ignored;
        int64_t made = 0;

        printf("replica     %s  ", config->replicas[i].name);
        if (status->replicas[i].err.code != ERR_NONE)
            printf("%s\n", status->replicas[i].err.text);
        else if (lag->missing == 0)
            printf("%s: up to date\n", config->replicas[i].location);
        else if (clock_parse_name(lag->oldest, &made, &ignored) == 0)
            printf("%s: lacks %s, the oldest %s (%s ago)\n", config->replicas[i].location,
                   output_count(lag->missing, "snapshot", count), lag->oldest,
                   output_age(made, age));
    }
}

static struct json_object *replicas_json(const struct status *status)
{
    const struct config *config = &status->app->config;
    struct json_object *all = json_object_new_array();

    for (size_t i = 0; i < config->replica_count; i++) {
        const struct config_replica *replica = &config->replicas[i];
        const struct err *why = &status->replicas[i].err;
        const struct replica_lag *lag = &status->replicas[i].lag;
        struct json_object *one = json_object_new_object();

        json_object_object_add(one, "name", json_object_new_string(replica->name));
        json_object_object_add(one, "location",
                               output_json_text(replica->location, strlen(replica->location)));
        json_object_object_add(one, "missing",
                               why->code == ERR_NONE ? output_json_number(lag->missing) : NULL);
        json_object_object_add(one, "oldest_missing",
                               lag->missing > 0 ? json_object_new_string(lag->oldest) : NULL);
        json_object_object_add(
            one, "error",
            why->code != ERR_NONE ? output_json_text(why->text, strlen(why->text)) : NULL);
        json_object_array_add(all, one);
    }
    return all;
}

static void print_text(const struct status *status)
{
    char size[OUTPUT_SIZE], room[OUTPUT_SIZE], count[OUTPUT_SIZE];

    printf("repository  %s (%s)\n", status->location, status->id);
    printf("stored      %s in %s", output_size(status->bytes, size),
           output_count(status->objects, "object", count));
    if (status->room != UINT64_MAX)
        printf("; %s free", output_size(status->room, room));
    printf("\nkeys        %s\n", output_count(status->slots, "slot", count));
    printf("catalog     %s\n", status->catalog);
    printf("hosts      ");
    for (size_t i = 0; i < status->hosts.count; i++)
        printf(" %s", status->hosts.at[i]);
    printf("\n");
    print_types(status);
    for (size_t i = 0; i < status->left_out.count; i++)
        printf("left out    database %s\n", status->left_out.at[i]);
    print_replicas(status);
    for (size_t i = 0; i < status->losses.count; i++)
        printf("lost        %s\n", status->losses.at[i]);
    for (size_t i = 0; i < status->hint_count; i++)
        printf("hint        %s\n", status->hints[i]);
}

static struct json_object *types_json(const struct status *status)
{
    struct json_object *types = json_object_new_object();

    for (int type = TYPE_FILES; type <= TYPES; type++) {
        const struct snapshot_row *newest = status->types[type].newest;
        struct json_object *one = json_object_new_object();

        json_object_object_add(one, "snapshots", output_json_number(status->types[type].count));
        json_object_object_add(one, "last", newest ? json_object_new_string(newest->name) : NULL);
        json_object_object_add(one, "last_start",
                               newest ? output_json_time(newest->start_ns) : NULL);
        json_object_object_add(types, snapshot_type_name((enum snapshot_type)type), one);
    }
    return types;
}

static void print_json(const struct status *status)
{
    struct json_object *object = json_object_new_object();
    struct json_object *hosts = json_object_new_array();
    struct json_object *hints = json_object_new_array(), *losses = json_object_new_array();
    struct json_object *left_out = json_object_new_array();

    for (size_t i = 0; i < status->hosts.count; i++)
        json_object_array_add(hosts,
                              output_json_text(status->hosts.at[i], strlen(status->hosts.at[i])));
    for (size_t i = 0; i < status->hint_count; i++)
        json_object_array_add(hints, json_object_new_string(status->hints[i]));
    json_object_object_add(object, "repository",
                           output_json_text(status->location, strlen(status->location)));
    json_object_object_add(object, "id", json_object_new_string(status->id));
    json_object_object_add(object, "objects", output_json_number(status->objects));
    json_object_object_add(object, "bytes", output_json_number(status->bytes));
    json_object_object_add(object, "free",
                           status->room == UINT64_MAX ? NULL : output_json_number(status->room));
    json_object_object_add(object, "keys", output_json_number(status->slots));
    json_object_object_add(object, "older_epochs", output_json_number(status->older_epochs));
    json_object_object_add(object, "catalog",
                           output_json_text(status->catalog, strlen(status->catalog)));
    for (size_t i = 0; i < status->losses.count; i++)
        json_object_array_add(losses,
                              output_json_text(status->losses.at[i], strlen(status->losses.at[i])));
    for (size_t i = 0; i < status->left_out.count; i++)
        json_object_array_add(
            left_out, output_json_text(status->left_out.at[i], strlen(status->left_out.at[i])));
    json_object_object_add(object, "hosts", hosts);
    json_object_object_add(object, "databases_left_out", left_out);
    json_object_object_add(object, "losses", losses);
    json_object_object_add(object, "types", types_json(status));
    json_object_object_add(object, "replicas", replicas_json(status));
    json_object_object_add(object, "hints", hints);
    output_json(object);
}

static void print_rights(const struct app *app, const struct rights *rights)
{
    static const char *const words[] = {"reading", "writing", "pruning"};
    const bool enough[] = {rights_to_read(rights), rights_to_write(rights),
                           rights_to_prune(rights)};
    struct json_object *object = app->json ? json_object_new_object() : NULL;

    for (size_t i = 0; i < 3; i++) {
        if (app->json)
            json_object_object_add(object, words[i], json_object_new_boolean(enough[i]));
        else
            printf("%-11s %s\n", words[i], enough[i] ? "yes" : "no");
    }
    if (app->json)
        output_json(object);
}

/* Without a key: what the store allows is asked, not what is in it. */
static int show_rights(struct app *app, struct err *err)
{
    CLEANUP(store_closep) struct store *store = NULL;
    struct rights rights = {0};
    int r = session_store(app, false, &store, err);

    if (r == 0)
        r = rights_find(store, &rights, err);
    if (r == 0)
        print_rights(app, &rights);
    return r;
}

static int run(struct app *app, struct err *err)
{
    if (app_flag(app, "rights"))
        return show_rights(app, err);

    CLEANUP(session_close) struct session session = {0};
    CLEANUP(status_clear) struct status status = {.app = app};
    int r = session_open(app, SESSION_SNAPSHOTS, &session, err);

    if (r == 0)
        r = gather(&status, &session, err);
    if (r < 0)
        return r;
    find_left_out(&status, &session);
    compare_replicas(&status, &session);
    if (app->json)
        print_json(&status);
    else
        print_text(&status);
    return status.losses.count > 0 ? EXIT_LOSSES : 0;
}

const struct command command_status = {
    .name = "status",
    .arguments = "",
    .summary = "the repository, its keys and snapshots, and what is to be done",
    .examples = "  yester status\n  yester status --rights\n",
    .details =
        "Exit status 4: something that this host has seen in the repository is gone, and was "
        "never forgotten.\n",
    .options = options,
    .run = run,
};
