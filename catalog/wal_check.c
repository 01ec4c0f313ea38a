/* Whether what is stored of servers' logs can be read. */
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog_internal.h"
#include "catalog/wal.h"

struct wal_check {
    bool data;
    void (*damaged)(void *context, const char *object, const struct err *err);
    void *context;
    uint64_t count, bad;
};

static int pass(void *context, const uint8_t *bytes, size_t count, struct err *err)
{
    (void)context;
    (void)bytes;
    (void)count;
    (void)err;
    return 0;
}

static int pass_mark(void *context, const struct wal_mark *mark, struct err *err)
{
    (void)context;
    (void)mark;
    (void)err;
    return 0;
}

static int check_object(struct catalog *catalog, const char *object, bool data, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    int r = walreader_open(catalog->repo, object, &reader, err);

    if (r == 0)
        r = walreader_check(reader, err);
    if (r < 0 || !data)
        return r;
    r = walreader_copy(reader, 0, walreader_meta(reader)->length, pass, NULL, err);
    return r < 0 ? r : walreader_marks(reader, pass_mark, NULL, err);
}

static int check_all(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(strings_clear) struct strings objects = {0};
    struct wal_check *check = context;
    int r = wal_list_locked(catalog, err);

    if (r == 0)
        r = rows_select_strings(catalog, "SELECT object FROM temp.listed_wal ORDER BY object",
                                &objects, err);
    check->count = check->bad = 0;
    for (size_t i = 0; r == 0 && i < objects.count; i++) {
        struct err why;
        int found = check_object(catalog, objects.at[i], check->data, &why);
        if (found == -ERR_NOT_FOUND) /* a piece that became part of a segment */
            continue;
        check->count++;
        if (found == 0)
            continue;
        if (!sync_is_damage(found, &why)) {
            *err = why;
            return found;
        }
        check->damaged(check->context, objects.at[i], &why);
        check->bad++;
    }
    return r;
}

int wal_check(struct catalog *catalog, bool data,
              void (*damaged)(void *context, const char *object, const struct err *err),
              void *context, uint64_t *out_count, struct err *err)
{
    struct wal_check check = {.data = data, .damaged = damaged, .context = context};
    int r = catalog_guarded(catalog, check_all, &check, err);

    *out_count = check.count;
    if (r < 0 || check.bad == 0)
        return r;
    return err_set(err, ERR_CORRUPT, "damaged parts of servers' logs: %llu",
                   (unsigned long long)check.bad);
}
