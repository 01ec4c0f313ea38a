#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/crc32c.h"
#include "backup/source/pgfiles_internal.h"
#include "backup/source/pgpage.h"
#include "tests/harness/cmocka.h"

enum {
    PAGE = 8192,
    PAGES = 20,
    SEGMENT_BLOCKS = 131072,
    WAL_SEGMENT = 1 << 20,
    ROOM = 3 * PAGE + 100, /* not whole pages */
    CONTROL_SIZE = 8192,
    CONTROL_SUM_AT = 292, /* as in PostgreSQL 15 */
    KEPT_MAX = 2 << 20,
    AT_CHECKSUM = 8,
    AT_UPPER = 14,
};

static const uint64_t start_lsn = 0x5000000;

/* What the sink got, and what happens to the files meanwhile. */
struct sink_file {
    uint8_t kept[KEPT_MAX];
    uint8_t room[ROOM];
    size_t size;
    uint64_t told_size;
    uint32_t crc;
    unsigned opened, closed, dropped;
};

static struct sink_file got;
static struct pgfiles files;
static struct pgbase_result result;
static char directory[] = "/tmp/yester-pgfiles-XXXXXX";
static int sockets[2];
static unsigned pauses;
static void (*at_pause)(void), (*at_filled)(void);

int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time;
    (void)left;
    pauses++;
    if (at_pause)
        at_pause();
    return 0;
}

static int sink_open(void *context, const struct pgtar_entry *entry, struct sink_file **out,
                     struct err *err)
{
    (void)context;
    (void)entry;
    (void)err;
    got.opened++;
    *out = &got;
    return 0;
}

static int sink_room(struct sink_file *file, void **out, size_t *out_size, struct err *err)
{
    (void)err;
    *out = file->room;
    *out_size = sizeof(file->room);
    return 0;
}

static void keep(struct sink_file *file, const void *bytes, size_t size)
{
    assert_true(size <= sizeof(file->kept) - file->size);
    memcpy(file->kept + file->size, bytes, size);
    file->size += size;
}

static int sink_filled(struct sink_file *file, size_t size, struct err *err)
{
    (void)err;
    keep(file, file->room, size);
    if (at_filled)
        at_filled();
    return 0;
}

static int sink_push(struct sink_file *file, const void *bytes, size_t size, struct err *err)
{
    (void)err;
    keep(file, bytes, size);
    return 0;
}

static int sink_close(void *context, struct sink_file *file, const struct pgtar_entry *entry,
                      uint32_t crc, struct err *err)
{
    (void)context;
    (void)err;
    file->closed++;
    file->told_size = entry->size;
    file->crc = crc;
    return 0;
}

static void sink_drop(struct sink_file *file)
{
    if (file)
        file->dropped++;
}

static const struct pgfiles_options options = {.sink = {.open = sink_open,
                                                        .room = sink_room,
                                                        .filled = sink_filled,
                                                        .push = sink_push,
                                                        .close = sink_close,
                                                        .drop = sink_drop}};

static int set_up(void **state)
{
    (void)state;
    struct err err;

    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    assert_non_null(mkdtemp(directory));
    memset(&got, 0, sizeof(got));
    result = (struct pgbase_result){.start_lsn = start_lsn};
    pauses = 0;
    at_pause = at_filled = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    files = (struct pgfiles){.directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                             .block_size = PAGE,
                             .segment_blocks = SEGMENT_BLOCKS,
                             .checksums = true,
                             .wal_segment_size = WAL_SEGMENT,
                             .options = &options,
                             .out = &result,
                             .socket = sockets[0],
                             .lock = PTHREAD_MUTEX_INITIALIZER};
    assert_true(files.directory >= 0);
    assert_int_equal(mkdirat(files.directory, "global", 0700), 0);
    assert_int_equal(crew_open(&files.crew, 1, 1, NULL, "to read files", &err), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[sizeof(directory) + 16];

    crew_close(&files.crew);
    pgbase_result_clear(&result);
    close(files.directory);
    close(sockets[0]);
    close(sockets[1]);
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static void write_at(const char *name, const void *bytes, size_t size, size_t offset)
{
    int fd = openat(files.directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, (off_t)offset), size);
    close(fd);
}

static int read_it(const char *name, bool has_pages, uint64_t whole_size, struct err *err)
{
    char path[64];

    snprintf(path, sizeof(path), "in/%s", name);
    int r = pgfiles_submit(&files, files.directory, name, path, has_pages, whole_size, err);
    return crew_settle(&files.crew, r, err);
}

/* ---- pages --------------------------------------------------------------------------------- */

static uint8_t relation[PAGES * PAGE];

/* Of the second segment of a relation. */
static void make_relation(void)
{
    for (size_t i = 0; i < sizeof(relation); i++)
        relation[i] = (uint8_t)(i * 31 + i / PAGE);
    for (uint32_t block = 0; block < PAGES; block++) {
        uint8_t *page = relation + block * PAGE;
        memset(page, 0, 8); /* older than the backup */
        memset(page + AT_UPPER, 1, 2);
        uint16_t sum = pgpage_checksum(page, PAGE, SEGMENT_BLOCKS + block);
        memcpy(page + AT_CHECKSUM, &sum, sizeof(sum));
    }
    write_at("16384.1", relation, sizeof(relation), 0);
}

static void tear(uint32_t block)
{
    write_at("16384.1", "torn", 4, block * PAGE + 4000);
}

static void must_have(const void *bytes, size_t size)
{
    assert_int_equal(got.closed, 1);
    assert_int_equal(got.size, size);
    assert_int_equal(got.told_size, size);
    assert_memory_equal(got.kept, bytes, size);
    assert_true(got.crc == crc32c(0, bytes, size));
}

static void pages_that_are_whole_are_read_once(void **state)
{
    (void)state;
    struct err err;

    make_relation();
    assert_int_equal(read_it("16384.1", true, 0, &err), 0);
    must_have(relation, sizeof(relation));
    assert_int_equal(pauses, 0);
    assert_int_equal(result.damaged_count, 0);
}

static void mend(void)
{
    if (pauses == 3)
        write_at("16384.1", relation, sizeof(relation), 0);
}

static void a_page_that_was_being_written_is_read_again(void **state)
{
    (void)state;
    struct err err;

    make_relation();
    tear(11);
    at_pause = mend;
    assert_int_equal(read_it("16384.1", true, 0, &err), 0);
    must_have(relation, sizeof(relation));
    assert_int_equal(pauses, 3);
    assert_int_equal(result.damaged_count, 0);
}

static void a_page_that_stays_wrong_is_damage_and_is_kept(void **state)
{
    (void)state;
    struct err err;

    make_relation();
    tear(11);
    assert_int_equal(read_it("16384.1", true, 0, &err), 0);
    memcpy(relation + 11 * PAGE + 4000, "torn", 4);
    must_have(relation, sizeof(relation));
    assert_int_equal(result.damaged_count, 1);
    assert_string_equal(result.damaged[0].name, "in/16384.1");
    assert_non_null(strstr(result.damaged[0].text, "block 11 is wrong"));
}

static void cut_off(void)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/16384.1", directory);
    assert_int_equal(truncate(path, 8 * PAGE), 0);
}

static void a_relation_that_is_cut_off_meanwhile_ends_there(void **state)
{
    (void)state;
    struct err err;

    make_relation();
    at_filled = cut_off; /* when the first three pages have been read */
    assert_int_equal(read_it("16384.1", true, 0, &err), 0);
    must_have(relation, 8 * PAGE);
    assert_int_equal(result.damaged_count, 0);
}

static void a_torn_page_that_is_cut_off_meanwhile_is_no_damage(void **state)
{
    (void)state;
    struct err err;

    make_relation();
    tear(11);
    at_pause = cut_off;
    assert_int_equal(read_it("16384.1", true, 0, &err), 0);
    assert_true(pauses > 0);
    assert_int_equal(got.closed, 1);
    assert_int_equal(result.damaged_count, 0);
}

static void what_is_gone_is_passed_over(void **state)
{
    (void)state;
    struct err err;

    assert_int_equal(read_it("16384.1", true, 0, &err), 0);
    assert_int_equal(got.opened, 0);
}

static void hang_up(void)
{
    shutdown(sockets[1], SHUT_RDWR);
}

static void a_server_that_went_away_ends_it(void **state)
{
    (void)state;
    struct err err;

    make_relation();
    at_filled = hang_up;
    assert_int_equal(read_it("16384.1", true, 0, &err), -ERR_REMOTE);
    assert_non_null(strstr(err.text, "the server closed the connection"));
    assert_int_equal(got.closed, 0);
    assert_int_equal(got.dropped, 1);
}

/* ---- the log ------------------------------------------------------------------------------- */

static uint8_t segment[WAL_SEGMENT];
static const char segment_name[] = "000000010000000000000005";

static void make_segment(void)
{
    for (size_t i = 0; i < sizeof(segment); i++)
        segment[i] = (uint8_t)(i * 7 + i / 4096);
    write_at(segment_name, segment, sizeof(segment), 0);
}

static void a_segment_of_the_log_comes_whole(void **state)
{
    (void)state;
    struct err err;

    make_segment();
    assert_int_equal(read_it(segment_name, false, WAL_SEGMENT, &err), 0);
    must_have(segment, sizeof(segment));
}

/* As the server does with one that it needs no longer, to write it anew. */
static void recycle(void)
{
    assert_int_equal(
        renameat(files.directory, segment_name, files.directory, "000000010000000000000009"), 0);
    at_filled = NULL;
}

static void a_segment_that_gets_another_name_meanwhile_is_refused(void **state)
{
    (void)state;
    struct err err;

    make_segment();
    at_filled = recycle;
    assert_int_equal(read_it(segment_name, false, WAL_SEGMENT, &err), -ERR_REMOTE);
    assert_non_null(strstr(err.text, segment_name));
    assert_non_null(strstr(err.text, "has removed the log that the backup needs"));
    assert_int_equal(got.closed, 0);
}

static void recycle_and_take_its_place(void)
{
    recycle();
    write_at(segment_name, segment, sizeof(segment), 0);
}

static void a_segment_whose_name_another_one_has_is_refused(void **state)
{
    (void)state;
    struct err err;

    make_segment();
    at_filled = recycle_and_take_its_place;
    assert_int_equal(read_it(segment_name, false, WAL_SEGMENT, &err), -ERR_REMOTE);
    assert_int_equal(got.closed, 0);
}

static void a_segment_that_is_short_or_gone_is_refused(void **state)
{
    (void)state;
    struct err err;

    assert_int_equal(read_it(segment_name, false, WAL_SEGMENT, &err), -ERR_REMOTE);
    write_at(segment_name, segment, WAL_SEGMENT / 2, 0);
    assert_int_equal(read_it(segment_name, false, WAL_SEGMENT, &err), -ERR_REMOTE);
    assert_int_equal(got.closed, 0);
}

/* ---- pg_control ---------------------------------------------------------------------------- */

static uint8_t control[CONTROL_SIZE];

static void make_control(void)
{
    memset(control, 0, sizeof(control));
    for (size_t i = 0; i < CONTROL_SUM_AT; i++)
        control[i] = (uint8_t)(i * 13 + 1);
    uint32_t sum = crc32c(0, control, CONTROL_SUM_AT);
    memcpy(control + CONTROL_SUM_AT, &sum, sizeof(sum));
    write_at("global/pg_control", control, sizeof(control), 0);
}

static void mend_control(void)
{
    if (pauses == 30)
        write_at("global/pg_control", control, sizeof(control), 0);
}

static void a_control_file_is_kept_when_it_is_whole(void **state)
{
    (void)state;
    struct err err;

    make_control();
    write_at("global/pg_control", "torn", 4, 100);
    at_pause = mend_control;
    assert_int_equal(pgfiles_put_control(&files, &err), 0);
    assert_int_equal(pauses, 30);
    must_have(control, sizeof(control));
}

static void a_control_file_that_stays_torn_is_refused(void **state)
{
    (void)state;
    struct err err;

    make_control();
    write_at("global/pg_control", "torn", 4, CONTROL_SUM_AT);
    assert_int_equal(pgfiles_put_control(&files, &err), -ERR_CORRUPT);
    assert_string_equal(err.text, "global/pg_control: its checksum is wrong");
    assert_int_equal(got.opened, 0);
}

static void a_control_file_that_is_cut_off_is_refused(void **state)
{
    (void)state;
    struct err err;

    write_at("global/pg_control", "short", 5, 0);
    assert_int_equal(pgfiles_put_control(&files, &err), -ERR_CORRUPT);
    assert_int_equal(unlinkat(files.directory, "global/pg_control", 0), 0);
    assert_int_equal(pgfiles_put_control(&files, &err), -ERR_SYSTEM);
    assert_string_equal(err.text, "global/pg_control is gone");
    assert_int_equal(got.opened, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(pages_that_are_whole_are_read_once),
        CASE(a_page_that_was_being_written_is_read_again),
        CASE(a_page_that_stays_wrong_is_damage_and_is_kept),
        CASE(a_relation_that_is_cut_off_meanwhile_ends_there),
        CASE(a_torn_page_that_is_cut_off_meanwhile_is_no_damage),
        CASE(what_is_gone_is_passed_over),
        CASE(a_server_that_went_away_ends_it),
        CASE(a_segment_of_the_log_comes_whole),
        CASE(a_segment_that_gets_another_name_meanwhile_is_refused),
        CASE(a_segment_whose_name_another_one_has_is_refused),
        CASE(a_segment_that_is_short_or_gone_is_refused),
        CASE(a_control_file_is_kept_when_it_is_whole),
        CASE(a_control_file_that_stays_torn_is_refused),
        CASE(a_control_file_that_is_cut_off_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
