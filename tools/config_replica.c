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
    replica->location = location;
    return 0;
}

int config_replica_assign(struct config *config, const char *name, unsigned line, const char *key,
                          const char *value, struct err *err)
{
    struct config_replica *replica = NULL;

    if (strcmp(key, "location") != 0)
        return err_set(err, ERR_USAGE, "unknown setting \"%.40s\" in [replica %.40s]", key, name);
    int r = find_or_add(config, name, line, &replica, err);
    if (r < 0)
        return r;
    if (replica->location)
        return err_set(err, ERR_USAGE, "\"location\" of [replica %.40s] is set a second time",
                       name);
    if (!value[0])
        return err_set(err, ERR_USAGE, "the location of [replica %.40s] is empty", name);
    return set_location(replica, strdup(value), err);
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

int config_replica_finish(struct config *config, struct err *err)
{
    const char *bucket = getenv("BACKUP_S3_BUCKET");
    struct config_replica *replica = NULL;

    if (!bucket || !bucket[0])
        return 0;
    int r = find_or_add(config, "BACKUP_S3_BUCKET", 0, &replica, err);
    return r < 0 ? r : set_location(replica, bucket_location(bucket), err);
}
