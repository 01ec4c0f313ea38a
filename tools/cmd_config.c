/* cmd_config — the settings in force, and where each came from. */
#include <stdio.h>
#include <string.h>

#include "backup/base/err.h"
#include "tools/command.h"
#include "tools/output.h"

enum { LINE_WIDTH = 100 };

static const struct option_spec options[] = {{0}};

/* Words as the file takes them back: in quotes where they need it, on lines that are not too long.
 */
static void print_value(const struct setting *setting, size_t column)
{
    for (size_t i = 0; i < setting->values.count; i++) {
        const char *word = setting->values.at[i];
        const char *quote = strpbrk(word, " \t'") || !word[0] ? "\"" : strchr(word, '"') ? "'" : "";

        column += strlen(word) + 2 * strlen(quote) + 1;
        if (i > 0 && column > LINE_WIDTH) {
            printf("\n   ");
            column = strlen(word) + 4;
        }
        printf(" %s%s%s", quote, word, quote);
    }
}

static void print_setting(const struct config *config, enum setting_id id)
{
    const struct setting_spec *spec = &setting_specs[id];
    const struct setting *setting = &config->settings[id];
    char origin[160];

    if (id == 0 || strcmp(spec->section, setting_specs[id - 1].section) != 0)
        printf("%s[%s]\n", id == 0 ? "" : "\n", spec->section);
    config_origin(config, id, origin, sizeof(origin));
    printf("# %s\n%s%s =", setting->values.count > 0 ? origin : "not set",
           setting->values.count > 0 ? "" : "# ", spec->key);
    print_value(setting, strlen(spec->key) + 2);
    printf("\n");
}

static void print_replica(const struct config *config, const struct config_replica *replica)
{
    printf("\n[replica %s]\n", replica->name);
    if (replica->line > 0)
        printf("# %s:%u\n", config->file, replica->line);
    else
        printf("# environment (BACKUP_S3_BUCKET)\n");
    printf("location = %s\n", replica->location);
    for (int i = 0; i < REPLICA_SETTINGS; i++) {
        const char *key = setting_specs[SET_S3_ENDPOINT + i].key;

        if (replica->own[i].line == 0)
            continue;
        printf("%s =", key);
        print_value(&replica->own[i], strlen(key) + 2);
        printf("\n");
    }
}

static struct json_object *words_json(const struct setting *setting)
{
    struct json_object *words = json_object_new_array();

    for (size_t i = 0; i < setting->values.count; i++)
        json_object_array_add(
            words, output_json_text(setting->values.at[i], strlen(setting->values.at[i])));
    return words;
}

static struct json_object *replica_json(const struct config_replica *replica)
{
    struct json_object *one = json_object_new_object();

    json_object_object_add(one, "location",
                           output_json_text(replica->location, strlen(replica->location)));
    for (int i = 0; i < REPLICA_SETTINGS; i++) {
        const struct setting *own = &replica->own[i];
        const char *text = setting_text(own);

        if (own->line > 0 && setting_specs[SET_S3_ENDPOINT + i].kind == SETTING_LIST)
            json_object_object_add(one, setting_specs[SET_S3_ENDPOINT + i].key, words_json(own));
        else if (own->line > 0)
            json_object_object_add(one, setting_specs[SET_S3_ENDPOINT + i].key,
                                   text ? output_json_text(text, strlen(text)) : NULL);
    }
    return one;
}

static struct json_object *replicas_json(const struct config *config)
{
    struct json_object *all = json_object_new_object();

    for (size_t i = 0; i < config->replica_count; i++)
        json_object_object_add(all, config->replicas[i].name, replica_json(&config->replicas[i]));
    return all;
}

static struct json_object *setting_json(const struct config *config, enum setting_id id)
{
    const struct setting *setting = &config->settings[id];
    struct json_object *object = json_object_new_object();
    struct json_object *values = NULL;
    char origin[160];

    config_origin(config, id, origin, sizeof(origin));
    if (setting_specs[id].kind == SETTING_LIST) {
        values = words_json(setting);
    } else if (setting_specs[id].kind == SETTING_YES_NO) {
        values = json_object_new_boolean(setting->number != 0);
    } else if (setting_specs[id].kind != SETTING_TEXT) {
        values = output_json_number(setting->number);
    } else if (config_text(config, id)) {
        values = output_json_text(config_text(config, id), strlen(config_text(config, id)));
    }
    json_object_object_add(object, "value", values);
    json_object_object_add(object, "origin", json_object_new_string(origin));
    return object;
}

static void print_json(const struct config *config)
{
    struct json_object *all = json_object_new_object();
    struct json_object *section = NULL;

    for (enum setting_id id = 0; id < SETTINGS; id++) {
        const struct setting_spec *spec = &setting_specs[id];

        if (!json_object_object_get_ex(all, spec->section, &section)) {
            section = json_object_new_object();
            json_object_object_add(all, spec->section, section);
        }
        json_object_object_add(section, spec->key, setting_json(config, id));
    }
    json_object_object_add(all, "replicas", replicas_json(config));
    output_json(all);
}

static int run(struct app *app, struct err *err)
{
    (void)err;
    if (app->json) {
        print_json(&app->config);
        return 0;
    }
    for (enum setting_id id = 0; id < SETTINGS; id++)
        print_setting(&app->config, id);
    for (size_t i = 0; i < app->config.replica_count; i++)
        print_replica(&app->config, &app->config.replicas[i]);
    return 0;
}

const struct command command_config = {
    .name = "config",
    .arguments = "",
    .summary = "the settings in force, and where each came from",
    .examples = "  yester config\n"
                "  yester config > /etc/yester/yester.conf     (a file to start from)\n",
    .details = "Keys are never shown: settings name a file or a command that has one.\n",
    .options = options,
    .run = run,
};
