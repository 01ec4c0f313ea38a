/* yester — the program: finds the command, takes the options, runs it, tells how it ended. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/base/memory.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/nearest.h"
#include "tools/output.h"
#include "tools/report.h"

enum { NAME_COLUMN = 18 };

static const struct option_spec global_options[] = {
    {"repo", 0, "LOCATION", "the repository (YESTER_REPO)"},
    {"key-file", 0, "FILE", "a file that holds its key (YESTER_KEY_FILE)"},
    {"config", 0, "FILE", "settings, instead of " CONFIG_DEFAULT_FILE " (YESTER_CONFIG)"},
    {"host", 0, "NAME", "whose snapshots: this host's if not given"},
    {"json", 0, NULL, "output for programs"},
    {"quiet", 'q', NULL, "no progress and no summary"},
    {"verbose", 'v', NULL, "say more"},
    {"help", 'h', NULL, "show this"},
    {"version", 0, NULL, "show the version"},
    {0},
};

static const struct command *const commands[] = {
    &command_init,        &command_backup,
    &command_list,        &command_stats,
    &command_ls,          &command_cat,
    &command_diff,        &command_find,
    &command_history,     &command_mount,
    &command_umount,      &command_restore,
    &command_verify,      &command_forget,
    &command_unforget,    &command_hold,
    &command_release,     &command_prune,
    &command_status,      &command_key_list,
    &command_key_add,     &command_key_remove,
    &command_key_rotate,  &command_key_passwd,
    &command_key_export,  &command_catalog_rebuild,
    &command_config,      &command_copy,
    &command_wal_push,    &command_wal_fetch,
    &command_wal_receive, &command_wal_status,
    &command_points,
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_overview(FILE *out)
{
    fprintf(out, "Examples:\n"
                 "  yester init                          make a repository and its first key\n"
                 "  yester backup /srv /home             take a snapshot\n"
                 "  yester mount /mnt                    every snapshot as directories\n"
                 "  yester restore latest --target /tmp/back\n\n"
                 "Usage: yester [--repo LOCATION] [--config FILE] [--host NAME] [--json] "
                 "[--quiet|-v] COMMAND …\n\nCommands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-*s%s\n", NAME_COLUMN, commands[i]->name, commands[i]->summary);
    fprintf(out, "  %-*s%s\n", NAME_COLUMN, "help [COMMAND]", "this, or what a command takes");
    fprintf(out, "  %-*s%s\n\n", NAME_COLUMN, "version", "the version");
    fprintf(out, "`yester COMMAND --help` shows examples and options; yester(1) and "
                 "yester.conf(5) say it all.\n");
}

static void print_help(const struct command *command)
{
    printf("Examples:\n%s\nUsage: yester %s%s%s\n\n%s.\n", command->examples, command->name,
           command->arguments[0] ? " " : "", command->arguments, command->summary);
    if (command->details)
        printf("\n%s", command->details);
    printf("\nOptions:\n");
    options_print(command->options);
    printf("\nOptions of every command:\n");
    options_print(global_options);
}

static int print_version(void)
{
    puts("yester " YESTER_VERSION);
    return 0;
}

static bool first_word_is(const char *name, const char *word)
{
    size_t size = strlen(word);

    return strncmp(name, word, size) == 0 && name[size] == ' ';
}

static int unknown_command(const char *word, struct err *err)
{
    const char *best = NULL;

    for (size_t i = 0; i < COMMANDS; i++)
        best = nearest_of(word, best, commands[i]->name);
    best = nearest_of(word, best, "help");
    best = nearest_of(word, best, "version");
    if (best)
        return err_set(err, ERR_USAGE, "unknown command \"%.60s\"; did you mean \"%s\"?", word,
                       best);
    return err_set(err, ERR_USAGE, "unknown command \"%.60s\"", word);
}

/* "key" alone, or with a second word that is none of its commands. */
static int incomplete_command(const char *word, const char *second, struct err *err)
{
    char text[128] = "";
    const char *best = NULL;

    for (size_t i = 0; i < COMMANDS; i++) {
        size_t used = strlen(text);

        if (!first_word_is(commands[i]->name, word))
            continue;
        (void)snprintf(text + used, sizeof(text) - used, "%s%s", used ? ", " : "",
                       commands[i]->name);
        if (second)
            best = nearest_of(second, best, commands[i]->name + strlen(word) + 1);
    }
    if (second && best)
        return err_set(err, ERR_USAGE, "unknown command \"%s %.60s\"; did you mean \"%s %s\"?",
                       word, second, word, best);
    return err_set(err, ERR_USAGE, "\"%s\" needs one word more: %s", word, text);
}

/* *out_words: how many arguments make up its name. */
static int find_command(int count, const char *const *argv, const struct command **out,
                        int *out_words, struct err *err)
{
    bool group = false;

    for (size_t i = 0; i < COMMANDS; i++) {
        const char *name = commands[i]->name;
        bool first = first_word_is(name, argv[0]);

        group = group || first;
        if (strcmp(name, argv[0]) != 0 &&
            !(first && count > 1 && strcmp(name + strlen(argv[0]) + 1, argv[1]) == 0))
            continue;
        *out = commands[i];
        *out_words = first ? 2 : 1;
        return 0;
    }
    if (group)
        return incomplete_command(argv[0], count > 1 ? argv[1] : NULL, err);
    return unknown_command(argv[0], err);
}

static int help(int count, const char *const *argv, struct err *err)
{
    const struct command *command = NULL;
    int words;

    if (count == 0) {
        print_overview(stdout);
        return 0;
    }
    int r = find_command(count, argv, &command, &words, err);
    if (r == 0)
        print_help(command);
    return r;
}

static int check_arguments(const struct app *app, struct err *err)
{
    const struct command *command = app->command;
    size_t count = app->options.argument_count;

    if (count < command->least)
        return err_set(err, ERR_USAGE, "%s needs %s", command->name, command->arguments);
    if (count > command->most)
        return err_set(err, ERR_USAGE, "%s: \"%.100s\" is one argument too many", command->name,
                       app->options.arguments[command->most]);
    return 0;
}

static int run_command(struct app *app, struct err *err)
{
    int r = check_arguments(app, err);

    app->quiet = app_flag(app, "quiet");
    if (app_flag(app, "verbose"))
        log_set_level(LEVEL_DEBUG);
    if (r == 0)
        r = config_load(&app->config, &app->options, err);
    if (r == 0)
        r = app->command->run(app, err);
    int printed = output_finish(err);
    return r < 0 || printed == 0 ? r : printed;
}

/* The options before the command, the command, then all options that it knows. */
static int run(struct app *app, int count, const char *const *argv, struct err *err)
{
    int used = 0;
    int words = 0;
    int r;

    options_table(&app->options, global_options);
    r = options_parse(&app->options, count, argv, true, &used, err);
    if (r < 0)
        return r;
    count -= used;
    argv += used;
    if (app_flag(app, "version") || (count > 0 && strcmp(argv[0], "version") == 0))
        return print_version();
    if (app_flag(app, "help"))
        return help(count, argv, err);
    if (count > 0 && strcmp(argv[0], "help") == 0)
        return help(count - 1, argv + 1, err);
    if (count == 0) {
        print_overview(stderr);
        return err_exit_status(-ERR_USAGE);
    }
    r = find_command(count, argv, &app->command, &words, err);
    if (r < 0)
        return r;
    options_table(&app->options, app->command->options);
    r = options_parse(&app->options, count - words, argv + words, false, &used, err);
    app->json = app_flag(app, "json");
    if (r < 0)
        return r;
    if (app_flag(app, "help")) {
        print_help(app->command);
        return 0;
    }
    return run_command(app, err);
}

/* A backup keeps directories and archives open: as many as the system lets us. */
static void raise_limits(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

int main(int count, char **argv)
{
    struct app app = {0};
    struct err err = {0};

    process_harden();
    setlocale(LC_CTYPE, "");
    umask(077);
    raise_limits();
    int status =
        run(&app, count > 0 ? count - 1 : 0, (const char *const *)argv + (count > 0), &err);
    if (status < 0)
        status = report_error(&app, &err);
    if (output_finish(&err) < 0 && status == 0)
        status = 1;
    options_clear(&app.options);
    config_clear(&app.config);
    return status;
}
