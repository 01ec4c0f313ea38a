/*
 * format — the outer bytes of an archive: header, trailer, padding, and how each part is sealed.
 *
 * docs/format.md, "Archives", is the authority; the toc and the chunk table are in toc.h.
 *
 * Ownership: plain values; struct part_key holds a secret, clear it with part_key_clear().
 * Threads:   any call from any thread.
 * Errors:    ERR_CORRUPT for whatever docs/format.md does not allow, ERR_WRONG_KEY for an epoch
 * that this keyring does not open; the caller adds which object.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"
#include "backup/crypto/keyring.h"
#include "backup/crypto/seal.h"

struct err;

enum {
    HEADER_SIZE = 192,
    TRAILER_PLAIN_SIZE = 48,
    TRAILER_SEALED_SIZE = TRAILER_PLAIN_SIZE + SEAL_TAG_SIZE,
    TRAILER_SIZE = HEADER_SIZE + TRAILER_SEALED_SIZE,
    ARCHIVE_SALT_SIZE = 32,
    SECTION_MAX = 4 * 1024 * 1024,  /* decoded toc, or chunks */
    PART_EXTRA = 1 + SEAL_TAG_SIZE, /* what a stored part has beside its content: codec, tag */
};

/* What is sealed; with a counter, each part's own nonce. */
enum part {
    PART_BLOCK = 1,
    PART_CHUNKS = 2,
    PART_TOC = 3,
    PART_TRAILER = 4,
    PART_PADDING = 5,
};

struct header {
    enum archive_kind kind;
    uint8_t repo_id[REPO_ID_SIZE];
    struct archive_id id;
    uint8_t salt[ARCHIVE_SALT_SIZE];
    uint32_t epoch;
    uint8_t commitment[32];
};

struct trailer {
    uint64_t toc_offset;
    uint32_t toc_size; /* stored */
    uint32_t blocks;
    uint64_t chunks_offset;
    uint32_t chunks_size; /* stored; 0: absent */
    uint32_t chunks;      /* or ids */
    uint32_t raw_end;
};

/* What seals the parts of one archive. */
struct part_key {
    struct seal_key key;
    struct archive_id id;
    enum archive_kind kind;
};

void header_encode(const struct header *header, uint8_t out[HEADER_SIZE]);
int header_decode(const uint8_t in[HEADER_SIZE], struct header *out, struct err *err);

void trailer_encode(const struct trailer *trailer, uint8_t out[TRAILER_PLAIN_SIZE]);
/* All that can be known without the toc is checked: order, bounds, the object's end. */
int trailer_decode(const uint8_t in[TRAILER_PLAIN_SIZE], enum archive_kind kind,
                   uint64_t object_size, struct trailer *out, struct err *err);

/* Writer: derives the key and fills in header->commitment. */
int part_key_make(struct header *header, const struct keyring *keyring, struct part_key *out,
                  struct err *err);
/* Reader: derives the key and compares header->commitment. */
int part_key_open(const struct header *header, const struct keyring *keyring, struct part_key *out,
                  struct err *err);
void part_key_clear(struct part_key *key);

/* In place: `bytes` has room for SEAL_TAG_SIZE more. */
int part_seal(const struct part_key *key, enum part part, uint64_t counter, uint8_t *bytes,
              size_t size, struct err *err);
/* `size` with the tag; `out` may be `in`. */
int part_open(const struct part_key *key, enum part part, uint64_t counter, const uint8_t *in,
              size_t size, uint8_t *out, struct err *err);

/* The size that an object of `size` bytes is padded to, and the padding that takes: 0, or at least
 * 17. */
uint64_t padme(uint64_t size);
uint64_t padding_for(uint64_t size);
