#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/root.h"
#include "backup/archive/root_internal.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/err.h"

/* Writes on until something fails; `result` tells. */
struct encoder {
    struct buf *out;
    struct err *err;
    int result;
};

static void add_varint(struct encoder *encoder, uint64_t value)
{
    if (encoder->result == 0)
        encoder->result = put_varint(encoder->out, value, encoder->err);
}

static void add_zigzag(struct encoder *encoder, int64_t value)
{
    if (encoder->result == 0)
        encoder->result = put_zigzag(encoder->out, value, encoder->err);
}

static void add_u8(struct encoder *encoder, uint8_t value)
{
    if (encoder->result == 0)
        encoder->result = put_u8(encoder->out, value, encoder->err);
}

static void add_bytes(struct encoder *encoder, const void *bytes, size_t count)
{
    if (encoder->result == 0)
        encoder->result = buf_append(encoder->out, bytes, count, encoder->err);
}

static void refuse(struct encoder *encoder, const char *what)
{
    if (encoder->result == 0)
        encoder->result =
            err_set(encoder->err, ERR_USAGE, "a snapshot's root cannot hold this %s", what);
}

static void add_string(struct encoder *encoder, const char *string)
{
    size_t size = strlen(string);

    if (size > ROOT_STRING_SIZE_MAX)
        refuse(encoder, "string: it is too long");
    add_varint(encoder, size);
    add_bytes(encoder, string, size);
}

static void add_strings(struct encoder *encoder, const struct strings *strings)
{
    if (strings->count > ROOT_STRINGS_MAX)
        refuse(encoder, "list: it is too long");
    add_varint(encoder, strings->count);
    for (size_t i = 0; i < strings->count && encoder->result == 0; i++)
        add_string(encoder, strings->at[i]);
}

static void add_directory(struct encoder *encoder, const struct dirref *directory,
                          const struct idtable *ids)
{
    static const struct archive_id none;
    bool empty = directory->entries == 0;

    add_bytes(encoder, empty ? none.bytes : idtable_id(ids, directory->place.archive)->bytes,
              ARCHIVE_ID_SIZE);
    add_varint(encoder, empty ? UINT32_MAX : directory->place.raw);
    add_varint(encoder, directory->entries);
}

static void add_type(struct encoder *encoder, uint8_t number, const struct root_type *type,
                     const struct idtable *ids)
{
    add_u8(encoder, number);
    add_varint(encoder, type->complete ? TYPE_COMPLETE : 0);
    add_directory(encoder, &type->directory, ids);
    add_varint(encoder, type->files);
    add_varint(encoder, type->directories);
    add_varint(encoder, type->others);
    add_varint(encoder, type->bytes);
    add_varint(encoder, type->new_bytes);
    add_varint(encoder, type->unreadable);
    add_strings(encoder, &type->sources);
}

static void add_types(struct encoder *encoder, const struct root *root, const struct idtable *ids)
{
    size_t count = 0;

    for (size_t i = 1; i <= TYPES; i++)
        count += root->types[i].present;
    add_varint(encoder, count);
    for (size_t i = 1; i <= TYPES; i++)
        if (root->types[i].present)
            add_type(encoder, (uint8_t)i, &root->types[i], ids);
}

static void add_archives(struct encoder *encoder, const struct root *root)
{
    if (root->archive_count > ROOT_ARCHIVES_MAX)
        refuse(encoder, "list of archives: it is too long");
    add_varint(encoder, root->archive_count);
    for (size_t i = 0; i < root->archive_count && encoder->result == 0; i++) {
        add_bytes(encoder, root->archives[i].id.bytes, ARCHIVE_ID_SIZE);
        add_u8(encoder, root->archives[i].kind);
        add_varint(encoder, root->archives[i].size);
    }
}

static void check_names(struct encoder *encoder, const struct root *root)
{
    if (!root_name_valid(root->name, strlen(root->name)))
        refuse(encoder, "name");
    if (root->parent[0] && !root_name_valid(root->parent, strlen(root->parent)))
        refuse(encoder, "name of a parent");
    if (!root->host[0] || root->sequence == 0)
        refuse(encoder, "host and sequence");
}

int root_encode(const struct root *root, const struct idtable *ids, struct buf *out,
                struct err *err)
{
    struct encoder encoder = {.out = out, .err = err};
    size_t start = out->size;

    check_names(&encoder, root);
    add_varint(&encoder, ROOT_DOCUMENT_VERSION);
    add_varint(&encoder, 0);
    add_string(&encoder, root->name);
    add_varint(&encoder, root->revision);
    add_string(&encoder, root->host);
    add_varint(&encoder, root->sequence);
    add_string(&encoder, root->parent);
    add_zigzag(&encoder, root->start_ns);
    add_zigzag(&encoder, root->end_ns);
    add_varint(&encoder, (root->complete ? ROOT_COMPLETE : 0) | (root->adhoc ? ROOT_ADHOC : 0));
    add_string(&encoder, root->version);
    add_strings(&encoder, &root->tags);
    add_types(&encoder, root, ids);
    add_strings(&encoder, &root->exclusions);
    add_archives(&encoder, root);
    add_varint(&encoder, 0); /* extensions */
    if (encoder.result < 0)
        out->size = start;
    return encoder.result;
}
