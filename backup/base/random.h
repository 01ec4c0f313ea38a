/*
 * random — bytes that nobody can guess, from the kernel.
 *
 * Threads: any.
 * Errors:  ERR_SYSTEM; then nothing may be encrypted with what is in the buffer.
 */
#pragma once

#include <stddef.h>

struct err;

int random_bytes(void *out, size_t size, struct err *err);
