#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/memory.h"
#include "backup/base/random.h"
#include "backup/crypto/keyring_internal.h"
#include "backup/crypto/recovery.h"

enum { KEY_TEXT_LENGTH = SECRET_TEXT_SIZE - 1, LONGEST_SECRET = 1 << 16 };

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int base64_value(char c)
{
    const char *at = c ? strchr(base64, c) : NULL;

    return at ? (int)(at - base64) : -1;
}

/* One form only: 43 digits, the last of which ends in two zero bits, and "=". */
static bool decode_key(const char *text, size_t count, uint8_t out[32])
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t done = 0;

    if (count != KEY_TEXT_LENGTH || text[count - 1] != '=')
        return false;
    for (size_t i = 0; i + 1 < count; i++) {
        int value = base64_value(text[i]);
        if (value < 0)
            return false;
        bits = (bits << 6 | (uint32_t)value) & 0xFFFF;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[done++] = (uint8_t)(bits >> held);
        }
    }
    return (bits & ((1U << held) - 1)) == 0;
}

static bool parse_key(const char *text, size_t count, uint8_t out[32])
{
    while (count > 0 && is_space(text[0])) {
        text++;
        count--;
    }
    while (count > 0 && is_space(text[count - 1]))
        count--;
    return decode_key(text, count, out);
}

int secret_parse(const char *text, size_t count, struct secret *out, struct err *err)
{
    if (count > LONGEST_SECRET)
        return err_set(err, ERR_USAGE, "a key of more than %d bytes is no key", LONGEST_SECRET);

    uint8_t *bytes = secure_alloc(count > 32 ? count : 32);
    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory for the key");
    bool recovery = recovery_is(text, count);
    int r = recovery ? recovery_parse(text, count, bytes, err) : 0;
    if (r < 0) {
        secure_free(bytes);
        return r;
    }
    if (recovery || parse_key(text, count, bytes)) {
        *out = (struct secret){.kdf = SLOT_KDF_HKDF, .count = 32, .bytes = bytes};
        return 0;
    }
    if (count > 0 && text[count - 1] == '\n')
        count--;
    if (count == 0) {
        secure_free(bytes);
        return err_set(err, ERR_USAGE, "the key is empty");
    }
    memcpy(bytes, text, count);
    *out = (struct secret){.kdf = SLOT_KDF_SCRYPT, .count = count, .bytes = bytes};
    return 0;
}

int secret_random(struct secret *out, struct err *err)
{
    CLEANUP(secure_freep) uint8_t *bytes = secure_alloc(MASTER_KEY_SIZE);
    int r = bytes ? random_bytes(bytes, MASTER_KEY_SIZE, err)
                  : err_set(err, ERR_NOMEM, "no memory for the key");

    if (r == 0)
        *out =
            (struct secret){.kdf = SLOT_KDF_HKDF, .count = MASTER_KEY_SIZE, .bytes = STEAL(bytes)};
    return r;
}

void secret_text(const struct secret *secret, char out[SECRET_TEXT_SIZE])
{
    const uint8_t *from = secret->bytes;
    char *at = out;

    for (size_t i = 0; i < MASTER_KEY_SIZE; i += 3) {
        uint8_t third = i + 2 < MASTER_KEY_SIZE ? from[i + 2] : 0;
        uint32_t bits = (uint32_t)from[i] << 16 | (uint32_t)from[i + 1] << 8 | third;
        *at++ = base64[bits >> 18];
        *at++ = base64[bits >> 12 & 63];
        *at++ = base64[bits >> 6 & 63];
        *at++ = base64[bits & 63];
    }
    at[-1] = '=';
    *at = '\0';
}

void secret_clear(struct secret *secret)
{
    secure_free(secret->bytes);
    *secret = (struct secret){0};
}
