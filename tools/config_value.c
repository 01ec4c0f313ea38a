/* config_value — what the text of a setting may be. */
#include "tools/config.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"
#include "tools/options.h"

enum { LEVEL_LAST = 19 };

int config_parse_size(const char *text, uint64_t *out, struct err *err)
{
    static const char units[] = "KMGT";
    char *end;
    unsigned shift = 0;
    unsigned long long value = strtoull(text, &end, 10);

    if (text[0] < '0' || text[0] > '9')
        return err_set(err, ERR_USAGE, "\"%.60s\" is no size, such as 256M", text);
    for (unsigned i = 0; units[i] && *end; i++)
        if (*end == units[i] || *end == units[i] - 'A' + 'a')
            shift = 10 * (i + 1);
    end += shift > 0;
    if (shift > 0 && strcmp(end, "iB") == 0)
        end += 2;
    if (*end || value > (UINT64_MAX >> 1) >> shift)
        return err_set(err, ERR_USAGE, "\"%.60s\" is no size, such as 256M", text);
    *out = (uint64_t)value << shift;
    return 0;
}

int config_parse_time(const char *text, uint64_t *out, struct err *err)
{
    static const char units[] = "smhdw";
    static const uint64_t seconds[] = {1, 60, 3600, 86400, 7 * 86400};
    const uint64_t most = 3650 * UINT64_C(86400);
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;

    if (strcmp(text, "0") == 0) {
        *out = 0;
        return 0;
    }
    if (text[0] < '0' || text[0] > '9' || !unit || end[1] || value > most ||
        value * seconds[unit - units] > most)
        return err_set(err, ERR_USAGE, "\"%.60s\" is no time, such as 48h", text);
    *out = (uint64_t)value * seconds[unit - units] * UINT64_C(1000000000);
    return 0;
}

static int parse_count(const char *text, uint64_t *out, struct err *err)
{
    enum { DIGITS_MOST = 9 };
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > DIGITS_MOST || text[digits])
        return err_set(err, ERR_USAGE, "\"%.60s\" is no number, such as 32", text);
    *out = strtoull(text, NULL, 10);
    return 0;
}

/* A number is one of seconds. */
static int parse_seconds(const char *text, uint64_t *out, struct err *err)
{
    struct err ignored;
    uint64_t ns;

    if (parse_count(text, out, &ignored) == 0)
        return 0;
    if (config_parse_time(text, &ns, &ignored) < 0)
        return err_set(err, ERR_USAGE, "\"%.60s\" is no time, such as 30 (seconds) or 5m", text);
    *out = ns / UINT64_C(1000000000);
    return 0;
}

static int parse_yes_no(const char *text, uint64_t *out, struct err *err)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};

    for (size_t i = 0; i < 4; i++) {
        if (strcmp(text, yes[i]) != 0 && strcmp(text, no[i]) != 0)
            continue;
        *out = strcmp(text, yes[i]) == 0;
        return 0;
    }
    return err_set(err, ERR_USAGE, "\"%.60s\" is neither yes nor no", text);
}

static int parse_percent(const char *text, uint64_t *out, struct err *err)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    end += *end == '%';
    if (text[0] < '0' || text[0] > '9' || *end || value > 100)
        return err_set(err, ERR_USAGE, "\"%.60s\" is no share, such as 50%%", text);
    *out = value;
    return 0;
}

static int parse_level(const char *text, uint64_t *out, struct err *err)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end || value < 1 || value > LEVEL_LAST)
        return err_set(err, ERR_USAGE, "\"%.60s\" is no level from 1 to %d", text, LEVEL_LAST);
    *out = value;
    return 0;
}

/* One word: blanks end it, quotes of either kind keep blanks and each other.  A backslash is
 * itself, since patterns need it. */
static int take_word(const char **at, char *word, struct err *err)
{
    char quote = 0;
    size_t size = 0;

    for (; **at && (quote || !strchr(" \t\n", **at)); ++*at) {
        if (quote ? **at == quote : **at == '"' || **at == '\'')
            quote = quote ? 0 : **at;
        else
            word[size++] = **at;
    }
    word[size] = '\0';
    if (quote)
        return err_set(err, ERR_USAGE, "a quote (%c) is not closed", quote);
    return 0;
}

static int add_words(struct strings *values, const char *text, struct err *err)
{
    char *word = malloc(strlen(text) + 1);
    int r = 0;

    if (!word)
        return err_set(err, ERR_NOMEM, "no memory for settings");
    while (r == 0) {
        text += strspn(text, " \t\n");
        if (!*text)
            break;
        r = take_word(&text, word, err);
        if (r == 0)
            r = strings_add(values, word, strlen(word), err);
    }
    free(word);
    return r;
}

int config_assign(struct setting *setting, const struct setting_spec *spec, const char *text,
                  struct err *err)
{
    int r = 0;

    if (spec->kind == SETTING_LIST)
        return add_words(&setting->values, text, err);
    if (spec->kind == SETTING_YES_NO)
        r = parse_yes_no(text, &setting->number, err);
    else if (spec->kind == SETTING_SIZE)
        r = config_parse_size(text, &setting->number, err);
    else if (spec->kind == SETTING_COUNT)
        r = parse_count(text, &setting->number, err);
    else if (spec->kind == SETTING_SECONDS)
        r = parse_seconds(text, &setting->number, err);
    else if (spec->kind == SETTING_TIME)
        r = config_parse_time(text, &setting->number, err);
    else if (spec->kind == SETTING_PERCENT)
        r = parse_percent(text, &setting->number, err);
    else if (spec->kind == SETTING_LEVEL)
        r = parse_level(text, &setting->number, err);
    if (r < 0)
        return r;
    strings_clear(&setting->values);
    return strings_add(&setting->values, text, strlen(text), err);
}
