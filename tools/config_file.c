#include "tools/config.h"

#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "tools/nearest.h"

#define REPLICA "replica " /* how its sections begin; the name follows */

enum { FILE_MAX = 1024 * 1024 };

/* The library cuts long lines in two and numbers none, so lines are handed to it one by one. */
struct parse {
    struct config *config;
    const char *at, *end;
    unsigned line;
    bool continued;             /* the line belongs to the setting before it */
    bool seen[SETTINGS];        /* set in this file … */
    unsigned seen_at[SETTINGS]; /* … and where */
    struct err *err;
    int result;
};

__attribute__((format(printf, 2, 3))) static void refuse(struct parse *parse, const char *format,
                                                         ...);

static void refuse(struct parse *parse, const char *format, ...)
{
    char text[160];
    va_list args;

    if (parse->result < 0)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    parse->result =
        err_set(parse->err, ERR_USAGE, "%.80s:%u: %s", parse->config->file, parse->line, text);
}

/* fgets() over the bytes in memory. */
static char *next_line(char *out, int size, void *context)
{
    struct parse *parse = context;
    size_t left = (size_t)(parse->end - parse->at);
    const char *newline = left > 0 ? memchr(parse->at, '\n', left) : NULL;
    size_t length = newline ? (size_t)(newline - parse->at) : left;

    if (left == 0 || parse->result < 0)
        return NULL;
    parse->line++;
    if (memchr(parse->at, '\0', length)) {
        refuse(parse, "a NUL byte");
        return NULL;
    }
    /* One byte for the newline, one for the NUL. */
    if (length + 2 > (size_t)size) {
        refuse(parse, "longer than %d bytes; go on in the next line, after a blank", size - 2);
        return NULL;
    }
    memcpy(out, parse->at, length);
    out[length] = '\n';
    out[length + 1] = '\0';
    parse->continued = out[0] == ' ' || out[0] == '\t';
    parse->at += length + (newline ? 1 : 0);
    return out;
}

static int find_setting(struct parse *parse, const char *section, const char *key)
{
    const char *best_section = NULL;
    const char *best_key = NULL;
    bool known = false;

    for (int id = 0; id < SETTINGS; id++) {
        bool here = strcmp(setting_specs[id].section, section) == 0;

        if (here && strcmp(setting_specs[id].key, key) == 0)
            return id;
        known = known || here;
        best_section = nearest_of(section, best_section, setting_specs[id].section);
        if (here)
            best_key = nearest_of(key, best_key, setting_specs[id].key);
    }
    if (!section[0])
        refuse(parse, "\"%.40s\" stands before any [section]", key);
    else if (!known && best_section)
        refuse(parse, "unknown section [%.40s]; did you mean [%s]?", section, best_section);
    else if (!known)
        refuse(parse, "unknown section [%.40s]", section);
    else if (best_key)
        refuse(parse, "unknown setting \"%.40s\"; did you mean \"%s\"?", key, best_key);
    else
        refuse(parse, "unknown setting \"%.40s\" in [%.40s]", key, section);
    return -1;
}

static int replica_setting(struct parse *parse, const char *name, const char *key,
                           const char *value)
{
    struct err err;

    if (parse->result == 0 &&
        config_replica_assign(parse->config, name, parse->line, key, value, &err) < 0)
        refuse(parse, "%s", err.text);
    return parse->result == 0;
}

static int one_setting(void *context, const char *section, const char *key, const char *value)
{
    struct parse *parse = context;

    if (strncmp(section, REPLICA, strlen(REPLICA)) == 0)
        return replica_setting(parse, section + strlen(REPLICA), key, value);
    int id = parse->result == 0 ? find_setting(parse, section, key) : -1;

    if (id < 0)
        return 0;
    struct setting *setting = &parse->config->settings[id];
    bool list = setting_specs[id].kind == SETTING_LIST;
    bool better = setting->origin > FROM_FILE;
    struct setting scratch = {0}; /* a setting that is not used is still checked */

    if (parse->seen[id] && parse->continued && !list)
        refuse(parse, "\"%s\" takes one value, on one line", key);
    else if (parse->seen[id] && !parse->continued)
        refuse(parse, "\"%s\" is set a second time, after line %u", key, parse->seen_at[id]);
    if (parse->result < 0)
        return 0;
    if (!parse->seen[id])
        parse->seen_at[id] = parse->line;
    parse->seen[id] = true;
    struct err err;
    int r = config_assign(better ? &scratch : setting, &setting_specs[id], value, &err);
    strings_clear(&scratch.values);
    if (r < 0)
        refuse(parse, "%s: %s", key, err.text);
    if (!better) {
        setting->origin = FROM_FILE;
        setting->line = parse->seen_at[id];
    }
    return 1;
}

int config_read_file(struct config *config, const char *name, struct err *err)
{
    CLEANUP(buf_clear) struct buf text = {.limit = FILE_MAX};
    struct parse parse = {.config = config, .err = err};
    int r = io_read_file(AT_FDCWD, name, FILE_MAX, &text, err);

    if (r < 0) {
        err_context(err, "cannot read settings from %.100s", name);
        err->code = ERR_USAGE;
        return -ERR_USAGE;
    }
    free(config->file);
    config->file = strdup(name);
    if (!config->file)
        return err_set(err, ERR_NOMEM, "no memory for settings");
    parse.at = (const char *)text.data;
    parse.end = parse.at + text.size;
    if (text.size == 0)
        return 0;
    int line = ini_parse_stream(next_line, &parse, one_setting, &parse);
    if (parse.result < 0)
        return parse.result;
    if (line > 0)
        return err_set(err, ERR_USAGE, "%.100s:%d: neither [section] nor setting = value", name,
                       line);
    if (line < 0)
        return err_set(err, ERR_NOMEM, "no memory for settings");
    return 0;
}
