#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/memory.h"
#include "backup/base/random.h"
#include "backup/crypto/keyring_internal.h"

/* Where things are in a slot's object. */
enum {
    AT_VERSION = 8,
    AT_KDF = 10,
    AT_FLAGS = 12,
    AT_REPO = 16,
    AT_ID = 32,
    AT_SALT = 48,
    AT_COST = 80,
    AT_RESERVED = 92,
    AT_COMMITMENT = 128, /* what is before goes into the derivation */
    AT_SEALED = 160,     /* and what is before this is the additional data */
    SALT_SIZE = 32,
    RESERVED_SIZE = AT_COMMITMENT - AT_RESERVED,
};

/* scrypt's, as an attacker may have chosen them. */
struct cost {
    uint32_t log_n;
    uint32_t r;
    uint32_t p;
};

static const char magic[] = "YSTRSLOT";
static const struct cost written_cost = {16, 8, 2};
static const uint8_t zero_nonce[SEAL_NONCE_SIZE]; /* each key here seals one message */

static void free_kdf(EVP_KDF **kdf)
{
    EVP_KDF_free(*kdf);
}

static void free_kdf_context(EVP_KDF_CTX **context)
{
    EVP_KDF_CTX_free(*context);
}

static void free_pkey(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void free_pkey_context(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

int x25519_public(const uint8_t private_half[32], uint8_t out[32], struct err *err)
{
    size_t count = 32;
    CLEANUP(free_pkey)
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_half, 32);

    if (!key || !EVP_PKEY_get_raw_public_key(key, out, &count) || count != 32)
        return err_set(err, ERR_SYSTEM, "X25519 failed in OpenSSL");
    return 0;
}

/* OpenSSL refuses the points of small order, whose result anybody could tell. */
int x25519_shared(const uint8_t private_half[32], const uint8_t public_half[32], uint8_t out[32],
                  struct err *err)
{
    size_t count = 32;
    CLEANUP(free_pkey)
    EVP_PKEY *own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_half, 32);
    CLEANUP(free_pkey)
    EVP_PKEY *other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_half, 32);
    CLEANUP(free_pkey_context) EVP_PKEY_CTX *context = own ? EVP_PKEY_CTX_new(own, NULL) : NULL;

    if (!context || !other || EVP_PKEY_derive_init(context) <= 0)
        return err_set(err, ERR_SYSTEM, "X25519 failed in OpenSSL");
    if (EVP_PKEY_derive_set_peer(context, other) <= 0 ||
        EVP_PKEY_derive(context, out, &count) <= 0 || count != 32)
        return err_set(err, ERR_CORRUPT, "not a usable public key");
    return 0;
}

/* Below 10 the cost would be none, above 2^23 blocks it would exhaust the machine; RFC 7914 wants
 * N below 2^(16 r). */
static bool is_cost_bounded(const struct cost *cost)
{
    return cost->log_n >= 10 && cost->log_n <= 20 && cost->r >= 1 && cost->r <= 16 &&
           cost->p >= 1 && cost->p <= 16 && (cost->r << cost->log_n) <= 1U << 23 &&
           cost->log_n < 16 * cost->r;
}

static int run_scrypt(const struct secret *secret, const uint8_t *salt, const struct cost *cost,
                      uint8_t out[32], struct err *err)
{
    uint64_t n = UINT64_C(1) << cost->log_n;
    uint32_t r = cost->r;
    uint32_t p = cost->p;
    uint64_t memory = UINT64_C(2) << 30; /* OpenSSL's own limit is lower; the cost is bounded */
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, secret->bytes, secret->count),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, SALT_SIZE),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory),
        OSSL_PARAM_construct_end(),
    };
    CLEANUP(free_kdf) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SCRYPT", NULL);
    CLEANUP(free_kdf_context) EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;

    if (!context || !EVP_KDF_derive(context, out, 32, params))
        return err_set(err, ERR_NOMEM, "scrypt failed; it needs %llu MiB of memory",
                       (unsigned long long)((128 * n * r) >> 20));
    return 0;
}

/* From the parameters in the object, which is_bounded() has seen. */
static int derive(const uint8_t *object, const struct secret *secret, struct seal_derived *out,
                  struct err *err)
{
    const struct cost cost = {load_le32(object + AT_COST), load_le32(object + AT_COST + 4),
                              load_le32(object + AT_COST + 8)};
    uint8_t ikm[32];
    int r = 0;

    if (secret->kdf == SLOT_KDF_HKDF)
        memcpy(ikm, secret->bytes, sizeof(ikm));
    else
        r = run_scrypt(secret, object + AT_SALT, &cost, ikm, err);
    if (r == 0)
        r = seal_derive(ikm, object + AT_SALT, SALT_SIZE, "yester slot v1", object, AT_COMMITMENT,
                        out, err);
    OPENSSL_cleanse(ikm, sizeof(ikm));
    return r;
}

static void write_header(uint8_t object[SLOT_SIZE], const uint8_t *repo_id, const uint8_t *id,
                         enum slot_kdf kdf)
{
    memset(object, 0, SLOT_SIZE);
    memcpy(object, magic, 8);
    store_le16(object + AT_VERSION, 1);
    object[AT_KDF] = (uint8_t)kdf;
    memcpy(object + AT_REPO, repo_id, REPO_ID_SIZE);
    memcpy(object + AT_ID, id, SLOT_ID_SIZE);
    if (kdf == SLOT_KDF_SCRYPT) {
        store_le32(object + AT_COST, written_cost.log_n);
        store_le32(object + AT_COST + 4, written_cost.r);
        store_le32(object + AT_COST + 8, written_cost.p);
    }
}

int slot_make(const uint8_t repo_id[REPO_ID_SIZE], const struct secret *secret,
              struct slot_pair *out, uint8_t object[SLOT_SIZE], struct err *err)
{
    CLEANUP(seal_derived_clear) struct seal_derived derived = {0};
    int r = random_bytes(out->id, SLOT_ID_SIZE, err);

    if (r == 0)
        r = random_bytes(out->private_half, sizeof(out->private_half), err);
    if (r == 0)
        r = x25519_public(out->private_half, out->public_half, err);
    if (r < 0)
        return r;
    write_header(object, repo_id, out->id, secret->kdf);
    r = random_bytes(object + AT_SALT, SALT_SIZE, err);
    if (r == 0)
        r = derive(object, secret, &derived, err);
    if (r < 0)
        return r;
    memcpy(object + AT_COMMITMENT, derived.commitment, sizeof(derived.commitment));
    return seal_bytes(&derived.key, zero_nonce, object, AT_SEALED, out->private_half,
                      sizeof(out->private_half), object + AT_SEALED, err);
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    uint8_t any = 0;

    for (size_t i = 0; i < count; i++)
        any |= bytes[i];
    return any == 0;
}

static bool is_bounded(const uint8_t *object)
{
    const struct cost cost = {load_le32(object + AT_COST), load_le32(object + AT_COST + 4),
                              load_le32(object + AT_COST + 8)};

    if (object[AT_KDF] == SLOT_KDF_HKDF)
        return is_zero(object + AT_COST, 12);
    return object[AT_KDF] == SLOT_KDF_SCRYPT && is_cost_bounded(&cost);
}

static int check_header(const uint8_t *repo_id, const uint8_t *id, const uint8_t *object,
                        size_t size, struct err *err)
{
    if (size != SLOT_SIZE || memcmp(object, magic, 8) != 0)
        return err_set(err, ERR_CORRUPT, "not a key slot");
    if (load_le16(object + AT_VERSION) != 1 || load_le32(object + AT_FLAGS) != 0)
        return err_set(err, ERR_CORRUPT, "damaged, or made by a newer version of yester");
    if (memcmp(object + AT_REPO, repo_id, REPO_ID_SIZE) != 0)
        return err_set(err, ERR_CORRUPT, "belongs to another repository");
    if (memcmp(object + AT_ID, id, SLOT_ID_SIZE) != 0)
        return err_set(err, ERR_CORRUPT, "is another slot under this name");
    if (object[AT_KDF + 1] != 0 || !is_zero(object + AT_RESERVED, RESERVED_SIZE))
        return err_set(err, ERR_CORRUPT, "reserved bytes are not zero");
    if (!is_bounded(object))
        return err_set(err, ERR_CORRUPT, "parameters of its key derivation are out of bounds");
    return 0;
}

int slot_unlock(const uint8_t repo_id[REPO_ID_SIZE], const uint8_t id[SLOT_ID_SIZE],
                const uint8_t *object, size_t size, const struct secret *secret,
                struct slot_pair *out, struct err *err)
{
    CLEANUP(seal_derived_clear) struct seal_derived derived = {0};
    int r = check_header(repo_id, id, object, size, err);

    if (r == 0 && object[AT_KDF] != secret->kdf)
        r = err_set(err, ERR_WRONG_KEY, "is for another kind of key");
    if (r == 0)
        r = derive(object, secret, &derived, err);
    if (r < 0)
        return r;
    if (CRYPTO_memcmp(derived.commitment, object + AT_COMMITMENT, sizeof(derived.commitment)) != 0)
        return err_set(err, ERR_WRONG_KEY, "does not open with this key");
    r = seal_open(&derived.key, zero_nonce, object, AT_SEALED, object + AT_SEALED,
                  SLOT_SIZE - AT_SEALED, out->private_half, err);
    if (r == 0)
        r = x25519_public(out->private_half, out->public_half, err);
    if (r == 0)
        memcpy(out->id, id, SLOT_ID_SIZE);
    return r;
}

void slot_name(const uint8_t id[SLOT_ID_SIZE], char out[KEY_NAME_SIZE])
{
    char text[2 * SLOT_ID_SIZE + 1];

    hex_encode(id, SLOT_ID_SIZE, text);
    (void)snprintf(out, KEY_NAME_SIZE, "keys/slot/%s", text);
}

int slot_read(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
              const uint8_t id[SLOT_ID_SIZE], const struct secret *secret, struct slot_pair *out,
              struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = SLOT_SIZE};
    char name[KEY_NAME_SIZE];

    slot_name(id, name);
    int r = objects->read(objects->context, name, SLOT_SIZE, &buf, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_CORRUPT, "%s is missing", name);
    if (r == -ERR_TOO_LARGE)
        return err_set(err, ERR_CORRUPT, "%s: not a key slot", name);
    if (r < 0)
        return r;
    r = slot_unlock(repo_id, id, buf.data, buf.size, secret, out, err);
    return r < 0 ? err_context(err, "%s", name) : 0;
}
