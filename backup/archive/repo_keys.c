/* The objects of key management, over a store; and those that a probe saw, fetched together. */
#include <stdio.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/archive/repo_internal.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/together.h"
#include "backup/store/store.h"

#define FOLDER "keys/"
#define EPOCHS "epoch/"
#define SLOTS "slot/"

/* ---- over a store ------------------------------------------------------------------------ */

struct listing {
    const char *prefix;
    int (*each)(void *argument, const char *name, struct err *err);
    void *argument;
};

static int give_whole_name(void *context, const char *name, uint64_t size, struct err *err)
{
    const struct listing *listing = context;
    char whole[STORE_NAME_MAX + 1];

    (void)size;
    if (snprintf(whole, sizeof(whole), "%s%s", listing->prefix, name) >= (int)sizeof(whole))
        return 0; /* no name of ours */
    return listing->each(listing->argument, whole, err);
}

static int list_keys(void *context, const char *prefix,
                     int (*each)(void *argument, const char *name, struct err *err), void *argument,
                     struct err *err)
{
    struct listing listing = {.prefix = prefix, .each = each, .argument = argument};

    return store_list(context, prefix, give_whole_name, &listing, err);
}

static int read_key(void *context, const char *name, size_t limit, struct buf *out, struct err *err)
{
    return repo_read_object(context, name, limit, out, err);
}

static int create_key(void *context, const char *name, const void *bytes, size_t count,
                      struct err *err)
{
    return store_create(context, name, bytes, count, err);
}

static int remove_key(void *context, const char *name, struct err *err)
{
    return store_remove(context, name, err);
}

struct key_objects repo_key_objects(struct store *store)
{
    return (struct key_objects){
        .context = store,
        .list = list_keys,
        .read = read_key,
        .create = create_key,
        .remove = remove_key,
    };
}

/* ---- as they were seen ------------------------------------------------------------------- */

enum { FETCHED_MAX = TOGETHER_MAX, FETCHED_SIZE = 64 * 1024 };

/* An object that was fetched before anybody asked for it. */
struct fetched {
    struct store *store;
    char name[STORE_NAME_MAX + 1];
    struct buf bytes;
};

struct seen_keys {
    struct store *store;
    const struct repo_seen *seen;
    bool is_used; /* who asks once more found something to be gone */
    struct fetched fetched[FETCHED_MAX];
    size_t count;
};

int repo_see_key(void *context, const char *name, uint64_t size, struct err *err)
{
    struct repo_seen *seen = context;

    (void)size;
    (void)err;
    seen->has_epoch = seen->has_epoch || strncmp(name, EPOCHS, strlen(EPOCHS)) == 0;
    if (seen->key_count >= REPO_SEEN_MAX || strlen(name) >= sizeof(seen->keys[0]))
        seen->is_too_much = true;
    else
        strcpy(seen->keys[seen->key_count++], name);
    return 0;
}

static int list_seen(void *context, const char *prefix,
                     int (*each)(void *argument, const char *name, struct err *err), void *argument,
                     struct err *err)
{
    struct seen_keys *keys = context;
    char whole[STORE_NAME_MAX + 1];
    int r = 0;

    if (keys->is_used)
        return list_keys(keys->store, prefix, each, argument, err);
    keys->is_used = true;
    for (size_t i = 0; r == 0 && i < keys->seen->key_count; i++) {
        (void)snprintf(whole, sizeof(whole), FOLDER "%s", keys->seen->keys[i]);
        if (strncmp(whole, prefix, strlen(prefix)) == 0)
            r = each(argument, whole, err);
    }
    return r;
}

static int read_seen(void *context, const char *name, size_t limit, struct buf *out,
                     struct err *err)
{
    const struct seen_keys *keys = context;

    for (size_t i = 0; i < keys->count; i++) {
        const struct fetched *one = &keys->fetched[i];
        if (strcmp(one->name, name) == 0 && one->bytes.size > 0 && one->bytes.size <= limit)
            return buf_append(out, one->bytes.data, one->bytes.size, err);
    }
    return read_key(keys->store, name, limit, out, err);
}

static int fetch(void *context, struct err *err)
{
    struct fetched *one = context;
    int r = repo_read_object(one->store, one->name, FETCHED_SIZE, &one->bytes, err);

    if (r < 0)
        one->bytes.size = 0; /* who needs it reads it again, and tells */
    return 0;
}

static void add(struct seen_keys *keys, const char *name)
{
    struct fetched *one = &keys->fetched[keys->count++];

    one->store = keys->store;
    one->bytes.limit = FETCHED_SIZE;
    (void)snprintf(one->name, sizeof(one->name), FOLDER "%s", name);
}

/* The newest epoch, and slots: where there are few, one of them will be needed. */
static void fetch_seen(struct seen_keys *keys)
{
    struct together_call calls[FETCHED_MAX];
    const char *newest = NULL;
    struct err ignored;

    for (size_t i = 0; i < keys->seen->key_count; i++) {
        const char *name = keys->seen->keys[i];
        if (strncmp(name, EPOCHS, strlen(EPOCHS)) == 0 && (!newest || strcmp(name, newest) > 0))
            newest = name;
    }
    if (newest)
        add(keys, newest);
    for (size_t i = 0; i < keys->seen->key_count && keys->count < FETCHED_MAX; i++)
        if (strncmp(keys->seen->keys[i], SLOTS, strlen(SLOTS)) == 0)
            add(keys, keys->seen->keys[i]);
    for (size_t i = 0; i < keys->count; i++)
        calls[i] = (struct together_call){.run = fetch, .context = &keys->fetched[i]};
    (void)together(calls, keys->count, true, &ignored);
}

static void seen_keys_clear(struct seen_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        buf_clear(&keys->fetched[i].bytes);
}

int repo_open_keyring(struct repo *repo, const struct repo_seen *seen, const struct secret *secrets,
                      size_t count, struct err *err)
{
    CLEANUP(seen_keys_clear) struct seen_keys keys = {.store = repo->store, .seen = seen};
    struct key_objects objects = repo_key_objects(repo->store);
    int r = err_set(err, ERR_WRONG_KEY, "%s: no key given", repo->store->location);

    if (seen && !seen->is_too_much && repo->store->is_remote) {
        fetch_seen(&keys);
        objects.context = &keys;
        objects.list = list_seen;
        objects.read = read_seen;
    }
    for (size_t i = 0; i < count && r == -ERR_WRONG_KEY; i++)
        r = keyring_open(&objects, repo->id, &secrets[i], &repo->keyring, err);
    return r;
}
