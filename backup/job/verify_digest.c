#include <stdlib.h>
#include <string.h>

#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/archive/tree.h"
#include "backup/base/bytes.h"
#include "backup/crypto/digest.h"
#include "backup/job/verify_internal.h"

/* A file's digest made again from the chunk tables: docs/format.md, "Content". */
struct folding {
    struct verify *verify;
    struct digest_stream stream;
    bool in_region;
    uint64_t hole; /* length of the hole that has not been added yet */
};

void verify_tables_clear(struct verify *verify)
{
    for (size_t i = 0; i < VERIFY_TABLES; i++)
        free(verify->tables[i].chunks);
}

static int by_raw(const void *a, const void *b)
{
    uint32_t left = ((const struct chunk *)a)->raw, right = ((const struct chunk *)b)->raw;

    return left < right ? -1 : left > right;
}

/* Directories follow one another in archives, so a few tables are enough. */
static int table_of(struct verify *verify, uint32_t archive, struct chunk_table **out,
                    struct err *err)
{
    struct chunk_table *oldest = &verify->tables[0];
    const struct reader *reader;

    for (size_t i = 0; i < VERIFY_TABLES; i++) {
        struct chunk_table *table = &verify->tables[i];

        if (table->used > 0 && table->archive == archive) {
            table->used = ++verify->table_uses;
            *out = table;
            return 0;
        }
        if (table->used < oldest->used)
            oldest = table;
    }
    free(oldest->chunks);
    *oldest = (struct chunk_table){0};
    int r = verify_reader(verify, archive, &reader, err);
    if (r == 0)
        r = reader_chunks(reader, &oldest->chunks, &oldest->count, err);
    if (r < 0)
        return r;
    if (oldest->count > 0)
        qsort(oldest->chunks, oldest->count, sizeof(*oldest->chunks), by_raw);
    oldest->archive = archive;
    oldest->used = ++verify->table_uses;
    *out = oldest;
    return 0;
}

/* The first chunk that does not begin before `raw`. */
static size_t find_chunk(const struct chunk_table *table, uint64_t raw)
{
    size_t low = 0;
    size_t high = table->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (table->chunks[middle].raw < raw)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void end_hole(struct folding *folding)
{
    uint8_t mark[9] = {0};

    if (folding->hole == 0)
        return;
    store_le64(mark + 1, folding->hole);
    digest_stream_add(&folding->stream, mark, sizeof(mark));
    folding->hole = 0;
}

/* `length` bytes that lie together are whole chunks. */
static int fold_piece(struct folding *folding, struct place place, uint64_t length, struct err *err)
{
    struct chunk_table *table;
    uint64_t at = place.raw;
    uint64_t end = at + length;
    int r = table_of(folding->verify, place.archive, &table, err);

    if (r < 0)
        return r;
    for (size_t i = find_chunk(table, at); at < end; i++) {
        if (i >= table->count || table->chunks[i].raw != at || table->chunks[i].length == 0 ||
            table->chunks[i].length > end - at)
            return err_set(err, ERR_CORRUPT, "an extent is not made of whole chunks");
        digest_stream_add(&folding->stream, table->chunks[i].id, CHUNK_ID_SIZE);
        at += table->chunks[i].length;
    }
    return 0;
}

static int fold_extent(struct folding *folding, const struct extent *extent, struct err *err)
{
    static const uint8_t mark = 1;
    struct place place = extent->place, at;
    uint64_t left = extent->length, some;
    int r = 0;

    end_hole(folding);
    if (!folding->in_region)
        digest_stream_add(&folding->stream, &mark, 1);
    folding->in_region = true;
    for (; r == 0 && left > 0; left -= some, place.raw += (uint32_t)some) {
        r = blocks_where(folding->verify->blocks, place, left, &at, &some, err);
        if (r == 0)
            r = fold_piece(folding, at, some, err);
    }
    return r;
}

int verify_digest(struct verify *verify, const struct entry *entry, struct err *err)
{
    struct folding folding = {.verify = verify};
    struct content_cursor cursor;
    struct extent extent;
    uint64_t start;
    uint8_t digest[ENTRY_DIGEST_SIZE];
    int r = content_open(&cursor, verify->blocks, &entry->content, 0, err);

    if (r < 0)
        return r;
    digest_stream_start(&folding.stream, keyring_id_key(verify->repo->keyring));
    while ((r = content_next(&cursor, &extent, &start, err)) > 0) {
        if (!extent_is_hole(&extent) && (r = fold_extent(&folding, &extent, err)) < 0)
            break;
        if (!extent_is_hole(&extent))
            continue;
        folding.in_region = false;
        folding.hole += extent.length;
    }
    content_close(&cursor);
    if (r < 0)
        return r;
    end_hole(&folding);
    digest_stream_finish(&folding.stream, digest, sizeof(digest));
    if (memcmp(digest, entry->digest, sizeof(digest)) != 0)
        return err_set(err, ERR_CORRUPT, "its chunks are not those of its digest");
    return 0;
}
