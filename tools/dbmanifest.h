/*
 * dbmanifest — what a logical backup says of its databases: the manifest.json files that pgdump
 * wrote, read again.
 *
 * Ownership: dbmanifest_clear() frees all that a description points to.
 * Threads:   one.
 * Errors:    ERR_CORRUPT for what is no such manifest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"
#include "backup/source/pgload.h"

struct err;
struct json_object;

/* The server's: which databases there are. */
struct dbmanifest {
    struct json_object *json;
    size_t count;
};
struct dbmanifest_line {
    const char *name, *directory;
    uint64_t tables, rows;
};
/* Databases of the server that the settings left out; appends their names. */
int dbmanifest_left_out(const struct dbmanifest *manifest, struct strings *out, struct err *err);
int dbmanifest_parse(const char *text, struct dbmanifest *out, struct err *err);
struct dbmanifest_line dbmanifest_line(const struct dbmanifest *manifest, size_t index);
void dbmanifest_clear(struct dbmanifest *manifest);

/* One database's. */
struct dbdescription {
    struct json_object *json;
    struct pgload_database what;
    struct pgload_table *tables;
    const char **views;
    bool complete;
};
/* `below`: only tables whose file is this one, or lies below it; "": all. */
int dbdescription_parse(const char *text, const char *directory, const char *below,
                        struct dbdescription *out, struct err *err);
void dbdescription_clear(struct dbdescription *description);
