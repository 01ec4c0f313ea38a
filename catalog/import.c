#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "catalog/catalog_internal.h"
#include "catalog/memtable.h"
#include "catalog/states.h"

enum {
    COMMIT_AT = 256 * 1024,              /* chunks gathered */
    RECORD_SIZE_LIMIT = 32 * 1024 * 1024 /* of one archive in an index */
};

/* What has been read and is not in the catalog yet. */
struct import {
    struct catalog *catalog;
    struct codec *codec;
    struct memtable *table;
    struct gathered_list done;
};

static void import_clear(struct import *import)
{
    codec_free(import->codec);
    memtable_free(import->table);
    gathered_clear(&import->done);
}

static void freep(void *pointer)
{
    free(*(void **)pointer);
}

int gathered_add(struct gathered_list *list, const struct gathered *archive, struct err *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        void *at = reallocarray(list->at, capacity, sizeof(*list->at));
        if (!at)
            return err_set(err, ERR_NOMEM, "out of memory");
        list->at = at;
        list->capacity = capacity;
    }
    list->at[list->count++] = *archive;
    return 0;
}

void gathered_clear(struct gathered_list *list)
{
    free(list->at);
    *list = (struct gathered_list){0};
}

static int flush(struct import *import, struct err *err)
{
    int r = chunks_flush(import->catalog, import->table, err);

    if (r < 0) {
        if (r != -ERR_NOMEM) /* the directory's fault: the whole goes on in memory */
            import->catalog->sql.trouble = SQL_UNWRITABLE;
        return r;
    }
    memtable_free(import->table);
    import->table = memtable_new();
    return import->table ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

/* Segments and the archives that are now in them, in one transaction. */
static int commit(struct import *import, struct err *err)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    size_t named = 0;
    int r = flush(import, err);

    if (r == 0)
        r = sql_begin(&import->catalog->sql, &transaction, err);
    if (r == 0)
        r = chunks_name(import->catalog, &named, err);
    if (r == 0)
        r = archives_insert(import->catalog, &import->done, err);
    if (r == 0)
        r = sql_commit(&transaction, err);
    if (r < 0)
        return r;
    chunks_named(import->catalog, named);
    import->done.count = 0;
    return 0;
}

static int add_chunks(struct import *import, uint32_t archive, const struct chunk *chunks,
                      size_t count, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        struct chunk_entry entry = {.place = {archive, chunks[i].raw}, .length = chunks[i].length};
        memcpy(entry.id, chunks[i].id, sizeof(entry.id));
        r = memtable_add(import->table, &entry, err);
    }
    if (r == 0 && memtable_count(import->table) >= MEMTABLE_MAX)
        r = flush(import, err);
    return r;
}

/* An archive that an index describes: only if it is there. */
static int take_record(struct import *import, const struct archive_id *index,
                       const struct index_record *record, struct err *err)
{
    CLEANUP(freep) struct chunk *chunks = NULL;
    struct gathered done = {.id = record->id,
                            .index = *index,
                            .indexed = true,
                            .imported = true,
                            .kind = (uint8_t)record->kind,
                            .size = record->size};
    uint32_t number = idtable_find(import->catalog->repo->ids, &record->id);
    size_t count = 0;
    int r = 0;

    if (number == NO_ARCHIVE || !(states_get(import->catalog->states, number) & STATE_PRESENT))
        return 0;
    if (record->kind == ARCHIVE_DATA)
        r = index_record_chunks(record, &chunks, &count, err);
    if (r == 0)
        r = add_chunks(import, number, chunks, count, err);
    return r < 0 ? r : gathered_add(&import->done, &done, err);
}

/* Takes whole records off the front of what has been decoded. */
static int take_records(struct import *import, const struct archive_id *index, struct buf *stream,
                        struct err *err)
{
    const uint8_t *at = stream->data, *end = at + stream->size;
    int r = 0;

    while (r == 0 && at < end) {
        struct index_record record;
        size_t need = 0;
        r = index_record_parse(&at, end, &record, &need, err);
        if (r < 0 || need > 0)
            break;
        r = take_record(import, index, &record, err);
    }
    stream->size = (size_t)(end - at);
    if (stream->size > 0)
        memmove(stream->data, at, stream->size);
    return r;
}

static int read_index(struct import *import, const struct archive_id *id, struct err *err)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    CLEANUP(buf_clear) struct buf stream = {.limit = RECORD_SIZE_LIMIT};
    int r = reader_open(import->catalog->repo, ARCHIVE_INDEX, id, NULL, &reader, err);

    for (size_t i = 0; r == 0 && i < reader_blocks(reader); i++) {
        size_t size = reader_block(reader, i)->raw_size;
        r = buf_reserve(&stream, size, err);
        if (r == 0)
            r = reader_decode(reader, import->codec, i, stream.data + stream.size, err);
        if (r < 0)
            break;
        stream.size += size;
        r = take_records(import, id, &stream, err);
    }
    if (r == -ERR_TOO_LARGE || (r == 0 && stream.size > 0))
        r = err_set(err, ERR_CORRUPT, "index archive: a record has no end");
    return r;
}

static int read_tail(struct import *import, const struct archive_id *id, struct err *err)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    CLEANUP(freep) struct chunk *chunks = NULL;
    uint32_t number = idtable_find(import->catalog->repo->ids, id);
    size_t count = 0;
    int r = reader_open(import->catalog->repo, ARCHIVE_DATA, id, NULL, &reader, err);

    if (r == 0)
        r = reader_chunks(reader, &chunks, &count, err);
    if (r == 0 && number != NO_ARCHIVE)
        r = add_chunks(import, number, chunks, count, err);
    return r;
}

/* Reads one archive and notes how that went; what is damaged or gone stops nothing. */
static int import_archive(struct import *import, enum archive_kind kind,
                          const struct archive_id *id, struct err *err)
{
    struct gathered done = {.id = *id, .kind = (uint8_t)kind};
    int r = kind == ARCHIVE_INDEX ? read_index(import, id, err) : read_tail(import, id, err);

    if (r == -ERR_NOT_FOUND || (r == -ERR_COLD && kind == ARCHIVE_DATA)) /* perhaps the next time */
        return 0;
    if (r < 0 && !sync_is_damage(r, err))
        return r;
    if (r < 0)
        log_warn("damaged: %s", err->text);
    done.damaged = r < 0;
    done.imported = r == 0;
    r = gathered_add(&import->done, &done, err);
    if (r == 0 && memtable_count(import->table) >= COMMIT_AT)
        r = commit(import, err);
    return r;
}

static int list_wanted(struct catalog *catalog, enum archive_kind kind, struct gathered_list *out,
                       struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    struct gathered wanted = {0};
    int r = sql_prepare(&catalog->sql,
                        "SELECT id FROM archives WHERE kind = ? AND imported = 0 AND present = 1"
                        " AND damaged = 0",
                        &statement, err);

    if (r < 0)
        return r;
    sql_bind_number(statement, 1, kind);
    while (r == 0 && (r = sql_step(&catalog->sql, statement, err)) == 1) {
        r = 0;
        if (sql_column_blob(statement, 0, wanted.id.bytes, sizeof(wanted.id.bytes)))
            r = gathered_add(out, &wanted, err);
    }
    return r;
}

static int import_kind(struct import *import, enum archive_kind kind, struct err *err)
{
    CLEANUP(gathered_clear) struct gathered_list wanted = {0};
    int r = list_wanted(import->catalog, kind, &wanted, err);

    for (size_t i = 0; r == 0 && i < wanted.count; i++)
        r = import_archive(import, kind, &wanted.at[i].id, err);
    if (r == 0 && import->done.count > 0)
        r = commit(import, err);
    return r;
}

/* Index archives, then the tails of data archives that none of them described. */
int import_chunks(struct catalog *catalog, struct err *err)
{
    CLEANUP(import_clear)
    struct import import = {.catalog = catalog, .codec = codec_new(1), .table = memtable_new()};

    if (!import.codec || !import.table)
        return err_set(err, ERR_NOMEM, "out of memory");
    int r = import_kind(&import, ARCHIVE_INDEX, err);
    if (r == 0)
        r = import_kind(&import, ARCHIVE_DATA, err);
    return r;
}
