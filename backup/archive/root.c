#include "backup/archive/root.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/archive/root_internal.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { LEVEL = 3, ROOT_BLOCK_SIZE = 128 * 1024, REVISION_MAX = 99999999 };

const char *snapshot_type_name(enum snapshot_type type)
{
    switch (type) {
    case TYPE_FILES:
        return "files";
    case TYPE_CONFIG:
        return "config";
    case TYPE_DATABASE:
        return "database";
    }
    return NULL;
}

int strings_add(struct strings *strings, const char *bytes, size_t size, struct err *err)
{
    char **at = strings->at;

    if ((strings->count & (strings->count - 1)) == 0) /* full at each power of two */
        at = realloc(at, (strings->count > 0 ? strings->count * 2 : 1) * sizeof(*at));
    if (!at)
        return err_set(err, ERR_NOMEM, "no memory for a list");
    strings->at = at;
    at[strings->count] = strndup(bytes, size);
    if (!at[strings->count])
        return err_set(err, ERR_NOMEM, "no memory for a list");
    strings->count++;
    return 0;
}

void strings_clear(struct strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->at[i]);
    free(strings->at);
    *strings = (struct strings){0};
}

void root_clear(struct root *root)
{
    strings_clear(&root->tags);
    strings_clear(&root->exclusions);
    for (size_t i = 0; i <= TYPES; i++)
        strings_clear(&root->types[i].sources);
    free(root->archives);
    *root = (struct root){0};
}

void root_object_name(const char *name, uint64_t revision, char out[OBJECT_NAME_SIZE])
{
    (void)snprintf(out, OBJECT_NAME_SIZE, "snapshots/%s/%08" PRIu64, name, revision);
}

static int object_name(const char *name, uint64_t revision, char out[OBJECT_NAME_SIZE],
                       struct err *err)
{
    if (!root_name_valid(name, strlen(name)) || revision > REVISION_MAX)
        return err_set(err, ERR_USAGE, "no snapshot can be called %.40s/%" PRIu64, name, revision);
    root_object_name(name, revision, out);
    return 0;
}

static void writer_abortp(struct writer **writer)
{
    writer_abort(*writer);
}

/* Cuts the document into blocks. */
static int append_document(struct writer *writer, const struct buf *document, struct err *err)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(LEVEL);
    int r = codec ? 0 : err_set(err, ERR_NOMEM, "no memory to write a snapshot's root");

    for (size_t at = 0; at < document->size && r == 0; at += ROOT_BLOCK_SIZE) {
        size_t left = document->size - at;
        uint32_t raw, stored;
        r = writer_append(writer, codec, document->data + at,
                          left < ROOT_BLOCK_SIZE ? left : ROOT_BLOCK_SIZE, NULL, 0, &raw, &stored,
                          err);
    }
    return r;
}

int root_publish(struct repo *repo, const struct root *root, uint64_t *out_size, struct err *err)
{
    CLEANUP(buf_clear) struct buf document = {.limit = ROOT_SIZE_MAX};
    CLEANUP(writer_abortp) struct writer *writer = NULL;
    char name[OBJECT_NAME_SIZE];
    struct writer_result result;
    int r = object_name(root->name, root->revision, name, err);

    if (r == 0)
        r = root_encode(root, repo->ids, &document, err);
    if (r == 0)
        r = writer_new(repo, ARCHIVE_ROOT, &writer, err);
    if (r == 0)
        r = append_document(writer, &document, err);
    if (r == 0)
        r = writer_commit(STEAL(writer), name, NULL, &result, err);
    if (r < 0)
        return r;
    *out_size = result.size;
    return 0;
}

static int read_document(const struct reader *reader, struct buf *out, struct err *err)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(LEVEL);
    int r = codec ? 0 : err_set(err, ERR_NOMEM, "no memory to read a snapshot's root");

    for (size_t i = 0; i < reader_blocks(reader) && r == 0; i++) {
        const struct block_info *block = reader_block(reader, i);
        if (block->raw != out->size)
            return err_set(err, ERR_CORRUPT, "a document with a gap");
        r = buf_reserve(out, block->raw_size, err);
        if (r == 0)
            r = reader_decode(reader, codec, i, out->data + out->size, err);
        if (r == 0)
            out->size += block->raw_size;
    }
    return r;
}

static int interpret(struct repo *repo, const struct buf *document, const char *name,
                     uint64_t revision, struct root *out, struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};
    int r = root_decode(document->data, document->size, repo->ids, &root, err);

    if (r < 0)
        return r;
    if (strcmp(root.name, name) != 0 || root.revision != revision)
        return err_set(err, ERR_CORRUPT, "it is the root of %s/%08" PRIu64, root.name,
                       root.revision);
    *out = root;
    root = (struct root){0};
    return 0;
}

int root_read(struct repo *repo, const char *name, uint64_t revision, struct root *out,
              struct err *err)
{
    CLEANUP(buf_clear) struct buf document = {.limit = ROOT_SIZE_MAX};
    CLEANUP(reader_closep) struct reader *reader = NULL;
    char object[OBJECT_NAME_SIZE];
    int r = object_name(name, revision, object, err);

    if (r == 0)
        r = reader_open(repo, ARCHIVE_ROOT, NULL, object, &reader, err);
    if (r < 0)
        return r;
    if (reader_raw_end(reader) > ROOT_SIZE_MAX)
        return err_set(err, ERR_CORRUPT, "%s: larger than a root can be", object);
    r = read_document(reader, &document, err);
    if (r < 0)
        return r;
    r = interpret(repo, &document, name, revision, out, err);
    if (r == 0)
        out->id = *reader_id(reader);
    return r < 0 ? err_context(err, "%s", object) : 0;
}
