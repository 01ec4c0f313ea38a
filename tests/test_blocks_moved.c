/* Blocks that lie elsewhere by now, seen by who has pages of their archives. */
#include <stdio.h>
#include <unistd.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/sealedcache.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/numbered.h"
#include "tests/harness/temprepo.h"

static void write_moved(struct repo *repo, uint32_t old, uint32_t new)
{
    struct idtable *ids = repo->ids;
    const struct remap_entry entry = {.old = *idtable_id(ids, old),
                                      .new = *idtable_id(ids, new),
                                      .kind = ARCHIVE_DATA,
                                      .end = RAW_SIZE};
    struct writer_result result;
    struct err err;

    assert_int_equal(remap_publish(repo, &entry, 1, NULL, NULL, &result, &err), 0);
}

static void remove_archive(const struct temprepo *temp, uint32_t archive)
{
    char name[OBJECT_NAME_SIZE], path[300];

    repo_object_name(ARCHIVE_DATA, idtable_id(temp->repo->ids, archive), name);
    (void)snprintf(path, sizeof(path), "%s/%s", temp->directory, name);
    assert_int_equal(unlink(path), 0);
}

/* The cache has the ends of archives, so that they can be opened when they are gone. */
static void what_only_the_cache_can_open_is_looked_for_where_it_is(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    const struct sealedcache_options options = {
        .directory = temp.directory, .bytes = 8 << 20, .keeps_data = true};
    uint32_t moved[3]; /* from the first to the second, and on to the third */
    const struct reader *reader;
    uint8_t got[100];
    struct err err;

    for (int i = 0; i < 3; i++)
        moved[i] = write_archive(temp.repo);
    write_moved(temp.repo, moved[0], moved[1]);
    write_moved(temp.repo, moved[1], moved[2]);
    repo_use_cache(temp.repo, sealedcache_open(&options));
    assert_non_null(temp.repo->cache);
    CLEANUP(blocks_freep) struct blocks *before = blocks_new(temp.repo, 64 << 20);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(blocks_acquire(before, moved[i], &reader, &err), 0);
        blocks_release(before, moved[i], reader);
        remove_archive(&temp, moved[i]);
    }
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 64 << 20);
    for (uint32_t block = 0; block < 3; block++) {
        struct place place = {moved[0], block * BLOCK_SIZE};
        assert_int_equal(blocks_read(blocks, place, got, sizeof(got), &err), 0);
        check_bytes(moved[2], place.raw, got, sizeof(got));
    }
    assert_int_equal(blocks_acquire(blocks, moved[1], &reader, &err), -ERR_NOT_FOUND);
    remove_archive(&temp, moved[2]);
    CLEANUP(blocks_freep) struct blocks *after = blocks_new(temp.repo, 64 << 20);
    struct place far = {moved[0], 30 * BLOCK_SIZE}; /* in a page that was not read */
    assert_int_equal(blocks_read(after, far, got, sizeof(got), &err), -ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_only_the_cache_can_open_is_looked_for_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
