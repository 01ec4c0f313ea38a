#include "tools/rights.h"

#include <stdint.h>
#include <stdio.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/random.h"
#include "backup/store/store.h"

enum { RANDOM_SIZE = 32 };

bool rights_to_read(const struct rights *rights)
{
    return rights->lists && rights->reads;
}

bool rights_to_write(const struct rights *rights)
{
    return rights_to_read(rights) && rights->writes;
}

bool rights_to_prune(const struct rights *rights)
{
    return rights_to_write(rights) && rights->removes;
}

static int ignore(void *context, const char *name, uint64_t size, struct err *err)
{
    (void)context;
    (void)name;
    (void)size;
    (void)err;
    return 0;
}

/* A refusal, whatever it looks like; a local file system says EROFS as well. */
static int judge(int r, bool *out, const struct err *err)
{
    bool refused = r == -ERR_DENIED || (r < 0 && err->cause == EROFS);

    *out = !refused;
    return r == -ERR_NOT_FOUND || refused ? 0 : r;
}

static int try_reading(struct store *store, bool *out, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;

    return judge(store_open(store, "repository", &object, err), out, err);
}

static int try_writing(struct store *store, const char *digits, bool *out, struct err *err)
{
    char name[OBJECT_NAME_SIZE];
    struct err ignored;

    (void)snprintf(name, sizeof(name), "claims/%s", digits);
    int r = judge(store_create(store, name, "rights", 6, err), out, err);
    if (r == 0 && *out)
        (void)store_remove(store, name, &ignored);
    return r;
}

static int try_removing(struct store *store, const char *digits, bool *out, struct err *err)
{
    char name[OBJECT_NAME_SIZE];

    (void)snprintf(name, sizeof(name), "data/%s", digits);
    return judge(store_remove(store, name, err), out, err);
}

int rights_find(struct store *store, struct rights *out, struct err *err)
{
    uint8_t bytes[RANDOM_SIZE];
    char digits[2 * RANDOM_SIZE + 1];
    int r = random_bytes(bytes, sizeof(bytes), err);

    hex_encode(bytes, sizeof(bytes), digits);
    if (r == 0)
        r = judge(store_list(store, "snapshots/", ignore, NULL, err), &out->lists, err);
    if (r == 0)
        r = try_reading(store, &out->reads, err);
    if (r == 0)
        r = try_writing(store, digits, &out->writes, err);
    if (r == 0)
        r = try_removing(store, digits, &out->removes, err);
    return r;
}
