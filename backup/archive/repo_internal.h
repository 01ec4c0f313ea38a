/*
 * repo_internal — what repo.c (a repository opened) and repo_keys.c (its keys' objects) share.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct repo;
struct repo_seen;
struct secret;
struct store;

int repo_read_object(struct store *store, const char *name, size_t limit, struct buf *out,
                     struct err *err);
/* A store_list_fn for a listing of keys/: into a struct repo_seen. */
int repo_see_key(void *context, const char *name, uint64_t size, struct err *err);
/* `seen` NULL: nothing was; else what it names is fetched at once where that takes a while. */
int repo_open_keyring(struct repo *repo, const struct repo_seen *seen, const struct secret *secrets,
                      size_t count, struct err *err);
