#include "tools/options.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"
#include "tools/nearest.h"

enum { HELP_COLUMN = 30 };

void options_table(struct options *options, const struct option_spec *table)
{
    size_t at = 0;

    while (at < OPTION_TABLES_MAX && options->tables[at])
        at++;
    assert(at < OPTION_TABLES_MAX);
    options->tables[at] = table;
}

void options_clear(struct options *options)
{
    free(options->values);
    free(options->arguments);
    *options = (struct options){0};
}

/* By its long name, `size` bytes of `name`, or, where that is NULL, by its letter. */
/* "[=X]"; "[+-]N" is another thing. */
static bool value_is_optional(const struct option_spec *spec)
{
    return strncmp(spec->argument, "[=", 2) == 0;
}

static const struct option_spec *find(const struct options *options, const char *name, size_t size,
                                      char letter)
{
    for (size_t i = 0; i < OPTION_TABLES_MAX && options->tables[i]; i++)
        for (const struct option_spec *spec = options->tables[i]; spec->name; spec++) {
            if (!name && letter && spec->letter == letter)
                return spec;
            if (name && strlen(spec->name) == size && memcmp(spec->name, name, size) == 0)
                return spec;
        }
    return NULL;
}

static int unknown(const struct options *options, const char *name, size_t size, struct err *err)
{
    char word[64];
    const char *best = NULL;

    (void)snprintf(word, sizeof(word), "%.*s", (int)(size < 60 ? size : 60), name);
    for (size_t i = 0; i < OPTION_TABLES_MAX && options->tables[i]; i++)
        for (const struct option_spec *spec = options->tables[i]; spec->name; spec++)
            best = nearest_of(word, best, spec->name);
    if (best)
        return err_set(err, ERR_USAGE, "unknown option --%s; did you mean --%s?", word, best);
    return err_set(err, ERR_USAGE, "unknown option --%s", word);
}

static int add_value(struct options *options, const struct option_spec *spec, const char *text,
                     struct err *err)
{
    struct option_value *values =
        reallocarray(options->values, options->value_count + 1, sizeof(*values));

    if (!values)
        return err_set(err, ERR_NOMEM, "no memory for options");
    options->values = values;
    values[options->value_count++] = (struct option_value){.spec = spec, .text = text};
    return 0;
}

static int add_argument(struct options *options, const char *text, struct err *err)
{
    const char **arguments =
        reallocarray(options->arguments, options->argument_count + 1, sizeof(*arguments));

    if (!arguments)
        return err_set(err, ERR_NOMEM, "no memory for arguments");
    options->arguments = arguments;
    arguments[options->argument_count++] = text;
    return 0;
}

/* "--name", "--name=value", "--name value"; *at stands on it and moves to its last word. */
static int take_long(struct options *options, int count, const char *const *argv, int *at,
                     struct err *err)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals ? (size_t)(equals - name) : strlen(name);
    const struct option_spec *spec = find(options, name, size, 0);

    if (!spec)
        return unknown(options, name, size, err);
    if (!spec->argument && equals)
        return err_set(err, ERR_USAGE, "--%s takes no value", spec->name);
    if (!spec->argument)
        return add_value(options, spec, NULL, err);
    if (equals)
        return add_value(options, spec, equals + 1, err);
    if (value_is_optional(spec))
        return add_value(options, spec, NULL, err);
    if (*at + 1 >= count)
        return err_set(err, ERR_USAGE, "--%s needs a value: %s", spec->name, spec->argument);
    return add_value(options, spec, argv[++*at], err);
}

/* "-q", "-qf", "-jvalue", "-j value" */
static int take_letters(struct options *options, int count, const char *const *argv, int *at,
                        struct err *err)
{
    for (const char *letter = argv[*at] + 1; *letter; letter++) {
        const struct option_spec *spec = find(options, NULL, 0, *letter);
        const char *text = NULL;

        if (!spec)
            return err_set(err, ERR_USAGE, "unknown option -%c", *letter);
        if (spec->argument && letter[1])
            text = letter + 1;
        else if (spec->argument && *at + 1 < count)
            text = argv[++*at];
        else if (spec->argument)
            return err_set(err, ERR_USAGE, "-%c needs a value: %s", *letter, spec->argument);
        int r = add_value(options, spec, text, err);
        if (r < 0 || spec->argument)
            return r;
    }
    return 0;
}

int options_parse(struct options *options, int count, const char *const *argv, bool stop,
                  int *out_used, struct err *err)
{
    bool only_arguments = false;
    int at = 0;

    for (; at < count; at++) {
        const char *word = argv[at];
        bool option = !only_arguments && word[0] == '-' && word[1];
        int r;

        if (option && strcmp(word, "--") == 0) {
            only_arguments = true;
            continue;
        }
        if (!option && stop)
            break;
        if (!option)
            r = add_argument(options, word, err);
        else if (word[1] == '-')
            r = take_long(options, count, argv, &at, err);
        else
            r = take_letters(options, count, argv, &at, err);
        if (r < 0)
            return r;
    }
    *out_used = at;
    return 0;
}

static bool is(const struct option_value *value, const char *name)
{
    return strcmp(value->spec->name, name) == 0;
}

size_t options_count(const struct options *options, const char *name)
{
    size_t count = 0;

    assert(find(options, name, strlen(name), 0));
    for (size_t i = 0; i < options->value_count; i++)
        count += is(&options->values[i], name);
    return count;
}

const char *options_text(const struct options *options, const char *name)
{
    const char *text = NULL;

    assert(find(options, name, strlen(name), 0));
    for (size_t i = 0; i < options->value_count; i++)
        if (is(&options->values[i], name))
            text = options->values[i].text;
    return text;
}

int options_list(const struct options *options, const char *name, const char ***out,
                 size_t *out_count, struct err *err)
{
    size_t count = 0;
    const char **list = calloc(options_count(options, name) + 1, sizeof(*list));

    if (!list)
        return err_set(err, ERR_NOMEM, "no memory for options");
    for (size_t i = 0; i < options->value_count; i++)
        if (is(&options->values[i], name))
            list[count++] = options->values[i].text;
    *out = list;
    *out_count = count;
    return 0;
}

void options_print(const struct option_spec *table)
{
    for (const struct option_spec *spec = table; spec->name; spec++) {
        char left[64];
        const char *space = spec->argument && !value_is_optional(spec) ? " " : "";
        const char *argument = spec->argument ? spec->argument : "";
        int width;

        if (spec->letter)
            width = snprintf(left, sizeof(left), "  -%c, --%s%s%s", spec->letter, spec->name, space,
                             argument);
        else
            width = snprintf(left, sizeof(left), "      --%s%s%s", spec->name, space, argument);
        if (width < HELP_COLUMN)
            printf("%-*s%s\n", HELP_COLUMN, left, spec->help);
        else
            printf("%s\n%*s%s\n", left, HELP_COLUMN, "", spec->help);
    }
}
