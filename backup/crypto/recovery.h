/*
 * recovery — a secret of 32 bytes as lines that can be printed and typed in again.
 *
 * Each line ends in digits that check it and all lines before it, so that a line which was
 * mistyped, left out or swapped is named; see docs/format.md, "Recovery key".
 *
 * Ownership: the caller's memory; what is written and read here is a secret.
 * Threads:   any.
 * Errors:    ERR_USAGE, naming the line; never a digit of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { RECOVERY_KEY_SIZE = 32, RECOVERY_LINES = 4, RECOVERY_TEXT_SIZE = 160 };

#define RECOVERY_HEADING "YESTER RECOVERY KEY"

/* The heading and the lines, each with a newline. */
void recovery_format(const uint8_t key[RECOVERY_KEY_SIZE], char out[RECOVERY_TEXT_SIZE]);

/* Whether the text has the heading: then it is a recovery key and nothing else. */
bool recovery_is(const char *text, size_t size);
int recovery_parse(const char *text, size_t size, uint8_t out[RECOVERY_KEY_SIZE], struct err *err);
