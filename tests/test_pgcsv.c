#include "backup/source/pgcsv.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static int keep(void *context, const void *bytes, size_t size, struct err *err)
{
    assert_true(size > 0 && size <= PGCSV_BUFFER);
    return buf_append(context, bytes, size, err);
}

/* What one row becomes, in `out`, as a string. */
static void render_to(struct buf *out, const char *row, size_t size)
{
    struct pgcsv csv = {.take = keep, .context = out};
    struct err err;

    assert_int_equal(pgcsv_row(&csv, row, size, &err), 0);
    assert_int_equal(pgcsv_end(&csv, &err), 0);
    assert_int_equal(buf_append(out, "", 1, &err), 0);
}

#define ASSERT_ROW(row, want)                                \
    do {                                                     \
        CLEANUP(buf_clear) struct buf out = {.limit = 4096}; \
        render_to(&out, row, strlen(row));                   \
        assert_string_equal((const char *)out.data, want);   \
    } while (0)

static void plain_fields_have_no_quotes(void **state)
{
    (void)state;
    ASSERT_ROW("1\tann\t2024-01-01 00:00:00+00\n", "1,ann,2024-01-01 00:00:00+00\n");
    ASSERT_ROW(" a \t\xc3\xa9;'{}\n", " a ,\xc3\xa9;'{}\n");
}

static void null_and_the_empty_string_differ(void **state)
{
    (void)state;
    ASSERT_ROW("\\N\n", "\n");
    ASSERT_ROW("\n", "\"\"\n");
    ASSERT_ROW("\\N\t\t\\N\n", ",\"\",\n");
    ASSERT_ROW("\t\\N\t\n", "\"\",,\"\"\n");
    ASSERT_ROW("N\t\\\\N\t\\\\\\\\N\n", "N,\\N,\\\\N\n"); /* texts that look like it */
}

static void what_csv_gives_a_meaning_is_quoted(void **state)
{
    (void)state;
    ASSERT_ROW("a,b\tc\n", "\"a,b\",c\n");
    ASSERT_ROW("\"\t\"\"\n", "\"\"\"\",\"\"\"\"\"\"\n");
    ASSERT_ROW("say \"hi\", twice\n", "\"say \"\"hi\"\", twice\"\n");
    ASSERT_ROW("one\\ntwo\tthree\\rfour\n", "\"one\ntwo\",\"three\rfour\"\n");
    ASSERT_ROW("\\n\n", "\"\n\"\n");
}

static void escapes_are_undone(void **state)
{
    (void)state;
    ASSERT_ROW("a\\tb\t\\b\\f\\v\n", "a\tb,\b\f\v\n");
    ASSERT_ROW("\\\\x00ff\n", "\\x00ff\n");
    ASSERT_ROW("\\\\n\t\\\\\\n\t\\\\\\\\\n", "\\n,\"\\\n\",\\\\\n");
    ASSERT_ROW("\\q\t\\\n", "q,\\\n"); /* never sent: as COPY … FROM takes the first */
}

static void a_backslash_and_a_dot_do_not_end_the_input(void **state)
{
    (void)state;
    ASSERT_ROW("\\\\.\n", "\"\\.\"\n");
    ASSERT_ROW("\\\\.x\t.\n", "\\.x,.\n");
}

#define ASSERT_HEADER(columns, want)                            \
    do {                                                        \
        CLEANUP(buf_clear) struct buf out = {.limit = 4096};    \
        struct pgcsv csv = {.take = keep, .context = &out};     \
        struct err err;                                         \
        assert_int_equal(pgcsv_header(&csv, columns, &err), 0); \
        assert_int_equal(pgcsv_end(&csv, &err), 0);             \
        assert_int_equal(buf_append(&out, "", 1, &err), 0);     \
        assert_string_equal((const char *)out.data, want);      \
    } while (0)

static void the_header_has_names_as_quote_ident_has_them(void **state)
{
    (void)state;
    ASSERT_HEADER("(id)", "id\n");
    ASSERT_HEADER("(id, name, at)", "id,name,at\n");
    ASSERT_HEADER("(\"Col \"\"x\", \"a, b\", c)", "\"Col \"\"x\",\"a, b\",c\n");
    ASSERT_HEADER("(\" \", \"(\", \"\"\"\", \"\"\" \")", "\" \",\"(\",\"\"\"\",\"\"\" \"\n");
    ASSERT_HEADER("", "\n");
}

static void rows_without_columns_are_empty_lines(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out = {.limit = 4096};
    struct pgcsv csv = {.take = keep, .context = &out};
    struct err err;

    assert_int_equal(pgcsv_header(&csv, "", &err), 0);
    assert_int_equal(pgcsv_row(&csv, "\n", 1, &err), 0);
    assert_int_equal(pgcsv_row(&csv, "\n", 1, &err), 0);
    assert_int_equal(pgcsv_end(&csv, &err), 0);
    assert_int_equal(out.size, 3);
    assert_memory_equal(out.data, "\n\n\n", 3);
}

static const char border_row[] = "\\N\t\ta,\"b\"\\n\\\\.\t\\t\\\\\n";
static const char border_csv[] = ",\"\",\"a,\"\"b\"\"\n\\.\",\t\\\n";

/* A field of `before` bytes, then the row, so that the buffer ends at another byte each time. */
static void check_border(size_t before)
{
    static char line[PGCSV_BUFFER + sizeof(border_row)];
    static char want[PGCSV_BUFFER + sizeof(border_csv)];
    CLEANUP(buf_clear) struct buf out = {.limit = 4 * PGCSV_BUFFER};
    size_t size = sizeof(border_row) - 1, csv = sizeof(border_csv) - 1;

    memset(line, 'x', before);
    memset(want, 'x', before);
    line[before] = '\t';
    want[before] = ',';
    memcpy(line + before + 1, border_row, size);
    memcpy(want + before + 1, border_csv, csv);
    render_to(&out, line, before + 1 + size);
    assert_int_equal(out.size, before + 1 + csv + 1);
    assert_memory_equal(out.data, want, before + 1 + csv);
}

static void pieces_may_end_at_every_byte(void **state)
{
    (void)state;
    for (size_t before = PGCSV_BUFFER - sizeof(border_csv) - 2; before <= PGCSV_BUFFER; before++)
        check_border(before);
}

static void a_row_is_far_larger_than_the_buffer(void **state)
{
    (void)state;
    static char line[10 * PGCSV_BUFFER];
    CLEANUP(buf_clear) struct buf out = {.limit = 3 * sizeof(line)};

    memset(line, '"', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    render_to(&out, line, sizeof(line));
    assert_int_equal(out.size, 2 * (sizeof(line) - 1) + 3 + 1);
    for (size_t i = 0; i < out.size - 2; i++)
        assert_int_equal(out.data[i], '"');
}

static void what_is_no_whole_row_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {"", "1\t2", "1\n2\n", "\n\n"};
    CLEANUP(buf_clear) struct buf out = {.limit = 4096};
    struct pgcsv csv = {.take = keep, .context = &out};
    struct err err;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(pgcsv_row(&csv, rows[i], strlen(rows[i]), &err), -ERR_REMOTE);
    assert_int_equal(pgcsv_end(&csv, &err), 0);
    assert_int_equal(out.size, 0);
}

static int refuse(void *context, const void *bytes, size_t size, struct err *err)
{
    (void)context;
    (void)bytes;
    (void)size;
    return err_set(err, ERR_SYSTEM, "no room");
}

static void what_the_taker_says_ends_it(void **state)
{
    (void)state;
    static char line[2 * PGCSV_BUFFER];
    struct pgcsv csv = {.take = refuse};
    struct err err;

    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    assert_int_equal(pgcsv_row(&csv, line, sizeof(line), &err), -ERR_SYSTEM);
    assert_string_equal(err.text, "no room");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_fields_have_no_quotes),
        cmocka_unit_test(null_and_the_empty_string_differ),
        cmocka_unit_test(what_csv_gives_a_meaning_is_quoted),
        cmocka_unit_test(escapes_are_undone),
        cmocka_unit_test(a_backslash_and_a_dot_do_not_end_the_input),
        cmocka_unit_test(the_header_has_names_as_quote_ident_has_them),
        cmocka_unit_test(rows_without_columns_are_empty_lines),
        cmocka_unit_test(pieces_may_end_at_every_byte),
        cmocka_unit_test(a_row_is_far_larger_than_the_buffer),
        cmocka_unit_test(what_is_no_whole_row_is_refused),
        cmocka_unit_test(what_the_taker_says_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
