#include "backup/crypto/sha256.h"

#include <openssl/evp.h>
#include <stdint.h>

#include "backup/base/err.h"
#include "backup/base/hex.h"

enum { SHA256_SIZE = 32 };

int sha256_hex(const void *bytes, size_t size, char out[SHA256_HEX_SIZE], struct err *err)
{
    uint8_t digest[SHA256_SIZE];
    size_t digest_size = sizeof(digest);

    if (!EVP_Q_digest(NULL, "SHA256", NULL, size > 0 ? bytes : "", size, digest, &digest_size) ||
        digest_size != sizeof(digest))
        return err_set(err, ERR_SYSTEM, "OpenSSL: SHA-256 failed");
    hex_encode(digest, sizeof(digest), out);
    return 0;
}
