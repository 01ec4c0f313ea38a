/* cmd_init — make a repository and its first key. */
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/store/store.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"
#include "tools/secret.h"
#include "tools/session.h"

static const struct option_spec options[] = {
    {"label", 0, "TEXT", "what `yester key list` calls the first key (default: its origin)"},
    OPTION_DRY_RUN,
    {0},
};

static void tell(const struct app *app, const struct repo *repo)
{
    char id[2 * REPO_ID_SIZE + 1];
    const char *location = config_text(&app->config, SET_LOCATION);

    hex_encode(repo->id, REPO_ID_SIZE, id);
    if (app->json) {
        struct json_object *object = json_object_new_object();

        json_object_object_add(object, "repository", output_json_text(location, strlen(location)));
        json_object_object_add(object, "id", json_object_new_string(id));
        output_json(object);
        return;
    }
    if (app->quiet)
        return;
    console_line("repository %s made at %s", id, location);
    console_line(
        "Keep a copy of the key somewhere else: without it, nothing in there can be read.");
}

/* A store is made only when the key is there. */
static int create(struct app *app, const struct secret *secret, const char *from, struct err *err)
{
    CLEANUP(store_closep) struct store *store = NULL;
    CLEANUP(repo_freep) struct repo *repo = NULL;
    const char *label = app_text(app, "label");
    int r = session_store(app, true, &store, err);

    if (r == 0)
        r = repo_create(STEAL(store), secret, label ? label : from, &repo, err);
    if (r == -ERR_EXISTS)
        app_hint(app, "use it as it is, or name another place with --repo");
    if (r == 0)
        tell(app, repo);
    return r;
}

/* Whether there is one already; a directory that is not there yet is none. */
static int refuse_existing(struct app *app, struct err *err)
{
    CLEANUP(store_closep) struct store *store = NULL;
    struct repo_seen seen;
    int r = session_store(app, false, &store, err);

    if (r == 0)
        r = repo_probe(store, &seen, err);
    if (r == -ERR_NO_REPOSITORY)
        return 0;
    if (r < 0)
        return r;
    app_hint(app, "use it as it is, or name another place with --repo");
    return err_set(err, ERR_EXISTS, "there is a repository at %.150s already",
                   config_text(&app->config, SET_LOCATION));
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(secret_clear) struct secret secret = {0};
    char from[SECRET_FROM_SIZE];
    int r = refuse_existing(app, err);

    if (r < 0)
        return r;
    r = secret_find(&app->config, true, &secret, from, err);
    if (r < 0 && r != -ERR_CANCELLED)
        app_hint(app, "make a key: openssl rand -base64 32 > FILE; then --key-file FILE");
    if (r < 0)
        return r;
    if (app_flag(app, "dry-run")) {
        console_say("would make a repository at %s", config_text(&app->config, SET_LOCATION));
        return 0;
    }
    return create(app, &secret, from, err);
}

const struct command command_init = {
    .name = "init",
    .arguments = "",
    .summary = "make a repository and its first key",
    .examples = "  openssl rand -base64 32 > /root/yester.key\n"
                "  yester --repo /backup --key-file /root/yester.key init\n",
    .details = "The key is 32 random bytes in base64, as above, or any passphrase; see yester(1) "
               "for where\nit may come from.  Whoever has the key reads everything; nobody else "
               "does.\n",
    .options = options,
    .run = run,
};
