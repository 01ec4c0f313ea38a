#include "backup/crypto/seal.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"

/* Looking an algorithm up takes longer than sealing a small block; these are read-only from then
 * on. */
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *aes;
static EVP_KDF *hkdf;

/* Where there was no memory for OpenSSL to come up, its first fetch would follow a NULL. */
static void fetch_algorithms(void)
{
    if (!OSSL_LIB_CTX_get0_global_default())
        return;
    aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
}

static int check_algorithms(struct err *err)
{
    pthread_once(&fetch_once, fetch_algorithms);
    if (!aes || !hkdf)
        return err_set(err, ERR_SYSTEM,
                       "this system's OpenSSL could not come up with AES-256-GCM and HKDF");
    return 0;
}

static int check_size(size_t count, size_t aad_count, struct err *err)
{
    if (count > INT_MAX || aad_count > INT_MAX)
        return err_set(err, ERR_TOO_LARGE, "%zu bytes are too many to seal at once", count);
    return 0;
}

static void free_cipher(EVP_CIPHER_CTX **context)
{
    EVP_CIPHER_CTX_free(*context);
}

static void free_kdf(EVP_KDF_CTX **context)
{
    EVP_KDF_CTX_free(*context);
}

/* OpenSSL takes a call without bytes for something else, so there is none. */
static bool add_aad(EVP_CIPHER_CTX *context, const void *aad, size_t count)
{
    int done;

    return count == 0 || EVP_CipherUpdate(context, NULL, &done, aad, (int)count);
}

static bool add_bytes(EVP_CIPHER_CTX *context, const uint8_t *in, size_t count, uint8_t *out)
{
    int done = 0;

    return count == 0 ||
           (EVP_CipherUpdate(context, out, &done, in, (int)count) && done == (int)count);
}

static bool finish(EVP_CIPHER_CTX *context)
{
    uint8_t none[EVP_MAX_BLOCK_LENGTH];
    int done;

    return EVP_CipherFinal_ex(context, none, &done);
}

int seal_bytes(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_SIZE], const void *aad,
               size_t aad_count, const uint8_t *in, size_t count, uint8_t *out, struct err *err)
{
    int r = check_size(count, aad_count, err);
    if (r == 0)
        r = check_algorithms(err);
    if (r < 0)
        return r;

    CLEANUP(free_cipher) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (!context || !EVP_EncryptInit_ex2(context, aes, key->bytes, nonce, NULL))
        return err_set(err, ERR_NOMEM, "no memory to seal %zu bytes", count);
    if (!add_aad(context, aad, aad_count) || !add_bytes(context, in, count, out) ||
        !finish(context) ||
        !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_SIZE, out + count))
        return err_set(err, ERR_SYSTEM, "sealing %zu bytes failed in OpenSSL", count);
    return 0;
}

int seal_open(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_SIZE], const void *aad,
              size_t aad_count, const uint8_t *in, size_t count, uint8_t *out, struct err *err)
{
    if (count < SEAL_TAG_SIZE)
        return err_set(err, ERR_CORRUPT, "%zu bytes are too few to be sealed ones", count);
    int r = check_size(count, aad_count, err);
    if (r == 0)
        r = check_algorithms(err);
    if (r < 0)
        return r;

    uint8_t tag[SEAL_TAG_SIZE];
    size_t size = count - SEAL_TAG_SIZE;
    memcpy(tag, in + size, sizeof(tag));
    CLEANUP(free_cipher) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (!context || !EVP_DecryptInit_ex2(context, aes, key->bytes, nonce, NULL) ||
        !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_SIZE, tag))
        return err_set(err, ERR_NOMEM, "no memory to open %zu bytes", count);
    if (!add_aad(context, aad, aad_count) || !add_bytes(context, in, size, out) ||
        !finish(context)) {
        OPENSSL_cleanse(out, size); /* nobody sees what was not authentic */
        return err_set(err, ERR_CORRUPT, "sealed bytes are damaged or were replaced");
    }
    return 0;
}

/* OpenSSL only reads through these pointers, and refuses NULL; several infos are joined. */
static void hkdf_params(OSSL_PARAM params[6], const uint8_t *ikm, const uint8_t *salt,
                        size_t salt_count, const char *text, const void *info, size_t info_count)
{
    OSSL_PARAM *next = params;

    *next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)ikm, 32);
    if (salt_count > 0)
        *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_count);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)text, strlen(text));
    if (info_count > 0)
        *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_count);
    *next = OSSL_PARAM_construct_end();
}

int seal_derive(const uint8_t ikm[32], const uint8_t *salt, size_t salt_count, const char *text,
                const void *info, size_t info_count, struct seal_derived *out, struct err *err)
{
    int r = check_algorithms(err);
    if (r < 0)
        return r;

    OSSL_PARAM params[6];
    hkdf_params(params, ikm, salt, salt_count, text, info, info_count);
    uint8_t bytes[SEAL_KEY_SIZE + sizeof(out->commitment)];
    CLEANUP(free_kdf) EVP_KDF_CTX *context = EVP_KDF_CTX_new(hkdf);
    if (!context || !EVP_KDF_derive(context, bytes, sizeof(bytes), params))
        return err_set(err, ERR_SYSTEM, "deriving a key failed in OpenSSL");
    memcpy(out->key.bytes, bytes, SEAL_KEY_SIZE);
    memcpy(out->commitment, bytes + SEAL_KEY_SIZE, sizeof(out->commitment));
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return 0;
}

void seal_key_clear(struct seal_key *key)
{
    OPENSSL_cleanse(key, sizeof(*key));
}

void seal_derived_clear(struct seal_derived *derived)
{
    OPENSSL_cleanse(derived, sizeof(*derived));
}
