#include "backup/archive/move.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/digest.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/moving.h"
#include "tests/harness/temprepo.h"

static void random_subsets_of_several_archives_are_found_at_their_old_places(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint8_t live[SOURCES][(BLOCKS + 7) / 8];
    uint32_t archives[SOURCES], seed = 7;
    struct moved moved = {0};

    (void)state;
    for (size_t i = 0; i < SOURCES; i++) {
        archives[i] = write_archive(temp.repo);
        for (size_t block = 0; block < sizeof(live[i]); block++)
            live[i][block] = (uint8_t)random_below(&seed, 256);
        if (i == 3)
            memset(live[i], 0, sizeof(live[i]));
    }
    compact(temp.repo, archives, live, SOURCES, &moved);
    assert_int_equal(moved.archives, 1);
    for (size_t i = 0; i < SOURCES; i++)
        remove_archive(temp.repo, archives[i]);
    for (size_t i = 0; i < SOURCES; i++) {
        if (i == 3)
            continue;
        check_places(temp.repo, archives[i], archives[i], live[i]);
        /* Nobody has told this one: it misses an archive and looks. */
        CLEANUP(repo_freep) struct repo *other = temprepo_open_again(&temp);
        uint32_t number;
        struct err err;
        assert_int_equal(idtable_number(other->ids, idtable_id(temp.repo->ids, archives[i]),
                                        ARCHIVE_DATA, &number, &err),
                         0);
        check_places(other, number, archives[i], live[i]);
    }
    free(moved.chunks);
}

static void the_chunk_table_has_the_chunks_of_live_blocks_where_they_are_now(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint8_t live[2][(BLOCKS + 7) / 8] = {{0x22, 0x80}, {0x01, 0, 0, 0x11}};
    uint32_t archives[2] = {write_archive(temp.repo), write_archive(temp.repo)}, number;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 1 << 20);
    uint8_t bytes[BLOCK_SIZE], id[DIGEST_SIZE];
    struct moved moved = {0};
    struct err err;

    (void)state;
    compact(temp.repo, archives, live, 2, &moved);
    assert_int_equal(moved.chunk_count, 12);
    assert_int_equal(idtable_number(temp.repo->ids, &moved.last, ARCHIVE_DATA, &number, &err), 0);
    for (size_t i = 0; i < moved.chunk_count; i++) {
        const struct chunk *chunk = &moved.chunks[i];
        struct place place = {number, chunk->raw};
        assert_int_equal(blocks_read(blocks, place, bytes, chunk->length, &err), 0);
        digest_bytes(keyring_id_key(temp.repo->keyring), bytes, chunk->length, id);
        assert_memory_equal(id, chunk->id, sizeof(id));
    }
    free(moved.chunks);
}

static void what_was_moved_twice_is_found_from_both_places(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint8_t first[1][(BLOCKS + 7) / 8] = {{0xFE, 0xFF, 0x0F}};
    uint8_t second[2][(BLOCKS + 7) / 8] = {{0xF0, 0xFF, 0x03}, {0xFF}};
    uint32_t archive = write_archive(temp.repo), other = write_archive(temp.repo), middle[2];
    uint8_t left[(BLOCKS + 7) / 8] = {0};
    struct moved moved = {0};
    size_t count;
    struct err err;

    (void)state;
    compact(temp.repo, &archive, first, 1, &moved);
    remove_archive(temp.repo, archive);
    assert_int_equal(idtable_number(temp.repo->ids, &moved.last, ARCHIVE_DATA, &middle[0], &err),
                     0);
    middle[1] = other;
    compact(temp.repo, middle, second, 2, &moved);
    remove_archive(temp.repo, middle[0]);
    /* Block n of the middle one was block n + 1. */
    for (size_t i = 0; i + 1 < BLOCKS; i++)
        if (is_live(second[0], i))
            left[(i + 1) / 8] |= (uint8_t)(1 << (i + 1) % 8);
    check_places(temp.repo, archive, archive, left);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 1 << 20);
    uint8_t got[100];
    struct place place = {middle[0], 6 * BLOCK_SIZE};
    assert_int_equal(blocks_read(blocks, place, got, sizeof(got), &err), 0);
    for (size_t i = 0; i < sizeof(got); i++)
        assert_int_equal(got[i], byte_at(archive, 7 * BLOCK_SIZE + i));
    /* The newest remap is flat and stands in for the one before, also when that is gone. */
    struct remap_object *objects;
    assert_int_equal(remap_objects(temp.repo, &objects, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(objects[0].superseded + objects[1].superseded, 1);
    char name[OBJECT_NAME_SIZE];
    repo_object_name(ARCHIVE_REMAP, &objects[objects[0].superseded ? 0 : 1].id, name);
    assert_int_equal(store_remove(temp.repo->store, name, &err), 0);
    free(objects);
    assert_int_equal(remap_refresh(temp.repo, &err), 0);
    check_places(temp.repo, archive, archive, left);
    free(moved.chunks);
}

static void two_pruners_may_move_the_same_archive(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(repo_freep) struct repo *second = temprepo_open_again(&temp);
    uint8_t live[2][(BLOCKS + 7) / 8] = {{0x0F}, {0xFF, 0xFF}};
    uint32_t archive = write_archive(temp.repo), number;
    struct moved moved[2] = {{0}};
    struct err err;

    (void)state;
    assert_int_equal(idtable_number(second->ids, idtable_id(temp.repo->ids, archive), ARCHIVE_DATA,
                                    &number, &err),
                     0);
    compact(temp.repo, &archive, live, 1, &moved[0]);
    compact(second, &number, live + 1, 1, &moved[1]);
    remove_archive(temp.repo, archive);
    check_places(second, number, archive, live[1]);
    check_places(temp.repo, archive, archive, live[1]); /* who knows of one looks for the other */
    /* One of the two copies is enough. */
    assert_int_equal(idtable_number(second->ids, &moved[0].last, ARCHIVE_DATA, &number, &err), 0);
    remove_archive(second, number);
    CLEANUP(repo_freep) struct repo *third = temprepo_open_again(&temp);
    assert_int_equal(idtable_number(third->ids, idtable_id(temp.repo->ids, archive), ARCHIVE_DATA,
                                    &number, &err),
                     0);
    check_places(third, number, archive, live[1]);
    free(moved[0].chunks);
    free(moved[1].chunks);
}

static void what_lies_in_an_archive_that_is_really_lost_is_an_error(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 1 << 20);
    uint32_t archive = write_archive(temp.repo);
    uint8_t got[10];
    struct err err;

    (void)state;
    remove_archive(temp.repo, archive);
    for (int i = 0; i < 3; i++)
        assert_int_equal(blocks_read(blocks, (struct place){archive, 0}, got, 10, &err),
                         -ERR_NOT_FOUND);
}

static void a_damaged_source_is_told_and_the_next_is_moved(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t bad = write_archive(temp.repo), good = write_archive(temp.repo);
    uint8_t all[(BLOCKS + 7) / 8];
    struct moved moved = {0};
    char name[OBJECT_NAME_SIZE];
    struct mover *mover;
    size_t count;
    struct err err;

    (void)state;
    memset(all, 0xFF, sizeof(all));
    repo_object_name(ARCHIVE_DATA, idtable_id(temp.repo->ids, bad), name);
    uint8_t *bytes = temprepo_load(&temp, name, &count);
    bytes[count / 2] ^= 1;
    temprepo_replace(&temp, name, bytes, count);
    free(bytes);
    assert_int_equal(mover_new(temp.repo, ARCHIVE_DATA, note_done, &moved, &mover, &err), 0);
    for (uint32_t archive = bad; archive <= good; archive++) {
        CLEANUP(reader_closep) struct reader *reader = NULL;
        const struct archive_id *id = idtable_id(temp.repo->ids, archive);
        assert_int_equal(reader_open(temp.repo, ARCHIVE_DATA, id, NULL, &reader, &err), 0);
        assert_int_equal(mover_add(mover, reader, NULL, &err), archive == bad ? -ERR_CORRUPT : 0);
    }
    assert_int_equal(mover_finish(mover, &err), 0);
    const struct remap_entry *entries = mover_entries(mover, &count);
    assert_int_equal(count, 1);
    assert_int_equal(remap_publish(temp.repo, entries, count, NULL, NULL, NULL, &err), 0);
    mover_free(mover);
    remove_archive(temp.repo, good);
    check_places(temp.repo, good, good, all);
    free(moved.chunks);
}

/* The epoch, the salt and the first block of an archive, as they are stored. */
struct sealed {
    uint32_t epoch;
    uint8_t salt[32], block[200];
};

static struct sealed load_sealed(const struct temprepo *temp, const struct archive_id *id)
{
    char name[OBJECT_NAME_SIZE];
    struct sealed sealed;
    size_t size;

    repo_object_name(ARCHIVE_DATA, id, name);
    uint8_t *bytes = temprepo_load(temp, name, &size);
    sealed.epoch = load_le32(bytes + 96);
    memcpy(sealed.salt, bytes + 64, sizeof(sealed.salt));
    memcpy(sealed.block, bytes + 192, sizeof(sealed.block));
    free(bytes);
    return sealed;
}

static void what_is_moved_is_sealed_anew_in_the_newest_epoch(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct key_objects keys = repo_key_objects(temp.repo->store);
    struct secret secret = {.kdf = SLOT_KDF_HKDF, .count = 32};
    uint32_t archive = write_archive(temp.repo);
    struct moved moved = {0};
    uint8_t all[(BLOCKS + 7) / 8];
    struct slot_info info;
    struct err err;

    (void)state;
    secret.bytes = calloc(1, 32);
    assert_int_equal(keyring_add(temp.repo->keyring, &keys, &secret, "goes", &err), 0);
    keyring_slot(temp.repo->keyring, 0, &info);
    if (strcmp(info.label, "goes") != 0)
        keyring_slot(temp.repo->keyring, 1, &info);
    assert_int_equal(keyring_remove(temp.repo->keyring, &keys, info.id, &err), 0);
    compact(temp.repo, &archive, NULL, 1, &moved);
    struct sealed old = load_sealed(&temp, idtable_id(temp.repo->ids, archive));
    struct sealed new = load_sealed(&temp, &moved.last);
    assert_int_equal(old.epoch, 1);
    assert_int_equal(new.epoch, 2);
    assert_memory_not_equal(old.salt, new.salt, sizeof(old.salt));
    assert_memory_not_equal(old.block, new.block, sizeof(old.block));
    remove_archive(temp.repo, archive);
    memset(all, 0xFF, sizeof(all));
    check_places(temp.repo, archive, archive, all);
    free(secret.bytes);
    free(moved.chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_subsets_of_several_archives_are_found_at_their_old_places),
        cmocka_unit_test(the_chunk_table_has_the_chunks_of_live_blocks_where_they_are_now),
        cmocka_unit_test(what_was_moved_twice_is_found_from_both_places),
        cmocka_unit_test(two_pruners_may_move_the_same_archive),
        cmocka_unit_test(what_lies_in_an_archive_that_is_really_lost_is_an_error),
        cmocka_unit_test(what_is_moved_is_sealed_anew_in_the_newest_epoch),
        cmocka_unit_test(a_damaged_source_is_told_and_the_next_is_moved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
