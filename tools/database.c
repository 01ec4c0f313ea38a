#include "tools/database.h"

#include <string.h>

#include "backup/base/err.h"
#include "backup/job/cluster.h"
#include "backup/job/gather.h"
#include "backup/source/pgdump.h"
#include "backup/source/sink.h"
#include "tools/config.h"

bool database_is_configured(const struct config *config)
{
    static const enum setting_id ids[] = {SET_DATABASE_HOST, SET_DATABASE_PORT, SET_DATABASE_USER,
                                          SET_DATABASE_NAMES};
    const struct pg_server server = pg_server_of_environment();
    bool any = server.password != NULL;

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        any = any || config_is_set(config, ids[i]);
    return any;
}

void database_clear(struct database *database)
{
    strings_clear(&database->names);
}

/* POSTGRES_DB is a list with commas; the file's has blanks, and commas do no harm. */
static int add_names(struct strings *names, const char *word, struct err *err)
{
    int r = 0;

    while (r == 0 && *word) {
        size_t size = strcspn(word, ",");
        if (size > 0)
            r = strings_add(names, word, size, err);
        word += size + (word[size] == ',');
    }
    return r;
}

int database_make(const struct config *config, struct database *out, struct err *err)
{
    const struct strings *names = config_list(config, SET_DATABASE_NAMES);
    int r = 0;

    out->server = pg_server_of_environment();
    out->server.host = config_text(config, SET_DATABASE_HOST);
    out->server.port = config_text(config, SET_DATABASE_PORT);
    out->server.user = config_text(config, SET_DATABASE_USER);
    out->jobs = (unsigned)config_number(config, SET_DATABASE_JOBS);
    out->csv = config_number(config, SET_DATABASE_CSV) != 0;
    out->ranges = config_number(config, SET_DATABASE_RANGES) != 0;
    out->local_files = config_number(config, SET_DATABASE_LOCAL_FILES) != 0;
    for (size_t i = 0; r == 0 && i < names->count; i++)
        r = add_names(&out->names, names->at[i], err);
    return r;
}

int database_produce(void *context, struct gather *gather, struct err *err)
{
    const struct database *database = context;
    struct sink sink;
    struct pgdump_options options = {
        .server = database->server,
        .databases = (const char *const *)database->names.at,
        .database_count = database->names.count,
        .jobs = database->jobs,
        .csv = database->csv,
        .ranges = database->ranges,
        .sink = &sink,
    };

    gather_sink(gather, &sink);
    options.server.progress = sink.progress;
    return pgdump_run(&options, err);
}

int database_produce_cluster(void *context, struct gather *gather, struct err *err)
{
    const struct database *database = context;
    struct cluster_options options = {
        .server = database->server,
        .local_files = database->local_files,
        .jobs = database->jobs,
    };

    return cluster_produce(&options, gather, err);
}
