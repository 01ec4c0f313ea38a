/*
 * shelf — keys/ of a repository in memory, for the tests of keyring.
 *
 * `before` runs once, before the next object is read or created: another host at an awkward moment.
 */
#pragma once

#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/keyring_internal.h"
#include "tests/harness/cmocka.h"

enum { MOST_OBJECTS = 32 };

struct object {
    char name[KEY_NAME_SIZE];
    uint8_t *bytes;
    size_t size;
};

struct shelf {
    size_t count;
    struct object objects[MOST_OBJECTS];
    void (*before)(struct shelf *shelf);
    struct key_objects access;
};

__attribute__((unused)) static const uint8_t repo_id[REPO_ID_SIZE] = "0123456789abcde";

static inline struct object *find(struct shelf *shelf, const char *name)
{
    for (size_t i = 0; i < shelf->count; i++)
        if (strcmp(shelf->objects[i].name, name) == 0)
            return &shelf->objects[i];
    return NULL;
}

static inline void run_before(struct shelf *shelf)
{
    void (*before)(struct shelf *) = shelf->before;

    shelf->before = NULL;
    if (before)
        before(shelf);
}

static inline int shelf_list(void *context, const char *prefix,
                             int (*each)(void *argument, const char *name, struct err *err),
                             void *argument, struct err *err)
{
    struct shelf *shelf = context;
    int r = 0;

    for (size_t i = 0; r == 0 && i < shelf->count; i++)
        if (strncmp(shelf->objects[i].name, prefix, strlen(prefix)) == 0)
            r = each(argument, shelf->objects[i].name, err);
    return r;
}

static inline int shelf_read(void *context, const char *name, size_t limit, struct buf *out,
                             struct err *err)
{
    struct shelf *shelf = context;

    run_before(shelf);
    struct object *object = find(shelf, name);
    if (!object)
        return err_set(err, ERR_NOT_FOUND, "%s: no such object", name);
    if (object->size > limit)
        return err_set(err, ERR_TOO_LARGE, "%s: too large", name);
    return buf_append(out, object->bytes, object->size, err);
}

static inline int shelf_create(void *context, const char *name, const void *bytes, size_t count,
                               struct err *err)
{
    struct shelf *shelf = context;

    run_before(shelf);
    if (find(shelf, name))
        return err_set(err, ERR_EXISTS, "%s: exists", name);
    assert_true(shelf->count < MOST_OBJECTS && strlen(name) < KEY_NAME_SIZE);
    struct object *object = &shelf->objects[shelf->count++];
    strcpy(object->name, name);
    object->bytes = malloc(count + 1);
    object->size = count;
    memcpy(object->bytes, bytes, count);
    return 0;
}

static inline int shelf_remove(void *context, const char *name, struct err *err)
{
    struct shelf *shelf = context;
    struct object *object = find(shelf, name);

    if (!object)
        return err_set(err, ERR_NOT_FOUND, "%s: no such object", name);
    free(object->bytes);
    *object = shelf->objects[--shelf->count];
    return 0;
}

static inline void shelf_init(struct shelf *shelf)
{
    *shelf = (struct shelf){
        .access = {shelf, shelf_list, shelf_read, shelf_create, shelf_remove},
    };
}

static inline void shelf_clear(struct shelf *shelf)
{
    while (shelf->count > 0)
        free(shelf->objects[--shelf->count].bytes);
}

static inline void shelf_copy(struct shelf *to, const struct shelf *from)
{
    struct err err;

    shelf_init(to);
    for (size_t i = 0; i < from->count; i++)
        shelf_create(to, from->objects[i].name, from->objects[i].bytes, from->objects[i].size,
                     &err);
}

static inline struct object *find_slot(struct shelf *shelf)
{
    for (size_t i = 0; i < shelf->count; i++)
        if (strncmp(shelf->objects[i].name, "keys/slot/", 10) == 0)
            return &shelf->objects[i];
    return NULL;
}

/* Secrets of 32 bytes that differ in the first one: quick to derive from. */
static inline void make_secret(struct secret *secret, char which)
{
    char text[] = "?AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    struct err err;

    text[0] = which;
    assert_true(secret_parse(text, strlen(text), secret, &err) == 0);
    assert_true(secret->kdf == SLOT_KDF_HKDF);
}

static inline int open_with(struct shelf *shelf, char which, struct keyring **out, struct err *err)
{
    CLEANUP(secret_clear) struct secret secret = {0};

    make_secret(&secret, which);
    return keyring_open(&shelf->access, repo_id, &secret, out, err);
}

static inline struct keyring *create_with(struct shelf *shelf, char which)
{
    CLEANUP(secret_clear) struct secret secret = {0};
    struct keyring *keyring = NULL;
    struct err err;

    make_secret(&secret, which);
    assert_true(keyring_create(&shelf->access, repo_id, &secret, "first", &keyring, &err) == 0);
    return keyring;
}

static inline int add_to(struct shelf *shelf, struct keyring *keyring, char which, struct err *err)
{
    CLEANUP(secret_clear) struct secret secret = {0};
    char label[] = "key ?";

    make_secret(&secret, which);
    label[4] = which;
    return keyring_add(keyring, &shelf->access, &secret, label, err);
}

static inline const struct member *labelled(const struct keyring *keyring, const char *label)
{
    for (size_t i = 0; i < keyring->members; i++)
        if (strcmp(keyring->member[i].info.label, label) == 0)
            return &keyring->member[i];
    return NULL;
}

static inline int remove_labelled(struct shelf *shelf, struct keyring *keyring, const char *label,
                                  struct err *err)
{
    const struct member *member = labelled(keyring, label);

    assert_non_null(member);
    return keyring_remove(keyring, &shelf->access, member->info.id, err);
}

static inline void assert_opens(struct shelf *shelf, char which)
{
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    struct err err = {0};
    int r = open_with(shelf, which, &keyring, &err);

    assert_string_equal(err.text, "");
    assert_true(r == 0);
}

static inline void assert_refused(struct shelf *shelf, char which, int code, const char *part)
{
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    struct err err = {0};

    assert_int_equal(open_with(shelf, which, &keyring, &err), code);
    assert_null(keyring);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
}

static inline void assert_same_keys(const struct keyring *a, const struct keyring *b)
{
    assert_true(keyring_epoch(a) == keyring_epoch(b));
    assert_memory_equal(keyring_master(a, keyring_epoch(a)), keyring_master(b, keyring_epoch(b)),
                        MASTER_KEY_SIZE);
    assert_memory_equal(keyring_id_key(a), keyring_id_key(b), DIGEST_KEY_SIZE);
    assert_memory_equal(keyring_gear_key(a), keyring_gear_key(b), DIGEST_KEY_SIZE);
}
