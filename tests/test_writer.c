#include "backup/archive/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <zstd.h>

#include "backup/archive/format.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

/* Bytes that follow from a seed; `letters` of them to choose from: few compress, 256 do not. */
static void fill(uint8_t *out, size_t count, uint64_t seed, unsigned letters)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        out[i] = (uint8_t)((seed >> 40) % letters);
    }
}

static void append(struct writer *writer, struct codec *codec, const uint8_t *raw, size_t size,
                   uint32_t *out_raw)
{
    struct chunk chunk = {.length = (uint32_t)size};
    uint32_t stored;
    struct err err;

    memcpy(chunk.id, &size, sizeof(size));
    assert_int_equal(writer_append(writer, codec, raw, size, &chunk, 1, out_raw, &stored, &err), 0);
    assert_int_equal(chunk.raw, *out_raw);
}

static void what_went_in_comes_out(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(3);
    static uint8_t in[BLOCK_RAW_MAX], back[BLOCK_RAW_MAX];
    static const size_t sizes[] = {1, 2, 100, 4096, 131072, BLOCK_RAW_MAX};
    struct writer *writer;
    struct writer_result result;
    struct err err;

    assert_int_equal(writer_new(temp.repo, ARCHIVE_DATA, &writer, &err), 0);
    for (size_t i = 0; i < 12; i++) {
        uint32_t raw;
        fill(in, sizes[i % 6], i, i < 6 ? 4 : 256);
        append(writer, codec, in, sizes[i % 6], &raw);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    assert_int_equal(result.size, padme(result.size));

    CLEANUP(repo_freep) struct repo *repo = temprepo_open_again(&temp);
    CLEANUP(reader_closep) struct reader *reader = NULL;
    assert_int_equal(reader_open(repo, ARCHIVE_DATA, &result.id, NULL, &reader, &err), 0);
    assert_int_equal(reader_size(reader), result.size);
    assert_int_equal(reader_blocks(reader), 12);
    for (size_t i = 0; i < 12; i++) {
        const struct block_info *block = reader_block(reader, i);
        assert_int_equal(block->raw_size, sizes[i % 6]);
        fill(in, sizes[i % 6], i, i < 6 ? 4 : 256);
        assert_int_equal(reader_decode(reader, codec, i, back, &err), 0);
        assert_memory_equal(in, back, block->raw_size);
        if (i >= 6) /* incompressible: stored as it is */
            assert_int_equal(block->stored_size, block->raw_size + PART_EXTRA);
    }
    assert_true(reader_block(reader, 4)->stored_size < sizes[4] / 3);
    assert_int_equal(reader_check_header(reader, &err), 0);
    assert_int_equal(reader_check_padding(reader, &err), 0);
}

/* The record of an archive with 40 chunks in two blocks, whole and cut off anywhere. */
static void check_record(const struct buf *index, const struct chunk *put,
                         const struct writer_result *result, const struct reader *reader)
{
    struct chunk *got = NULL;
    size_t count;
    struct err err;
    struct index_record record;
    size_t need;
    for (size_t cut = 0; cut < index->size; cut++) {
        const uint8_t *from = index->data;
        assert_int_equal(index_record_parse(&from, index->data + cut, &record, &need, &err), 0);
        assert_true(from == index->data && need > 0 && need <= index->size - cut);
    }
    const uint8_t *from = index->data;
    assert_int_equal(index_record_parse(&from, index->data + index->size, &record, &need, &err), 0);
    assert_true(from == index->data + index->size && need == 0 && record.size == result->size);
    assert_true(archive_id_equal(&record.id, &result->id) && record.kind == ARCHIVE_DATA);
    assert_int_equal(index_record_chunks(&record, &got, &count, &err), 0);
    assert_int_equal(count, 40);
    assert_memory_equal(got, put, 40 * sizeof(*put));
    free(got);
    struct block_info *blocks = NULL;
    assert_int_equal(index_record_blocks(&record, &blocks, &count, &err), 0);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct block_info *block = reader_block(reader, i);
        assert_true(blocks[i].raw == block->raw && blocks[i].raw_size == block->raw_size);
        assert_true(blocks[i].offset == block->offset &&
                    blocks[i].stored_size == block->stored_size);
    }
    free(blocks);
}

static void chunks_come_back_with_their_places(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    CLEANUP(buf_clear) struct buf index = {.limit = 1024 * 1024};
    uint8_t raw[3000] = {1};
    struct chunk put[40];
    struct chunk *got = NULL;
    struct writer *writer;
    struct writer_result result;
    struct err err;
    size_t count;
    uint32_t at, stored;

    assert_int_equal(writer_new(temp.repo, ARCHIVE_DATA, &writer, &err), 0);
    for (uint32_t i = 0; i < 40; i++) {
        put[i] = (struct chunk){.length = 30, .raw = i % 20 * 100 + i};
        memset(put[i].id, (int)i + 1, CHUNK_ID_SIZE);
    }
    for (size_t i = 0; i < 40; i += 20)
        assert_int_equal(
            writer_append(writer, codec, raw, sizeof(raw), put + i, 20, &at, &stored, &err), 0);
    assert_int_equal(at, sizeof(raw));
    assert_int_equal(put[20].raw, sizeof(raw) + 20);
    assert_int_equal(writer_commit(writer, NULL, &index, &result, &err), 0);

    CLEANUP(reader_closep) struct reader *reader = NULL;
    assert_int_equal(reader_open(temp.repo, ARCHIVE_DATA, &result.id, NULL, &reader, &err), 0);
    assert_int_equal(reader_chunks(reader, &got, &count, &err), 0);
    assert_int_equal(count, 40);
    assert_memory_equal(got, put, sizeof(put));
    free(got);

    CLEANUP(buf_clear) struct buf again = {.limit = 1024 * 1024};
    assert_int_equal(reader_index_record(reader, &again, &err), 0);
    assert_int_equal(again.size, index.size);
    assert_memory_equal(again.data, index.data, index.size);

    check_record(&index, put, &result, reader);
}

static void a_metadata_archive_names_what_it_refers_to(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    struct writer *writer;
    struct writer_result result;
    struct archive_id *ids = NULL;
    uint32_t number, raw, stored;
    size_t count;
    struct err err;

    assert_int_equal(writer_new(temp.repo, ARCHIVE_METADATA, &writer, &err), 0);
    for (uint32_t i = 0; i < 1500; i++) {
        struct archive_id id = {{0}};
        uint32_t scattered = i * 2654435761U;
        memcpy(id.bytes, &scattered, sizeof(scattered));
        assert_int_equal(idtable_number(temp.repo->ids, &id, ARCHIVE_DATA, &number, &err), 0);
        for (size_t twice = 0; twice < 2 && i % 2 == 0; twice++)
            assert_int_equal(writer_refer(writer, number, &err), 0);
    }
    assert_int_equal(writer_raw_end(writer), 0);
    assert_int_equal(
        writer_append(writer, codec, (const uint8_t *)"abc", 3, NULL, 0, &raw, &stored, &err), 0);
    assert_int_equal(writer_raw_end(writer), 3);
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);

    CLEANUP(reader_closep) struct reader *reader = NULL;
    assert_int_equal(reader_open(temp.repo, ARCHIVE_METADATA, &result.id, NULL, &reader, &err), 0);
    assert_int_equal(reader_references(reader, &ids, &count, &err), 0);
    assert_int_equal(count, 750);
    for (size_t i = 1; i < count; i++)
        assert_true(memcmp(&ids[i - 1], &ids[i], sizeof(*ids)) < 0);
    free(ids);
}

enum { THREADS = 4, BLOCKS_EACH = 60 };

struct appender {
    struct writer *writer;
    unsigned number;
    uint32_t raws[BLOCKS_EACH];
    int result;
};

static size_t size_of_block(unsigned thread, unsigned i)
{
    return 1 + (thread * 7919 + i * 104729) % 40000;
}

static void *append_many(void *context)
{
    struct appender *appender = context;
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    uint8_t *raw = malloc(40000);
    struct err err;

    for (unsigned i = 0; i < BLOCKS_EACH && appender->result == 0; i++) {
        size_t size = size_of_block(appender->number, i);
        struct chunk chunk = {.length = (uint32_t)size};
        uint32_t stored;
        fill(raw, size, appender->number * 1000 + i, i % 2 ? 5 : 256);
        appender->result = writer_append(appender->writer, codec, raw, size, &chunk, 1,
                                         &appender->raws[i], &stored, &err);
    }
    free(raw);
    return NULL;
}

static void check_appended(const struct reader *reader, const struct appender *appender)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    static uint8_t want[40000], got[40000];
    struct err err;

    for (unsigned i = 0; i < BLOCKS_EACH; i++) {
        size_t number;
        size_t size = size_of_block(appender->number, i);
        assert_int_equal(reader_find(reader, appender->raws[i], &number, &err), 0);
        assert_int_equal(reader_block(reader, number)->raw, appender->raws[i]);
        assert_int_equal(reader_block(reader, number)->raw_size, size);
        fill(want, size, appender->number * 1000 + i, i % 2 ? 5 : 256);
        assert_int_equal(reader_decode(reader, codec, number, got, &err), 0);
        assert_memory_equal(want, got, size);
    }
}

static void many_threads_write_into_one_archive(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    static struct appender appenders[THREADS];
    pthread_t threads[THREADS];
    struct writer *writer;
    struct writer_result result;
    struct chunk *chunks;
    size_t count;
    struct err err;

    assert_int_equal(writer_new(temp.repo, ARCHIVE_DATA, &writer, &err), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        appenders[i] = (struct appender){.writer = writer, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, append_many, &appenders[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(appenders[i].result, 0);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);

    CLEANUP(reader_closep) struct reader *reader = NULL;
    assert_int_equal(reader_open(temp.repo, ARCHIVE_DATA, &result.id, NULL, &reader, &err), 0);
    for (unsigned i = 0; i < THREADS; i++)
        check_appended(reader, &appenders[i]);
    assert_int_equal(reader_chunks(reader, &chunks, &count, &err), 0);
    assert_int_equal(count, THREADS * BLOCKS_EACH);
    free(chunks);
}

static void a_full_archive_says_so_and_takes_no_more(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    struct writer *writer;
    struct writer_result result;
    uint32_t raw, stored;
    struct err err;

    assert_int_equal(writer_new(temp.repo, ARCHIVE_INDEX, &writer, &err), 0);
    for (size_t i = 0; i < ARCHIVE_BLOCKS_MAX; i++) {
        assert_true(writer_has_room(writer, 1, 0));
        assert_int_equal(
            writer_append(writer, codec, (const uint8_t *)"x", 1, NULL, 0, &raw, &stored, &err), 0);
    }
    assert_false(writer_has_room(writer, 1, 0));
    assert_int_equal(
        writer_append(writer, codec, (const uint8_t *)"x", 1, NULL, 0, &raw, &stored, &err),
        -ERR_TOO_LARGE);
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);

    CLEANUP(reader_closep) struct reader *reader = NULL;
    assert_int_equal(reader_open(temp.repo, ARCHIVE_INDEX, &result.id, NULL, &reader, &err), 0);
    assert_int_equal(reader_raw_end(reader), ARCHIVE_BLOCKS_MAX);
}

static void an_archive_is_closed_at_its_size(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    uint8_t *noise = malloc(BLOCK_RAW_MAX);
    struct writer *writer;
    uint32_t raw, stored;
    struct err err;
    size_t blocks = 0;

    fill(noise, BLOCK_RAW_MAX, 1, 256);
    assert_int_equal(writer_new(temp.repo, ARCHIVE_METADATA, &writer, &err), 0);
    for (; writer_has_room(writer, BLOCK_RAW_MAX, 0); blocks++)
        assert_int_equal(
            writer_append(writer, codec, noise, BLOCK_RAW_MAX, NULL, 0, &raw, &stored, &err), 0);
    assert_int_equal(blocks, 16);
    assert_int_equal(stored, BLOCK_RAW_MAX + PART_EXTRA);
    writer_abort(writer);
    free(noise);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_went_in_comes_out),
        cmocka_unit_test(chunks_come_back_with_their_places),
        cmocka_unit_test(a_metadata_archive_names_what_it_refers_to),
        cmocka_unit_test(many_threads_write_into_one_archive),
        cmocka_unit_test(a_full_archive_says_so_and_takes_no_more),
        cmocka_unit_test(an_archive_is_closed_at_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
