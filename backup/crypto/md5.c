#include "backup/crypto/md5.h"

#include <openssl/evp.h>
#include <stdint.h>

#include "backup/base/err.h"

enum { MD5_SIZE = 16 };

int md5_base64(const void *bytes, size_t size, char out[MD5_BASE64_SIZE], struct err *err)
{
    uint8_t digest[MD5_SIZE];
    size_t digest_size = sizeof(digest);

    if (!EVP_Q_digest(NULL, "MD5", "-fips", size > 0 ? bytes : "", size, digest, &digest_size) ||
        digest_size != sizeof(digest))
        return err_set(err, ERR_SYSTEM, "OpenSSL: MD5 failed");
    (void)EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
    return 0;
}
