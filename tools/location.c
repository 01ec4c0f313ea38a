#include "tools/location.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/store/local.h"
#include "backup/store/s3.h"
#include "tools/config.h"
#include "tools/cooling.h"

enum { CONNECTIONS_MAX = 256, PATIENCE_MAX = 24 * 3600 };

static int find_style(const char *word, enum s3_style *out, struct err *err)
{
    static const char *const words[] = {
        [S3_STYLE_AUTO] = "auto", [S3_STYLE_PATH] = "path", [S3_STYLE_HOST] = "host"};

    for (int i = S3_STYLE_AUTO; i <= S3_STYLE_HOST; i++) {
        if (strcmp(word, words[i]) != 0)
            continue;
        *out = (enum s3_style)i;
        return 0;
    }
    return err_set(err, ERR_USAGE, "s3 style: \"%.60s\" is neither auto, path nor host", word);
}

static int in_bounds(const struct config *config, const struct config_replica *replica,
                     enum setting_id id, uint64_t most, uint64_t *out, struct err *err)
{
    *out = config_s3(config, replica, id)->number;
    if (*out >= 1 && *out <= most)
        return 0;
    return err_set(err, ERR_USAGE, "s3 %s: %llu is not from 1 to %llu", setting_specs[id].key,
                   (unsigned long long)*out, (unsigned long long)most);
}

static const char *text_of(const struct config *config, const struct config_replica *replica,
                           enum setting_id id)
{
    return setting_text(config_s3(config, replica, id));
}

/* "30d governance" */
static int find_lock(const struct config *config, const struct config_replica *replica,
                     struct s3_options *out, struct err *err)
{
    const struct strings *words = &config_s3(config, replica, SET_S3_LOCK)->values;
    bool own = replica && replica->own[SET_S3_LOCK - SET_S3_ENDPOINT].line > 0;
    uint64_t period = 0;

    if (words->count == 0)
        return 0;
    int r = words->count == 2 ? config_parse_time(words->at[0], &period, err)
                              : err_set(err, ERR_USAGE,
                                        "a time and a mode are wanted, such as "
                                        "30d governance");
    if (r == 0 && period == 0)
        r = err_set(err, ERR_USAGE, "no time at all; leave it out instead");
    if (r == 0 && strcmp(words->at[1], "governance") != 0 &&
        strcmp(words->at[1], "compliance") != 0)
        r = err_set(err, ERR_USAGE, "\"%.60s\" is neither governance nor compliance", words->at[1]);
    if (r < 0)
        return own ? err_context(err, "[replica %.60s] lock", replica->name)
                   : err_context(err, "s3 lock");
    out->retention_ns = (int64_t)period;
    out->compliance = strcmp(words->at[1], "compliance") == 0;
    return 0;
}

static int open_s3(const struct config *config, const struct config_replica *replica,
                   const char *location, struct store **out, struct err *err)
{
    const struct strings *regions = config_list(config, SET_S3_REGIONS);
    const char *older_name = getenv("AWS_DEFAULT_REGION");
    const char *style = text_of(config, replica, SET_S3_STYLE);
    struct s3_options options = {
        .endpoint = text_of(config, replica, SET_S3_ENDPOINT),
        .region = text_of(config, replica, SET_S3_REGION),
        .profile = text_of(config, replica, SET_S3_PROFILE),
        .ca_file = text_of(config, replica, SET_S3_CA_FILE),
        .data_class = cooling_at_once(config, replica),
        .allowed = (const char *const *)regions->at,
        .allowed_count = regions->count,
    };
    uint64_t connections = 0, patience = 0;
    int r = find_style(style ? style : "auto", &options.style, err);

    if (r == 0)
        r = cooling_check(config, replica, err);

    /* The environment's keys are the repository's, not those of a replica with its own profile. */
    options.profile_first = replica && replica->own[SET_S3_PROFILE - SET_S3_ENDPOINT].line > 0;
    if (!options.region && older_name && older_name[0])
        options.region = older_name;
    if (r == 0)
        r = find_lock(config, replica, &options, err);
    if (r == 0)
        r = in_bounds(config, replica, SET_S3_CONNECTIONS, CONNECTIONS_MAX, &connections, err);
    if (r == 0)
        r = in_bounds(config, replica, SET_S3_PATIENCE, PATIENCE_MAX, &patience, err);
    if (r < 0)
        return r;
    options.connections = (unsigned)connections;
    options.patience_ns = (int64_t)patience * NS_PER_SECOND;
    return s3_store_open(location, &options, out, err);
}

int location_open(const struct config *config, const struct config_replica *replica,
                  const char *location, bool create, struct store **out, struct err *err)
{
    if (s3_is_location(location))
        return open_s3(config, replica, location, out, err);
    return local_store_open(location, create, out, err);
}
