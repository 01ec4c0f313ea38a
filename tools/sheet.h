/*
 * sheet — a recovery sheet: what a key is, for whom, and how it is used, to be printed.
 *
 * As text with a code of half blocks, as an HTML page, as an SVG of A4 size.  The code holds the
 * key as one line of base64, which is what a key file holds.
 *
 * Ownership: *out is secure memory, for secure_free(): the sheet is the secret.
 * Threads:   any.
 * Errors:    ERR_NOMEM, ERR_SYSTEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/crypto/keyring.h"

struct err;

enum sheet_format { SHEET_TEXT, SHEET_TERMINAL, SHEET_HTML, SHEET_SVG };

struct sheet {
    const uint8_t *repo_id;
    const char *location;
    const struct slot_info *slot;
    const struct secret *secret; /* of 32 bytes */
    int64_t now_ns;
};

int sheet_render(const struct sheet *sheet, enum sheet_format format, char **out, size_t *out_size,
                 struct err *err);
