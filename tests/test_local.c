#include "backup/store/local.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/place.h"

struct listed {
    size_t count;
    size_t bytes;
    char names[16][STORE_NAME_MAX + 1];
};

static int note(void *context, const char *name, uint64_t size, struct err *err)
{
    struct listed *listed = context;

    (void)err;
    assert_true(listed->count < 16);
    strcpy(listed->names[listed->count++], name);
    listed->bytes += size;
    return 0;
}

static bool has(const struct listed *listed, const char *name)
{
    for (size_t i = 0; i < listed->count; i++)
        if (strcmp(listed->names[i], name) == 0)
            return true;
    return false;
}

static void an_object_is_read_as_it_was_written(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    struct store_put *put;
    struct err err;

    assert_true(store_put_begin(store, &put, &err) == 0);
    assert_true(store_put_write(put, 4, "5678", 4, &err) == 0);
    assert_true(store_put_write(put, 0, "1234", 4, &err) == 0);
    assert_true(store_put_commit(put, "snapshots/a/00000000", &err) == 0);
    assert_object(store, "snapshots/a/00000000", "12345678");
    assert_true(entries_in(in_place("tmp")) == 0);
}

static void reading_beyond_the_end_is_damage(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    char bytes[8];
    struct err err;

    assert_true(store_create(store, "data/a", "1234", 4, &err) == 0);
    assert_true(store_open(store, "data/a", &object, &err) == 0);
    assert_true(store_read(object, 2, bytes, 2, &err) == 0 && memcmp(bytes, "34", 2) == 0);
    assert_true(store_read(object, 2, bytes, 3, &err) == -ERR_CORRUPT);
    assert_non_null(strstr(err.text, "data/a"));
    assert_true(store_read(object, 100, bytes, 1, &err) == -ERR_CORRUPT);
    assert_true(store_read(object, UINT64_MAX, bytes, 8, &err) < 0);
}

static void what_is_not_there_is_not_found(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    struct store_object *object;
    struct err err;

    assert_true(store_open(store, "data/none", &object, &err) == -ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "data/none"));
    assert_true(store_remove(store, "data/none", &err) == -ERR_NOT_FOUND);
    assert_true(store_create(store, "data/a", "1", 1, &err) == 0);
    assert_true(store_remove(store, "data/none", &err) == -ERR_NOT_FOUND);
}

static void a_directory_that_is_not_there_is_no_repository(void **state)
{
    (void)state;
    struct store *store = NULL;
    struct err err;

    assert_true(local_store_open(in_place("a/b"), false, &store, &err) == -ERR_NO_REPOSITORY);
    assert_true(local_store_open("", true, &store, &err) == -ERR_USAGE);
    assert_true(local_store_open(in_place("a/b//"), true, &store, &err) == 0);
    store_close(store);
    struct stat found;
    assert_true(stat(in_place("a/b"), &found) == 0 && (found.st_mode & 07777) == 0700);
    write_file(in_place("file"), "text");
    assert_true(local_store_open(in_place("file"), true, &store, &err) == -ERR_SYSTEM);
}

static void reading_and_listing_change_nothing(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    struct listed listed = {0};
    struct store_object *object;
    struct err err;

    assert_true(store_list(store, "data/", note, &listed, &err) == 0);
    assert_true(store_open(store, "data/a", &object, &err) == -ERR_NOT_FOUND);
    assert_true(listed.count == 0 && entries_in(place) == 0);
}

static void a_listing_has_the_objects_below_its_prefix_and_nothing_else(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    struct listed listed = {0};
    struct store_put *put;
    struct err err;

    assert_true(store_create(store, "repository", "r", 1, &err) == 0);
    assert_true(store_create(store, "data/a", "12", 2, &err) == 0);
    assert_true(store_create(store, "snapshots/x/00000000", "123", 3, &err) == 0);
    assert_true(store_create(store, "snapshots/y/00000001", "1234", 4, &err) == 0);
    assert_true(store_put_begin(store, &put, &err) == 0);
    write_file(in_place("data/with space"), "");
    write_file(in_place("data/.hidden"), "");
    write_file(in_place("data/\xc3\xa9"), "");
    assert_true(symlink("a", in_place("data/link")) == 0);
    assert_true(symlink("/etc", in_place("data/etc")) == 0);
    assert_true(mkfifo(in_place("data/fifo"), 0600) == 0);

    assert_true(store_list(store, "snapshots/", note, &listed, &err) == 0);
    assert_true(listed.count == 2 && listed.bytes == 7);
    assert_true(has(&listed, "x/00000000") && has(&listed, "y/00000001"));
    listed = (struct listed){0};
    assert_true(store_list(store, "", note, &listed, &err) == 0);
    assert_true(listed.count == 4 && has(&listed, "repository") && has(&listed, "data/a"));
    listed = (struct listed){0};
    assert_true(store_list(store, "index/", note, &listed, &err) == 0 && listed.count == 0);
    store_put_abort(put);
    assert_true(entries_in(in_place("tmp")) == 0);
}

static int stop(void *context, const char *name, uint64_t size, struct err *err)
{
    (void)name;
    (void)size;
    ++*(int *)context;
    return err_set(err, ERR_CANCELLED, "stop");
}

static void a_listing_ends_with_what_its_function_returns(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    int calls = 0;
    struct err err;

    assert_true(store_create(store, "data/a", "", 0, &err) == 0);
    assert_true(store_create(store, "data/b", "", 0, &err) == 0);
    assert_true(store_list(store, "data/", stop, &calls, &err) == -ERR_CANCELLED);
    assert_true(calls == 1);
    assert_string_equal(err.text, "stop");
}

static void deep_directories_are_left_alone(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    struct listed listed = {0};
    char path[512];
    struct err err;

    strcpy(path, in_place("data"));
    for (int i = 0; i < 150; i++) {
        assert_true(mkdir(path, 0700) == 0);
        strcat(path, "/d");
    }
    assert_true(store_create(store, "data/a", "1", 1, &err) == 0);
    assert_true(store_list(store, "", note, &listed, &err) == 0);
    assert_true(listed.count == 1 && has(&listed, "data/a"));
}

static void symbolic_links_are_not_followed(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    struct store_object *object;
    struct err err;

    assert_true(mkdir(in_place("outside"), 0700) == 0);
    write_file(in_place("outside/a"), "secret");
    assert_true(symlink("outside", in_place("data")) == 0);
    assert_true(store_open(store, "data/a", &object, &err) < 0);
    assert_true(store_remove(store, "data/a", &err) < 0);
    assert_true(store_create(store, "data/b", "1", 1, &err) < 0);
    assert_true(entries_in(in_place("outside")) == 1);
    assert_true(mkdir(in_place("meta"), 0700) == 0);
    assert_true(symlink("../outside/a", in_place("meta/a")) == 0);
    assert_true(store_open(store, "meta/a", &object, &err) < 0);
    assert_true(mkfifo(in_place("meta/b"), 0600) == 0);
    assert_true(store_open(store, "meta/b", &object, &err) == -ERR_CORRUPT);
}

static void names_that_are_not_safe_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",       "/a",    "a/",  "a//b", "../a",
                                      "a/../b", ".",     "a b", "a\nb", "\xc3\xa9",
                                      "-rf",    "tmp/a", "tmp", ".a",   "a/b/c/d/e/f/g/h/i"};
    CLEANUP(store_closep) struct store *store = open_store();
    char longest[STORE_NAME_MAX + 2];
    struct store_object *object;
    struct listed listed = {0};
    struct err err;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(store_open(store, bad[i], &object, &err) == -ERR_USAGE);
        assert_true(store_create(store, bad[i], "", 0, &err) == -ERR_USAGE);
        assert_true(store_remove(store, bad[i], &err) == -ERR_USAGE);
    }
    memset(longest, 'a', sizeof(longest));
    longest[STORE_NAME_MAX + 1] = '\0';
    assert_false(store_is_name(longest));
    longest[STORE_NAME_MAX] = '\0';
    assert_true(store_is_name(longest));
    assert_true(store_list(store, "data", note, &listed, &err) == -ERR_USAGE);
    assert_true(store_list(store, "/", note, &listed, &err) == -ERR_USAGE);
    assert_true(store_list(store, "../", note, &listed, &err) == -ERR_USAGE);
    assert_true(entries_in(in_place("tmp")) == 0);
}

static void there_is_room_on_the_disk(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    uint64_t room = 0;
    struct err err;

    assert_true(store_room(store, &room, &err) == 0);
    assert_true(room > 0 && room < UINT64_MAX);
}

static void writers_share_the_lock_and_who_deletes_has_it_alone(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    CLEANUP(store_closep) struct store *other = open_store();
    struct store_lock *first = NULL, *second = NULL, *alone = NULL;
    struct err err;

    assert_true(store_create(store, "repository", "header", 6, &err) == 0);
    assert_int_equal(store_try_lock(store, false, &first, &err), 0);
    assert_int_equal(store_try_lock(other, false, &second, &err), 0);
    assert_int_equal(store_try_lock(other, true, &alone, &err), -ERR_BUSY);
    store_unlock(first);
    assert_int_equal(store_try_lock(store, true, &alone, &err), -ERR_BUSY);
    store_unlock(second);
    assert_int_equal(store_try_lock(store, true, &alone, &err), 0);
    assert_int_equal(store_try_lock(other, false, &second, &err), -ERR_BUSY);
    store_unlock(alone);
}

static void an_object_has_the_time_at_which_it_came(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    int64_t made = 0;
    struct stat st;
    struct err err;

    assert_true(store_create(store, "data/dated", "x", 1, &err) == 0);
    assert_int_equal(store_modified(store, "data/dated", &made, &err), 0);
    assert_int_equal(stat(in_place("data/dated"), &st), 0);
    assert_int_equal(made, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
    assert_int_equal(store_modified(store, "data/never", &made, &err), -ERR_NOT_FOUND);
}

/* Counts, and is never there twice. */
struct tally {
    struct tally *shared; /* of all listings */
    size_t count, inside;
};

static int count_alone(void *context, const char *name, uint64_t size, struct err *err)
{
    struct tally *tally = context;

    (void)size;
    assert_int_equal(tally->shared->inside++, 0);
    usleep(200);
    tally->count++;
    tally->shared->inside--;
    return strcmp(name, "bad") == 0 ? err_set(err, ERR_CORRUPT, "a bad one") : 0;
}

static void several_prefixes_are_listed_together(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    char name[STORE_NAME_MAX + 1];
    struct err err;

    for (int i = 0; i < 60; i++) {
        (void)snprintf(name, sizeof(name), "%s/%d", i % 3 ? "data" : "meta", i);
        assert_true(store_create(store, name, "x", 1, &err) == 0);
    }
    for (int remote = 0; remote < 2; remote++) { /* which is all that makes it list at once */
        struct tally shared = {.count = 0},
                     tallies[3] = {{.shared = &shared}, {.shared = &shared}, {.shared = &shared}};
        const struct store_listing listings[] = {{"data/", count_alone, &tallies[0]},
                                                 {"index/", count_alone, &tallies[1]},
                                                 {"meta/", count_alone, &tallies[2]}};
        store->is_remote = remote == 1;
        assert_int_equal(store_list_all(store, listings, 3, &err), 0);
        assert_true(tallies[0].count == 40 && tallies[1].count == 0 && tallies[2].count == 20);
    }
    assert_true(store_create(store, "meta/bad", "x", 1, &err) == 0);
    for (int remote = 0; remote < 2; remote++) {
        struct tally shared = {.count = 0}, tallies[2] = {{.shared = &shared}, {.shared = &shared}};
        const struct store_listing listings[] = {{"data/", count_alone, &tallies[0]},
                                                 {"meta/", count_alone, &tallies[1]}};
        store->is_remote = remote == 1;
        assert_int_equal(store_list_all(store, listings, 2, &err), -ERR_CORRUPT);
        assert_string_equal(err.text, "a bad one");
        assert_int_equal(tallies[0].count, 40);
    }
    store->is_remote = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(writers_share_the_lock_and_who_deletes_has_it_alone),
        IN_PLACE(an_object_has_the_time_at_which_it_came),
        IN_PLACE(an_object_is_read_as_it_was_written),
        IN_PLACE(reading_beyond_the_end_is_damage),
        IN_PLACE(what_is_not_there_is_not_found),
        IN_PLACE(a_directory_that_is_not_there_is_no_repository),
        IN_PLACE(reading_and_listing_change_nothing),
        IN_PLACE(a_listing_has_the_objects_below_its_prefix_and_nothing_else),
        IN_PLACE(several_prefixes_are_listed_together),
        IN_PLACE(a_listing_ends_with_what_its_function_returns),
        IN_PLACE(deep_directories_are_left_alone),
        IN_PLACE(symbolic_links_are_not_followed),
        IN_PLACE(names_that_are_not_safe_are_refused),
        IN_PLACE(there_is_room_on_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
