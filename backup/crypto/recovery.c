#include "backup/crypto/recovery.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "backup/base/err.h"
#include "backup/crypto/digest.h"

enum {
    LINE_BYTES = RECOVERY_KEY_SIZE / RECOVERY_LINES,
    CHECK_BYTES = 2,
    LINE_DIGITS = 2 * (LINE_BYTES + CHECK_BYTES),
    GROUP = 2, /* bytes that stand together */
};

/* A line, without the white space around it; NULL: there is none left. */
struct line {
    const char *text;
    size_t size;
};

static const struct digest_key check_key = {"yester recovery key v1"};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void check_of(const uint8_t *key, size_t lines, uint8_t out[CHECK_BYTES])
{
    uint8_t digest[DIGEST_SIZE];

    digest_bytes(&check_key, key, lines * LINE_BYTES, digest);
    memcpy(out, digest, CHECK_BYTES);
    OPENSSL_cleanse(digest, sizeof(digest));
}

static char *put_group(char *at, const uint8_t *bytes)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < GROUP; i++) {
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    return at;
}

void recovery_format(const uint8_t key[RECOVERY_KEY_SIZE], char out[RECOVERY_TEXT_SIZE])
{
    char *at = stpcpy(out, RECOVERY_HEADING "\n");

    for (size_t line = 0; line < RECOVERY_LINES; line++) {
        uint8_t check[CHECK_BYTES];

        *at++ = (char)('1' + line);
        *at++ = ':';
        for (size_t i = 0; i < LINE_BYTES; i += GROUP) {
            *at++ = ' ';
            at = put_group(at, key + line * LINE_BYTES + i);
        }
        check_of(key, line + 1, check);
        at = stpcpy(at, " - ");
        at = put_group(at, check);
        *at++ = '\n';
    }
    *at = '\0';
}

/* ---- reading */

static struct line next_line(const char **at, const char *end)
{
    if (*at == end)
        return (struct line){0};

    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    struct line line = {*at, (size_t)((newline ? newline : end) - *at)};
    *at = newline ? newline + 1 : end;
    while (line.size > 0 && is_space(line.text[0])) {
        line.text++;
        line.size--;
    }
    while (line.size > 0 && is_space(line.text[line.size - 1]))
        line.size--;
    return line;
}

/* Where the text goes on behind the heading; NULL: it has none. */
static const char *behind_heading(const char *text, size_t size)
{
    const char *end = text + size;
    size_t length = strlen(RECOVERY_HEADING);

    for (struct line line = next_line(&text, end); line.text; line = next_line(&text, end))
        if (line.size == length && strncasecmp(line.text, RECOVERY_HEADING, length) == 0)
            return text;
    return NULL;
}

bool recovery_is(const char *text, size_t size)
{
    return behind_heading(text, size) != NULL;
}

/* Letters that look like a digit count as that digit: none of them is one here. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c == 'o' || c == 'O')
        return 0;
    return c == 'l' || c == 'L' || c == 'i' || c == 'I' ? 1 : -1;
}

static int take_digits(const struct line *line, size_t number, uint8_t out[LINE_DIGITS / 2],
                       struct err *err)
{
    size_t digits = 0;

    memset(out, 0, LINE_DIGITS / 2);
    for (size_t i = 2; i < line->size; i++) {
        char c = line->text[i];
        int value = digit_value(c);
        if (is_space(c) || c == '-')
            continue;
        if (value < 0)
            return err_set(err, ERR_USAGE,
                           "line %zu of the recovery key has something else than 0…9 and a…f",
                           number);
        if (digits < LINE_DIGITS)
            out[digits / 2] = (uint8_t)(out[digits / 2] << 4 | value);
        digits++;
    }
    if (digits != LINE_DIGITS)
        return err_set(err, ERR_USAGE, "line %zu of the recovery key has %zu digits, not %d",
                       number, digits, LINE_DIGITS);
    return 0;
}

static int take_line(const struct line *line, size_t number, uint8_t *key, struct err *err)
{
    uint8_t bytes[LINE_DIGITS / 2];
    uint8_t check[CHECK_BYTES];
    int r = take_digits(line, number, bytes, err);

    if (r == 0) {
        memcpy(key + (number - 1) * LINE_BYTES, bytes, LINE_BYTES);
        check_of(key, number, check);
        if (CRYPTO_memcmp(check, bytes + LINE_BYTES, CHECK_BYTES) != 0)
            r = err_set(
                err, ERR_USAGE,
                "line %zu of the recovery key is mistyped, or the lines are of several keys",
                number);
    }
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return r;
}

/* Line N begins with "N:"; what begins otherwise is text around the key. */
static size_t line_number(const struct line *line)
{
    if (line->size < 2 || line->text[1] != ':' || line->text[0] < '1' ||
        line->text[0] >= '1' + RECOVERY_LINES)
        return 0;
    return (size_t)(line->text[0] - '0');
}

int recovery_parse(const char *text, size_t size, uint8_t out[RECOVERY_KEY_SIZE], struct err *err)
{
    const char *end = text + size;
    const char *at = behind_heading(text, size);
    size_t wanted = 1;

    if (!at)
        return err_set(err, ERR_USAGE, "no line says %s", RECOVERY_HEADING);
    for (struct line line = next_line(&at, end); line.text && wanted <= RECOVERY_LINES;
         line = next_line(&at, end)) {
        size_t number = line_number(&line);
        if (number == 0)
            continue;
        if (number != wanted)
            break;
        int r = take_line(&line, number, out, err);
        if (r < 0)
            return r;
        wanted++;
    }
    if (wanted <= RECOVERY_LINES)
        return err_set(err, ERR_USAGE,
                       "line %zu of the recovery key is missing (it begins with %zu:)", wanted,
                       wanted);
    return 0;
}
