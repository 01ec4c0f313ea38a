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

static int note(void *context, const struct s3_object_info *object, struct err *err)
{
    struct seen *seen = context;

    (void)err;
    strcat(strcat(seen->names, object->key), ";");
    seen->sizes += object->size;
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

static int note_class(void *context, const struct s3_object_info *object, struct err *err)
{
    struct seen *seen = context;

    (void)err;
    strcat(strcat(strcat(seen->names, object->key), "="), object->class);
    strcat(strcat(seen->names, object->when), ";");
    return 0;
}

static void a_page_gives_the_class_of_each_object_and_no_ones_elses(void **state)
{
    struct seen seen = {0};
    struct s3_page page;
    struct buf body =
        body_of("<ListBucketResult><IsTruncated>false</IsTruncated>"
                "<Contents><Key>a</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
                "<Size>1</Size><StorageClass>DEEP_ARCHIVE</StorageClass></Contents>"
                "<Contents><Key>b</Key><Size>2</Size></Contents></ListBucketResult>");
    struct err err;

    (void)state;
    assert_int_equal(s3_xml_list(&body, note_class, &seen, &page, &err), 0);
    assert_string_equal(seen.names, "a=DEEP_ARCHIVE2026-01-02T03:04:05.000Z;b=STANDARD;");
    assert_false(page.truncated);
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

struct versions {
    char text[512]; /* "key id size latest marker;" */
};

static int note_version(void *context, const struct s3_version *version, struct err *err)
{
    struct versions *versions = context;
    size_t used = strlen(versions->text);

    (void)err;
    (void)snprintf(versions->text + used, sizeof(versions->text) - used, "%s %s %u%s%s;",
                   version->key, version->id, (unsigned)version->size,
                   version->is_latest ? " latest" : "", version->is_marker ? " marker" : "");
    return 0;
}

static int list_versions(const char *text, struct versions *out, struct s3_page *page)
{
    struct err err;
    struct buf body = {.data = (uint8_t *)text, .size = strlen(text)};

    *out = (struct versions){0};
    return s3_xml_versions(&body, note_version, out, page, &err);
}

static void versions_and_what_hides_them_are_told_in_order(void **state)
{
    struct versions versions;
    struct s3_page page;

    (void)state;
    assert_int_equal(
        list_versions("<ListVersionsResult><IsTruncated>true</IsTruncated>"
                      "<NextKeyMarker>a%2Fb</NextKeyMarker>"
                      "<NextVersionIdMarker>v1</NextVersionIdMarker>"
                      "<DeleteMarker><Key>a</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest>"
                      "</DeleteMarker><Version><Key>a</Key><VersionId>v2</VersionId>"
                      "<IsLatest>false</IsLatest><Size>7</Size></Version>"
                      "<Version><Key>b</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>"
                      "<Size>9</Size></Version></ListVersionsResult>",
                      &versions, &page),
        0);
    assert_string_equal(versions.text, "a v3 0 latest marker;a v2 7;b null 9 latest;");
    assert_true(page.truncated);
    assert_string_equal(page.token, "a/b");
    assert_string_equal(page.version, "v1");
}

static void versions_that_lack_something_are_refused(void **state)
{
    static const char *const bad[] = {
        "<Version><Key>a</Key><Size>1</Size></Version>",
        "<Version><Key>a</Key><VersionId>v</VersionId></Version>",
        "<DeleteMarker><VersionId>v</VersionId></DeleteMarker>",
        "<Version><Key>a</Key><VersionId>v</VersionId><Size>-1</Size></Version>",
        "<IsTruncated>true</IsTruncated>",
    };
    struct versions versions;
    struct s3_page page;
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(text, sizeof(text), "<ListVersionsResult>%s</ListVersionsResult>", bad[i]);
        assert_int_equal(list_versions(text, &versions, &page), -ERR_REMOTE);
    }
    assert_int_equal(list_versions("<ListBucketResult></ListBucketResult>", &versions, &page),
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
        cmocka_unit_test(a_page_gives_the_class_of_each_object_and_no_ones_elses),
        cmocka_unit_test(a_page_that_is_cut_off_is_refused),
        cmocka_unit_test(a_page_that_goes_on_without_saying_where_is_refused),
        cmocka_unit_test(versions_and_what_hides_them_are_told_in_order),
        cmocka_unit_test(versions_that_lack_something_are_refused),
        cmocka_unit_test(what_is_no_listing_is_not_an_empty_one),
        cmocka_unit_test(sizes_that_are_no_numbers_are_refused),
        cmocka_unit_test(a_document_type_is_refused),
        cmocka_unit_test(texts_and_depths_are_bounded),
        cmocka_unit_test(an_error_is_told_from_other_documents),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
