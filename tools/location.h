/*
 * location — a store by what a user calls it: a directory, or s3://BUCKET[/PREFIX].
 *
 * Ownership: the caller closes the store.
 * Threads:   one.
 * Errors:    ERR_USAGE for what is no location; those of the drivers.
 */
#pragma once

#include <stdbool.h>

struct config;
struct config_replica;
struct err;
struct store;

/* How a bucket is reached is in the settings, and a replica may have some of its own (NULL: it is
 * none); `create` makes a directory that is not there. */
int location_open(const struct config *config, const struct config_replica *replica,
                  const char *location, bool create, struct store **out, struct err *err);
