#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"
#include "tools/config.h"

enum { NAME_MAX_SIZE = 64 };

static bool is_name(const char *name)
{
    size_t size = strlen(name);

    return size > 0 && size <= NAME_MAX_SIZE &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
               size;
}

static int find_or_add(struct config *config, const char *name, unsigned line,
                       struct config_replica **out, struct err *err)
{
    for (size_t i = 0; i < config->replica_count; i++) {
        *out = &config->replicas[i];
        if (strcmp((*out)->name, name) == 0)
            return 0;
    }
    if (!is_name(name))
        return err_set(err, ERR_USAGE,
                       "[replica %.60s]: a name of letters, digits, '_', '.', '-' is wanted", name);
    if (config->replica_count == REPLICAS_MAX)
        return err_set(err, ERR_USAGE, "there are more than %d replicas", REPLICAS_MAX);
    *out = &config->replicas[config->replica_count];
    **out = (struct config_replica){.name = strdup(name), .line = line};
    if (!(*out)->name)
        return err_set(err, ERR_NOMEM, "no memory for settings");
    config->replica_count++;
    return 0;
}

static int set_location(struct config_replica *replica, char *location, struct err *err)
{
    if (!location)
        return err_set(err, ERR_NOMEM, "no memory for settings");
    free(replica->location);
    replica->location = location;
    return 0;
}

static int assign_location(struct config_replica *replica, const char *value, struct err *err)
{
    if (replica->location)
        return err_set(err, ERR_USAGE, "\"location\" of [replica %.40s] is set a second time",
                       replica->name);
    if (!value[0])
        return err_set(err, ERR_USAGE, "the location of [replica %.40s] is empty", replica->name);
    return set_location(replica, strdup(value), err);
}

/* One of [s3], for this replica alone. */
static int assign_own(struct config_replica *replica, unsigned line, const char *key,
                      const char *value, struct err *err)
{
    for (int i = 0; i < REPLICA_SETTINGS; i++) {
        const struct setting_spec *spec = &setting_specs[SET_S3_ENDPOINT + i];
        struct setting *own = &replica->own[i];

        if (strcmp(spec->key, key) != 0)
            continue;
        if (own->line > 0)
            return err_set(err, ERR_USAGE, "\"%s\" of [replica %.40s] is set a second time", key,
                           replica->name);
        own->origin = FROM_FILE;
        own->line = line;
        return config_assign(own, spec, value, err);
    }
    return err_set(err, ERR_USAGE, "unknown setting \"%.40s\" in [replica %.40s]", key,
                   replica->name);
}

int config_replica_assign(struct config *config, const char *name, unsigned line, const char *key,
                          const char *value, struct err *err)
{
    struct config_replica *replica = NULL;
    int r = find_or_add(config, name, line, &replica, err);

    if (r < 0)
        return r;
    return strcmp(key, "location") == 0 ? assign_location(replica, value, err)
                                        : assign_own(replica, line, key, value, err);
}

/* BUCKET[/PREFIX], or s3://BUCKET[/PREFIX] */
static char *bucket_location(const char *text)
{
    static const char scheme[] = "s3://";
    bool whole = strncmp(text, scheme, strlen(scheme)) == 0;
    char *location = NULL;

    if (asprintf(&location, "%s%s", whole ? "" : scheme, text) < 0)
        return NULL;
    return location;
}

static int add_bucket(struct config *config, const char *bucket, struct err *err)
{
    struct config_replica *replica = NULL;
    int r = find_or_add(config, "BACKUP_S3_BUCKET", 0, &replica, err);

    return r < 0 ? r : set_location(replica, bucket_location(bucket), err);
}

int config_replica_finish(struct config *config, struct err *err)
{
    const char *bucket = getenv("BACKUP_S3_BUCKET");
    int r = bucket && bucket[0] ? add_bucket(config, bucket, err) : 0;

    for (size_t i = 0; i < config->replica_count && r == 0; i++)
        if (!config->replicas[i].location)
            r = err_set(err, ERR_USAGE, "%.80s:%u: [replica %.40s] has no location", config->file,
                        config->replicas[i].line, config->replicas[i].name);
    return r;
}

void config_replica_clear(struct config_replica *replica)
{
    for (int i = 0; i < REPLICA_SETTINGS; i++)
        strings_clear(&replica->own[i].values);
    free(replica->name);
    free(replica->location);
}

const struct setting *config_s3(const struct config *config, const struct config_replica *replica,
                                enum setting_id id)
{
    if (replica && id >= SET_S3_ENDPOINT && id < SET_S3_ENDPOINT + REPLICA_SETTINGS &&
        replica->own[id - SET_S3_ENDPOINT].line > 0)
        return &replica->own[id - SET_S3_ENDPOINT];
    return &config->settings[id];
}

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

const struct config_replica *config_replica_at(const struct config *config, const char *location)
{
    for (size_t i = 0; i < config->replica_count; i++) {
        const struct config_replica *replica = &config->replicas[i];

        if (strcmp(replica->location, location) == 0 &&
            is_same(setting_text(config_s3(config, replica, SET_S3_ENDPOINT)),
                    config_text(config, SET_S3_ENDPOINT)))
            return replica;
    }
    return NULL;
}
