/* cmd_key — the keys that open a repository: list, add, remove. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/session.h"

static const struct option_spec no_options[] = {{0}};

static const struct option_spec add_options[] = {
    {"new-key-file", 0, "FILE", "the new key is in this file"},
    {"new-key-command", 0, "COMMAND", "the new key is what this command prints"},
    {"label", 0, "TEXT", "what `yester key list` calls it"},
    OPTION_DRY_RUN,
    {0},
};

static const struct option_spec change_options[] = {OPTION_DRY_RUN, {0}};

static void print_slot(const struct slot_info *slot, bool own)
{
    char id[2 * SLOT_ID_SIZE + 1], made[CLOCK_TEXT_SIZE];

    hex_encode(slot->id, SLOT_ID_SIZE, id);
    clock_format_local(slot->made_ns, made);
    printf("%.*s  %-10s  %s  %s%s\n", SLOT_ID_SHORT, id, keys_kind(slot), made, slot->label,
           own ? "  (in use)" : "");
}

static struct json_object *slot_json(const struct slot_info *slot, bool own)
{
    struct json_object *object = json_object_new_object();
    char id[2 * SLOT_ID_SIZE + 1];

    hex_encode(slot->id, SLOT_ID_SIZE, id);
    json_object_object_add(object, "id", json_object_new_string(id));
    json_object_object_add(object, "kind", json_object_new_string(keys_kind(slot)));
    json_object_object_add(object, "made", output_json_time(slot->made_ns));
    json_object_object_add(object, "label", output_json_text(slot->label, strlen(slot->label)));
    json_object_object_add(object, "in_use", json_object_new_boolean(own));
    return object;
}

static int run_list(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    struct json_object *list = NULL;
    struct slot_info slot;
    int r = session_open(app, SESSION_REPOSITORY, &session, err);

    if (r < 0)
        return r;
    if (app->json)
        list = json_object_new_array();
    else
        printf("%-8s  %-10s  %-26s  %s\n", "ID", "KIND", "MADE", "LABEL");
    for (size_t i = 0; i < keyring_slots(session.repo->keyring); i++) {
        bool own = i == keyring_own_slot(session.repo->keyring);

        keyring_slot(session.repo->keyring, i, &slot);
        if (app->json)
            json_object_array_add(list, slot_json(&slot, own));
        else
            print_slot(&slot, own);
    }
    if (app->json)
        output_json(list);
    else if (keyring_older(session.repo->keyring) > 0 && !app->quiet)
        console_line("older epochs: %zu; `yester key rotate --reencrypt` ends them",
                     keyring_older(session.repo->keyring));
    return 0;
}

static int run_add(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {.locked = LOCK_SHARED};
    CLEANUP(secret_clear) struct secret secret = {0};
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    const char *label = app_text(app, "label");
    char from[SLOT_LABEL_MAX + 1];
    int r = session_open(app, SESSION_REPOSITORY, &session, err);

    if (r == 0)
        r = keys_new_secret(app, "Passphrase to add: ", &secret, from, err);
    if (r < 0)
        return r;
    if (app_flag(app, "dry-run")) {
        console_say("would let one more key in");
        return 0;
    }
    r = keys_let_in(session.repo, &secret, label ? label : from, &opened, err);
    if (r == 0 && !app->quiet)
        console_line("the new key opens this repository from now on");
    return r;
}

static int run_remove(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {.locked = LOCK_SHARED};
    struct slot_info slot;
    int r = session_open(app, SESSION_REPOSITORY, &session, err);

    if (r == 0)
        r = keys_find(app, session.repo->keyring, app_argument(app, 0), &slot, err);
    if (r < 0)
        return r;
    if (app_flag(app, "dry-run")) {
        console_say("would remove the %s \"%s\"", keys_kind(&slot), slot.label);
        return 0;
    }
    struct key_objects objects = repo_key_objects(session.repo->store);
    r = keyring_remove(session.repo->keyring, &objects, slot.id, err);
    if (r == 0 && !app->quiet)
        console_line("\"%s\" does not open what is written from now on; who had it may have kept "
                     "the keys of what is there",
                     slot.label);
    return r;
}

const struct command command_key_list = {
    .name = "key list",
    .arguments = "",
    .summary = "the keys that open the repository",
    .examples = "  yester key list\n",
    .options = no_options,
    .run = run_list,
};

const struct command command_key_add = {
    .name = "key add",
    .arguments = "",
    .summary = "let one more key open the repository",
    .examples = "  yester key add --new-key-file /root/second.key --label safe\n"
                "  yester key add                               (asks for a passphrase, twice)\n",
    .options = add_options,
    .run = run_add,
};

const struct command command_key_remove = {
    .name = "key remove",
    .arguments = "ID",
    .summary = "take a key out",
    .examples = "  yester key remove 3f9a01c2\n",
    .details = "ID is what `yester key list` shows, or the beginning of it.  What is written from "
               "then on is\nnot opened by the removed key; the last key stays.\n",
    .options = change_options,
    .least = 1,
    .most = 1,
    .run = run_remove,
};
