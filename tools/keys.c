#include "tools/keys.h"

#include <stdio.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "tools/command.h"
#include "tools/secret.h"

enum { SHORTEST_PREFIX = 2 };

const char *keys_kind(const struct slot_info *slot)
{
    return slot->kdf == SLOT_KDF_SCRYPT ? "passphrase" : "key";
}

static size_t count_matches(const struct keyring *keyring, const char *prefix,
                            struct slot_info *out)
{
    size_t found = 0;
    size_t size = strlen(prefix);
    struct slot_info slot;

    for (size_t i = 0; i < keyring_slots(keyring); i++) {
        char id[2 * SLOT_ID_SIZE + 1];

        keyring_slot(keyring, i, &slot);
        hex_encode(slot.id, SLOT_ID_SIZE, id);
        if (size < SHORTEST_PREFIX || strncmp(id, prefix, size) != 0)
            continue;
        *out = slot;
        found++;
    }
    return found;
}

int keys_find(struct app *app, const struct keyring *keyring, const char *prefix,
              struct slot_info *out, struct err *err)
{
    struct slot_info slot;
    size_t found = count_matches(keyring, prefix, &slot);

    if (found == 1) {
        *out = slot;
        return 0;
    }
    app_hint(app, "`yester key list` shows the ids");
    if (found == 0)
        return err_set(err, ERR_USAGE, "no key has the id %.40s", prefix);
    return err_set(err, ERR_USAGE, "%zu keys have an id that begins with %.40s", found, prefix);
}

int keys_new_secret(struct app *app, const char *prompt, struct secret *out,
                    char from[SLOT_LABEL_MAX + 1], struct err *err)
{
    const char *file = app_text(app, "new-key-file");
    const char *command = app_text(app, "new-key-command");

    if (file && command)
        return err_set(err, ERR_USAGE, "--new-key-file and --new-key-command exclude each other");
    (void)snprintf(from, SLOT_LABEL_MAX + 1, "%s",
                   file      ? file
                   : command ? "command"
                             : "passphrase");
    if (file)
        return secret_from_file(file, out, err);
    if (command)
        return secret_from_command(command, out, err);
    int r = secret_from_terminal(prompt, true, out, err);
    if (r < 0 && r != -ERR_USAGE)
        app_hint(app, "without a terminal, give --new-key-file or --new-key-command");
    return r;
}

int keys_let_in(struct repo *repo, const struct secret *secret, const char *label,
                struct keyring **out, struct err *err)
{
    struct key_objects objects = repo_key_objects(repo->store);
    int r = keyring_add(repo->keyring, &objects, secret, label, err);

    if (r == 0)
        r = keyring_open(&objects, repo->id, secret, out, err);
    return r;
}
