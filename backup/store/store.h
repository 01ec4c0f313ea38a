/*
 * store — where a repository's objects are kept: a directory, or an S3 bucket.
 *
 * An object is written once, whole, and never changed.  Its name is a relative path of safe ASCII
 * ("data/3fa9…"), at most STORE_NAME_MAX bytes.  A driver implements struct store_ops; everybody
 * else calls the functions below.
 *
 * Ownership: store_close() ends a store; objects and puts must be gone by then.
 * Threads:   any call from any thread; store_put_write() of one put from several threads, on
 * separate ranges. Errors:    ERR_NOT_FOUND, ERR_EXISTS, ERR_DENIED, ERR_SYSTEM (with cause:
 * ENOSPC, EIO …), ERR_REMOTE, ERR_CANCELLED, ERR_COLD (cold.h).  Texts name the store and the
 * object.  These are repository errors: never mistake them for an unreadable source.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cold_ops;
struct err;
struct pace;
struct progress;
struct store;
struct store_lock;
struct store_object;
struct store_put;

enum { STORE_NAME_MAX = 200 };

/* One listed object: its name behind the prefix and its size.  Non-zero ends the listing with that
 * result. */
typedef int store_list_fn(void *context, const char *name, uint64_t size, struct err *err);

/* One of several listings. */
struct store_listing {
    const char *prefix;
    store_list_fn *each;
    void *context;
};

struct store_ops {
    void (*close)(struct store *store);
    int (*list)(struct store *store, const char *prefix, store_list_fn *each, void *context,
                struct err *err);
    int (*open)(struct store *store, const char *name, struct store_object **out, struct err *err);
    int (*read)(struct store_object *object, uint64_t offset, void *out, size_t count,
                struct err *err);
    void (*close_object)(struct store_object *object);
    int (*begin)(struct store *store, struct store_put **out, struct err *err);
    void (*expect)(struct store_put *put, const char *name); /* NULL: does not care */
    int (*write)(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                 struct err *err);
    int (*commit)(struct store_put *put, const char *name, struct err *err);
    void (*abort)(struct store_put *put);
    int (*remove)(struct store *store, const char *name, struct err *err);
    int (*room)(struct store *store, uint64_t *out_free, struct err *err);
    /* These may be NULL: the functions below say what it means. */
    void (*tidy)(struct store *store);
    int (*modified)(struct store *store, const char *name, int64_t *out_ns, struct err *err);
    int (*lock)(struct store *store, bool exclusive, struct store_lock **out, struct err *err);
    void (*unlock)(struct store_lock *lock);
    int (*retained)(struct store *store, const char *name, int64_t *out_ns, struct err *err);
    int (*retain)(struct store *store, const char *name, int64_t until_ns, struct err *err);
    void (*follow)(struct store *store, struct progress *progress);
    const struct cold_ops *cold; /* cold.h; NULL: all that is there can be read at once */
    void (*rest)(struct store *store);
    int (*reopen)(struct store *store, const char *name, uint64_t size, struct store_object **out,
                  struct err *err);
};

/* What every driver's own struct begins with. */
struct store {
    const struct store_ops *ops;
    char *location;       /* as the user wrote it, for messages */
    bool is_remote;       /* each read takes a while, and many at once take hardly longer */
    struct pace *pace;    /* of what is written; NULL: as fast as it goes */
    int64_t retention_ns; /* for so long nobody can remove what is put there; 0: it is not locked */
    _Atomic(struct progress *) progress; /* whose cancellation ends all waiting; NULL: nobody's */
};

/* What is put, or renewed, is locked for so much longer than the retention: so not all of it has to
 * be renewed each night, and what a run puts first need not be by the same run unless that takes
 * longer than this. */
static inline int64_t store_retention_spare(const struct store *store)
{
    return store->retention_ns / 8;
}

struct store_object {
    struct store *store;
    uint64_t size;
};

struct store_put {
    struct store *store;
    bool stays_warm; /* store_put_keep_warm() */
};

struct store_lock {
    struct store *store;
};

/* Whether an object can have this name; the functions below give ERR_USAGE where it cannot. */
bool store_is_name(const char *name);

/* Objects whose names begin with `prefix` (which ends in '/', or is empty), in no order, at every
 * depth below. A prefix that does not exist is empty.  Driver's temporary files do not appear. */
int store_list(struct store *store, const char *prefix, store_list_fn *each, void *context,
               struct err *err);

/* Several prefixes, at most TOGETHER_MAX (base/together.h).  A local store is listed in their
 * order; a remote one at once: none may depend on what another one saw, and `each` is called by any
 * thread, but never by two at a time. */
int store_list_all(struct store *store, const struct store_listing *listings, size_t count,
                   struct err *err);

int store_open(struct store *store, const char *name, struct store_object **out, struct err *err);
/* One whose size is known from before: nothing is asked of a remote store until it is read. */
int store_reopen(struct store *store, const char *name, uint64_t size, struct store_object **out,
                 struct err *err);
uint64_t store_object_size(const struct store_object *object);
/* All of `count` bytes or an error: an object that ends earlier is ERR_CORRUPT. */
int store_read(struct store_object *object, uint64_t offset, void *out, size_t count,
               struct err *err);
void store_object_close(struct store_object *object); /* NULL is allowed */
void store_object_closep(struct store_object **object);

/* A new object: write anywhere in it, then commit under a name, or abort.  Both free the put.  A
 * commit that returned 0 is durable and was not there before (ERR_EXISTS otherwise). */
int store_put_begin(struct store *store, struct store_put **out, struct err *err);
/* The name that it will be committed under; said before the first write, it lets a remote store
 * send what is large while it is written. */
void store_put_expect(struct store_put *put, const char *name);
/* Whatever storage class the settings say, it is not put there; said before the first write. */
void store_put_keep_warm(struct store_put *put);
int store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                    struct err *err);
int store_put_commit(struct store_put *put, const char *name, struct err *err);
void store_put_abort(struct store_put *put); /* NULL is allowed */

/* Small objects at once. */
int store_create(struct store *store, const char *name, const void *bytes, size_t count,
                 struct err *err);

int store_remove(struct store *store, const char *name, struct err *err);
/* Bytes that can still be written; UINT64_MAX where nobody knows. */
int store_room(struct store *store, uint64_t *out_free, struct err *err);
/* From now on writes go at this pace, which the store frees. */
void store_set_pace(struct store *store, struct pace *pace);
/* From now on, once this one (NULL: nobody) is cancelled, nothing is waited for any more, neither a
 * pace nor a server that does not answer: ERR_CANCELLED, within a second or so. */
void store_follow(struct store *store, struct progress *progress);
/* Before a fork: what two processes cannot share, such as connections, is given up. */
void store_rest(struct store *store);
/* When an object came there, by the store's clock; INT64_MAX where it does not say. */
int store_modified(struct store *store, const char *name, int64_t *out_ns, struct err *err);
/* Until when nobody can remove an object: 0: it is not locked; INT64_MAX: as long as somebody's
 * hold on it lasts.  store_remove() refuses it until then (ERR_DENIED). */
int store_retained(struct store *store, const char *name, int64_t *out_ns, struct err *err);
/* From now on it cannot be removed before then; never makes it less. */
int store_retain(struct store *store, const char *name, int64_t until_ns, struct err *err);
/* Removes what dead writers left that is no object; best effort. */
void store_tidy(struct store *store);
/* Who changes the repository holds its lock shared for as long as it works; who deletes at once
 * holds it alone.  Does not wait: ERR_BUSY while others keep us out.  A store without locks gives
 * *out = NULL to who would share, and ERR_USAGE to who wants it alone. */
int store_try_lock(struct store *store, bool exclusive, struct store_lock **out, struct err *err);
void store_unlock(struct store_lock *lock); /* NULL is allowed */
void store_close(struct store *store);      /* NULL is allowed */
void store_closep(struct store **store);
