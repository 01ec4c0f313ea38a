#include "backup/archive/reader.h"

#include <stdio.h>

#include "backup/archive/format.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

enum { BLOCKS = 3, BLOCK_SIZE = 150 };

static void fill_block(uint8_t out[BLOCK_SIZE], size_t number)
{
    for (size_t i = 0; i < BLOCK_SIZE; i++)
        out[i] = (uint8_t)(number * 31 + i / 8);
}

/* A small archive with all that an archive can have, and its object's name. */
static struct archive_id write_small(struct repo *repo, char name[OBJECT_NAME_SIZE])
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    uint8_t raw[BLOCK_SIZE];
    struct writer *writer;
    struct writer_result result;
    uint32_t at, stored;
    struct err err;

    assert_int_equal(writer_new(repo, ARCHIVE_DATA, &writer, &err), 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        struct chunk chunk = {.id = {(uint8_t)i}, .length = BLOCK_SIZE};
        fill_block(raw, i);
        assert_int_equal(
            writer_append(writer, codec, raw, BLOCK_SIZE, &chunk, 1, &at, &stored, &err), 0);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    repo_object_name(ARCHIVE_DATA, &result.id, name);
    return result.id;
}

/* Reads all there is to read: 0, or the first error.  What comes must be right. */
static int read_all(struct repo *repo, const struct archive_id *id, struct codec *codec)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    uint8_t want[BLOCK_SIZE], got[BLOCK_SIZE];
    struct chunk *chunks = NULL;
    size_t count = 0;
    struct err err;
    int r = reader_open(repo, ARCHIVE_DATA, id, NULL, &reader, &err);

    if (r < 0)
        return r;
    assert_int_equal(reader_blocks(reader), BLOCKS);
    for (size_t i = 0; i < BLOCKS && r == 0; i++) {
        assert_int_equal(reader_block(reader, i)->raw_size, BLOCK_SIZE);
        r = reader_decode(reader, codec, i, got, &err);
        fill_block(want, i);
        if (r == 0)
            assert_memory_equal(got, want, BLOCK_SIZE);
    }
    if (r == 0)
        r = reader_chunks(reader, &chunks, &count, &err);
    for (size_t i = 0; i < count; i++)
        assert_true(chunks[i].id[0] == i && chunks[i].raw == i * BLOCK_SIZE);
    free(chunks);
    if (r == 0)
        r = reader_check_header(reader, &err);
    if (r == 0)
        r = reader_check_padding(reader, &err);
    return r;
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    char name[OBJECT_NAME_SIZE];
    struct archive_id id = write_small(temp.repo, name);
    size_t size;
    uint8_t *bytes = temprepo_load(&temp, name, &size);

    assert_int_equal(read_all(temp.repo, &id, codec), 0);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        temprepo_replace(&temp, name, bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int r = read_all(temp.repo, &id, codec);
        if (r != -ERR_CORRUPT && r != -ERR_WRONG_KEY)
            fail_msg("bit %zu of %zu: %d", bit, size * 8, r);
    }
    free(bytes);
}

static void every_truncation_is_found(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    char name[OBJECT_NAME_SIZE];
    struct archive_id id = write_small(temp.repo, name);
    size_t size;
    uint8_t *bytes = temprepo_load(&temp, name, &size);

    for (size_t cut = 0; cut < size; cut++) {
        temprepo_replace(&temp, name, bytes, cut);
        assert_int_equal(read_all(temp.repo, &id, codec), -ERR_CORRUPT);
        temprepo_replace(&temp, name, bytes + size - cut, cut); /* its beginning missing */
        assert_true(read_all(temp.repo, &id, codec) < 0);
    }
    free(bytes);
}

static void an_archive_in_the_place_of_another_is_refused(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(temprepo_clear) struct temprepo other = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    char name[OBJECT_NAME_SIZE], name_here[OBJECT_NAME_SIZE], name_there[OBJECT_NAME_SIZE];
    struct archive_id id = write_small(temp.repo, name);
    size_t size;

    write_small(temp.repo, name_here);
    write_small(other.repo, name_there);
    uint8_t *here = temprepo_load(&temp, name_here, &size);
    temprepo_replace(&temp, name, here, size);
    assert_int_equal(read_all(temp.repo, &id, codec), -ERR_CORRUPT);
    uint8_t *there = temprepo_load(&other, name_there, &size);
    temprepo_replace(&temp, name, there, size);
    assert_int_equal(read_all(temp.repo, &id, codec), -ERR_CORRUPT);
    free(here);
    free(there);
}

static void a_missing_archive_is_named(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct archive_id id = {{0xAB, 0xCD}};
    struct reader *reader = NULL;
    struct err err;

    assert_int_equal(reader_open(temp.repo, ARCHIVE_DATA, &id, NULL, &reader, &err),
                     -ERR_NOT_FOUND);
    assert_null(reader);
    assert_non_null(strstr(err.text, "data/abcd"));
}

/* An archive as somebody with the right key could make it. */
struct forgery {
    struct header header;
    struct part_key key;
    struct buf object;
    struct trailer trailer;
};

static void append_sealed(struct forgery *forgery, enum part part, const uint8_t *plain,
                          size_t size)
{
    uint8_t sealed[4096];
    struct err err;

    memcpy(sealed, plain, size);
    assert_int_equal(part_seal(&forgery->key, part, 0, sealed, size, &err), 0);
    assert_int_equal(buf_append(&forgery->object, sealed, size + SEAL_TAG_SIZE, &err), 0);
}

/* One block of 100 bytes, each zero. */
static struct forgery forgery_begin(struct repo *repo)
{
    struct forgery forgery = {.object = {.limit = 65536}};
    uint8_t bytes[HEADER_SIZE];
    uint8_t block[101] = {0};
    struct err err;

    forgery.header.kind = ARCHIVE_DATA;
    forgery.header.epoch = keyring_epoch(repo->keyring);
    memcpy(forgery.header.repo_id, repo->id, REPO_ID_SIZE);
    forgery.header.id.bytes[0] = 7;
    assert_int_equal(part_key_make(&forgery.header, repo->keyring, &forgery.key, &err), 0);
    header_encode(&forgery.header, bytes);
    assert_int_equal(buf_append(&forgery.object, bytes, HEADER_SIZE, &err), 0);
    append_sealed(&forgery, PART_BLOCK, block, sizeof(block));
    forgery.trailer =
        (struct trailer){.chunks_offset = HEADER_SIZE + 117, .blocks = 1, .raw_end = 100};
    return forgery;
}

/* Ends it with a toc of these numbers and the trailer; then tries to open it. */
static int forgery_try(struct temprepo *temp, struct forgery *forgery, const uint64_t *toc,
                       size_t count)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    CLEANUP(buf_clear) struct buf plain = {.limit = 4096};
    uint8_t bytes[HEADER_SIZE];
    char name[OBJECT_NAME_SIZE];
    struct err err;

    assert_int_equal(put_u8(&plain, 0, &err), 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(put_varint(&plain, toc[i], &err), 0);
    forgery->trailer.toc_offset += forgery->object.size;
    append_sealed(forgery, PART_TOC, plain.data, plain.size);
    forgery->trailer.toc_size += (uint32_t)(plain.size + SEAL_TAG_SIZE);
    header_encode(&forgery->header, bytes);
    assert_int_equal(buf_append(&forgery->object, bytes, HEADER_SIZE, &err), 0);
    trailer_encode(&forgery->trailer, bytes);
    append_sealed(forgery, PART_TRAILER, bytes, TRAILER_PLAIN_SIZE);
    repo_object_name(ARCHIVE_DATA, &forgery->header.id, name);
    assert_int_equal(
        store_create(temp->repo->store, name, forgery->object.data, forgery->object.size, &err), 0);
    int r = reader_open(temp->repo, ARCHIVE_DATA, &forgery->header.id, NULL, &reader, &err);
    assert_int_equal(store_remove(temp->repo->store, name, &err), 0);
    buf_clear(&forgery->object);
    return r;
}

static void numbers_in_a_toc_that_cannot_be_are_refused(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    static const uint64_t tocs[][6] = {
        {0, 100, 117},
        {1, 100, 117},
        {0, 101, 117},
        {0, 100, 118},
        {0, 100, 116},
        {0, 0, 117},
        {0, 100, 0},
        {0, 100, UINT64_MAX},
        {UINT64_MAX, 100, 117},
        {UINT32_MAX, 100, 117},
        {0, UINT64_MAX, 117},
        {0, UINT32_MAX, 117},
        {0, 1 << 20, 117},
        {0, (1 << 20) + 1, 117},
        {UINT64_MAX - 99, 100, 117},
    };

    for (size_t i = 0; i < sizeof(tocs) / sizeof(tocs[0]); i++) {
        struct forgery forgery = forgery_begin(temp.repo);
        int r = forgery_try(&temp, &forgery, tocs[i], 3);
        assert_int_equal(r, i == 0 ? 0 : -ERR_CORRUPT);
    }
    struct forgery more = forgery_begin(temp.repo);
    assert_int_equal(forgery_try(&temp, &more, (const uint64_t[]){0, 100, 117, 0, 100, 117}, 6),
                     -ERR_CORRUPT);
    struct forgery torn = forgery_begin(temp.repo);
    assert_int_equal(forgery_try(&temp, &torn, (const uint64_t[]){0, 100, 117, 0}, 4),
                     -ERR_CORRUPT);
    struct forgery none = forgery_begin(temp.repo);
    assert_int_equal(forgery_try(&temp, &none, NULL, 0), -ERR_CORRUPT);
}

static void numbers_in_a_trailer_that_cannot_be_are_refused(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    static const uint64_t toc[] = {0, 100, 117};
    /* added to the right ones, without a carry */
    static const struct trailer changes[] = {
        {.toc_offset = 1},
        {.toc_offset = UINT64_MAX},
        {.toc_offset = UINT64_MAX - 400, .toc_size = 400},
        {.toc_size = 1},
        {.toc_size = UINT32_MAX},
        {.blocks = 1},
        {.blocks = UINT32_MAX},
        {.blocks = ARCHIVE_BLOCKS_MAX},
        {.chunks_offset = 1},
        {.chunks_offset = UINT64_MAX - 300},
        {.chunks_size = 1},
        {.chunks_size = UINT32_MAX, .chunks = 1},
        {.chunks = 1},
        {.chunks = UINT32_MAX},
        {.raw_end = 1},
        {.raw_end = UINT32_MAX - 100},
    };

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct forgery forgery = forgery_begin(temp.repo);
        struct trailer *trailer = &forgery.trailer;
        trailer->toc_offset += changes[i].toc_offset;
        trailer->toc_size += changes[i].toc_size;
        trailer->blocks += changes[i].blocks;
        trailer->chunks_offset += changes[i].chunks_offset;
        trailer->chunks_size += changes[i].chunks_size;
        trailer->chunks += changes[i].chunks;
        trailer->raw_end += changes[i].raw_end;
        assert_int_equal(forgery_try(&temp, &forgery, toc, 3), -ERR_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(every_truncation_is_found),
        cmocka_unit_test(an_archive_in_the_place_of_another_is_refused),
        cmocka_unit_test(a_missing_archive_is_named),
        cmocka_unit_test(numbers_in_a_toc_that_cannot_be_are_refused),
        cmocka_unit_test(numbers_in_a_trailer_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
