/*
 * command — one subcommand of yester, and what all of them are given.
 *
 * A command returns its exit status, or a negative error that yester.c prints and turns into one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "tools/config.h"
#include "tools/options.h"

struct err;
struct app;

/* What a command that only wants content takes from, and keeps in, the cache on the disk. */
enum command_cache { CACHE_NOTHING, CACHE_METADATA, CACHE_ALL };

struct command {
    const char *name;      /* "backup", "key list" */
    const char *arguments; /* for --help: "[PATH…]" */
    const char *summary;   /* one line */
    const char *examples;  /* what --help shows first; lines that end in \n */
    const char *details;   /* may be NULL */
    const struct option_spec *options;
    bool falls_back; /* to a replica, where the repository is gone */
    enum command_cache cache;
    size_t least, most; /* how many arguments it takes */
    int failed;         /* its exit status for every error; 0: by kind */
    int (*run)(struct app *app, struct err *err);
};

enum { ANY_NUMBER = 1 << 20 };

/* The run of one command. */
struct app {
    const struct command *command;
    struct options options;
    struct config config;
    bool json, quiet;
    char hint[256]; /* the next step after an error; empty: by kind of error */
    char path[256]; /* what the error is about, for JSON; may be empty */
};

static inline const char *app_argument(const struct app *app, size_t index)
{
    return index < app->options.argument_count ? app->options.arguments[index] : NULL;
}

static inline bool app_flag(const struct app *app, const char *name)
{
    return options_count(&app->options, name) > 0;
}

static inline const char *app_text(const struct app *app, const char *name)
{
    return options_text(&app->options, name);
}

__attribute__((format(printf, 2, 3))) void app_hint(struct app *app, const char *format, ...);

/* What --dry-run and the like look like is the same everywhere. */
#define OPTION_DRY_RUN                                                 \
    {                                                                  \
        "dry-run", 'n', NULL, "say what would be done; change nothing" \
    }

extern const struct command command_init;
extern const struct command command_backup;
extern const struct command command_list;
extern const struct command command_stats;
extern const struct command command_ls;
extern const struct command command_cat;
extern const struct command command_diff;
extern const struct command command_find;
extern const struct command command_history;
extern const struct command command_mount;
extern const struct command command_umount;
extern const struct command command_restore;
extern const struct command command_verify;
extern const struct command command_forget;
extern const struct command command_unforget;
extern const struct command command_hold;
extern const struct command command_release;
extern const struct command command_prune;
extern const struct command command_status;
extern const struct command command_key_list;
extern const struct command command_key_add;
extern const struct command command_key_remove;
extern const struct command command_key_rotate;
extern const struct command command_key_passwd;
extern const struct command command_key_export;
extern const struct command command_catalog_rebuild;
extern const struct command command_wal_receive;
extern const struct command command_wal_push;
extern const struct command command_wal_status;
extern const struct command command_points;
extern const struct command command_wal_fetch;
extern const struct command command_config;
extern const struct command command_copy;
