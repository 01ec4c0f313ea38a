#include "backup/job/baseline.h"

#include <pthread.h>

#include "backup/base/cleanup.h"
#include "backup/base/log.h"
#include "tests/harness/tempcatalog.h"

enum { THREADS = 2, ARCHIVES_EACH = 5, CHUNKS_EACH = 60000, CHUNK_SIZE = 16, PER_BLOCK = 1000 };

struct adder {
    struct catalog *catalog;
    unsigned number; /* of the thread */
    struct writer_result archives[ARCHIVES_EACH];
    unsigned missing;
};

static void chunk_id(unsigned thread, unsigned archive, unsigned number, uint8_t out[32])
{
    run_chunk_id(1000 * thread + archive, number, out);
}

/* A data archive of many small chunks. */
static void write_large(struct repo *repo, unsigned thread, unsigned archive, struct buf *record,
                        struct writer_result *out)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    static const uint8_t raw[PER_BLOCK * CHUNK_SIZE];
    struct chunk chunks[PER_BLOCK];
    struct writer *writer;
    uint32_t at, stored;
    struct err err;

    assert_int_equal(writer_new(repo, ARCHIVE_DATA, &writer, &err), 0);
    for (unsigned first = 0; first < CHUNKS_EACH; first += PER_BLOCK) {
        for (unsigned i = 0; i < PER_BLOCK; i++) {
            chunk_id(thread, archive, first + i, chunks[i].id);
            chunks[i].length = CHUNK_SIZE;
            chunks[i].raw = i * CHUNK_SIZE;
        }
        assert_int_equal(
            writer_append(writer, codec, raw, sizeof(raw), chunks, PER_BLOCK, &at, &stored, &err),
            0);
    }
    assert_int_equal(writer_commit(writer, NULL, record, out, &err), 0);
}

/* How many of an archive's chunks are not found where they are. */
static unsigned count_missing(struct catalog *catalog, unsigned thread, unsigned archive)
{
    struct baseline *baseline = catalog_baseline(catalog);
    unsigned missing = 0;

    for (unsigned i = 0; i < CHUNKS_EACH; i++) {
        struct place place;
        uint8_t id[32];
        chunk_id(thread, archive, i, id);
        if (!baseline->ops->find_chunk(baseline, id, CHUNK_SIZE, &place) ||
            place.raw != i * CHUNK_SIZE)
            missing++;
    }
    return missing;
}

static void *add_archives(void *context)
{
    struct adder *adder = context;
    struct baseline *baseline = catalog_baseline(adder->catalog);
    struct err err;

    for (unsigned i = 0; i < ARCHIVES_EACH; i++) {
        CLEANUP(buf_clear) struct buf record = {.limit = 64 << 20};
        write_large(catalog_repo(adder->catalog), adder->number, i, &record, &adder->archives[i]);
        assert_int_equal(baseline->ops->add_archive(baseline, &adder->archives[i], record.data,
                                                    record.size, &err),
                         0);
        adder->missing += count_missing(adder->catalog, adder->number, i);
    }
    return NULL;
}

/* So many that the table in memory becomes a segment on the way, while both look chunks up. */
static void what_threads_add_is_found_at_once_and_after_the_run(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    struct adder adders[THREADS] = {{.catalog = catalog}, {.catalog = catalog, .number = 1}};
    struct root_archive archives[THREADS * ARCHIVES_EACH];
    struct root root = make_root("20260201_120000", "here", 1 << TYPE_FILES);
    pthread_t threads[THREADS];
    struct err err;

    assert_int_equal(catalog_sync(catalog, true, &err), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_archives, &adders[i]), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(adders[i].missing, 0);
    }
    for (unsigned i = 0; i < THREADS * ARCHIVES_EACH; i++) {
        const struct writer_result *from = &adders[i / ARCHIVES_EACH].archives[i % ARCHIVES_EACH];
        archives[i] =
            (struct root_archive){.id = from->id, .kind = ARCHIVE_DATA, .size = from->size};
    }
    root.archives = archives;
    root.archive_count = THREADS * ARCHIVES_EACH;
    publish(made.temp.repo, &root);
    assert_int_equal(catalog_commit_run(catalog, &root, &err), 0);
    catalog_close(catalog);

    CLEANUP(repo_freep) struct repo *again = temprepo_open_again(&made.temp);
    CLEANUP(catalog_closep) struct catalog *next = tempcatalog_open(&made, again);
    assert_int_equal(catalog_sync(next, true, &err), 0);
    for (unsigned i = 0; i < THREADS * ARCHIVES_EACH; i++)
        assert_int_equal(count_missing(next, i / ARCHIVES_EACH, i % ARCHIVES_EACH), 0);
}

/* The same read from the tails: more chunks than the table in memory takes. */
static void an_import_larger_than_memory_allows_is_complete(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    struct writer_result result;
    struct err err;

    for (unsigned i = 0; i < 9; i++) {
        CLEANUP(buf_clear) struct buf record = {.limit = 64 << 20};
        write_large(made.temp.repo, 0, i, &record, &result);
    }
    CLEANUP(repo_freep) struct repo *again = temprepo_open_again(&made.temp);
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, again);
    assert_int_equal(catalog_sync(catalog, true, &err), 0);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(count_missing(catalog, 0, i), 0);
}

static void an_index_record_that_cannot_be_is_refused(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    CLEANUP(run_clear) struct run run;
    struct baseline *baseline = catalog_baseline(catalog);
    struct err err;

    assert_int_equal(catalog_sync(catalog, true, &err), 0);
    write_run(made.temp.repo, 1, false, &run);
    for (size_t size = 0; size < run.record.size; size += 7)
        assert_int_equal(
            baseline->ops->add_archive(baseline, &run.data, run.record.data, size, &err),
            -ERR_CORRUPT);
    assert_int_equal(run_found(catalog, 1), 0);
    assert_int_equal(catalog_sync(catalog, true, &err), 0); /* what was passed over comes later */
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_threads_add_is_found_at_once_and_after_the_run),
        cmocka_unit_test(an_import_larger_than_memory_allows_is_complete),
        cmocka_unit_test(an_index_record_that_cannot_be_is_refused),
    };
    log_set_level(LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
