#include "backup/base/library.h"

#include <math.h>
#include <string.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static double (*found_cos)(double);
static double (*found_nothing)(double);

static const struct library_function there[] = {{"cos", &found_cos}};
static const struct library_function not_there[] = {{"cos", &found_cos},
                                                    {"no_such_function", &found_nothing}};

static void a_function_of_it_can_be_called(void **state)
{
    struct err err = {0};
    struct library library = {"libm.so.6", "angles", "libc6",
                              there,       1,        .lock = PTHREAD_MUTEX_INITIALIZER};

    (void)state;
    assert_int_equal(library_load(&library, &err), 0);
    assert_true(library.loaded);
    assert_true(found_cos(0) == 1);
    found_cos = NULL;
    assert_int_equal(library_load(&library, &err), 0); /* it is not looked for again */
    assert_null(found_cos);
}

static void one_that_is_missing_is_named_with_its_package(void **state)
{
    struct err err = {0};
    struct library library = {"libnone.so.9", "buckets", "libnone9 on Debian",
                              there,          1,         .lock = PTHREAD_MUTEX_INITIALIZER};

    (void)state;
    for (int i = 0; i < 2; i++) { /* it may have been installed meanwhile */
        memset(&err, 0, sizeof(err));
        assert_int_equal(library_load(&library, &err), -ERR_SYSTEM);
        assert_string_equal(
            err.text, "buckets need a library that cannot be loaded: libnone.so.9: cannot open "
                      "shared object file: No such file or directory (package libnone9 on Debian)");
    }
}

static void one_without_a_function_is_not_taken(void **state)
{
    struct err err = {0};
    struct library library = {"libm.so.6", "angles", "libc6 on Debian",
                              not_there,   2,        .lock = PTHREAD_MUTEX_INITIALIZER};

    (void)state;
    assert_int_equal(library_load(&library, &err), -ERR_SYSTEM);
    assert_string_equal(err.text, "libm.so.6 has no no_such_function: angles need a newer one "
                                  "(package libc6 on Debian)");
    assert_false(library.loaded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_function_of_it_can_be_called),
        cmocka_unit_test(one_that_is_missing_is_named_with_its_package),
        cmocka_unit_test(one_without_a_function_is_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
