#include "backup/archive/walname.h"

#include <string.h>

#include "tests/harness/cmocka.h"

enum { MIB = 1024 * 1024 };

static void a_segments_name_is_its_place(void **state)
{
    (void)state;
    struct walname name;
    uint64_t start;
    char text[WALNAME_SIZE];

    assert_true(walname_parse("000000020000000A000000FE", &name));
    assert_true(name.what == WAL_SEGMENT && name.timeline == 2);
    assert_true(walname_start(&name, 16 * MIB, &start));
    assert_true(start == (UINT64_C(10) << 32 | UINT64_C(0xFE) << 24));
    walname_format(2, start, 16 * MIB, text);
    assert_string_equal(text, "000000020000000A000000FE");
    assert_false(walname_start(&name, 1024 * MIB, &start)); /* four of them have room */
}

static void histories_and_files_beside_them_are_told_apart(void **state)
{
    (void)state;
    struct walname name;

    assert_true(walname_parse("0000000C.history", &name));
    assert_true(name.what == WAL_HISTORY && name.timeline == 12);
    assert_true(walname_parse("000000010000000000000002.partial", &name));
    assert_true(name.what == WAL_FILE);
    assert_true(walname_parse("000000010000000000000002.00000028.backup", &name));
    assert_true(name.what == WAL_FILE);
}

static void what_no_archive_has_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        "x",
        "../../../../etc/passwd",
        "00000001000000000000000",
        "0000000100000000000000022",
        "00000001000000000000000g",
        "00000001000000000000000a", /* lower case: a second name of one thing */
        "000000000000000000000002", /* there is no timeline 0 */
        "0000001.history",
        "00000001.historyx",
        "000000010000000000000002.partial/",
        "000000010000000000000002.0000002.backup",
        "000000010000000000000002.00000028.backup.gz",
    };
    struct walname name;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_false(walname_parse(names[i], &name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segments_name_is_its_place),
        cmocka_unit_test(histories_and_files_beside_them_are_told_apart),
        cmocka_unit_test(what_no_archive_has_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
