/*
 * options — the options of a command as a table: taken from argv, and shown by --help.
 *
 * Long options are taken in full only ("--exclude X" or "--exclude=X"), letters also together
 * ("-qf").  "--" ends the options.  An option that is unknown is named together with the nearest
 * one that is known.
 *
 *     options_start(&options, &global_options);
 *     options_parse(&options, argc, argv, true, &used, err);
 *
 * Ownership: borrows the tables and argv; options_clear() frees the lists.
 * Threads:   one.
 * Errors:    ERR_USAGE, ERR_NOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

enum { OPTION_TABLES_MAX = 2 };

struct option_spec {
    const char *name;     /* without its dashes; NULL ends a table */
    char letter;          /* 0: it has none */
    const char *argument; /* NULL: a flag; else what --help calls it; "[=X]": may be left out */
    const char *help;
};

struct option_value {
    const struct option_spec *spec;
    const char *text; /* NULL: of a flag */
};

struct options {
    const struct option_spec *tables[OPTION_TABLES_MAX];
    struct option_value *values; /* in the order in which they came */
    size_t value_count;
    const char **arguments;
    size_t argument_count;
};

/* One more table: those of the program first, then those of the command. */
void options_table(struct options *options, const struct option_spec *table);
void options_clear(struct options *options);

/* Takes argv[0] … argv[count - 1]; with `stop`, ends before the first argument.  *out_used is how
 * many were taken. */
int options_parse(struct options *options, int count, const char *const *argv, bool stop,
                  int *out_used, struct err *err);

/* How often an option was given, its last value (NULL: not given), all of its values in order. */
size_t options_count(const struct options *options, const char *name);
const char *options_text(const struct options *options, const char *name);
/* *out has options_count() values and is malloc'ed. */
int options_list(const struct options *options, const char *name, const char ***out,
                 size_t *out_count, struct err *err);

/* Prints a table for --help to stdout. */
void options_print(const struct option_spec *table);
