/*
 * seal — AES-256-GCM for what goes into the repository, HKDF-SHA256 for the keys it takes.
 *
 * Sealing the same nonce twice under one key gives both messages away, so nonces here are counters
 * of a key that is used for one archive (or one message) only; see docs/format.md.
 *
 * Ownership: struct seal_key is a plain value that holds a secret; clear it with seal_key_clear().
 * Threads:   any call from any thread.
 * Errors:    seal_open() gives ERR_CORRUPT for whatever was not sealed so.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;

enum { SEAL_KEY_SIZE = 32, SEAL_NONCE_SIZE = 12, SEAL_TAG_SIZE = 16 };

struct seal_key {
    uint8_t bytes[SEAL_KEY_SIZE];
};

/* A key and what commits to it: both halves of one derivation. */
struct seal_derived {
    struct seal_key key;
    uint8_t commitment[32];
};

/* `out` takes count + SEAL_TAG_SIZE bytes and may be the same memory as `in`. */
int seal_bytes(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_SIZE], const void *aad,
               size_t aad_count, const uint8_t *in, size_t count, uint8_t *out, struct err *err);

/* `count` includes the tag; `out` takes count - SEAL_TAG_SIZE bytes and may be `in`. */
int seal_open(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_SIZE], const void *aad,
              size_t aad_count, const uint8_t *in, size_t count, uint8_t *out, struct err *err);

/* HKDF-SHA256 of 32 bytes of key material; info is a text and bytes behind it. */
int seal_derive(const uint8_t ikm[32], const uint8_t *salt, size_t salt_count, const char *text,
                const void *info, size_t info_count, struct seal_derived *out, struct err *err);

void seal_key_clear(struct seal_key *key);
void seal_derived_clear(struct seal_derived *derived);
