#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "backup/base/path.h"
#include "tools/datadir_internal.h"
#include "tools/wal.h"

enum { NS_PER_US = 1000, US_PER_SECOND = 1000000, COMMAND_MAX = 64 * 1024 };

/* ---- --to ---- */

/* As the server reads it: "2026-02-04 12:30:00.123456+00". */
static int parse_time(struct datadir *run, const char *text, struct err *err)
{
    struct tm tm;
    int64_t ns;
    char day[32];

    int r = clock_parse_time(text, &ns, err);
    if (r < 0)
        return r;
    if (ns < 0)
        return err_set(err, ERR_USAGE, "--to time:%.40s: no server was there yet", text);
    run->time_us = ns / NS_PER_US;
    time_t seconds = (time_t)(ns / NS_PER_SECOND);
    (void)strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", gmtime_r(&seconds, &tm));
    (void)snprintf(run->value, sizeof(run->value), "%s.%06u+00", day,
                   (unsigned)(run->time_us % US_PER_SECOND));
    return 0;
}

static int parse_xid(struct datadir *run, const char *text, struct err *err)
{
    size_t size = strlen(text);

    errno = 0;
    (void)strtoull(text, NULL, 10);
    if (size == 0 || size > 20 || strspn(text, "0123456789") != size || errno == ERANGE)
        return err_set(err, ERR_USAGE, "--to xid:%.40s: that is no transaction's number", text);
    strcpy(run->value, text);
    return 0;
}

static int parse_lsn(struct datadir *run, const char *text, struct err *err)
{
    if (!lsn_parse(text, &run->lsn))
        return err_set(err, ERR_USAGE, "--to lsn:%.40s: a position is two numbers, as 16/B374D848",
                       text);
    lsn_format(run->lsn, run->value);
    return 0;
}

static int parse_name(struct datadir *run, const char *text, struct err *err)
{
    if (text[0] == 0 || strlen(text) >= sizeof(run->value))
        return err_set(err, ERR_USAGE, "--to name: a restore point's name has 1 to %zu bytes",
                       sizeof(run->value) - 1);
    strcpy(run->value, text);
    return 0;
}

static int parse_target(struct datadir *run, struct err *err)
{
    static const struct {
        const char *word;
        enum pgdata_until until;
        int (*parse)(struct datadir *run, const char *text, struct err *err);
    } kinds[] = {{"time:", UNTIL_TIME, parse_time},
                 {"lsn:", UNTIL_LSN, parse_lsn},
                 {"xid:", UNTIL_XID, parse_xid},
                 {"name:", UNTIL_NAME, parse_name}};
    struct pgdata_recovery *recovery = &run->how.recovery;
    const char *text = app_text(run->app, "to");

    recovery->until = UNTIL_LATEST;
    if (!text || strcmp(text, "latest") == 0)
        return 0;
    recovery->until = UNTIL_IMMEDIATE;
    if (strcmp(text, "immediate") == 0)
        return 0;
    recovery->value = run->value;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t size = strlen(kinds[i].word);
        recovery->until = kinds[i].until;
        if (strncmp(text, kinds[i].word, size) == 0)
            return kinds[i].parse(run, text + size, err);
    }
    return err_set(err, ERR_USAGE,
                   "--to %.60s: it is latest, immediate, time:T, lsn:L, xid:X or name:N", text);
}

static int parse_timeline(struct datadir *run, struct err *err)
{
    uint64_t number;
    int r = wal_number(run->app, "timeline", UINT32_MAX, &number, err);

    run->timeline = (uint32_t)number;
    run->how.recovery.timeline = app_text(run->app, "timeline");
    return r;
}

/* ---- places ---- */

static int add_word(struct datadir *run, const char *text, size_t size, const char **out,
                    struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = PATH_MAX};

    int r = path_clean(text, size, &path, err);
    if (r == 0)
        r = strings_add(&run->map_words, (const char *)path.data, path.size, err);
    *out = r == 0 ? run->map_words.at[run->map_words.count - 1] : NULL;
    return r;
}

static int parse_map(struct datadir *run, const char *text, struct pgdata_map *out, struct err *err)
{
    const char *equals = strchr(text, '=');

    if (!equals || text[0] != '/' || equals[1] != '/')
        return err_set(err, ERR_USAGE, "--tablespace-map %.150s: it is OLD=NEW, absolute paths",
                       text);
    int r = add_word(run, text, (size_t)(equals - text), &out->from, err);
    return r < 0 ? r : add_word(run, equals + 1, strlen(equals + 1), &out->to, err);
}

static void freep(const char ***list)
{
    free(*list);
}

static int parse_maps(struct datadir *run, struct err *err)
{
    CLEANUP(freep) const char **given = NULL;
    size_t count = 0;

    int r = options_list(&run->app->options, "tablespace-map", &given, &count, err);
    if (r < 0 || count == 0)
        return r;
    run->maps = calloc(count, sizeof(*run->maps));
    if (!run->maps)
        return err_set(err, ERR_NOMEM, "no memory for options");
    for (size_t i = 0; r == 0 && i < count; i++)
        r = parse_map(run, given[i], &run->maps[i], err);
    run->how.maps = run->maps;
    run->how.map_count = count;
    return r;
}

static int parse_directory(struct datadir *run, struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = PATH_MAX};
    const char *text = app_text(run->app, "data-directory");

    int r = text[0] ? path_absolute(text, strlen(text), &path, err)
                    : err_set(err, ERR_USAGE, "--data-directory wants a directory");
    if (r < 0)
        return r;
    run->directory = strndup((const char *)path.data, path.size);
    run->how.directory = run->directory;
    return run->directory ? 0 : err_set(err, ERR_NOMEM, "no memory for options");
}

int datadir_parse(struct datadir *run, struct err *err)
{
    static const char *const not_with[] = {"target",     "include",   "exclude",  "delete",
                                           "no-special", "no-setuid", "overwrite"};
    struct app *app = run->app;
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(not_with) / sizeof(not_with[0]); i++)
        if (options_count(&app->options, not_with[i]) > 0)
            r = err_set(err, ERR_USAGE, "--%s does not go with --data-directory", not_with[i]);
    if (r == 0 && app->options.argument_count > 1)
        r = err_set(err, ERR_USAGE, "--data-directory brings all of a server: it takes no PATH");
    if (r == 0)
        r = parse_target(run, err);
    if (r == 0)
        r = parse_timeline(run, err);
    if (r == 0)
        r = parse_maps(run, err);
    run->how.delta = app_flag(app, "delta");
    run->how.dry_run = app_flag(app, "dry-run");
    return r < 0 ? r : parse_directory(run, err);
}

/* ---- restore_command ---- */

/* One word for the shell; the server takes %% for %. */
static void add_shell(struct text *text, const char *word)
{
    text_add(text, "'");
    for (const char *c = word; *c; c++) {
        if (*c == '\'')
            text_add(text, "'\\''");
        else if (*c == '%')
            text_add(text, "%%");
        else
            text_bytes(text, c, 1);
    }
    text_add(text, "'");
}

static void add_option(struct text *text, const char *option, const char *value)
{
    text_format(text, " %s ", option);
    add_shell(text, value);
}

/* A path as seen from any directory; nothing where it is not set. */
static int add_path(struct text *text, const char *option, const char *value, struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = PATH_MAX};

    if (!value)
        return 0;
    int r = path_absolute(value, strlen(value), &path, err);
    if (r == 0)
        r = buf_append(&path, "", 1, err);
    if (r == 0)
        add_option(text, option, (const char *)path.data);
    return r;
}

static int add_location(struct datadir *run, struct text *text, struct err *err)
{
    const char *location = config_text(&run->app->config, SET_LOCATION);

    if (!strstr(location, "://"))
        return add_path(text, "--repo", location, err);
    add_option(text, "--repo", location);
    return 0;
}

int datadir_command(struct datadir *run, struct err *err)
{
    const struct config *config = &run->app->config;
    struct text *text = &run->command;
    char program[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);

    if (size < 0)
        return err_sys(err, "find this program");
    program[size] = 0;
    text->buf.limit = COMMAND_MAX;
    add_shell(text, program);
    int r = add_path(text, "--config", config->file, err);
    if (r == 0)
        r = add_location(run, text, err);
    if (r == 0) /* its name; the key itself is never written down */
        r = add_path(text, "--key-file", config_text(config, SET_KEY_FILE), err);
    if (r < 0)
        return r;
    text_format(text, " wal fetch --system %" PRIu64, pgdata_facts(run->data)->system);
    if (run->timeline)
        text_format(text, " --timeline %" PRIu32, run->timeline);
    text_add(text, " %f \"%p\"");
    r = text_end(text, err);
    run->how.recovery.restore_command = r == 0 ? text_of(text) : NULL;
    return r;
}
