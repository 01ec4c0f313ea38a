#include "catalog/wal_path.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "catalog/wal.h"
#include "tests/harness/tempcatalog.h"

/* Logs of any content: what counts is what the archives say of themselves. */

enum { MIB = 1024 * 1024, PER_SEGMENT = 4 };

#define SYSTEM UINT64_C(4711)

/* Commits 1000 µs apart, each PER_SEGMENT to a segment, as many from `lsn` on. */
static int64_t time_at(uint64_t lsn)
{
    return (int64_t)(lsn / (MIB / PER_SEGMENT)) * 1000;
}

static void put(struct repo *repo, enum wal_what what, uint32_t timeline, uint64_t start,
                uint64_t length)
{
    struct wal_meta meta = {.what = what,
                            .system = SYSTEM,
                            .timeline = timeline,
                            .segment_size = MIB,
                            .start = start,
                            .host = "db1"};
    char object[OBJECT_NAME_SIZE];
    struct walwriter *writer;
    struct err err;
    uint8_t *bytes = calloc(1, length);

    assert_non_null(bytes);
    assert_int_equal(walwriter_new(repo, 1, &meta, &writer, &err), 0);
    assert_int_equal(walwriter_add(writer, bytes, length, &err), 0);
    for (uint64_t lsn = start; lsn < start + length; lsn += MIB / PER_SEGMENT) {
        struct wal_mark mark = {lsn, (uint32_t)(lsn >> 18), time_at(lsn)};
        assert_int_equal(walwriter_mark(writer, &mark, &err), 0);
    }
    assert_int_equal(walwriter_commit(writer, 0, 0, NULL, 0, object, &err), 0);
    free(bytes);
}

static void put_history(struct repo *repo, uint32_t timeline, const char *text)
{
    struct wal_meta meta = {
        .what = WAL_HISTORY, .system = SYSTEM, .timeline = timeline, .host = "db1"};
    char object[OBJECT_NAME_SIZE];
    struct walwriter *writer;
    struct err err;

    assert_int_equal(walwriter_new(repo, 1, &meta, &writer, &err), 0);
    assert_int_equal(walwriter_add(writer, text, strlen(text), &err), 0);
    assert_int_equal(walwriter_commit(writer, 0, 0, NULL, 0, object, &err), 0);
}

/* Timeline 1: 10 … 15 and, behind a gap, 17; timeline 2 left it at 12.5 and has 12 … 13, and a
 * piece of 14. */
static void put_logs(struct repo *repo)
{
    for (uint64_t i = 10; i < 15; i++)
        put(repo, WAL_SEGMENT, 1, i * MIB, MIB);
    put(repo, WAL_SEGMENT, 1, 17 * (uint64_t)MIB, MIB);
    put(repo, WAL_SEGMENT, 2, 12 * (uint64_t)MIB, MIB);
    put(repo, WAL_SEGMENT, 2, 13 * (uint64_t)MIB, MIB);
    put(repo, WAL_TAIL, 2, 14 * (uint64_t)MIB, MIB / 2);
    put(repo, WAL_TAIL, 2, 14 * (uint64_t)MIB, MIB / 4); /* an older one that nobody deleted */
    put_history(repo, 2, "1\t0/C80000\tpromoted\n");
}

static struct catalog *open_synced(const struct tempcatalog *made)
{
    struct catalog *catalog = tempcatalog_open(made, made->temp.repo);
    struct err err;

    assert_int_equal(wal_sync(catalog, &err), 0);
    return catalog;
}

static void ranges_end_at_gaps(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(wal_ranges_clear) struct wal_ranges ranges = {0}, none = {0};
    struct err err;

    put_logs(made.temp.repo);
    CLEANUP(catalog_closep) struct catalog *catalog = open_synced(&made);
    assert_int_equal(wal_ranges_find(catalog, SYSTEM, &ranges, &err), 0);
    assert_true(ranges.count == 3);
    assert_true(ranges.at[0].start == 10 * MIB && ranges.at[0].end == 15 * MIB);
    assert_true(ranges.at[0].commits == 5 * PER_SEGMENT && ranges.at[0].segments == 5);
    assert_true(ranges.at[1].start == 17 * MIB && ranges.at[1].timeline == 1);
    assert_true(ranges.at[2].end == 14 * MIB + MIB / 2 && ranges.at[2].tails == 2);
    assert_true(ranges.at[2].commits == 2 * PER_SEGMENT + PER_SEGMENT / 2); /* each once */
    assert_int_equal(wal_ranges_find(catalog, SYSTEM + 1, &none, &err), 0);
    assert_true(none.count == 0);
}

static void a_path_goes_over_the_fork_and_to_the_end_of_the_last_piece(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    struct wal_path path;
    struct wal_mark last;
    struct err err;

    put_logs(made.temp.repo);
    CLEANUP(catalog_closep) struct catalog *catalog = open_synced(&made);
    assert_int_equal(wal_path_find(catalog, SYSTEM, 1, 11 * MIB + 8, 0, &path, &err), 0);
    assert_true(path.count == 2 && !path.gap);
    assert_true(path.at[0].timeline == 1 && path.at[0].to == 0xC80000);
    assert_true(path.at[1].timeline == 2 && path.at[1].from == 0xC80000);
    assert_true(wal_path_end(&path) == 14 * MIB + MIB / 2);
    assert_int_equal(wal_path_last(catalog, &path, &last, &err), 1);
    assert_true(last.lsn == 14 * MIB + MIB / 4);
    /* Along timeline 1, on purpose: to the gap. */
    assert_int_equal(wal_path_find(catalog, SYSTEM, 1, 11 * MIB, 1, &path, &err), 0);
    assert_true(path.count == 1 && path.gap && wal_path_end(&path) == 15 * MIB);
    /* What is not stored leads nowhere. */
    assert_int_equal(wal_path_find(catalog, SYSTEM, 1, 9 * MIB, 0, &path, &err), 0);
    assert_true(path.count == 0 && wal_path_end(&path) == 0);
    assert_int_equal(wal_path_last(catalog, &path, &last, &err), 0);
}

static int count_mark(void *context, uint32_t timeline, const struct wal_mark *mark,
                      struct err *err)
{
    uint64_t *next = context;

    (void)err;
    assert_true(mark->lsn == *next); /* each once, and in order */
    assert_true(timeline == (mark->lsn < 0xC80000 ? 1 : 2));
    *next += MIB / PER_SEGMENT;
    return 0;
}

static void commits_come_once_and_in_order_across_the_fork(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    uint64_t next = 11 * MIB;
    struct wal_path path;
    struct err err;

    put_logs(made.temp.repo);
    CLEANUP(catalog_closep) struct catalog *catalog = open_synced(&made);
    assert_int_equal(wal_path_find(catalog, SYSTEM, 1, 11 * MIB, 0, &path, &err), 0);
    assert_int_equal(wal_path_marks(catalog, &path, count_mark, &next, &err), 0);
    assert_true(next == 14 * MIB + MIB / 2);
}

static void a_time_is_the_last_commit_that_is_not_later(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    struct wal_path path;
    struct wal_mark mark;
    bool later = false;
    struct err err;

    put_logs(made.temp.repo);
    CLEANUP(catalog_closep) struct catalog *catalog = open_synced(&made);
    assert_int_equal(wal_path_find(catalog, SYSTEM, 1, 10 * MIB, 0, &path, &err), 0);
    int64_t time = time_at(13 * MIB);
    assert_int_equal(wal_path_at_time(catalog, &path, time, &mark, &later, &err), 1);
    assert_true(mark.lsn == 13 * MIB && later);
    assert_int_equal(wal_path_at_time(catalog, &path, time + 999, &mark, &later, &err), 1);
    assert_true(mark.lsn == 13 * MIB && later);
    assert_int_equal(wal_path_at_time(catalog, &path, time - 1, &mark, &later, &err), 1);
    assert_true(mark.lsn == 13 * MIB - MIB / 4 && later);
    assert_int_equal(wal_path_at_time(catalog, &path, INT64_MAX, &mark, &later, &err), 1);
    assert_true(mark.lsn == 14 * MIB + MIB / 4 && !later);
    assert_int_equal(wal_path_at_time(catalog, &path, 0, &mark, &later, &err), 0);
}

static void what_ends_before_the_oldest_backup_has_expired_and_nothing_else(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(strings_clear) struct strings expired = {0}, none = {0};
    struct err err;

    put_logs(made.temp.repo);
    CLEANUP(catalog_closep) struct catalog *catalog = open_synced(&made);
    assert_int_equal(wal_expired(catalog, SYSTEM, 13 * MIB + 40, &expired, &err), 0);
    assert_true(expired.count == 4); /* 10, 11, 12 of timeline 1; 12 of timeline 2 */
    assert_int_equal(wal_expired(catalog, SYSTEM + 1, INT64_MAX, &none, &err), 0);
    assert_true(none.count == 0);
}

static void what_is_gone_from_the_repository_is_forgotten_and_a_rebuild_finds_the_rest(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(wal_parts_clear) struct wal_parts parts = {0}, left = {0}, again = {0};
    struct err err;

    put_logs(made.temp.repo);
    CLEANUP(catalog_closep) struct catalog *catalog = open_synced(&made);
    assert_int_equal(wal_parts_find(catalog, SYSTEM, 1, 0, UINT64_MAX, &parts, &err), 0);
    assert_true(parts.count == 6);
    assert_int_equal(store_remove(made.temp.repo->store, parts.at[1].object, &err), 0);
    assert_int_equal(wal_sync(catalog, &err), 0);
    assert_int_equal(wal_parts_find(catalog, SYSTEM, 1, 0, UINT64_MAX, &left, &err), 0);
    assert_true(left.count == 5 && left.at[1].start == 12 * MIB);
    assert_int_equal(catalog_rebuild(catalog, &err), 0);
    assert_int_equal(wal_parts_find(catalog, SYSTEM, 1, 0, UINT64_MAX, &again, &err), 0);
    assert_true(again.count == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_end_at_gaps),
        cmocka_unit_test(a_path_goes_over_the_fork_and_to_the_end_of_the_last_piece),
        cmocka_unit_test(commits_come_once_and_in_order_across_the_fork),
        cmocka_unit_test(a_time_is_the_last_commit_that_is_not_later),
        cmocka_unit_test(what_ends_before_the_oldest_backup_has_expired_and_nothing_else),
        cmocka_unit_test(
            what_is_gone_from_the_repository_is_forgotten_and_a_rebuild_finds_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
