#include "backup/source/pgtar.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

/* What came out, as text: "F base/1 5 hello\n". */
struct seen {
    struct buf text;
    bool open;
    int refuse_after; /* entries; 0: never */
};

static void seen_clear(struct seen *seen)
{
    buf_clear(&seen->text);
}

static int seen_begin(void *context, const struct pgtar_entry *entry, struct err *err)
{
    struct seen *seen = context;
    char line[600];

    assert_false(seen->open);
    seen->open = true;
    if (seen->refuse_after > 0 && --seen->refuse_after == 0)
        return err_set(err, ERR_SYSTEM, "no room");
    (void)snprintf(line, sizeof(line), "%c %s%s%s %o %llu ", "FDS"[entry->kind], entry -> name,
                   entry -> kind == PGTAR_SYMLINK ? " -> " : "", entry->target, entry->mode,
                   (unsigned long long)entry->size);
    return buf_append(&seen->text, line, strlen(line), err);
}

static int seen_data(void *context, const void *bytes, size_t size, struct err *err)
{
    struct seen *seen = context;

    assert_true(seen->open && size > 0);
    return buf_append(&seen->text, bytes, size, err);
}

static int seen_end(void *context, struct err *err)
{
    struct seen *seen = context;

    assert_true(seen->open);
    seen->open = false;
    return buf_append(&seen->text, "\n", 1, err);
}

static struct pgtar_sink sink_of(struct seen *seen)
{
    seen->text.limit = 1 << 20;
    return (struct pgtar_sink){seen_begin, seen_data, seen_end, seen};
}

static void seal_header(uint8_t *header)
{
    unsigned sum = 0;

    memset(header + 148, ' ', 8);
    for (size_t i = 0; i < PGTAR_BLOCK; i++)
        sum += header[i];
    (void)snprintf((char *)header + 148, 8, "%06o", sum);
}

static void make_header(uint8_t *header, const char *name, char kind, size_t size)
{
    memset(header, 0, PGTAR_BLOCK);
    memcpy(header, name, strlen(name));
    memcpy(header + 100, "0000600 ", 8);
    memcpy(header + 108, "0000145 ", 8);
    memcpy(header + 116, "0000150 ", 8);
    (void)snprintf((char *)header + 124, 12, "%011o", (unsigned)size);
    memcpy(header + 136, "14741203000", 12);
    header[156] = (uint8_t)kind;
    memcpy(header + 257, "ustar\00000", 8);
    seal_header(header);
}

static void add(struct buf *tar, const char *name, char kind, const char *content)
{
    uint8_t block[PGTAR_BLOCK], zeros[PGTAR_BLOCK] = {0};
    size_t size = strlen(content);
    struct err err;

    make_header(block, name, kind, kind == '0' ? size : 0);
    if (kind == '2') {
        memcpy(block + 157, content, size);
        seal_header(block);
        size = 0;
    }
    assert_int_equal(buf_append(tar, block, sizeof(block), &err), 0);
    assert_int_equal(buf_append(tar, content, size, &err), 0);
    assert_int_equal(buf_append(tar, zeros, -size & (PGTAR_BLOCK - 1), &err), 0);
}

static void add_end(struct buf *tar, size_t size)
{
    uint8_t zeros[2 * PGTAR_BLOCK] = {0};
    struct err err;

    assert_int_equal(buf_append(tar, zeros, size, &err), 0);
}

static struct buf some_tar(void)
{
    struct buf tar = {.limit = 1 << 20};
    char big[1300];

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    add(&tar, "backup_label", '0', "START WAL LOCATION");
    add(&tar, "base/", '5', "");
    add(&tar, "./base/1", '0', big);
    add(&tar, "base/empty", '0', "");
    add(&tar, "pg_tblspc/16385", '2', "/srv/space");
    return tar;
}

static const char *some_text(void)
{
    static char text[3000];
    char big[1300];

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    (void)snprintf(text, sizeof(text),
                   "F backup_label 600 18 START WAL LOCATION\nD base 600 0 \nF base/1 600 1299 %s\n"
                   "F base/empty 600 0 \nS pg_tblspc/16385 -> /srv/space 600 0 \n",
                   big);
    return text;
}

/* Pushes it in pieces of `step`. */
static int push_all(struct seen *seen, const struct buf *tar, size_t step, struct err *err)
{
    struct pgtar_sink sink = sink_of(seen);
    struct pgtar parser;
    int r = 0;

    pgtar_init(&parser, &sink);
    for (size_t at = 0; r == 0 && at < tar->size; at += step) {
        size_t left = tar->size - at;
        r = pgtar_push(&parser, tar->data + at, left < step ? left : step, err);
    }
    return r == 0 ? pgtar_finish(&parser, err) : r;
}

static void files_come_out_whatever_the_pieces_are(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 7, 511, 512, 513, 8192};
    CLEANUP(buf_clear) struct buf tar = some_tar();
    struct err err;

    add_end(&tar, 2 * PGTAR_BLOCK);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        CLEANUP(seen_clear) struct seen seen = {0};

        assert_int_equal(push_all(&seen, &tar, steps[i], &err), 0);
        assert_false(seen.open);
        assert_int_equal(seen.text.size, strlen(some_text()));
        assert_memory_equal(seen.text.data, some_text(), seen.text.size);
    }
}

static void the_blocks_at_the_end_may_be_absent(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf tar = some_tar();
    CLEANUP(seen_clear) struct seen seen = {0};
    struct err err;

    assert_int_equal(push_all(&seen, &tar, 4096, &err), 0);
    assert_int_equal(seen.text.size, strlen(some_text()));
}

static void a_stream_cut_short_is_told_wherever_it_is_cut(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf tar = some_tar();
    size_t whole = tar.size;
    unsigned boundaries = 0;

    for (size_t size = 1; size < whole; size++) {
        CLEANUP(seen_clear) struct seen seen = {0};
        struct err err = {0};

        tar.size = size;
        int r = push_all(&seen, &tar, 4096, &err);
        boundaries += r == 0;
        assert_true(r == 0 || err.code == ERR_REMOTE);
    }
    assert_int_equal(boundaries, 4); /* behind each entry but the last */
}

static void sizes_beyond_8_gib_are_read(void **state)
{
    (void)state;
    CLEANUP(seen_clear) struct seen seen = {0};
    struct pgtar_sink sink = sink_of(&seen);
    uint8_t header[PGTAR_BLOCK];
    struct pgtar parser;
    struct err err;

    make_header(header, "base/5/16384", '0', 0);
    memset(header + 124, 0, 12);
    header[124] = 0x80;
    header[131] = 0x05; /* 5 << 32 */
    seal_header(header);
    pgtar_init(&parser, &sink);
    assert_int_equal(pgtar_push(&parser, header, sizeof(header), &err), 0);
    assert_non_null(strstr((char *)seen.text.data, "F base/5/16384 600 21474836480 "));
    assert_int_equal(pgtar_finish(&parser, &err), -ERR_REMOTE);
}

static void names_may_be_in_two_parts(void **state)
{
    (void)state;
    CLEANUP(seen_clear) struct seen seen = {0};
    struct pgtar_sink sink = sink_of(&seen);
    uint8_t header[PGTAR_BLOCK];
    struct pgtar parser;
    struct err err;

    make_header(header, "last", '0', 0);
    memcpy(header + 345, "first/second", 12);
    seal_header(header);
    pgtar_init(&parser, &sink);
    assert_int_equal(pgtar_push(&parser, header, sizeof(header), &err), 0);
    assert_non_null(strstr((char *)seen.text.data, "F first/second/last 600 0 "));
}

static int push_header(const uint8_t *header)
{
    CLEANUP(seen_clear) struct seen seen = {0};
    struct pgtar_sink sink = sink_of(&seen);
    struct pgtar parser;
    struct err err;

    pgtar_init(&parser, &sink);
    return pgtar_push(&parser, header, PGTAR_BLOCK, &err);
}

static void names_that_lead_away_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "/etc/passwd", "../x", "base/../../x", "base//1", "base/.", "", ".", "..", "/", ".//x"};
    uint8_t header[PGTAR_BLOCK];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        make_header(header, names[i], '0', 0);
        assert_int_equal(push_header(header), -ERR_REMOTE);
    }
}

static void kinds_that_postgresql_does_not_send_are_refused(void **state)
{
    (void)state;
    uint8_t header[PGTAR_BLOCK];

    for (int kind = 1; kind < 256; kind++) {
        bool known = kind == '0' || kind == '2' || kind == '5';

        make_header(header, "base/1", (char)kind, 0);
        assert_int_equal(push_header(header), known ? 0 : -ERR_REMOTE);
    }
}

static void every_changed_byte_of_a_header_is_found(void **state)
{
    (void)state;
    uint8_t header[PGTAR_BLOCK];

    make_header(header, "base/1/1259", '0', 8192);
    assert_int_equal(push_header(header), 0);
    for (size_t i = 0; i < PGTAR_BLOCK; i++) {
        if (i >= 148 && i < 156)
            continue; /* the sum itself: a space for a NUL there is the same number */
        header[i] ^= 0x10;
        assert_int_equal(push_header(header), -ERR_REMOTE);
        header[i] ^= 0x10;
    }
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    static const size_t fields[] = {100, 108, 116, 124, 136};
    uint8_t header[PGTAR_BLOCK];

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        make_header(header, "base/1", '0', 0);
        memset(header + fields[i], 0xff, 8);
        seal_header(header);
        assert_int_equal(push_header(header), -ERR_REMOTE);
        make_header(header, "base/1", '0', 0);
        header[fields[i] + 3] = '9';
        seal_header(header);
        assert_int_equal(push_header(header), -ERR_REMOTE);
    }
}

static void nothing_follows_the_end(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf tar = {.limit = 1 << 20};
    CLEANUP(seen_clear) struct seen seen = {0};
    struct err err;

    add_end(&tar, PGTAR_BLOCK);
    add(&tar, "late", '0', "x");
    assert_int_equal(push_all(&seen, &tar, 4096, &err), -ERR_REMOTE);
}

static void what_the_sink_says_ends_the_stream(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf tar = some_tar();
    CLEANUP(seen_clear) struct seen seen = {.refuse_after = 3};
    struct err err;

    assert_int_equal(push_all(&seen, &tar, 4096, &err), -ERR_SYSTEM);
    assert_string_equal(err.text, "no room");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_come_out_whatever_the_pieces_are),
        cmocka_unit_test(the_blocks_at_the_end_may_be_absent),
        cmocka_unit_test(a_stream_cut_short_is_told_wherever_it_is_cut),
        cmocka_unit_test(sizes_beyond_8_gib_are_read),
        cmocka_unit_test(names_may_be_in_two_parts),
        cmocka_unit_test(names_that_lead_away_are_refused),
        cmocka_unit_test(kinds_that_postgresql_does_not_send_are_refused),
        cmocka_unit_test(every_changed_byte_of_a_header_is_found),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(nothing_follows_the_end),
        cmocka_unit_test(what_the_sink_says_ends_the_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
