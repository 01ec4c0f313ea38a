#include "tools/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/err.h"
#include "tools/options.h"

/* Environment files, manifests and lock files of packages, descriptions of containers and services.
 */
#define DEFAULT_PATTERNS                                                                           \
    ".env .env.* *.env .envrc "                                                                    \
    "package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml "                 \
    "pnpm-workspace.yaml .npmrc .yarnrc .yarnrc.yml bun.lock bun.lockb lerna.json "                \
    "requirements*.txt pyproject.toml poetry.lock Pipfile Pipfile.lock uv.lock setup.py "          \
    "setup.cfg "                                                                                   \
    "Cargo.toml Cargo.lock go.mod go.sum composer.json composer.lock Gemfile Gemfile.lock "        \
    "pom.xml build.gradle build.gradle.kts settings.gradle settings.gradle.kts "                   \
    "gradle.properties gradle.lockfile "                                                           \
    "docker-compose*.yml docker-compose*.yaml compose*.yml compose*.yaml Dockerfile Dockerfile.* " \
    ".dockerignore Procfile"

/* What makes a machine this machine, so that a restore onto another one leaves it alone. */
#define DEFAULT_KEEP                                                                        \
    "/etc/fstab /etc/crypttab /etc/machine-id /etc/hostname /etc/resolv.conf /etc/network " \
    "/etc/netplan /etc/systemd/network /etc/NetworkManager/system-connections /etc/yester"

const struct setting_spec setting_specs[SETTINGS] = {
    [SET_LOCATION] = {"repository", "location", SETTING_TEXT, "repo", "YESTER_REPO",
                      "/var/backups/platform"},
    [SET_KEY_FILE] = {"repository", "key_file", SETTING_TEXT, "key-file", "YESTER_KEY_FILE", NULL},
    [SET_KEY_COMMAND] = {"repository", "key_command", SETTING_TEXT, NULL, "YESTER_KEY_COMMAND",
                         NULL},
    [SET_FILES_PATHS] = {"files", "paths", SETTING_LIST, NULL, NULL, NULL},
    [SET_FILES_EXCLUDE] = {"files", "exclude", SETTING_LIST, NULL, NULL, NULL},
    [SET_FILES_DEFAULT_EXCLUDES] = {"files", "default_excludes", SETTING_YES_NO, NULL, NULL, "yes"},
    [SET_FILES_EXCLUDE_IF_PRESENT] = {"files", "exclude_if_present", SETTING_LIST, NULL, NULL,
                                      NULL},
    [SET_FILES_ONE_FILE_SYSTEM] = {"files", "one_file_system", SETTING_YES_NO, NULL, NULL, "no"},
    [SET_CONFIG_PATHS] = {"config", "paths", SETTING_LIST, NULL, NULL, "/etc"},
    [SET_CONFIG_PATTERNS] = {"config", "patterns", SETTING_LIST, NULL, NULL, DEFAULT_PATTERNS},
    [SET_BACKUP_COMPRESSION] = {"backup", "compression", SETTING_LEVEL, "compression", NULL, "1"},
    [SET_BACKUP_BWLIMIT] = {"backup", "bwlimit", SETTING_SIZE, "bwlimit", NULL, NULL},
    [SET_BACKUP_TAGS] = {"backup", "tags", SETTING_LIST, NULL, NULL, NULL},
    [SET_BACKUP_HOST] = {"backup", "host", SETTING_TEXT, "host", NULL, NULL},
    [SET_DATABASE_HOST] = {"database", "host", SETTING_TEXT, NULL, "POSTGRES_HOST", NULL},
    [SET_DATABASE_PORT] = {"database", "port", SETTING_TEXT, NULL, "POSTGRES_PORT", NULL},
    [SET_DATABASE_USER] = {"database", "user", SETTING_TEXT, NULL, "POSTGRES_USER", NULL},
    [SET_DATABASE_NAMES] = {"database", "databases", SETTING_LIST, NULL, "POSTGRES_DB", NULL},
    [SET_DATABASE_JOBS] = {"database", "jobs", SETTING_LEVEL, NULL, NULL, "4"},
    [SET_DATABASE_CSV] = {"database", "csv", SETTING_YES_NO, NULL, NULL, "no"},
    [SET_DATABASE_LOCAL_FILES] = {"database", "local_files", SETTING_YES_NO, NULL, NULL, "yes"},
    [SET_DATABASE_RANGES] = {"database", "ranges", SETTING_YES_NO, NULL, NULL, "no"},
    [SET_DATABASE_METHOD] = {"database", "method", SETTING_TEXT, NULL, NULL, "logical"},
    [SET_RETENTION_FILES] = {"retention", "files", SETTING_LIST, NULL, NULL, "within=7d"},
    [SET_RETENTION_CONFIG] = {"retention", "config", SETTING_LIST, NULL, NULL, "within=30d"},
    [SET_RETENTION_DATABASE] = {"retention", "database", SETTING_LIST, NULL, NULL, "within=30d"},
    [SET_RETENTION_ALL] = {"retention", "all", SETTING_LIST, NULL, NULL, "weekly=90d"},
    [SET_PRUNE_GRACE] = {"prune", "grace", SETTING_TIME, "grace", NULL, "48h"},
    [SET_PRUNE_COMPACT] = {"prune", "compact", SETTING_PERCENT, "compact", NULL, "50%"},
    [SET_S3_ENDPOINT] = {"s3", "endpoint", SETTING_TEXT, NULL, "AWS_ENDPOINT_URL", NULL},
    [SET_S3_REGION] = {"s3", "region", SETTING_TEXT, NULL, "AWS_REGION", NULL},
    [SET_S3_PROFILE] = {"s3", "profile", SETTING_TEXT, NULL, "AWS_PROFILE", NULL},
    [SET_S3_CA_FILE] = {"s3", "ca_file", SETTING_TEXT, NULL, "AWS_CA_BUNDLE", NULL},
    [SET_S3_STYLE] = {"s3", "style", SETTING_TEXT, NULL, NULL, "auto"},
    [SET_S3_CONNECTIONS] = {"s3", "connections", SETTING_COUNT, NULL, NULL, "32"},
    [SET_S3_PATIENCE] = {"s3", "patience", SETTING_SECONDS, NULL, NULL, "300"},
    [SET_S3_LOCK] = {"s3", "lock", SETTING_LIST, NULL, NULL, NULL},
    [SET_S3_STORAGE_CLASS] = {"s3", "storage_class", SETTING_TEXT, NULL, NULL, NULL},
    [SET_S3_COLD_AFTER] = {"s3", "cold_after", SETTING_TIME, NULL, NULL, "0"},
    [SET_S3_REGIONS] = {"s3", "regions", SETTING_LIST, NULL, NULL, NULL},
    [SET_S3_DISK_CACHE] = {"s3", "disk_cache", SETTING_SIZE, NULL, NULL, "1G"},
    [SET_RESTORE_KEEP] = {"restore", "keep", SETTING_LIST, NULL, NULL, DEFAULT_KEEP},
    [SET_MOUNT_REFRESH] = {"mount", "refresh", SETTING_SECONDS, "refresh", NULL, "10"},
    [SET_MOUNT_CACHE] = {"mount", "cache", SETTING_SIZE, "cache", NULL, "256M"},
};

static int assign_from(struct config *config, enum setting_id id, enum setting_origin origin,
                       const char *text, struct err *err)
{
    char name[128];

    config->settings[id].origin = origin;
    if (config_assign(&config->settings[id], &setting_specs[id], text, err) == 0)
        return 0;
    config_origin(config, id, name, sizeof(name));
    return err_context(err, "%s", name);
}

static bool given(const struct options *options, const char *name)
{
    if (!options)
        return false;
    for (size_t i = 0; i < options->value_count; i++)
        if (strcmp(options->values[i].spec->name, name) == 0)
            return true;
    return false;
}

/* Settings from the command line and the environment, which the file must not change. */
static int assign_better(struct config *config, const struct options *options, struct err *err)
{
    for (enum setting_id id = 0; id < SETTINGS; id++) {
        const struct setting_spec *spec = &setting_specs[id];
        const char *variable = spec->variable ? getenv(spec->variable) : NULL;
        int r = 0;

        if (spec->option && given(options, spec->option))
            r = assign_from(config, id, FROM_COMMAND_LINE, options_text(options, spec->option),
                            err);
        else if (variable && variable[0])
            r = assign_from(config, id, FROM_ENVIRONMENT, variable, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int assign_defaults(struct config *config, struct err *err)
{
    char host[HOST_NAME_MAX_SIZE + 1] = "";
    int r = 0;

    for (enum setting_id id = 0; id < SETTINGS && r == 0; id++)
        if (config->settings[id].origin == FROM_DEFAULT && setting_specs[id].fallback)
            r = config_assign(&config->settings[id], &setting_specs[id], setting_specs[id].fallback,
                              err);
    if (r < 0 || config->settings[SET_BACKUP_HOST].values.count > 0)
        return r;
    if (gethostname(host, sizeof(host) - 1) < 0)
        return err_sys(err, "name of this host");
    return config_assign(&config->settings[SET_BACKUP_HOST], &setting_specs[SET_BACKUP_HOST],
                         host[0] ? host : "localhost", err);
}

static int read_settings(struct config *config, const struct options *options, struct err *err)
{
    const char *name = given(options, "config") ? options_text(options, "config") : NULL;
    const char *variable = getenv("YESTER_CONFIG");

    if (!name && variable && variable[0])
        name = variable;
    if (!name && access(CONFIG_DEFAULT_FILE, F_OK) < 0)
        return 0;
    return config_read_file(config, name ? name : CONFIG_DEFAULT_FILE, err);
}

/* A host's name becomes the name of a directory in the mount. */
static int check_host(const struct config *config, struct err *err)
{
    const char *host = config_text(config, SET_BACKUP_HOST);
    size_t size = strlen(host);
    bool bad =
        size == 0 || size > HOST_NAME_MAX_SIZE || strcmp(host, ".") == 0 || strcmp(host, "..") == 0;

    for (size_t i = 0; i < size; i++)
        bad = bad || host[i] == '/' || (unsigned char)host[i] < ' ' || host[i] == 0x7F;
    if (bad)
        return err_set(err, ERR_USAGE, "\"%.60s\" cannot be the name of a host", host);
    return 0;
}

int config_load(struct config *config, const struct options *options, struct err *err)
{
    int r = assign_better(config, options, err);

    if (r == 0)
        r = read_settings(config, options, err);
    if (r == 0)
        r = assign_defaults(config, err);
    if (r == 0)
        r = check_host(config, err);
    if (r == 0)
        r = config_replica_finish(config, err);
    return r;
}

void config_clear(struct config *config)
{
    for (size_t i = 0; i < SETTINGS; i++)
        strings_clear(&config->settings[i].values);
    for (size_t i = 0; i < config->replica_count; i++)
        config_replica_clear(&config->replicas[i]);
    free(config->file);
    *config = (struct config){0};
}

const char *setting_text(const struct setting *setting)
{
    const struct strings *values = &setting->values;

    return values->count > 0 && values->at[0][0] ? values->at[0] : NULL;
}

const char *config_text(const struct config *config, enum setting_id id)
{
    return setting_text(&config->settings[id]);
}

const struct strings *config_list(const struct config *config, enum setting_id id)
{
    return &config->settings[id].values;
}

uint64_t config_number(const struct config *config, enum setting_id id)
{
    return config->settings[id].number;
}

bool config_is_set(const struct config *config, enum setting_id id)
{
    return config->settings[id].origin != FROM_DEFAULT;
}

void config_origin(const struct config *config, enum setting_id id, char *out, size_t size)
{
    const struct setting *setting = &config->settings[id];

    switch (setting->origin) {
    case FROM_COMMAND_LINE:
        (void)snprintf(out, size, "command line (--%s)", setting_specs[id].option);
        break;
    case FROM_ENVIRONMENT:
        (void)snprintf(out, size, "environment (%s)", setting_specs[id].variable);
        break;
    case FROM_FILE:
        (void)snprintf(out, size, "%s:%u", config->file, setting->line);
        break;
    default:
        (void)snprintf(out, size, "default");
    }
}
