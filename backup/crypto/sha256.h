/*
 * sha256 — the digest that others ask for: S3 signs bodies with it.  Ours is digest.h.
 *
 * Threads: any.
 * Errors:  ERR_SYSTEM when OpenSSL has no SHA-256.
 */
#pragma once

#include <stddef.h>

struct err;

enum { SHA256_HEX_SIZE = 65 };

/* As lower-case digits and a NUL. */
int sha256_hex(const void *bytes, size_t size, char out[SHA256_HEX_SIZE], struct err *err);
