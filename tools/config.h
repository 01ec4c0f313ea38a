/*
 * config — the settings in force, and where each came from.
 *
 * A setting comes from the command line, else the environment, else the file, else it has its
 * default.  An empty variable counts as not set.  The file is /etc/yester/yester.conf, or the one
 * that --config or YESTER_CONFIG names, which then has to be there.
 *
 * Ownership: config_clear() frees what a config holds.
 * Threads:   one to load, any to read.
 * Errors:    ERR_USAGE, naming file and line, for whatever the file should not say.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct err;
struct options;

#define CONFIG_DEFAULT_FILE "/etc/yester/yester.conf"

enum setting_id {
    SET_LOCATION,
    SET_KEY_FILE,
    SET_KEY_COMMAND,
    SET_FILES_PATHS,
    SET_FILES_EXCLUDE,
    SET_FILES_DEFAULT_EXCLUDES,
    SET_FILES_EXCLUDE_IF_PRESENT,
    SET_FILES_ONE_FILE_SYSTEM,
    SET_CONFIG_PATHS,
    SET_CONFIG_PATTERNS,
    SET_BACKUP_COMPRESSION,
    SET_BACKUP_BWLIMIT,
    SET_BACKUP_TAGS,
    SET_BACKUP_HOST,
    SET_DATABASE_HOST,
    SET_DATABASE_PORT,
    SET_DATABASE_USER,
    SET_DATABASE_NAMES,
    SET_DATABASE_JOBS,
    SET_DATABASE_CSV,
    SET_DATABASE_LOCAL_FILES,
    SET_DATABASE_RANGES,
    SET_DATABASE_METHOD,
    SET_RETENTION_FILES,
    SET_RETENTION_CONFIG,
    SET_RETENTION_DATABASE,
    SET_RETENTION_ALL,
    SET_PRUNE_GRACE,
    SET_PRUNE_COMPACT,
    SET_S3_ENDPOINT,
    SET_S3_REGION,
    SET_S3_PROFILE,
    SET_S3_CA_FILE,
    SET_S3_STYLE,
    SET_S3_CONNECTIONS,
    SET_S3_PATIENCE,
    SET_S3_LOCK,
    SET_S3_STORAGE_CLASS,
    SET_S3_COLD_AFTER,
    SET_S3_REGIONS,
    SET_S3_DISK_CACHE,
    SET_RESTORE_KEEP,
    SET_MOUNT_REFRESH,
    SET_MOUNT_CACHE,
    SETTINGS,
};

enum setting_kind {
    SETTING_TEXT,
    SETTING_LIST,
    SETTING_YES_NO,
    SETTING_SIZE,
    SETTING_COUNT,
    SETTING_LEVEL,
    SETTING_TIME,
    SETTING_SECONDS,
    SETTING_PERCENT
};

enum setting_origin { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_COMMAND_LINE };

struct setting_spec {
    const char *section, *key;
    enum setting_kind kind;
    const char *option;   /* on the command line; NULL: none */
    const char *variable; /* in the environment; NULL: none */
    const char *fallback; /* written as in the file; NULL: not set */
};

struct setting {
    enum setting_origin origin;
    unsigned line;         /* FROM_FILE */
    struct strings values; /* a text has one, or none when it is not set */
    uint64_t number;       /* of a SIZE, LEVEL or YES_NO */
};

/* How many settings of [s3] a replica may have of its own: the first ones. */
enum { REPLICAS_MAX = 16, REPLICA_SETTINGS = SET_S3_COLD_AFTER - SET_S3_ENDPOINT + 1 };

/* A second repository that backups are copied to. */
struct config_replica {
    char *name, *location;
    unsigned line;                        /* of the file; 0: the environment's BACKUP_S3_BUCKET */
    struct setting own[REPLICA_SETTINGS]; /* before those of [s3]; line 0: not set */
};

struct config {
    char *file; /* what was read; NULL: there is none */
    struct config_replica replicas[REPLICAS_MAX];
    size_t replica_count;
    struct setting settings[SETTINGS];
};

extern const struct setting_spec setting_specs[SETTINGS];

/* `options` NULL: no command line. */
int config_load(struct config *config, const struct options *options, struct err *err);
void config_clear(struct config *config);

/* NULL: not set. */
const char *config_text(const struct config *config, enum setting_id id);
const struct strings *config_list(const struct config *config, enum setting_id id);
uint64_t config_number(const struct config *config, enum setting_id id);
/* What holds for a replica's bucket: its own setting, else that of [s3]; NULL: the repository's. */
const struct setting *config_s3(const struct config *config, const struct config_replica *replica,
                                enum setting_id id);
/* The replica that a location of the repository's server is; NULL: it is none.  The same location
 * at another endpoint is another bucket. */
const struct config_replica *config_replica_at(const struct config *config, const char *location);
/* NULL: not set. */
const char *setting_text(const struct setting *setting);
/* Whether somebody said so, and it is not the default. */
bool config_is_set(const struct config *config, enum setting_id id);
/* "command line (--repo)", "/etc/yester/yester.conf:3", "default" … */
void config_origin(const struct config *config, enum setting_id id, char *out, size_t size);

/* For the parts of this module: the value of `key` in section [replica NAME]; and what the
 * environment adds. */
int config_replica_assign(struct config *config, const char *name, unsigned line, const char *key,
                          const char *value, struct err *err);
int config_replica_finish(struct config *config, struct err *err);
void config_replica_clear(struct config_replica *replica);

/* For the parts of this module, and its test: gives a setting its value from the words of `text`.
 */
int config_assign(struct setting *setting, const struct setting_spec *spec, const char *text,
                  struct err *err);
/* Reads a file's settings into those that have no better origin. */
int config_read_file(struct config *config, const char *name, struct err *err);
/* "1", "64K", "256M", "2G", with or without "iB". */
/* "48h", "0": nanoseconds. */
int config_parse_time(const char *text, uint64_t *out, struct err *err);
int config_parse_size(const char *text, uint64_t *out, struct err *err);
