#include "backup/source/pgwal.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/bytes.h"
#include "backup/base/crc32c.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

/* Segments as a server makes them, by hand; tests/e2e/test_wal.py has those of a real one. */

enum {
    SEGMENT = 1024 * 1024,
    PAGE = 8192,
    LONG_HEADER = 40,
    SHORT_HEADER = 24,
    RECORD_HEADER = 24,
    MAGIC_15 = 0xD110,
    XACT = 1,
    XLOG = 0,
    MARKS_MAX = 64,
};

#define START (UINT64_C(3) * SEGMENT)

struct log {
    uint8_t *bytes;
    size_t at, size;
    uint16_t magic;
};

struct found {
    struct pgwal_mark at[MARKS_MAX];
    size_t count;
};

static void put_page_header(struct log *log, uint32_t left)
{
    uint8_t *page = log->bytes + log->at;
    bool first = log->at % SEGMENT == 0;

    store_le16(page, log->magic);
    store_le16(page + 2, (uint16_t)((left > 0 ? 1 : 0) | (first ? 2 : 0)));
    store_le32(page + 4, 7);
    store_le64(page + 8, START + log->at);
    store_le32(page + 16, left);
    if (first) {
        store_le64(page + 24, 4711);
        store_le32(page + 32, SEGMENT);
        store_le32(page + 36, PAGE);
    }
    log->at += first ? LONG_HEADER : SHORT_HEADER;
}

static struct log log_new(size_t segments)
{
    struct log log = {calloc(segments, SEGMENT), 0, segments * SEGMENT, MAGIC_15};

    assert_non_null(log.bytes);
    return log;
}

/* Across as many pages as it takes; gives its LSN. */
static uint64_t put_bytes(struct log *log, const uint8_t *bytes, size_t size)
{
    uint64_t lsn = 0;

    for (size_t done = 0; done < size;) {
        if (log->at % PAGE == 0)
            put_page_header(log, (uint32_t)(size - done) * (done > 0));
        size_t room = PAGE - log->at % PAGE, part = size - done < room ? size - done : room;
        if (done == 0)
            lsn = START + log->at;
        memcpy(log->bytes + log->at, bytes + done, part);
        log->at += part;
        done += part;
    }
    while (log->at % 8 != 0)
        log->at++;
    return lsn;
}

static uint64_t put_record(struct log *log, uint8_t manager, uint8_t info, uint32_t xid,
                           const void *data, size_t size)
{
    size_t total = RECORD_HEADER + 5 + size;
    uint8_t *record = calloc(1, total);

    assert_non_null(record);
    store_le32(record, (uint32_t)total);
    store_le32(record + 4, xid);
    record[16] = info;
    record[17] = manager;
    record[RECORD_HEADER] = 254; /* main data, long form */
    store_le32(record + RECORD_HEADER + 1, (uint32_t)size);
    memcpy(record + RECORD_HEADER + 5, data, size);
    uint32_t crc = crc32c(0, record + RECORD_HEADER, total - RECORD_HEADER);
    store_le32(record + 20, crc32c(crc, record, 20));
    uint64_t lsn = put_bytes(log, record, total);
    free(record);
    return lsn;
}

/* `time` in seconds since 2000, as servers count. */
static uint64_t put_commit(struct log *log, uint32_t xid, int64_t time)
{
    uint8_t data[8];

    store_le64(data, (uint64_t)(time * 1000000));
    return put_record(log, XACT, 0, xid, data, sizeof(data));
}

static void put_filler(struct log *log, size_t size)
{
    uint8_t *data = malloc(size);

    assert_non_null(data);
    memset(data, 0xA5, size);
    (void)put_record(log, 10, 0, 1, data, size);
    free(data);
}

static int on_mark(void *context, const struct pgwal_mark *mark, struct err *err)
{
    struct found *found = context;

    (void)err;
    if (found->count < MARKS_MAX)
        found->at[found->count++] = *mark;
    return 0;
}

static const char *read_log(const struct log *log, size_t piece, struct found *out)
{
    struct pgwal *wal = pgwal_new(on_mark, out);
    struct err err;

    *out = (struct found){0};
    assert_non_null(wal);
    pgwal_start(wal, START, SEGMENT, NULL);
    for (size_t at = 0; at < log->size; at += piece) {
        size_t part = log->size - at < piece ? log->size - at : piece;
        assert_int_equal(pgwal_push(wal, log->bytes + at, part, &err), 0);
    }
    const char *trouble = pgwal_trouble(wal);
    assert_true(pgwal_at(wal) == START + log->size);
    pgwal_free(wal);
    return trouble;
}

static void commits_are_found_whatever_the_pieces(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 7, 24, 8191, 8192, SEGMENT};
    struct log log = log_new(1);
    struct found found;
    uint64_t lsn[3];

    lsn[0] = put_commit(&log, 700, 100);
    put_filler(&log, 20000); /* across pages */
    lsn[1] = put_commit(&log, 701, 101);
    log.at = 3 * PAGE - 16; /* a record's header that is cut by a page */
    put_filler(&log, 1);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        assert_null(read_log(&log, pieces[i], &found));
        assert_true(found.count == 2);
        assert_true(found.at[0].lsn == lsn[0] && found.at[0].xid == 700);
        assert_true(found.at[1].lsn == lsn[1] && found.at[1].xid == 701);
        assert_true(found.at[1].time_us == INT64_C(946684800000000) + 101 * INT64_C(1000000));
    }
    free(log.bytes);
}

static void a_commit_that_crosses_into_the_next_segment_is_found(void **state)
{
    (void)state;
    struct log log = log_new(2);
    struct found found;

    put_filler(&log, SEGMENT - 128 * SHORT_HEADER - 61);
    uint64_t lsn = put_commit(&log, 900, 5);
    assert_true(lsn < START + SEGMENT && log.at > SEGMENT);
    assert_null(read_log(&log, 4096, &found));
    assert_true(found.count == 1 && found.at[0].lsn == lsn && found.at[0].xid == 900);
    free(log.bytes);
}

static void a_segment_alone_needs_what_the_one_before_left_open(void **state)
{
    (void)state;
    struct log log = log_new(2);
    struct found first = {0}, second = {0};
    static struct pgwal_open open;
    struct pgwal *wal = pgwal_new(on_mark, &first), *next = pgwal_new(on_mark, &second);
    struct err err;

    put_filler(&log, SEGMENT - 128 * SHORT_HEADER - 61);
    uint64_t lsn = put_commit(&log, 900, 5);
    pgwal_start(wal, START, SEGMENT, NULL);
    assert_int_equal(pgwal_push(wal, log.bytes, SEGMENT, &err), 0);
    pgwal_open(wal, &open);
    assert_true(first.count == 0 && open.lsn == lsn && open.size > 0);
    pgwal_start(next, START + SEGMENT, SEGMENT, NULL);
    assert_int_equal(pgwal_push(next, log.bytes + SEGMENT, SEGMENT, &err), 0);
    assert_true(second.count == 0 && !pgwal_trouble(next));
    pgwal_start(next, START + SEGMENT, SEGMENT, &open);
    assert_int_equal(pgwal_push(next, log.bytes + SEGMENT, SEGMENT, &err), 0);
    assert_true(second.count == 1 && second.at[0].lsn == lsn && second.at[0].xid == 900);
    pgwal_free(wal);
    pgwal_free(next);
    free(log.bytes);
}

static void restore_points_and_prepared_commits_are_told(void **state)
{
    (void)state;
    struct log log = log_new(1);
    struct found found;
    uint8_t point[72] = {0}, prepared[8 + 4 + 8 + 4 + 8 + 4] = {0};

    memcpy(point + 8, "before the release", 18);
    put_record(&log, XLOG, 0x70, 0, point, sizeof(point));
    store_le32(prepared + 8, 1 << 0 | 1 << 1 | 1 << 4); /* database, subtransactions, two-phase */
    store_le32(prepared + 20, 2);
    store_le32(prepared + 32, 4242);
    put_record(&log, XACT, 0x30 | 0x80, 0, prepared, sizeof(prepared));
    assert_null(read_log(&log, 100, &found));
    assert_true(found.count == 2 && found.at[0].kind == PGWAL_RESTORE_POINT);
    assert_string_equal(found.at[0].name, "before the release");
    assert_true(found.at[1].kind == PGWAL_COMMIT && found.at[1].xid == 4242);
    free(log.bytes);
}

static void behind_a_switch_the_rest_of_the_segment_is_nothing(void **state)
{
    (void)state;
    struct log log = log_new(2);
    struct found found;

    put_commit(&log, 1, 1);
    put_record(&log, XLOG, 0x40, 0, "", 0);
    log.at = SEGMENT;
    put_page_header(&log, 0);
    put_commit(&log, 2, 2);
    assert_null(read_log(&log, 5000, &found));
    assert_true(found.count == 2 && found.at[1].xid == 2);
    free(log.bytes);
}

static void what_is_wrong_is_said_and_the_next_segment_is_read_again(void **state)
{
    (void)state;
    struct found found;

    for (int i = 0; i < 4; i++) {
        struct log log = log_new(2);
        put_commit(&log, 1, 1);
        uint64_t lsn = put_commit(&log, 2, 2);
        uint8_t *record = log.bytes + (lsn - START);
        put_filler(&log, 2 * PAGE);
        if (i == 0)
            record[RECORD_HEADER + 6] ^= 1; /* its checksum is wrong */
        if (i == 1)
            store_le32(record, 5); /* shorter than a header */
        if (i == 2)
            store_le64(log.bytes + PAGE + 8, START); /* a page that belongs elsewhere */
        if (i == 3)
            store_le16(log.bytes + PAGE, 0xD999); /* of a server that is newer than we are */
        log.size = SEGMENT;
        assert_non_null(read_log(&log, 1000, &found));
        log.size = 2 * SEGMENT;
        log.at = SEGMENT;
        put_page_header(&log, 0);
        put_commit(&log, 3, 3);
        assert_null(read_log(&log, 1000, &found));
        assert_true(found.count > 0 && found.at[found.count - 1].xid == 3);
        free(log.bytes);
    }
}

static void noise_never_crashes(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252;

    for (int round = 0; round < 400; round++) {
        struct log log = log_new(1);
        struct found found;
        for (uint32_t i = 0; i < 30; i++)
            put_commit(&log, i, i);
        put_filler(&log, 30000);
        for (int i = 0; i < 20; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            log.bytes[seed % (5 * PAGE)] = (uint8_t)(seed >> 32);
        }
        (void)read_log(&log, 777, &found);
        assert_true(found.count <= 30);
        free(log.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_are_found_whatever_the_pieces),
        cmocka_unit_test(a_commit_that_crosses_into_the_next_segment_is_found),
        cmocka_unit_test(a_segment_alone_needs_what_the_one_before_left_open),
        cmocka_unit_test(restore_points_and_prepared_commits_are_told),
        cmocka_unit_test(behind_a_switch_the_rest_of_the_segment_is_nothing),
        cmocka_unit_test(what_is_wrong_is_said_and_the_next_segment_is_read_again),
        cmocka_unit_test(noise_never_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
