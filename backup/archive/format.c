#include "backup/archive/format.h"

#include <stdbool.h>
#include <string.h>

#include "backup/archive/writer.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { VERSION = 1, AAD_SIZE = 48 };

/* Where the header's fields are. */
enum {
    AT_VERSION = 8,
    AT_KIND = 10,
    AT_KEY_MODE = 11,
    AT_FLAGS = 12,
    AT_REPO_ID = 16,
    AT_ID = 32,
    AT_SALT = 64,
    AT_EPOCH = 96,
    AT_ENCAPSULATED_SIZE = 100,
    AT_RESERVED = 102,
    AT_ENCAPSULATED = 128,
    AT_COMMITMENT = 160,
};

static const uint8_t magic[8] = {0x89, 0x59, 0x53, 0x54, 0x52, 0x0D, 0x0A, 0x1A};

void header_encode(const struct header *header, uint8_t out[HEADER_SIZE])
{
    memset(out, 0, HEADER_SIZE);
    memcpy(out, magic, sizeof(magic));
    store_le16(out + AT_VERSION, VERSION);
    out[AT_KIND] = (uint8_t)header->kind;
    memcpy(out + AT_REPO_ID, header->repo_id, REPO_ID_SIZE);
    memcpy(out + AT_ID, header->id.bytes, ARCHIVE_ID_SIZE);
    memcpy(out + AT_SALT, header->salt, ARCHIVE_SALT_SIZE);
    store_le32(out + AT_EPOCH, header->epoch);
    memcpy(out + AT_COMMITMENT, header->commitment, sizeof(header->commitment));
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    uint8_t any = 0;

    for (size_t i = 0; i < count; i++)
        any |= bytes[i];
    return any == 0;
}

static bool kind_known(uint8_t kind)
{
    return kind == ARCHIVE_DATA || kind == ARCHIVE_METADATA || kind == ARCHIVE_ROOT ||
           kind == ARCHIVE_INDEX || kind == ARCHIVE_REMAP || kind == ARCHIVE_WAL ||
           kind == ARCHIVE_NOTE;
}

static int header_check(const uint8_t in[HEADER_SIZE], struct err *err)
{
    if (memcmp(in, magic, sizeof(magic)) != 0)
        return err_set(err, ERR_CORRUPT, "not an archive");
    if (load_le16(in + AT_VERSION) != VERSION)
        return err_set(err, ERR_CORRUPT, "version %u: damaged, or of a newer yester",
                       load_le16(in + AT_VERSION));
    if (!kind_known(in[AT_KIND]))
        return err_set(err, ERR_CORRUPT, "kind %u: damaged, or of a newer yester", in[AT_KIND]);
    if (in[AT_KEY_MODE] != 0 || load_le16(in + AT_ENCAPSULATED_SIZE) != 0)
        return err_set(err, ERR_CORRUPT, "key mode %u: damaged, or of a newer yester",
                       in[AT_KEY_MODE]);
    if (!all_zero(in + AT_FLAGS, AT_REPO_ID - AT_FLAGS) ||
        !all_zero(in + AT_RESERVED, AT_COMMITMENT - AT_RESERVED))
        return err_set(err, ERR_CORRUPT, "unknown flags: damaged, or of a newer yester");
    return 0;
}

int header_decode(const uint8_t in[HEADER_SIZE], struct header *out, struct err *err)
{
    int r = header_check(in, err);
    if (r < 0)
        return r;
    out->kind = in[AT_KIND];
    memcpy(out->repo_id, in + AT_REPO_ID, REPO_ID_SIZE);
    memcpy(out->id.bytes, in + AT_ID, ARCHIVE_ID_SIZE);
    memcpy(out->salt, in + AT_SALT, ARCHIVE_SALT_SIZE);
    out->epoch = load_le32(in + AT_EPOCH);
    memcpy(out->commitment, in + AT_COMMITMENT, sizeof(out->commitment));
    return 0;
}

void trailer_encode(const struct trailer *trailer, uint8_t out[TRAILER_PLAIN_SIZE])
{
    memset(out, 0, TRAILER_PLAIN_SIZE);
    store_le64(out, trailer->toc_offset);
    store_le32(out + 8, trailer->toc_size);
    store_le32(out + 12, trailer->blocks);
    store_le64(out + 16, trailer->chunks_offset);
    store_le32(out + 24, trailer->chunks_size);
    store_le32(out + 28, trailer->chunks);
    store_le32(out + 32, trailer->raw_end);
}

static bool section_size_valid(uint32_t stored)
{
    return stored > PART_EXTRA && stored <= SECTION_MAX + PART_EXTRA;
}

static bool chunks_valid(const struct trailer *trailer, enum archive_kind kind)
{
    bool may_have = kind == ARCHIVE_DATA || kind == ARCHIVE_METADATA;

    if (trailer->chunks == 0)
        return trailer->chunks_size == 0;
    return may_have && trailer->chunks <= ARCHIVE_CHUNKS_MAX &&
           section_size_valid(trailer->chunks_size);
}

/* Blocks, chunks, padding, toc and trailer follow one another up to the end of the object. */
static bool layout_valid(const struct trailer *trailer, uint64_t object_size)
{
    if (object_size < HEADER_SIZE + TRAILER_SIZE)
        return false;

    uint64_t end = object_size - TRAILER_SIZE;
    if (trailer->toc_offset > end || end - trailer->toc_offset != trailer->toc_size)
        return false;
    if (trailer->chunks_offset <= HEADER_SIZE || trailer->chunks_offset > trailer->toc_offset ||
        trailer->toc_offset - trailer->chunks_offset < trailer->chunks_size)
        return false;

    uint64_t padding = trailer->toc_offset - trailer->chunks_offset - trailer->chunks_size;
    return padding == 0 || padding > SEAL_TAG_SIZE;
}

int trailer_decode(const uint8_t in[TRAILER_PLAIN_SIZE], enum archive_kind kind,
                   uint64_t object_size, struct trailer *out, struct err *err)
{
    struct trailer trailer = {
        .toc_offset = load_le64(in),
        .toc_size = load_le32(in + 8),
        .blocks = load_le32(in + 12),
        .chunks_offset = load_le64(in + 16),
        .chunks_size = load_le32(in + 24),
        .chunks = load_le32(in + 28),
        .raw_end = load_le32(in + 32),
    };

    if (!all_zero(in + 36, TRAILER_PLAIN_SIZE - 36))
        return err_set(err, ERR_CORRUPT, "unknown flags: damaged, or of a newer yester");
    if (trailer.blocks == 0 || trailer.blocks > ARCHIVE_BLOCKS_MAX || trailer.raw_end == 0 ||
        !section_size_valid(trailer.toc_size) || !chunks_valid(&trailer, kind) ||
        !layout_valid(&trailer, object_size))
        return err_set(err, ERR_CORRUPT, "numbers in the trailer that cannot be");
    *out = trailer;
    return 0;
}

static void clear_derived(struct seal_derived *derived)
{
    seal_derived_clear(derived);
}

static int derive(const struct header *header, const struct keyring *keyring,
                  struct seal_derived *out, struct err *err)
{
    const uint8_t *master = keyring_master(keyring, header->epoch);
    uint8_t bytes[HEADER_SIZE];

    if (!master && header->epoch > keyring_epoch(keyring))
        return err_set(err, ERR_CORRUPT,
                       "in epoch %u, later than all that there are: damaged, or keys were lost",
                       header->epoch);
    if (!master)
        return err_set(err, ERR_CORRUPT, "there is no epoch %u", header->epoch);
    header_encode(header, bytes);
    return seal_derive(master, header->salt, ARCHIVE_SALT_SIZE, "yester archive v1", bytes,
                       AT_COMMITMENT, out, err);
}

int part_key_make(struct header *header, const struct keyring *keyring, struct part_key *out,
                  struct err *err)
{
    CLEANUP(clear_derived) struct seal_derived derived = {0};
    int r = derive(header, keyring, &derived, err);

    if (r < 0)
        return r;
    memcpy(header->commitment, derived.commitment, sizeof(header->commitment));
    *out = (struct part_key){.key = derived.key, .id = header->id, .kind = header->kind};
    return 0;
}

/* Takes the same time wherever the difference is. */
static bool commitment_equal(const uint8_t a[32], const uint8_t b[32])
{
    uint8_t difference = 0;

    for (size_t i = 0; i < 32; i++)
        difference |= a[i] ^ b[i];
    return difference == 0;
}

int part_key_open(const struct header *header, const struct keyring *keyring, struct part_key *out,
                  struct err *err)
{
    CLEANUP(clear_derived) struct seal_derived derived = {0};
    int r = derive(header, keyring, &derived, err);

    if (r < 0)
        return r;
    if (!commitment_equal(derived.commitment, header->commitment))
        return err_set(err, ERR_CORRUPT, "the header is not as it was written");
    *out = (struct part_key){.key = derived.key, .id = header->id, .kind = header->kind};
    return 0;
}

void part_key_clear(struct part_key *key)
{
    seal_key_clear(&key->key);
}

static void make_nonce(enum part part, uint64_t counter, uint8_t out[SEAL_NONCE_SIZE])
{
    store_le32(out, part);
    store_le64(out + 4, counter);
}

static void make_aad(const struct part_key *key, enum part part, uint64_t counter,
                     uint8_t out[AAD_SIZE])
{
    memcpy(out, key->id.bytes, ARCHIVE_ID_SIZE);
    make_nonce(part, counter, out + ARCHIVE_ID_SIZE);
    store_le16(out + ARCHIVE_ID_SIZE + SEAL_NONCE_SIZE, VERSION);
    out[AAD_SIZE - 2] = (uint8_t)key->kind;
    out[AAD_SIZE - 1] = 0;
}

int part_seal(const struct part_key *key, enum part part, uint64_t counter, uint8_t *bytes,
              size_t size, struct err *err)
{
    uint8_t nonce[SEAL_NONCE_SIZE];
    uint8_t aad[AAD_SIZE];

    make_nonce(part, counter, nonce);
    make_aad(key, part, counter, aad);
    return seal_bytes(&key->key, nonce, aad, sizeof(aad), bytes, size, bytes, err);
}

int part_open(const struct part_key *key, enum part part, uint64_t counter, const uint8_t *in,
              size_t size, uint8_t *out, struct err *err)
{
    uint8_t nonce[SEAL_NONCE_SIZE];
    uint8_t aad[AAD_SIZE];

    if (size < SEAL_TAG_SIZE)
        return err_set(err, ERR_CORRUPT, "%zu bytes are no sealed part", size);
    make_nonce(part, counter, nonce);
    make_aad(key, part, counter, aad);
    return seal_open(&key->key, nonce, aad, sizeof(aad), in, size, out, err);
}

static unsigned floor_log2(uint64_t value)
{
    return 63 - (unsigned)__builtin_clzll(value);
}

uint64_t padme(uint64_t size)
{
    if (size < 2)
        return size;

    unsigned exponent = floor_log2(size);
    unsigned kept = exponent > 0 ? floor_log2(exponent) + 1 : 1;
    if (kept >= exponent)
        return size;

    uint64_t mask = (UINT64_C(1) << (exponent - kept)) - 1;
    return (size + mask) & ~mask;
}

uint64_t padding_for(uint64_t size)
{
    uint64_t padded = padme(size);

    while (padded != size && padded - size <= SEAL_TAG_SIZE)
        padded = padme(padded + 1);
    return padded - size;
}
