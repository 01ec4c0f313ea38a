#include <string.h>

#include "backup/base/err.h"
#include "backup/base/memory.h"
#include "backup/crypto/keyring_internal.h"

enum { KEY_TEXT_SIZE = 44, LONGEST_SECRET = 1 << 16 };

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One form only: 43 digits, the last of which ends in two zero bits, and "=". */
static bool decode_key(const char *text, size_t count, uint8_t out[32])
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t done = 0;

    if (count != KEY_TEXT_SIZE || text[count - 1] != '=')
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
    if (parse_key(text, count, bytes)) {
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

void secret_clear(struct secret *secret)
{
    secure_free(secret->bytes);
    *secret = (struct secret){0};
}
