/*
 * sha256 — the digest that others ask for: S3 signs bodies with it, PostgreSQL the manifest of a
 * base backup.  Ours is digest.h.
 *
 * Ownership: sha256_free() ends a stream, whatever has become of it.
 * Threads: any; a stream belongs to one at a time.
 * Errors:  ERR_SYSTEM when OpenSSL has no SHA-256.
 */
#pragma once

#include <stddef.h>

struct err;
struct sha256_stream;

enum { SHA256_HEX_SIZE = 65 };

/* As lower-case digits and a NUL. */
int sha256_hex(const void *bytes, size_t size, char out[SHA256_HEX_SIZE], struct err *err);

/* Of bytes that come in pieces. */
int sha256_new(struct sha256_stream **out, struct err *err);
int sha256_add(struct sha256_stream *stream, const void *bytes, size_t size, struct err *err);
/* Once, and nothing is added behind it. */
int sha256_finish(struct sha256_stream *stream, char out[SHA256_HEX_SIZE], struct err *err);
void sha256_free(struct sha256_stream *stream); /* NULL is allowed */
