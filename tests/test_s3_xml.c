#include "backup/store/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static struct buf body_of(const char *text)
{
    return (struct buf){.data = (uint8_t *)(uintptr_t)text, .size = strlen(text)};
}

struct seen {
    char names[256];
    uint64_t sizes;
};

static int note(void *context, const char *name, uint64_t size, struct err *err)
{
    struct seen *seen = context;

    (void)err;
    strcat(strcat(seen->names, name), ";");
    seen->sizes += size;
    return 0;
}

static int list(const char *text, struct seen *seen, struct s3_page *page)
{
    struct buf body = body_of(text);
    struct err err;

    *seen = (struct seen){0};
    return s3_xml_list(&body, note, seen, page, &err);
}

static void a_page_gives_its_objects_and_where_it_goes_on(void **state)
{
    struct seen seen;
    struct s3_page page;

    (void)state;
    assert_int_equal(
        list("<?xml version='1.0'?><ListBucketResult "
             "xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
             "<Prefix>x</Prefix><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b"
             "</NextContinuationToken><Contents><Key>data%2F1</Key><Owner><ID>7</ID></Owner>"
             "<Size>5</Size></Contents><Contents><Size>6</Size><Key>b</Key></Contents>"
             "</ListBucketResult>",
             &seen, &page),
        0);
    assert_string_equal(seen.names, "data/1;b;");
    assert_int_equal(seen.sizes, 11);
    assert_true(page.truncated);
    assert_string_equal(page.token, "a&b");
}

static void a_page_that_is_cut_off_is_refused(void **state)
{
    struct seen seen;
    struct s3_page page;

    (void)state;
    assert_int_equal(
        list("<ListBucketResult><Contents><Key>a</Key><Size>5</Size></Contents>", &seen, &page),
        -ERR_REMOTE);
    assert_int_equal(list("", &seen, &page), -ERR_REMOTE);
}

static void a_page_that_goes_on_without_saying_where_is_refused(void **state)
{
    struct seen seen;
    struct s3_page page;

    (void)state;
    assert_int_equal(
        list("<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", &seen, &page),
        -ERR_REMOTE);
}

static void what_is_no_listing_is_not_an_empty_one(void **state)
{
    struct seen seen;
    struct s3_page page;

    (void)state;
    assert_int_equal(list("<html><body>Welcome</body></html>", &seen, &page), -ERR_REMOTE);
}

static void sizes_that_are_no_numbers_are_refused(void **state)
{
    static const char *const sizes[] = {"", "-1", "5x", "9223372036854775808",
                                        "99999999999999999999"};
    struct seen seen;
    struct s3_page page;
    char text[256];

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        (void)snprintf(text, sizeof(text),
                       "<ListBucketResult><Contents><Key>a</Key><Size>%s</Size></Contents>"
                       "</ListBucketResult>",
                       sizes[i]);
        assert_int_equal(list(text, &seen, &page), -ERR_REMOTE);
    }
}

static void a_document_type_is_refused(void **state)
{
    struct seen seen;
    struct s3_page page;

    (void)state;
    assert_int_equal(list("<!DOCTYPE x [<!ENTITY e 'eeee'>]><ListBucketResult>&e;"
                          "</ListBucketResult>",
                          &seen, &page),
                     -ERR_REMOTE);
}

static void texts_and_depths_are_bounded(void **state)
{
    struct seen seen;
    struct s3_page page;
    char *text = calloc(1, 2 * S3_TEXT_MAX);

    (void)state;
    assert_non_null(text);
    strcpy(text, "<ListBucketResult><Contents><Key>");
    memset(text + strlen(text), 'k', S3_TEXT_MAX);
    strcat(text, "</Key><Size>1</Size></Contents></ListBucketResult>");
    assert_int_equal(list(text, &seen, &page), -ERR_REMOTE);
    text[0] = '\0';
    for (int i = 0; i < 200; i++)
        strcat(text, "<a>");
    assert_int_equal(list(text, &seen, &page), -ERR_REMOTE);
    free(text);
}

static void an_error_is_told_from_other_documents(void **state)
{
    struct buf error = body_of("<Error><Code>NoSuchKey</Code><Message>not there</Message></Error>");
    struct buf other = body_of("<Result><Code>NoSuchKey</Code></Result>");
    struct s3_error found;

    (void)state;
    s3_xml_error(&error, &found);
    assert_string_equal(found.code, "NoSuchKey");
    assert_string_equal(found.message, "not there");
    s3_xml_error(&other, &found);
    assert_string_equal(found.code, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_gives_its_objects_and_where_it_goes_on),
        cmocka_unit_test(a_page_that_is_cut_off_is_refused),
        cmocka_unit_test(a_page_that_goes_on_without_saying_where_is_refused),
        cmocka_unit_test(what_is_no_listing_is_not_an_empty_one),
        cmocka_unit_test(sizes_that_are_no_numbers_are_refused),
        cmocka_unit_test(a_document_type_is_refused),
        cmocka_unit_test(texts_and_depths_are_bounded),
        cmocka_unit_test(an_error_is_told_from_other_documents),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
