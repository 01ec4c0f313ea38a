/*
 * tempcatalog — a repository, a directory for its catalogs, and runs that are as a backup's.
 */
#pragma once

#include "backup/archive/idtable.h"
#include "backup/archive/root.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/clock.h"
#include "backup/base/hex.h"
#include "backup/job/baseline.h"
#include "catalog/catalog.h"
#include "tests/harness/temprepo.h"

enum { RUN_CHUNKS = 50, RUN_CHUNK_SIZE = 100 };

struct tempcatalog {
    struct temprepo temp;
    char directory[48];
};

static inline struct tempcatalog tempcatalog_make(void)
{
    struct tempcatalog made = {.temp = temprepo_make()};

    snprintf(made.directory, sizeof(made.directory), "%s/CATALOG", made.temp.directory);
    return made;
}

static inline void tempcatalog_clear(struct tempcatalog *made)
{
    temprepo_clear(&made->temp);
}

static inline struct catalog *tempcatalog_open(const struct tempcatalog *made, struct repo *repo)
{
    struct catalog *catalog = NULL;
    struct err err;

    assert_int_equal(catalog_open(repo, made->directory, &catalog, &err), 0);
    return catalog;
}

/* The path of a file of the catalog. */
static inline void tempcatalog_path(const struct tempcatalog *made, const char *name, char out[160])
{
    char id[2 * REPO_ID_SIZE + 1];

    hex_encode(made->temp.repo->id, REPO_ID_SIZE, id);
    snprintf(out, 160, "%s/%s/%s", made->directory, id, name);
}

/* A root of this name with the types of the mask, all complete; more is set by the test. */
static inline struct root make_root(const char *name, const char *host, unsigned types)
{
    struct root root = {.sequence = 1, .complete = true, .version = "test"};
    struct err err;

    snprintf(root.name, sizeof(root.name), "%s", name);
    snprintf(root.host, sizeof(root.host), "%s", host);
    assert_int_equal(clock_parse_name(name, &root.start_ns, &err), 0);
    root.end_ns = root.start_ns + 5 * NS_PER_SECOND;
    for (unsigned type = 1; type <= TYPES; type++) {
        if (types & 1U << type)
            root.types[type] = (struct root_type){.present = true,
                                                  .complete = true,
                                                  .files = type,
                                                  .bytes = 1000,
                                                  .directory = {.place = {NO_ARCHIVE, UINT32_MAX}}};
    }
    return root;
}

static inline void publish(struct repo *repo, const struct root *root)
{
    uint64_t size;
    struct err err;

    assert_int_equal(root_publish(repo, root, &size, &err), 0);
}

/* Chunk `number` of run `run`. */
static inline void run_chunk_id(unsigned run, unsigned number, uint8_t out[32])
{
    uint64_t seed = ((uint64_t)run << 32 | number) + 1;

    for (unsigned i = 0; i < 4; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        store_le64(out + 8 * i, seed ^ seed >> 29);
    }
}

/* What a backup writes: a data archive, unless `index` is false an index archive of it. */
struct run {
    struct writer_result data, index;
    struct buf record;
};

static inline void run_clear(struct run *run)
{
    buf_clear(&run->record);
}

static inline void write_data(struct repo *repo, unsigned number, struct codec *codec,
                              struct run *out)
{
    uint8_t raw[RUN_CHUNKS * RUN_CHUNK_SIZE] = {(uint8_t)number};
    struct chunk chunks[RUN_CHUNKS];
    struct writer *writer;
    uint32_t at, stored;
    struct err err;

    for (unsigned i = 0; i < RUN_CHUNKS; i++) {
        run_chunk_id(number, i, chunks[i].id);
        chunks[i].length = RUN_CHUNK_SIZE;
        chunks[i].raw = i * RUN_CHUNK_SIZE;
    }
    assert_int_equal(writer_new(repo, ARCHIVE_DATA, &writer, &err), 0);
    assert_int_equal(
        writer_append(writer, codec, raw, sizeof(raw), chunks, RUN_CHUNKS, &at, &stored, &err), 0);
    assert_int_equal(writer_commit(writer, NULL, &out->record, &out->data, &err), 0);
}

static inline void write_run(struct repo *repo, unsigned number, bool with_index, struct run *out)
{
    struct codec *codec = codec_new(1);
    struct writer *writer;
    uint32_t at, stored;
    struct err err;

    *out = (struct run){.record = {.limit = 1 << 20}};
    write_data(repo, number, codec, out);
    if (with_index) {
        assert_int_equal(writer_new(repo, ARCHIVE_INDEX, &writer, &err), 0);
        assert_int_equal(writer_append(writer, codec, out->record.data, out->record.size, NULL, 0,
                                       &at, &stored, &err),
                         0);
        assert_int_equal(writer_commit(writer, NULL, NULL, &out->index, &err), 0);
    }
    codec_free(codec);
}

/* How many chunks of a run the catalog's baseline finds, each where it should be. */
static inline unsigned run_found(struct catalog *catalog, unsigned number)
{
    struct baseline *baseline = catalog_baseline(catalog);
    unsigned found = 0;

    for (unsigned i = 0; i < RUN_CHUNKS; i++) {
        struct place place;
        uint8_t id[32];
        run_chunk_id(number, i, id);
        if (!baseline->ops->find_chunk(baseline, id, RUN_CHUNK_SIZE, &place))
            continue;
        assert_int_equal(place.raw, i * RUN_CHUNK_SIZE);
        assert_true(baseline->ops->archive_usable(baseline, place.archive));
        found++;
    }
    return found;
}

static inline void sync_it(struct catalog *catalog, bool deep)
{
    struct err err;

    if (catalog_sync(catalog, deep, &err) != 0)
        fail_msg("%s", err.text);
}

static inline size_t count_snapshots(struct catalog *catalog, const char *host)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    struct err err;

    assert_int_equal(catalog_snapshots(catalog, host, &rows, &err), 0);
    return rows.count;
}

/* A run by another machine: nothing of it goes through our catalog. */
static inline void foreign_run(const struct tempcatalog *made, unsigned number, bool with_index,
                               struct writer_result *out_data)
{
    CLEANUP(repo_freep) struct repo *repo = temprepo_open_again(&made->temp);
    CLEANUP(run_clear) struct run run;

    write_run(repo, number, with_index, &run);
    if (out_data)
        *out_data = run.data;
}

static inline void remove_object(const struct tempcatalog *made, const char *name)
{
    struct err err;

    assert_int_equal(store_remove(made->temp.repo->store, name, &err), 0);
}
