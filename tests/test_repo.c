#include "backup/archive/repo.h"

#include <stdio.h>

#include "backup/archive/idtable.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

static struct store *open_store(const struct temprepo *temp)
{
    struct store *store;
    struct err err;

    assert_int_equal(local_store_open(temp->directory, false, &store, &err), 0);
    return store;
}

static int try_to_open(const struct temprepo *temp, const char *const *texts, size_t count)
{
    CLEANUP(repo_freep) struct repo *repo = NULL;
    struct secret secrets[4] = {0};
    struct err err;

    for (size_t i = 0; i < count; i++)
        assert_int_equal(secret_parse(texts[i], strlen(texts[i]), &secrets[i], &err), 0);
    int r = repo_open(open_store(temp), NULL, secrets, count, &repo, &err);
    for (size_t i = 0; i < count; i++)
        secret_clear(&secrets[i]);
    return r;
}

static const char right[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
static const char wrong[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh4=";

static void a_repository_opens_with_any_right_key_among_others(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(repo_freep) struct repo *again = temprepo_open_again(&temp);

    assert_memory_equal(again->id, temp.repo->id, REPO_ID_SIZE);
    assert_memory_equal(keyring_master(again->keyring, 1), keyring_master(temp.repo->keyring, 1),
                        MASTER_KEY_SIZE);
    assert_int_equal(try_to_open(&temp, (const char *[]){right}, 1), 0);
    assert_int_equal(try_to_open(&temp, (const char *[]){wrong, right}, 2), 0);
    assert_int_equal(try_to_open(&temp, (const char *[]){wrong, wrong}, 2), -ERR_WRONG_KEY);
    assert_int_equal(try_to_open(&temp, NULL, 0), -ERR_WRONG_KEY);
}

static void a_repository_is_made_once(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct secret secret = temprepo_secret();
    struct repo *repo = NULL;
    struct err err;

    assert_int_equal(repo_create(open_store(&temp), &secret, "again", &repo, &err), -ERR_EXISTS);
    assert_null(repo);
    secret_clear(&secret);
    assert_int_equal(try_to_open(&temp, (const char *[]){right}, 1), 0);
}

static int remove_object(void *context, const char *name, uint64_t size, struct err *err)
{
    char whole[200];

    (void)size;
    snprintf(whole, sizeof(whole), "keys/epoch/%s", name);
    return store_remove(context, whole, err);
}

/* What a kill between header and keys leaves, and what one behind the first slot leaves. */
static void an_init_that_was_killed_is_completed_by_the_next(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct secret secret = temprepo_secret();
    struct store *store = open_store(&temp);
    CLEANUP(repo_freep) struct repo *repo = NULL;
    struct err err;

    assert_int_equal(store_list(store, "keys/epoch/", remove_object, store, &err), 0);
    assert_true(try_to_open(&temp, (const char *[]){right}, 1) < 0);
    assert_int_equal(repo_create(store, &secret, "again", &repo, &err), 0);
    secret_clear(&secret);
    assert_memory_equal(repo->id, temp.repo->id, REPO_ID_SIZE);
    assert_int_equal(try_to_open(&temp, (const char *[]){right}, 1), 0);
}

static void where_nothing_is_there_is_no_repository(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(store_closep) struct store *store = open_store(&temp);
    struct repo_seen seen;
    struct err err;

    assert_int_equal(repo_probe(store, &seen, &err), 0);
    assert_memory_equal(seen.id, temp.repo->id, REPO_ID_SIZE);
    assert_int_equal(store_remove(store, "repository", &err), 0);
    assert_int_equal(repo_probe(store, &seen, &err), -ERR_NO_REPOSITORY);
    assert_int_equal(try_to_open(&temp, (const char *[]){right}, 1), -ERR_NO_REPOSITORY);
}

static void a_changed_header_is_refused(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    size_t size;
    uint8_t *bytes = temprepo_load(&temp, "repository", &size);

    assert_int_equal(size, 64);
    for (size_t i = 0; i < size; i++) {
        bool time = i >= 32 && i < 40; /* when it was made: only told */
        bytes[i] ^= 0x10;
        temprepo_replace(&temp, "repository", bytes, size);
        bytes[i] ^= 0x10;
        assert_int_equal(try_to_open(&temp, (const char *[]){right}, 1) == 0, time);
    }
    for (size_t cut = 0; cut < size; cut++) {
        temprepo_replace(&temp, "repository", bytes, cut);
        assert_int_equal(try_to_open(&temp, (const char *[]){right}, 1), -ERR_CORRUPT);
    }
    free(bytes);
}

static void archives_have_the_names_of_their_kinds(void **state)
{
    (void)state;
    struct archive_id id = {{0x0A, 0xFF}};
    char name[OBJECT_NAME_SIZE];

    repo_object_name(ARCHIVE_DATA, &id, name);
    assert_string_equal(name,
                        "data/0aff000000000000000000000000000000000000000000000000000000000000");
    repo_object_name(ARCHIVE_METADATA, &id, name);
    assert_memory_equal(name, "meta/0aff0", 10);
    repo_object_name(ARCHIVE_INDEX, &id, name);
    assert_memory_equal(name, "index/0aff0", 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repository_opens_with_any_right_key_among_others),
        cmocka_unit_test(a_repository_is_made_once),
        cmocka_unit_test(an_init_that_was_killed_is_completed_by_the_next),
        cmocka_unit_test(where_nothing_is_there_is_no_repository),
        cmocka_unit_test(a_changed_header_is_refused),
        cmocka_unit_test(archives_have_the_names_of_their_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
