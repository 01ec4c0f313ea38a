/* cmd_key_passwd — another passphrase or key in the place of the one that is used. */
#include <stdio.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/session.h"

static const struct option_spec options[] = {
    {"new-key-file", 0, "FILE", "the new key is in this file"},
    {"new-key-command", 0, "COMMAND", "the new key is what this command prints"},
    {"label", 0, "TEXT", "what `yester key list` calls it"},
    OPTION_DRY_RUN,
    {0},
};

static void tell(const struct app *app, const struct keyring *keyring)
{
    struct slot_info slot;
    char id[2 * SLOT_ID_SIZE + 1];

    keyring_slot(keyring, keyring_own_slot(keyring), &slot);
    hex_encode(slot.id, SLOT_ID_SIZE, id);
    if (app->json) {
        struct json_object *object = json_object_new_object();

        json_object_object_add(object, "id", json_object_new_string(id));
        json_object_object_add(object, "epoch", output_json_number(keyring_epoch(keyring)));
        output_json(object);
        return;
    }
    if (app->quiet)
        return;
    console_line(
        "the new %s opens this repository, the old one nothing that is written from now on",
        keys_kind(&slot));
    console_line("who knows the old one and has kept a copy of the keys still reads what was there "
                 "before");
}

/* What the new secret opens.  One that another slot has already is what an earlier, interrupted
 * change let in, and is taken as it is. */
static int let_in(struct app *app, struct repo *repo, const struct secret *secret,
                  const char *label, struct keyring **out, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    struct key_objects objects = repo_key_objects(repo->store);
    struct slot_info old, slot;
    int r = keyring_open(&objects, repo->id, secret, &opened, err);

    if (r == -ERR_WRONG_KEY)
        return keys_let_in(repo, secret, label, out, err);
    if (r < 0)
        return r;
    keyring_slot(repo->keyring, keyring_own_slot(repo->keyring), &old);
    keyring_slot(opened, keyring_own_slot(opened), &slot);
    if (memcmp(old.id, slot.id, SLOT_ID_SIZE) == 0) {
        app_hint(app, "give another one; `yester key rotate` makes a new master key without it");
        return err_set(err, ERR_USAGE, "the new key is the old one");
    }
    *out = STEAL(opened);
    return 0;
}

/* Only when the new one opens does the old one go: at each moment one of them opens everything. */
static int change(struct app *app, struct repo *repo, const struct secret *secret,
                  const char *label, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    struct key_objects objects = repo_key_objects(repo->store);
    struct slot_info old;
    int r = let_in(app, repo, secret, label, &keyring, err);

    if (r < 0)
        return r;
    keyring_slot(repo->keyring, keyring_own_slot(repo->keyring), &old);
    r = keyring_remove(keyring, &objects, old.id, err);
    if (r < 0)
        return err_context(err, "the new key opens the repository");
    tell(app, keyring);
    return 0;
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {.locked = LOCK_SHARED};
    CLEANUP(secret_clear) struct secret secret = {0};
    const char *label = app_text(app, "label");
    char from[SLOT_LABEL_MAX + 1];
    struct slot_info old;
    int r = session_open(app, SESSION_REPOSITORY, &session, err);

    if (r == 0)
        r = keys_new_secret(app, "New passphrase: ", &secret, from, err);
    if (r < 0)
        return r;
    keyring_slot(session.repo->keyring, keyring_own_slot(session.repo->keyring), &old);
    if (app_flag(app, "dry-run")) {
        console_say("would let the new key in and take the %s \"%s\" out", keys_kind(&old),
                    old.label);
        return 0;
    }
    return change(app, session.repo, &secret, label ? label : from, err);
}

const struct command command_key_passwd = {
    .name = "key passwd",
    .arguments = "",
    .summary = "change the passphrase or key that is used",
    .examples = "  yester key passwd                            (asks for the new one, twice)\n"
                "  yester key passwd --new-key-file /root/new.key\n",
    .details =
        "The new one is let in, tried, and only then is the one that opened the repository "
        "taken out.\nWhat was stored before stays readable to who knows the old one and kept "
        "a copy of the keys.\n",
    .options = options,
    .run = run,
};
