/* When archives of lanes are closed, and what is told of one that is not whole. */
#include "backup/job/packer.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/job/dedup.h"
#include "backup/job/references.h"
#include "backup/job/runindex.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

enum { LEVEL = 1, SIZE = 1000 };

static int64_t later_ns; /* than it is */
static bool full;        /* the disk is */

int64_t __wrap_clock_boot_ns(void);
int64_t __real_clock_boot_ns(void);
int __wrap_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err);
int __real_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err);

int64_t __wrap_clock_boot_ns(void)
{
    return __real_clock_boot_ns() + later_ns;
}

int __wrap_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err)
{
    if (full && offset > 0)
        return err_set(err, ERR_SYSTEM, "the disk is full");
    return __real_store_put_write(put, offset, bytes, count, err);
}

struct fixture {
    struct temprepo temp;
    struct references references, refused;
    struct dedup *dedup;
    struct runindex *index;
    struct packer *packer;
    struct codec *codec;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    struct packer_options options = {0};
    struct err err;

    later_ns = 0;
    full = false;
    fixture = (struct fixture){.temp = temprepo_make(), .codec = codec_new(LEVEL)};
    assert_true(references_init(&fixture.references) && references_init(&fixture.refused));
    fixture.dedup = dedup_new(NULL, &fixture.references, &fixture.refused);
    assert_non_null(fixture.dedup);
    assert_int_equal(runindex_new(fixture.temp.repo, NULL, &fixture.index, &err), 0);
    options.repo = fixture.temp.repo;
    options.dedup = fixture.dedup;
    options.index = fixture.index;
    assert_int_equal(packer_new(&options, &fixture.packer, &err), 0);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    packer_free(fixture->packer);
    runindex_free(fixture->index);
    dedup_free(fixture->dedup);
    references_clear(&fixture->references);
    references_clear(&fixture->refused);
    codec_free(fixture->codec);
    temprepo_clear(&fixture->temp);
    return 0;
}

static int put(struct fixture *fixture, size_t lane, unsigned number, struct err *err)
{
    uint8_t raw[SIZE];
    struct chunk chunk = {.length = SIZE};
    struct sighting *other;
    struct place place;
    uint32_t archive;

    memset(raw, (int)number, sizeof(raw));
    memset(chunk.id, (int)number, sizeof(chunk.id));
    assert_int_equal(dedup_claim(fixture->dedup, chunk.id, SIZE, &place, &other, err),
                     DEDUP_CLAIMED);
    return packer_put(fixture->packer, lane, fixture->codec, raw, sizeof(raw), &chunk, 1, &archive,
                      err);
}

static void must_put(struct fixture *fixture, size_t lane, unsigned number)
{
    struct err err;

    assert_int_equal(put(fixture, lane, number, &err), 0);
}

static size_t archives(const struct fixture *fixture)
{
    char path[64];
    size_t count = 0;

    (void)snprintf(path, sizeof(path), "%s/data", fixture->temp.directory);
    DIR *directory = opendir(path);
    if (!directory)
        return 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    (void)closedir(directory);
    return count;
}

static void close_old(struct fixture *fixture)
{
    struct err err;

    assert_int_equal(packer_close_old(fixture->packer, &err), 0);
}

static void finish(struct fixture *fixture)
{
    struct err err;

    assert_int_equal(packer_finish(fixture->packer, &err), 0);
}

static void a_lane_that_nobody_comes_to_any_more_is_closed_in_the_end(void **state)
{
    struct fixture *fixture = *state;

    must_put(fixture, 1, 1);
    close_old(fixture);
    assert_int_equal(archives(fixture), 0);
    later_ns = 2 * 3600 * NS_PER_SECOND;
    must_put(fixture, 0, 2);
    close_old(fixture);
    assert_int_equal(archives(fixture), 1);
    finish(fixture);
    assert_int_equal(archives(fixture), 2);
}

static void what_comes_slowly_makes_archives_that_are_not_full(void **state)
{
    struct fixture *fixture = *state;

    must_put(fixture, 0, 1);
    must_put(fixture, 0, 2);
    later_ns = 2 * 3600 * NS_PER_SECOND;
    must_put(fixture, 0, 3);
    assert_int_equal(archives(fixture), 1);
    finish(fixture);
    assert_int_equal(archives(fixture), 2);
}

static void whoever_ends_an_archive_that_another_could_not_write_says_why(void **state)
{
    struct fixture *fixture = *state;
    struct err err;

    must_put(fixture, 2, 1);
    full = true;
    assert_int_equal(put(fixture, 2, 2, &err), -ERR_SYSTEM);
    full = false;
    assert_int_equal(packer_finish(fixture->packer, &err), -ERR_SYSTEM);
    assert_string_equal(err.text, "the disk is full");
    assert_int_equal(archives(fixture), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lane_that_nobody_comes_to_any_more_is_closed_in_the_end,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_slowly_makes_archives_that_are_not_full, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            whoever_ends_an_archive_that_another_could_not_write_says_why, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
