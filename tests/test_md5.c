#include "backup/crypto/md5.h"

#include <string.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

/* RFC 1321, A.5, in base64. */
static void digests_are_those_of_the_standard(void **state)
{
    static const struct {
        const char *text, *digest;
    } known[] = {{"", "1B2M2Y8AsgTpgAmY7PhCfg=="},
                 {"abc", "kAFQmDzST7DWlj99KOF/cg=="},
                 {"message digest", "+WtpfXy3k41SWi8xqvFh0A=="}};
    char found[MD5_BASE64_SIZE];
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        assert_int_equal(md5_base64(known[i].text, strlen(known[i].text), found, &err), 0);
        assert_string_equal(found, known[i].digest);
    }
    assert_int_equal(md5_base64(NULL, 0, found, &err), 0);
    assert_string_equal(found, known[0].digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(digests_are_those_of_the_standard)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
