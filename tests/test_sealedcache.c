#include "backup/store/sealedcache.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "tests/harness/cmocka.h"

enum { MIB = 1024 * 1024, SMALL = 3 * MIB, TABLE = 4096, ENTRY = 64, USED = 44 };

struct place {
    char directory[32], file[48];
};

static struct place place_make(void)
{
    struct place place = {.directory = "/tmp/test_cache_XXXXXX"};

    assert_non_null(mkdtemp(place.directory));
    (void)snprintf(place.file, sizeof(place.file), "%s/sealed", place.directory);
    return place;
}

static void place_clear(struct place *place)
{
    (void)unlink(place->file);
    assert_int_equal(rmdir(place->directory), 0); /* nothing else was left there */
}

static void closep(struct sealedcache **cache)
{
    sealedcache_close(*cache);
}

static struct sealedcache *open_one(const struct place *place, uint64_t bytes, uint8_t repository)
{
    const struct sealedcache_options options = {.directory = place->directory,
                                                .repository = {repository},
                                                .bytes = bytes,
                                                .keeps_data = true};

    return sealedcache_open(&options);
}

/* Bytes that tell which page they are of. */
static size_t fill(uint8_t out[SEALEDCACHE_PAGE], const char *object, uint64_t page)
{
    uint64_t state = page * 0x9E3779B97F4A7C15 + strlen(object) + (uint8_t)object[0];

    for (size_t i = 0; i < SEALEDCACHE_PAGE; i++) {
        state = state * 6364136223846793005 + 1442695040888963407;
        out[i] = (uint8_t)(state >> 56);
    }
    return page % 7 == 3 ? 1000 : SEALEDCACHE_PAGE;
}

static void put(struct sealedcache *cache, const char *object, uint64_t page,
                enum sealedcache_class class)
{
    const struct sealedcache_key key = {.object = object, .page = page};
    uint8_t bytes[SEALEDCACHE_PAGE];
    size_t size = fill(bytes, object, page);

    sealedcache_put(cache, &key, class, bytes, size, 1 << 20);
}

/* Whether it is there; what comes has to be right. */
static bool has(struct sealedcache *cache, const char *object, uint64_t page)
{
    const struct sealedcache_key key = {.object = object, .page = page};
    uint8_t wanted[SEALEDCACHE_PAGE], got[SEALEDCACHE_PAGE];
    uint64_t whole = 0;
    size_t size = 0;

    if (!sealedcache_get(cache, &key, got, sizeof(got), &size, &whole))
        return false;
    assert_int_equal(size, fill(wanted, object, page));
    assert_memory_equal(got, wanted, size);
    assert_int_equal(whole, 1 << 20);
    return true;
}

static size_t count(struct sealedcache *cache, const char *object, size_t pages)
{
    size_t found = 0;

    for (size_t page = 0; page < pages; page++)
        found += has(cache, object, page);
    return found;
}

static void a_page_comes_back_also_after_a_restart_and_to_another_process(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);
    CLEANUP(closep) struct sealedcache *other = open_one(&place, SMALL, 1);
    struct stat st;

    assert_false(has(cache, "data/a", 0));
    put(cache, "data/a", 0, SEALED_DATA);
    put(cache, "data/a", 3, SEALED_DATA);
    put(cache, "data/a", SEALEDCACHE_TAIL, SEALED_METADATA);
    assert_true(has(cache, "data/a", 0) && has(cache, "data/a", 3));
    assert_true(has(other, "data/a", SEALEDCACHE_TAIL));
    assert_false(has(cache, "data/a", 1) || has(cache, "data/b", 0));
    sealedcache_close(STEAL(cache));
    CLEANUP(closep) struct sealedcache *again = open_one(&place, SMALL, 1);
    assert_true(has(again, "data/a", 0) && has(again, "data/a", SEALEDCACHE_TAIL));
    const struct sealedcache_key key = {.object = "data/a", .page = 0};
    sealedcache_drop(again, &key);
    assert_false(has(other, "data/a", 0));
    assert_int_equal(stat(place.file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(st.st_size <= SMALL);
}

static void what_is_kept_is_bounded_and_the_rest_is_still_right(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);
    struct stat st;

    for (uint64_t page = 0; page < 400; page++) {
        put(cache, "data/a", page, SEALED_DATA);
        assert_true(has(cache, "data/a", page));
    }
    size_t kept = count(cache, "data/a", 400);
    assert_true(kept >= 20 && kept <= SMALL / SEALEDCACHE_PAGE);
    assert_int_equal(stat(place.file, &st), 0);
    assert_true(st.st_size <= SMALL && st.st_blocks * 512 <= SMALL);
}

static void data_never_pushes_out_metadata_but_metadata_data(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);

    for (uint64_t page = 0; page < 100; page++)
        put(cache, "data/a", page, SEALED_DATA);
    size_t slots = count(cache, "data/a", 100);
    for (uint64_t page = 0; page < 10; page++)
        put(cache, "meta/a", page, SEALED_METADATA);
    assert_int_equal(count(cache, "meta/a", 10), 10);
    assert_int_equal(count(cache, "data/a", 100), slots - 10);
    for (uint64_t page = 0; page < 300; page++)
        put(cache, "data/b", page, SEALED_DATA);
    assert_int_equal(count(cache, "meta/a", 10), 10);
    for (uint64_t page = 0; page < 300; page++)
        put(cache, "meta/b", page, SEALED_METADATA);
    assert_int_equal(count(cache, "data/b", 300), 0);
    put(cache, "data/b", 1, SEALED_DATA);
    assert_false(has(cache, "data/b", 1));
}

static void change_table(const struct place *place, void (*change)(uint8_t entry[ENTRY]))
{
    int fd = open(place->file, O_RDWR | O_CLOEXEC);
    uint8_t entry[ENTRY];

    assert_true(fd >= 0);
    for (off_t at = TABLE; at < TABLE + SMALL / SEALEDCACHE_PAGE / 16 * 16 * ENTRY; at += ENTRY) {
        assert_int_equal(pread(fd, entry, ENTRY, at), ENTRY);
        change(entry);
        assert_int_equal(pwrite(fd, entry, ENTRY, at), ENTRY);
    }
    close(fd);
}

static void make_old(uint8_t entry[ENTRY])
{
    memset(entry + USED, 0, 4);
}

static void metadata_that_nobody_wanted_for_long_makes_way(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);

    for (uint64_t page = 0; page < 300; page++)
        put(cache, "meta/a", page, SEALED_METADATA);
    change_table(&place, make_old);
    size_t slots = 0;
    for (uint64_t page = 0; page < 300; page += 2) /* a look makes it young again */
        slots += has(cache, "meta/a", page);
    for (uint64_t page = 0; page < 300; page++)
        put(cache, "data/a", page, SEALED_DATA);
    assert_true(count(cache, "data/a", 300) > 0);
    size_t young = 0;
    for (uint64_t page = 0; page < 300; page += 2)
        young += has(cache, "meta/a", page);
    assert_int_equal(young, slots);
}

static void who_reads_once_keeps_no_data(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    const struct sealedcache_options options = {.directory = place.directory, .bytes = SMALL};
    CLEANUP(closep) struct sealedcache *cache = sealedcache_open(&options);

    put(cache, "data/a", 0, SEALED_DATA);
    put(cache, "meta/a", 0, SEALED_METADATA);
    assert_false(has(cache, "data/a", 0));
    assert_true(has(cache, "meta/a", 0));
}

static void another_size_or_repository_begins_anew_and_none_removes_it(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);

    put(cache, "data/a", 0, SEALED_DATA);
    CLEANUP(closep) struct sealedcache *other = open_one(&place, SMALL, 2);
    assert_false(has(other, "data/a", 0));
    put(other, "data/b", 0, SEALED_DATA);
    assert_true(has(cache, "data/a", 0)); /* whoever has the old one goes on with it */
    assert_false(has(cache, "data/b", 0));
    CLEANUP(closep) struct sealedcache *larger = open_one(&place, 2 * SMALL, 2);
    assert_false(has(larger, "data/b", 0));
    assert_null(open_one(&place, SEALEDCACHE_PAGE, 2));
    assert_int_equal(access(place.file, F_OK), -1);
    const struct sealedcache_options nowhere = {.directory = "/nonexistent", .bytes = SMALL};
    assert_null(sealedcache_open(&nowhere));
}

/* A file that was last written so many hours ago. */
static void leave_file(const char *path, int hours)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = time(NULL) - 3600L * hours}};
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0 && futimens(fd, times) == 0);
    close(fd);
}

static void what_a_kill_left_half_made_is_removed_after_a_day(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    char paths[4][80];
    const char *const names[] = {"sealed-0123456789abcdef", "sealed-00000000000000ff",
                                 "sealed-0123456789ABCDEF", "sealed-mine"};
    const int hours[] = {25, 23, 25, 25};

    for (int i = 0; i < 4; i++) {
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/%s", place.directory, names[i]);
        leave_file(paths[i], hours[i]);
    }
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);
    assert_non_null(cache);
    assert_int_equal(access(paths[0], F_OK), -1);
    for (int i = 1; i < 4; i++) /* may be in the making, or somebody else's */
        assert_int_equal(unlink(paths[i]), 0);
}

static void nothing_that_is_damaged_is_taken_and_it_can_come_again(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);
    int fd = open(place.file, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = TABLE; at < st.st_size; at += at < 8192 ? 1 : 30011) {
        put(cache, "data/a", 0, SEALED_DATA);
        put(cache, "data/b", 5, SEALED_METADATA);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (uint8_t)(1 << at % 8);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        (void)has(cache, "data/a", 0); /* looks at what comes */
        (void)has(cache, "data/b", 5);
    }
    sealedcache_close(STEAL(cache));
    cache = open_one(&place, SMALL, 1);
    for (int i = 0; i < 2; i++) {
        put(cache, "data/c", 0, SEALED_METADATA);
        assert_true(has(cache, "data/c", 0));
        change_table(&place, make_old); /* what is not under the check does not matter */
    }
    uint8_t zeros[SEALEDCACHE_PAGE] = {0};
    for (off_t at = SEALEDCACHE_PAGE; at < SMALL;
         at += SEALEDCACHE_PAGE) /* they never reached the disk */
        assert_int_equal(pwrite(fd, zeros, sizeof(zeros), at), sizeof(zeros));
    assert_false(has(cache, "data/c", 0));
    put(cache, "data/c", 0, SEALED_METADATA);
    assert_true(has(cache, "data/c", 0));
    close(fd);
}

/* A file that may not grow into its pages is as a full disk. */
static void a_write_that_fails_ends_only_the_keeping(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);
    struct rlimit before, limit;

    put(cache, "data/a", 0, SEALED_DATA);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = TABLE + 100;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    put(cache, "data/a", 1, SEALED_DATA);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    put(cache, "data/a", 2, SEALED_DATA);
    assert_true(has(cache, "data/a", 0));
    assert_false(has(cache, "data/a", 1) || has(cache, "data/a", 2));
}

struct user {
    struct sealedcache *cache;
    unsigned seed;
    size_t hits;
};

static void *use(void *argument)
{
    struct user *user = argument;

    for (size_t i = 0; i < 1500; i++) {
        uint64_t page = (uint64_t)rand_r(&user->seed) % 90;
        const char *object = rand_r(&user->seed) % 2 ? "data/a" : "meta/b";
        if (has(user->cache, object, page))
            user->hits++;
        else
            put(user->cache, object, page, object[0] == 'd' ? SEALED_DATA : SEALED_METADATA);
    }
    return NULL;
}

static void threads_and_processes_share_it(void **state)
{
    (void)state;
    CLEANUP(place_clear) struct place place = place_make();
    CLEANUP(closep) struct sealedcache *cache = open_one(&place, SMALL, 1);
    CLEANUP(closep) struct sealedcache *other = open_one(&place, SMALL, 1);
    struct user users[6];
    pthread_t threads[6];
    size_t hits = 0;

    for (size_t i = 0; i < 6; i++) {
        users[i] = (struct user){.cache = i % 2 ? cache : other, .seed = (unsigned)i};
        assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i]), 0);
    }
    for (size_t i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        hits += users[i].hits;
    }
    assert_true(hits > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_comes_back_also_after_a_restart_and_to_another_process),
        cmocka_unit_test(what_is_kept_is_bounded_and_the_rest_is_still_right),
        cmocka_unit_test(data_never_pushes_out_metadata_but_metadata_data),
        cmocka_unit_test(metadata_that_nobody_wanted_for_long_makes_way),
        cmocka_unit_test(who_reads_once_keeps_no_data),
        cmocka_unit_test(another_size_or_repository_begins_anew_and_none_removes_it),
        cmocka_unit_test(what_a_kill_left_half_made_is_removed_after_a_day),
        cmocka_unit_test(nothing_that_is_damaged_is_taken_and_it_can_come_again),
        cmocka_unit_test(a_write_that_fails_ends_only_the_keeping),
        cmocka_unit_test(threads_and_processes_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
