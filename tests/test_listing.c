#include "backup/source/listing.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

/* A directory that exists only here: `count` names, each of them given `times` times. */
static struct {
    unsigned count, times, at;
    int failure; /* errno, when the names are through */
} directory;

long __wrap_syscall(long number, ...);
long __real_syscall(long number, ...);

static long give_names(char *out, size_t size)
{
    size_t used = 0;

    while (directory.at < directory.count * directory.times && size - used >= 64) {
        struct dirent64 *entry = (struct dirent64 *)(void *)(out + used);
        unsigned number = directory.at++ * 7919U % directory.count;

        entry->d_reclen = 64;
        entry->d_type = number % 3 == 0 ? DT_DIR : DT_REG;
        (void)snprintf(entry->d_name, 40, "name-%010u", number);
        used += 64;
    }
    if (used == 0 && directory.failure) {
        errno = directory.failure;
        return -1;
    }
    return (long)used;
}

long __wrap_syscall(long number, ...)
{
    long arguments[6];
    va_list list;

    va_start(list, number);
    for (size_t i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_getdents64)
        return give_names((char *)arguments[1], (size_t)arguments[2]);
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                          arguments[4], arguments[5]);
}

static void must_give_each_name_once(unsigned count, unsigned times)
{
    const char *markers[] = {"name-0000000003", "not there"};
    struct listing *listing = NULL;
    const char *name = "";
    char want[40];
    struct err err;

    directory.count = count;
    directory.times = times;
    directory.at = 0;
    directory.failure = 0;
    assert_true(listing_new(-1, markers, 2, &listing, &err) == 0);
    assert_true(listing_markers(listing) == 1);
    for (unsigned i = 0; i < count; i++) {
        assert_true(listing_next(listing, &name, &err) == 0 && name);
        (void)snprintf(want, sizeof(want), "name-%010u", i);
        assert_string_equal(name, want);
    }
    assert_true(listing_next(listing, &name, &err) == 0 && !name);
    listing_free(listing);
}

static void directories_are_told_apart_in_the_order_of_names(void **state)
{
    struct listing *listing = NULL;
    const char *name;
    size_t position = 0;
    char want[40];
    struct err err;

    (void)state;
    directory.count = 100;
    directory.times = 1;
    directory.at = 0;
    assert_true(listing_new(-1, NULL, 0, &listing, &err) == 0);
    for (unsigned i = 0; i < 100; i += 3) {
        name = listing_directory(listing, &position);
        (void)snprintf(want, sizeof(want), "name-%010u", i);
        assert_non_null(name);
        assert_string_equal(name, want);
    }
    assert_null(listing_directory(listing, &position));

    /* What the reader has passed is not ahead of him. */
    position = 0;
    for (unsigned i = 0; i < 50; i++)
        assert_true(listing_next(listing, &name, &err) == 0 && name);
    assert_true(listing_position(listing) == 50);
    name = listing_directory(listing, &position);
    assert_non_null(name);
    assert_string_equal(name, "name-0000000051");
    listing_free(listing);
}

static void a_name_that_is_given_twice_comes_once(void **state)
{
    (void)state;
    must_give_each_name_once(10, 1);
    must_give_each_name_once(10, 2);
    must_give_each_name_once(1000, 3);
}

static void names_beyond_memory_come_in_order_and_once(void **state)
{
    (void)state;
    must_give_each_name_once(LISTING_MEMORY / 16 + 1000, 2);
}

static void a_directory_that_breaks_off_is_not_used(void **state)
{
    struct listing *listing = NULL;
    struct err err;

    (void)state;
    directory.count = 100;
    directory.times = 1;
    directory.at = 0;
    directory.failure = EIO;
    assert_true(listing_new(-1, NULL, 0, &listing, &err) == LISTING_UNREADABLE);
    assert_true(err.cause == EIO && !listing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directories_are_told_apart_in_the_order_of_names),
        cmocka_unit_test(a_name_that_is_given_twice_comes_once),
        cmocka_unit_test(names_beyond_memory_come_in_order_and_once),
        cmocka_unit_test(a_directory_that_breaks_off_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
