#include "backup/crypto/sha256.h"

#include <openssl/evp.h>
#include <stdint.h>

#include "backup/base/err.h"
#include "backup/base/hex.h"

enum { SHA256_SIZE = 32 };

static int failed(struct err *err)
{
    return err_set(err, ERR_SYSTEM, "OpenSSL: SHA-256 failed");
}

int sha256_hex(const void *bytes, size_t size, char out[SHA256_HEX_SIZE], struct err *err)
{
    uint8_t digest[SHA256_SIZE];
    size_t digest_size = sizeof(digest);

    if (!EVP_Q_digest(NULL, "SHA256", NULL, size > 0 ? bytes : "", size, digest, &digest_size) ||
        digest_size != sizeof(digest))
        return failed(err);
    hex_encode(digest, sizeof(digest), out);
    return 0;
}

/* ---- in pieces ---- */

/* An EVP_MD_CTX under another name. */
static EVP_MD_CTX *context_of(struct sha256_stream *stream)
{
    return (EVP_MD_CTX *)stream;
}

int sha256_new(struct sha256_stream **out, struct err *err)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (!context)
        return err_set(err, ERR_NOMEM, "no memory for a digest");
    if (!EVP_DigestInit_ex(context, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(context);
        return failed(err);
    }
    *out = (struct sha256_stream *)context;
    return 0;
}

int sha256_add(struct sha256_stream *stream, const void *bytes, size_t size, struct err *err)
{
    return EVP_DigestUpdate(context_of(stream), bytes, size) ? 0 : failed(err);
}

int sha256_finish(struct sha256_stream *stream, char out[SHA256_HEX_SIZE], struct err *err)
{
    uint8_t digest[SHA256_SIZE];

    if (!EVP_DigestFinal_ex(context_of(stream), digest, NULL))
        return failed(err);
    hex_encode(digest, sizeof(digest), out);
    return 0;
}

void sha256_free(struct sha256_stream *stream)
{
    EVP_MD_CTX_free(context_of(stream));
}
