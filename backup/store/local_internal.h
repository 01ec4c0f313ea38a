/*
 * local_internal — what the files of local share.
 *
 * local.c opens, reads, lists and removes; local_put.c writes; local_dir.c walks to the directory
 * of an object; local_owner.c tells whose a file in tmp/ is; local_lock.c keeps writers and who
 * deletes apart.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backup/store/store.h"

enum { LOCAL_TOPS = 16, LOCAL_TOP_SIZE = 32, LOCAL_TMP_SIZE = 112 };

/* How a finished file gets its name: the first that the file system knows. */
enum local_way { LOCAL_RENAME, LOCAL_LINK, LOCAL_LOCKED };

struct local {
    struct store store;
    int fd;                     /* the repository's directory */
    _Atomic enum local_way way; /* falls to what works here */
    pthread_mutex_t lock;       /* guards what follows */
    bool is_tidy;               /* tmp/ was looked through */
    size_t tops;                /* directories below `fd` that are known to be durable */
    char top[LOCAL_TOPS][LOCAL_TOP_SIZE];
};

/* Which process made a file in tmp/. */
struct local_owner {
    uint64_t host;  /* machine and its name; 0: unknown */
    uint64_t boot;  /* since when it runs; 0: unknown */
    uint64_t space; /* in which process ids are counted */
    uint32_t pid;
    uint64_t start;
};

/* Puts the store and the object in front of a failure; a full file system is said in plain words.
 */
int local_error(const struct local *local, const char *name, struct err *err);

/* Opens the directory of object `name`, through no symbolic link; *out_last is the part behind it.
 */
int local_parent(struct local *local, const char *name, int *out_fd, const char **out_last,
                 struct err *err);
/* The same, and makes what is missing, so that it lasts. */
int local_make_parent(struct local *local, const char *name, int *out_fd, const char **out_last,
                      struct err *err);
/* Makes a directory of the user's, with those above it, so that it lasts. */
int local_make_directory(const char *directory, struct err *err);

int local_put_begin(struct store *store, struct store_put **out, struct err *err);
int local_put_write(struct store_put *base, uint64_t offset, const void *bytes, size_t count,
                    struct err *err);
int local_put_commit(struct store_put *base, const char *name, struct err *err);
void local_put_abort(struct store_put *base);
/* Removes what dead processes of this host left in tmp/, once; failures do not matter. */
void local_tidy(struct local *local);

int local_lock(struct store *store, bool exclusive, struct store_lock **out, struct err *err);
void local_unlock(struct store_lock *base);

void local_owner_self(struct local_owner *out);
void local_owner_format(const struct local_owner *owner, uint64_t random, char out[LOCAL_TMP_SIZE]);
bool local_owner_parse(const char *name, struct local_owner *out);
/* Only true where it is certain. */
bool local_owner_is_dead(const struct local_owner *self, const struct local_owner *owner);
