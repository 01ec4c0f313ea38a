#include "backup/crypto/keyring.h"

#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/keyring_internal.h"
#include "tests/harness/cmocka.h"

enum { MOST_OBJECTS = 32, EPOCH_BOXES_AT = 112 };

/* A store in memory; `before` runs once, before the next object is created or read. */
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

static const uint8_t repo_id[REPO_ID_SIZE] = "0123456789abcde";
static const uint8_t other_id[REPO_ID_SIZE] = "another-one-yes";

static struct object *find(struct shelf *shelf, const char *name)
{
    for (size_t i = 0; i < shelf->count; i++)
        if (strcmp(shelf->objects[i].name, name) == 0)
            return &shelf->objects[i];
    return NULL;
}

static void run_before(struct shelf *shelf)
{
    void (*before)(struct shelf *) = shelf->before;

    shelf->before = NULL;
    if (before)
        before(shelf);
}

static int shelf_list(void *context, const char *prefix,
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

static int shelf_read(void *context, const char *name, size_t limit, struct buf *out,
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

static int shelf_create(void *context, const char *name, const void *bytes, size_t count,
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

static int shelf_remove(void *context, const char *name, struct err *err)
{
    struct shelf *shelf = context;
    struct object *object = find(shelf, name);

    if (!object)
        return err_set(err, ERR_NOT_FOUND, "%s: no such object", name);
    free(object->bytes);
    *object = shelf->objects[--shelf->count];
    return 0;
}

static void shelf_init(struct shelf *shelf)
{
    *shelf = (struct shelf){
        .access = {shelf, shelf_list, shelf_read, shelf_create, shelf_remove},
    };
}

static void shelf_clear(struct shelf *shelf)
{
    while (shelf->count > 0)
        free(shelf->objects[--shelf->count].bytes);
}

static void shelf_copy(struct shelf *to, const struct shelf *from)
{
    struct err err;

    shelf_init(to);
    for (size_t i = 0; i < from->count; i++)
        shelf_create(to, from->objects[i].name, from->objects[i].bytes, from->objects[i].size,
                     &err);
}

static struct object *find_slot(struct shelf *shelf)
{
    for (size_t i = 0; i < shelf->count; i++)
        if (strncmp(shelf->objects[i].name, "keys/slot/", 10) == 0)
            return &shelf->objects[i];
    return NULL;
}

/* Secrets of 32 bytes that differ in the first one: quick to derive from. */
static void make_secret(struct secret *secret, char which)
{
    char text[] = "?AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    struct err err;

    text[0] = which;
    assert_true(secret_parse(text, strlen(text), secret, &err) == 0);
    assert_true(secret->kdf == SLOT_KDF_HKDF);
}

static int open_with(struct shelf *shelf, char which, struct keyring **out, struct err *err)
{
    CLEANUP(secret_clear) struct secret secret = {0};

    make_secret(&secret, which);
    return keyring_open(&shelf->access, repo_id, &secret, out, err);
}

static struct keyring *create_with(struct shelf *shelf, char which)
{
    CLEANUP(secret_clear) struct secret secret = {0};
    struct keyring *keyring = NULL;
    struct err err;

    make_secret(&secret, which);
    assert_true(keyring_create(&shelf->access, repo_id, &secret, "first", &keyring, &err) == 0);
    return keyring;
}

static int add_to(struct shelf *shelf, struct keyring *keyring, char which, struct err *err)
{
    CLEANUP(secret_clear) struct secret secret = {0};
    char label[] = "key ?";

    make_secret(&secret, which);
    label[4] = which;
    return keyring_add(keyring, &shelf->access, &secret, label, err);
}

static const struct member *labelled(const struct keyring *keyring, const char *label)
{
    for (size_t i = 0; i < keyring->members; i++)
        if (strcmp(keyring->member[i].info.label, label) == 0)
            return &keyring->member[i];
    return NULL;
}

static int remove_labelled(struct shelf *shelf, struct keyring *keyring, const char *label,
                           struct err *err)
{
    const struct member *member = labelled(keyring, label);

    assert_non_null(member);
    return keyring_remove(keyring, &shelf->access, member->info.id, err);
}

static void assert_opens(struct shelf *shelf, char which)
{
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    struct err err = {0};
    int r = open_with(shelf, which, &keyring, &err);

    assert_string_equal(err.text, "");
    assert_true(r == 0);
}

static void assert_refused(struct shelf *shelf, char which, int code, const char *part)
{
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    struct err err = {0};

    assert_int_equal(open_with(shelf, which, &keyring, &err), code);
    assert_null(keyring);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
}

static void assert_same_keys(const struct keyring *a, const struct keyring *b)
{
    assert_true(keyring_epoch(a) == keyring_epoch(b));
    assert_memory_equal(keyring_master(a, keyring_epoch(a)), keyring_master(b, keyring_epoch(b)),
                        MASTER_KEY_SIZE);
    assert_memory_equal(keyring_id_key(a), keyring_id_key(b), DIGEST_KEY_SIZE);
    assert_memory_equal(keyring_gear_key(a), keyring_gear_key(b), DIGEST_KEY_SIZE);
}

/* ---- secrets */

static void base64_of_32_bytes_is_a_key_and_any_other_text_a_passphrase(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum slot_kdf kdf;
        size_t count;
    } cases[] = {
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", SLOT_KDF_HKDF, 32},
        {" \n\tAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\r\n\n", SLOT_KDF_HKDF, 32},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", SLOT_KDF_SCRYPT, 44},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", SLOT_KDF_SCRYPT, 43},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==", SLOT_KDF_SCRYPT, 45},
        {"AAECAwQFBgcICQoL DA0ODxAREhMUFRYXGBkaGxwdHh=", SLOT_KDF_SCRYPT, 44},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", SLOT_KDF_SCRYPT, 44},
        {"correct horse\n", SLOT_KDF_SCRYPT, 13},
        {"correct horse\n\n", SLOT_KDF_SCRYPT, 14},
        {" x ", SLOT_KDF_SCRYPT, 3},
    };
    struct err err;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(secret_clear) struct secret secret = {0};
        assert_true(secret_parse(cases[i].text, strlen(cases[i].text), &secret, &err) == 0);
        assert_true(secret.kdf == cases[i].kdf && secret.count == cases[i].count);
        for (size_t b = 0; cases[i].kdf == SLOT_KDF_HKDF && b < 32; b++)
            assert_true(secret.bytes[b] == b);
    }
}

static void an_empty_secret_is_refused(void **state)
{
    (void)state;
    struct secret secret = {0};
    struct err err;

    assert_true(secret_parse("", 0, &secret, &err) == -ERR_USAGE);
    assert_true(secret_parse("\n", 1, &secret, &err) == -ERR_USAGE);
    assert_null(secret.bytes);
}

/* ---- opening */

static void a_keyring_opens_with_its_secret_and_no_other(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    struct slot_info info;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
    assert_same_keys(made, opened);
    assert_true(keyring_epoch(opened) == 1 && keyring_slots(opened) == 1);
    assert_true(keyring_own_slot(opened) == 0);
    assert_null(keyring_master(opened, 2));
    keyring_slot(opened, 0, &info);
    assert_string_equal(info.label, "first");
    assert_true(info.kdf == SLOT_KDF_HKDF && info.made_ns > 0);
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "no key slot of this repository opens with");
}

static void a_passphrase_opens_too_and_is_slow_to_try(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    CLEANUP(secret_clear) struct secret wrong = {0};
    struct err err;

    shelf_init(&shelf);
    assert_true(secret_parse("correct horse", 13, &secret, &err) == 0);
    assert_true(secret_parse("correct horsf", 13, &wrong, &err) == 0);
    assert_true(keyring_create(&shelf.access, repo_id, &secret, "", &made, &err) == 0);
    assert_true(keyring_open(&shelf.access, repo_id, &secret, &opened, &err) == 0);
    assert_same_keys(made, opened);
    const uint8_t *cost = find_slot(&shelf)->bytes + 80;
    assert_true(load_le32(cost) == 16 && load_le32(cost + 4) == 8 && load_le32(cost + 8) == 2);
    keyring_free(opened);
    opened = NULL;
    assert_true(keyring_open(&shelf.access, repo_id, &wrong, &opened, &err) == -ERR_WRONG_KEY);
}

static void without_keys_there_is_no_repository(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;

    shelf_init(&shelf);
    assert_refused(&shelf, 'a', -ERR_NO_REPOSITORY, "no keys");
}

static void keys_are_not_made_twice(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    struct keyring *again = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    make_secret(&secret, 'b');
    assert_true(keyring_create(&shelf.access, repo_id, &secret, "", &again, &err) == -ERR_EXISTS);
    assert_true(shelf.count == 2);
    assert_opens(&shelf, 'a');
}

/* ---- what an attacker with access to the storage may do */

static void each_changed_bit_is_an_error_or_harmless(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    size_t harmless = 0;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    for (size_t i = 0; i < shelf.count; i++) {
        for (size_t bit = 0; bit < 8 * shelf.objects[i].size; bit++) {
            CLEANUP(keyring_freep) struct keyring *opened = NULL;
            uint8_t *byte = &shelf.objects[i].bytes[bit / 8];
            *byte ^= (uint8_t)(1U << bit % 8);
            int r = open_with(&shelf, 'a', &opened, &err);
            *byte ^= (uint8_t)(1U << bit % 8);
            assert_true(r == 0 || r == -ERR_CORRUPT || r == -ERR_WRONG_KEY);
            harmless += r == 0;
            if (r == 0)
                assert_same_keys(made, opened);
        }
    }
    /* The other secret's slot, and the generation before. */
    char name[KEY_NAME_SIZE];
    epoch_name(1, 0, name);
    assert_true(harmless == 8 * (SLOT_SIZE + find(&shelf, name)->size));
}

static void an_object_that_was_cut_short_or_grew_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    for (size_t i = 0; i < shelf.count; i++) {
        size_t size = shelf.objects[i].size;
        for (size_t cut = 0; cut <= size + 1; cut++) {
            shelf.objects[i].size = cut;
            if (cut != size)
                assert_refused(&shelf, 'a', -ERR_CORRUPT, shelf.objects[i].name);
        }
        shelf.objects[i].size = size;
    }
    assert_opens(&shelf, 'a');
}

static void scrypts_parameters_are_bounded_and_cannot_be_lowered(void **state)
{
    (void)state;
    static const uint32_t bad[][3] = {
        {0, 0, 0},   {9, 8, 1},          {21, 1, 1},          {16, 0, 1},
        {16, 17, 1}, {16, 8, 0},         {16, 8, 17},         {20, 9, 1},
        {16, 1, 1},  {0xFFFFFFFF, 8, 1}, {16, 0xFFFFFFFF, 1}, {16, 8, 0x80000001},
    };
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    struct keyring *opened = NULL;
    struct err err;

    shelf_init(&shelf);
    assert_true(secret_parse("horse", 5, &secret, &err) == 0);
    assert_true(keyring_create(&shelf.access, repo_id, &secret, "", &made, &err) == 0);
    uint8_t *cost = find_slot(&shelf)->bytes + 80;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t k = 0; k < 3; k++)
            store_le32(cost + 4 * k, bad[i][k]);
        assert_true(keyring_open(&shelf.access, repo_id, &secret, &opened, &err) == -ERR_CORRUPT);
        assert_non_null(strstr(err.text, "keys/slot/"));
        assert_non_null(strstr(err.text, "bounds"));
    }
    store_le32(cost, 10);
    store_le32(cost + 4, 8);
    store_le32(cost + 8, 1);
    assert_true(keyring_open(&shelf.access, repo_id, &secret, &opened, &err) == -ERR_WRONG_KEY);
    assert_null(opened);
}

static bool contains(const struct object *object, const uint8_t *bytes, size_t count)
{
    return memmem(object->bytes, object->size, bytes, count) != NULL;
}

static void no_key_stands_in_the_store_and_no_public_half_either(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    for (size_t i = 0; i < shelf.count; i++) {
        assert_false(contains(&shelf.objects[i], made->own.private_half, 32));
        assert_false(contains(&shelf.objects[i], made->key[0].master, 32));
        assert_false(contains(&shelf.objects[i], made->id_key.bytes, 32));
        assert_false(contains(&shelf.objects[i], made->member[0].public_half, 32));
        assert_false(contains(&shelf.objects[i], made->member[1].public_half, 32));
    }
}

static void put_epoch(struct shelf *shelf, const struct keyring *keyring)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    char name[KEY_NAME_SIZE];
    struct err err;

    epoch_name(keyring->epoch, keyring->generation, name);
    assert_true(epoch_encode(keyring, &buf, &err) == 0);
    assert_true(shelf_create(shelf, name, buf.data, buf.size, &err) == 0);
}

/* He knows the slot's id, which is the name of its object, but not its public half. */
static void an_epoch_of_the_attackers_own_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *forged = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(keyring_copy(made, &forged, &err) == 0);
    memset(&forged->own, 0, sizeof(forged->own));
    memset(forged->key, 0, sizeof(*forged->key));
    forged->keys = 0;
    assert_true(keyring_append_key(forged, 2, &err) == 0);
    memset(forged->member[0].public_half, 9, 32);
    put_epoch(&shelf, forged);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "keys/epoch/00000002.00000000");

    /* A point of small order makes the shared secret known to everybody. */
    char name[KEY_NAME_SIZE];
    epoch_name(2, 0, name);
    memset(find(&shelf, name)->bytes + EPOCH_BOXES_AT + SLOT_ID_SIZE, 0, 32);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "keys/epoch/00000002.00000000");
}

static void a_body_sealed_with_another_master_key_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(shelf_clear) struct shelf theirs;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *forged = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    shelf_init(&theirs);
    made = create_with(&shelf, 'a');
    assert_true(keyring_copy(made, &forged, &err) == 0);
    forged->key[0].master[0] ^= 1;
    put_epoch(&theirs, forged);
    epoch_name(1, 0, name);
    struct object *mine = find(&shelf, name);
    struct object *other = find(&theirs, name);
    assert_true(mine->size == other->size);
    size_t body = EPOCH_BOXES_AT + BOX_SIZE;
    memcpy(mine->bytes + body, other->bytes + body, mine->size - body);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
}

static void slots_and_epochs_of_another_repository_are_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(secret_clear) struct secret secret = {0};
    struct keyring *keyring = NULL;
    struct err err;

    shelf_init(&shelf);
    make_secret(&secret, 'a');
    assert_true(keyring_create(&shelf.access, other_id, &secret, "", &keyring, &err) == 0);
    keyring_free(keyring);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "belongs to another repository");
    /* With the plain ids rewritten nothing opens either. */
    for (size_t i = 0; i < shelf.count; i++)
        memcpy(shelf.objects[i].bytes + 16, repo_id, REPO_ID_SIZE);
    assert_refused(&shelf, 'a', -ERR_WRONG_KEY, "no key slot");
}

static void an_older_generation_under_a_newer_name_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    epoch_name(1, 0, name);
    struct object *old = find(&shelf, name);
    epoch_name(1, 7, name);
    assert_true(shelf_create(&shelf, name, old->bytes, old->size, &err) == 0);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
    store_le32(find(&shelf, name)->bytes + 36, 7);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
}

static void names_that_are_no_epochs_are_left_alone(void **state)
{
    (void)state;
    static const char *const names[] = {"keys/epoch/00000009",
                                        "keys/epoch/9.0",
                                        "keys/epoch/00000009.000000000",
                                        "keys/epoch/00000009.-0000001",
                                        "keys/epoch/000000x9.00000000",
                                        "keys/epoch/00000000.00000001",
                                        "keys/slot/xyz",
                                        "keys/slot/0123456789ABCDEF0123456789ABCDEF"};
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_true(shelf_create(&shelf, names[i], "x", 1, &err) == 0);
    assert_opens(&shelf, 'a');
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "no key slot");
}

/* With the keys, but hostile. */
static void a_body_that_does_not_fit_its_epoch_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *twice = NULL;
    CLEANUP(keyring_freep) struct keyring *future = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(keyring_copy(made, &twice, &err) == 0);
    keyring_append_member(twice, &made->member[0]);
    twice->generation = 1;
    put_epoch(&shelf, twice);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "no known form");

    assert_true(keyring_copy(made, &future, &err) == 0);
    assert_true(keyring_append_key(future, 2, &err) == 0);
    future->key[0].epoch = 2;
    put_epoch(&shelf, future);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "no known form");
}

/* ---- changing */

static void an_added_secret_opens_what_the_first_one_opens(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    struct slot_info info;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_true(keyring_slots(made) == 2 && keyring_own_slot(made) == 0);
    assert_true(open_with(&shelf, 'b', &opened, &err) == 0);
    assert_same_keys(made, opened);
    assert_true(keyring_slots(opened) == 2 && keyring_own_slot(opened) == 1);
    keyring_slot(opened, 1, &info);
    assert_string_equal(info.label, "key b");
    assert_opens(&shelf, 'a');
}

static void labels_have_at_most_255_bytes(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    char label[SLOT_LABEL_MAX + 2];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    make_secret(&secret, 'b');
    memset(label, 'x', sizeof(label));
    label[SLOT_LABEL_MAX + 1] = '\0';
    assert_true(keyring_add(made, &shelf.access, &secret, label, &err) == -ERR_USAGE);
    assert_true(shelf.count == 2);
    label[SLOT_LABEL_MAX] = '\0';
    assert_true(keyring_add(made, &shelf.access, &secret, label, &err) == 0);
    assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
    assert_string_equal(opened->member[1].info.label, label);
}

static void a_removed_secret_opens_nothing_that_is_written_from_then_on(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *before = NULL;
    CLEANUP(keyring_freep) struct keyring *after = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0 && add_to(&shelf, made, 'c', &err) == 0);
    assert_true(open_with(&shelf, 'b', &before, &err) == 0);
    assert_true(remove_labelled(&shelf, made, "key b", &err) == 0);
    assert_true(shelf.count == 3); /* two slots, one epoch */
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "no key slot of this repository opens with");

    assert_true(open_with(&shelf, 'c', &after, &err) == 0);
    assert_same_keys(made, after);
    assert_true(keyring_epoch(after) == 2 && keyring_slots(after) == 2);
    assert_memory_equal(keyring_master(after, 1), keyring_master(before, 1), MASTER_KEY_SIZE);
    assert_memory_not_equal(keyring_master(after, 2), keyring_master(before, 1), MASTER_KEY_SIZE);
    assert_null(keyring_master(before, 2));
    assert_memory_equal(keyring_id_key(after), keyring_id_key(before), DIGEST_KEY_SIZE);
    assert_memory_equal(keyring_gear_key(after), keyring_gear_key(before), DIGEST_KEY_SIZE);
}

static void old_masters_are_kept_through_many_removals(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    uint8_t masters[6][MASTER_KEY_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    for (uint32_t epoch = 1; epoch < 6; epoch++) {
        memcpy(masters[epoch], keyring_master(made, epoch), MASTER_KEY_SIZE);
        assert_true(add_to(&shelf, made, 'b', &err) == 0);
        assert_true(remove_labelled(&shelf, made, "key b", &err) == 0);
    }
    assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
    assert_true(keyring_epoch(opened) == 6);
    for (uint32_t epoch = 1; epoch < 6; epoch++)
        assert_memory_equal(keyring_master(opened, epoch), masters[epoch], MASTER_KEY_SIZE);
}

static void a_key_that_was_removed_is_told_so(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(shelf_clear) struct shelf before;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    shelf_copy(&before, &shelf);
    assert_true(remove_labelled(&shelf, made, "key b", &err) == 0);
    /* As if it had been killed before it deleted the old objects. */
    for (size_t i = 0; i < before.count; i++)
        (void)shelf_create(&shelf, before.objects[i].name, before.objects[i].bytes,
                           before.objects[i].size, &err);
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "was removed from the repository; use one");
    assert_opens(&shelf, 'a');
}

static void an_adding_that_was_interrupted_is_told_and_can_be_done_again(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    epoch_name(1, 1, name);
    assert_true(shelf_remove(&shelf, name, &err) == 0);
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "its adding was not finished");

    keyring_free(made);
    made = NULL;
    assert_true(open_with(&shelf, 'a', &made, &err) == 0);
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_opens(&shelf, 'b');
}

static void unknown_keys_the_last_one_and_ones_own_are_not_removed(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    const uint8_t unknown[SLOT_ID_SIZE] = {1};
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(keyring_remove(made, &shelf.access, unknown, &err) == -ERR_USAGE);
    assert_true(remove_labelled(&shelf, made, "first", &err) == -ERR_USAGE);
    assert_non_null(strstr(err.text, "last key"));
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_true(remove_labelled(&shelf, made, "first", &err) == -ERR_USAGE);
    assert_non_null(strstr(err.text, "another one"));
    assert_opens(&shelf, 'a');
    assert_opens(&shelf, 'b');
}

static void a_damaged_newest_epoch_is_named_and_no_older_one_taken(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    epoch_name(1, 1, name);
    find(&shelf, name)->bytes[0] ^= 1;
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
}

static void ones_damaged_slot_does_not_keep_another_from_opening(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    slot_name(made->own.id, name);
    find(&shelf, name)->bytes[0] ^= 1;
    assert_opens(&shelf, 'b');
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
    assert_true(shelf_remove(&shelf, name, &err) == 0);
    assert_opens(&shelf, 'b');
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "is missing");
}

/* ---- others at the same time */

static void other_adds(struct shelf *shelf)
{
    CLEANUP(keyring_freep) struct keyring *other = NULL;
    struct err err;

    assert_true(open_with(shelf, 'a', &other, &err) == 0);
    assert_true(add_to(shelf, other, 'x', &err) == 0);
}

static void other_removes(struct shelf *shelf)
{
    CLEANUP(keyring_freep) struct keyring *other = NULL;
    struct err err;

    assert_true(open_with(shelf, 'a', &other, &err) == 0);
    assert_true(remove_labelled(shelf, other, "key r", &err) == 0);
}

static size_t calls_left;
static void (*late_change)(struct shelf *shelf);

static void count_down(struct shelf *shelf)
{
    if (calls_left-- > 0)
        shelf->before = count_down;
    else
        late_change(shelf);
}

/* Runs `change` at one of the calls of a keyring that knows nothing of it. */
static void assert_both_changes_hold(void (*change)(struct shelf *), bool adds, size_t call)
{
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err = {0};

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'q', &err) == 0 && add_to(&shelf, made, 'r', &err) == 0);
    calls_left = call;
    late_change = change;
    shelf.before = count_down;
    int r = adds ? add_to(&shelf, made, 'b', &err) : remove_labelled(&shelf, made, "key q", &err);
    assert_true(r == 0);
    if (shelf.before) { /* fewer calls than that */
        shelf.before = NULL;
        change(&shelf);
    }
    assert_opens(&shelf, 'a');
    if (adds)
        assert_opens(&shelf, 'b');
    else
        assert_refused(&shelf, 'q', -ERR_WRONG_KEY, "");
    if (change == other_adds)
        assert_opens(&shelf, 'x');
    else
        assert_refused(&shelf, 'r', -ERR_WRONG_KEY, "");
}

static void two_hosts_change_the_keys_at_once_and_both_changes_hold(void **state)
{
    (void)state;

    for (size_t call = 0; call < 6; call++) {
        assert_both_changes_hold(other_adds, true, call);
        assert_both_changes_hold(other_removes, true, call);
        assert_both_changes_hold(other_adds, false, call);
        assert_both_changes_hold(other_removes, false, call);
    }
}

static void keys_that_go_away_between_list_and_read_are_looked_for_again(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'r', &err) == 0);
    shelf.before = other_removes;
    assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
    assert_true(keyring_epoch(opened) == 2);
}

static void keys_that_were_rolled_back_are_not_built_upon(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(shelf_clear) struct shelf before;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    shelf_copy(&before, &shelf);
    assert_true(remove_labelled(&shelf, made, "key b", &err) == 0);
    assert_true(add_to(&before, made, 'c', &err) == -ERR_CORRUPT);
    assert_non_null(strstr(err.text, "taken away"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_of_32_bytes_is_a_key_and_any_other_text_a_passphrase),
        cmocka_unit_test(an_empty_secret_is_refused),
        cmocka_unit_test(a_keyring_opens_with_its_secret_and_no_other),
        cmocka_unit_test(a_passphrase_opens_too_and_is_slow_to_try),
        cmocka_unit_test(without_keys_there_is_no_repository),
        cmocka_unit_test(keys_are_not_made_twice),
        cmocka_unit_test(each_changed_bit_is_an_error_or_harmless),
        cmocka_unit_test(an_object_that_was_cut_short_or_grew_is_refused),
        cmocka_unit_test(scrypts_parameters_are_bounded_and_cannot_be_lowered),
        cmocka_unit_test(no_key_stands_in_the_store_and_no_public_half_either),
        cmocka_unit_test(an_epoch_of_the_attackers_own_is_refused),
        cmocka_unit_test(a_body_sealed_with_another_master_key_is_refused),
        cmocka_unit_test(slots_and_epochs_of_another_repository_are_refused),
        cmocka_unit_test(an_older_generation_under_a_newer_name_is_refused),
        cmocka_unit_test(names_that_are_no_epochs_are_left_alone),
        cmocka_unit_test(a_body_that_does_not_fit_its_epoch_is_refused),
        cmocka_unit_test(an_added_secret_opens_what_the_first_one_opens),
        cmocka_unit_test(labels_have_at_most_255_bytes),
        cmocka_unit_test(a_removed_secret_opens_nothing_that_is_written_from_then_on),
        cmocka_unit_test(old_masters_are_kept_through_many_removals),
        cmocka_unit_test(a_key_that_was_removed_is_told_so),
        cmocka_unit_test(an_adding_that_was_interrupted_is_told_and_can_be_done_again),
        cmocka_unit_test(unknown_keys_the_last_one_and_ones_own_are_not_removed),
        cmocka_unit_test(a_damaged_newest_epoch_is_named_and_no_older_one_taken),
        cmocka_unit_test(ones_damaged_slot_does_not_keep_another_from_opening),
        cmocka_unit_test(two_hosts_change_the_keys_at_once_and_both_changes_hold),
        cmocka_unit_test(keys_that_go_away_between_list_and_read_are_looked_for_again),
        cmocka_unit_test(keys_that_were_rolled_back_are_not_built_upon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
