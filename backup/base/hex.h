/*
 * hex — ids as text: two lower-case digits a byte, and no other form.
 *
 * Ids name objects; a second spelling of one name would be a second object to look for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Writes 2 * size digits and a NUL. */
void hex_encode(const void *bytes, size_t size, char *out);

/* False, and `out` unchanged, unless `text` is exactly 2 * size lower-case digits. */
bool hex_decode(const char *text, size_t text_size, void *out, size_t size);
