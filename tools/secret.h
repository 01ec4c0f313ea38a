/*
 * secret — where the key that opens a repository comes from.
 *
 * In this order: --key-file, YESTER_KEY_FILE, YESTER_KEY_COMMAND, BACKUP_ENCRYPTION_KEY, the
 * settings' key_file and key_command, a question on the terminal.  The first that is given counts;
 * when it does not work, that is an error and the next is not tried.
 *
 * Ownership: a secret lives in memory of its own; secret_clear() ends it.
 * Threads:   one.
 * Errors:    ERR_USAGE where there is no key at all, or an empty one; ERR_SYSTEM and its kin for a
 * file that cannot be read and a command that fails.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "backup/crypto/keyring.h"

struct config;
struct err;

enum { SECRET_FROM_SIZE = 160 };

/* `from` is told in messages: where the secret was taken from.  `twice`: a new one, so that it is
 * asked for a second time. */
int secret_find(const struct config *config, bool twice, struct secret *out,
                char from[SECRET_FROM_SIZE], struct err *err);

/* One way each. */
int secret_from_file(const char *name, struct secret *out, struct err *err);
int secret_from_command(const char *command, struct secret *out, struct err *err);
int secret_from_terminal(const char *prompt, bool twice, struct secret *out, struct err *err);
