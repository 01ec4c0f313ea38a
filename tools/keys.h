/*
 * keys — what the commands of `yester key` share: slots shown and found, a new secret taken in.
 *
 * Ownership: plain values.
 * Threads:   one.
 * Errors:    ERR_USAGE, with a hint, for an id that means no key or several.
 */
#pragma once

#include <stdbool.h>

#include "backup/crypto/keyring.h"

struct app;
struct err;
struct repo;

enum { SLOT_ID_SHORT = 8 }; /* so many digits of an id are shown */

/* "key" or "passphrase" */
const char *keys_kind(const struct slot_info *slot);
/* The one slot whose id begins so. */
int keys_find(struct app *app, const struct keyring *keyring, const char *prefix,
              struct slot_info *out, struct err *err);

/* From --new-key-file or --new-key-command, else asked for twice; `from` is a label for it. */
int keys_new_secret(struct app *app, const char *prompt, struct secret *out,
                    char from[SLOT_LABEL_MAX + 1], struct err *err);
/* Lets a secret in and looks whether it opens the repository as it now stands; *out is what it
 * opened, with the new slot as its own. */
int keys_let_in(struct repo *repo, const struct secret *secret, const char *label,
                struct keyring **out, struct err *err);
