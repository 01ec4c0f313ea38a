/*
 * s3_credentials_internal — where keys come from.
 *
 * Each source gives 1 with keys, 0 when it is not in use here, or an error.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "backup/store/s3_credentials.h"

struct http;

struct s3_sources {
    struct http *http;
    char *profile;
    char *region;
    bool profile_first;
};

int s3_keys_from_profile(const struct s3_sources *sources, struct s3_keys *out, struct err *err);
int s3_keys_from_web_identity(const struct s3_sources *sources, struct s3_keys *out,
                              struct err *err);
int s3_keys_from_container(const struct s3_sources *sources, struct s3_keys *out, struct err *err);
int s3_keys_from_machine(const struct s3_sources *sources, struct s3_keys *out, struct err *err);

/* A variable that is set and not empty, or NULL. */
const char *s3_variable(const char *name);
/* False when it does not fit; terminated in any case. */
bool s3_copy(char *out, size_t size, const char *text);
