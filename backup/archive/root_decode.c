#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/root.h"
#include "backup/archive/root_internal.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { LEAST_ARCHIVE_SIZE = ARCHIVE_ID_SIZE + 2 };

/* What is wrong with the document shows in in.failed; a failure of ours in `result`. */
struct decoder {
    struct cursor in;
    struct idtable *ids;
    struct err *err;
    int result;
};

bool root_name_valid(const char *name, size_t size)
{
    if (size != SNAPSHOT_NAME_SIZE - 1)
        return false;
    for (size_t i = 0; i < size; i++)
        if (i == 8 ? name[i] != '_' : name[i] < '0' || name[i] > '9')
            return false;
    return true;
}

static bool going(const struct decoder *decoder)
{
    return !decoder->in.failed && decoder->result == 0;
}

static void require(struct decoder *decoder, bool holds)
{
    decoder->in.failed |= !holds;
}

/* A number of things of which each takes at least `least` bytes. */
static size_t take_count(struct decoder *decoder, size_t most, size_t least)
{
    uint64_t count = read_varint(&decoder->in);

    require(decoder, count <= most && count <= cursor_left(&decoder->in) / least);
    return going(decoder) ? (size_t)count : 0;
}

/* Text without NUL, at most `most` bytes. */
static const char *take_text(struct decoder *decoder, size_t most, size_t *out_size)
{
    uint64_t size = read_varint(&decoder->in);

    require(decoder, size <= most);
    const uint8_t *bytes = read_bytes(&decoder->in, going(decoder) ? (size_t)size : 0);
    require(decoder, bytes && !memchr(bytes, 0, (size_t)size));
    *out_size = going(decoder) ? (size_t)size : 0;
    return going(decoder) ? (const char *)bytes : "";
}

/* Into an array of `room` bytes, with a NUL behind. */
static size_t take_into(struct decoder *decoder, char *out, size_t room)
{
    size_t size;
    const char *text = take_text(decoder, room - 1, &size);

    memcpy(out, text, size);
    out[size] = '\0';
    return size;
}

static void take_strings(struct decoder *decoder, struct strings *out)
{
    size_t count = take_count(decoder, ROOT_STRINGS_MAX, 1);

    for (size_t i = 0; i < count && going(decoder); i++) {
        size_t size;
        const char *text = take_text(decoder, ROOT_STRING_SIZE_MAX, &size);
        if (going(decoder))
            decoder->result = strings_add(out, text, size, decoder->err);
    }
}

static void take_id(struct decoder *decoder, struct archive_id *out)
{
    const uint8_t *bytes = read_bytes(&decoder->in, ARCHIVE_ID_SIZE);

    if (bytes)
        memcpy(out->bytes, bytes, ARCHIVE_ID_SIZE);
}

static void take_directory(struct decoder *decoder, struct dirref *out)
{
    static const struct archive_id none;
    struct archive_id id = none;

    take_id(decoder, &id);
    uint64_t raw = read_varint(&decoder->in);
    out->entries = read_varint(&decoder->in);
    bool empty = raw == UINT32_MAX;
    require(decoder, raw <= UINT32_MAX && empty == (out->entries == 0) &&
                         empty == archive_id_equal(&id, &none));
    out->place = (struct place){.archive = NO_ARCHIVE, .raw = (uint32_t)raw};
    if (going(decoder) && !empty)
        decoder->result =
            idtable_number(decoder->ids, &id, ARCHIVE_METADATA, &out->place.archive, decoder->err);
}

static void take_type(struct decoder *decoder, struct root_type *out)
{
    uint64_t flags = read_varint(&decoder->in);

    require(decoder, (flags & ~(uint64_t)TYPE_COMPLETE) == 0);
    out->present = true;
    out->complete = flags & TYPE_COMPLETE;
    take_directory(decoder, &out->directory);
    out->files = read_varint(&decoder->in);
    out->directories = read_varint(&decoder->in);
    out->others = read_varint(&decoder->in);
    out->bytes = read_varint(&decoder->in);
    out->new_bytes = read_varint(&decoder->in);
    out->unreadable = read_varint(&decoder->in);
    take_strings(decoder, &out->sources);
}

/* By ascending number, each once. */
static void take_types(struct decoder *decoder, struct root *out)
{
    size_t count = take_count(decoder, TYPES, 1);
    uint8_t last = 0;

    for (size_t i = 0; i < count && going(decoder); i++) {
        uint8_t number = read_u8(&decoder->in);
        require(decoder, number > last && number <= TYPES);
        if (going(decoder))
            take_type(decoder, &out->types[number]);
        last = number;
    }
}

static void take_archive(struct decoder *decoder, struct root_archive *out)
{
    take_id(decoder, &out->id);
    out->kind = read_u8(&decoder->in);
    out->size = read_varint(&decoder->in);
    require(decoder, out->kind == ARCHIVE_DATA || out->kind == ARCHIVE_METADATA ||
                         out->kind == ARCHIVE_INDEX);
}

static void take_archives(struct decoder *decoder, struct root *out)
{
    size_t count = take_count(decoder, ROOT_ARCHIVES_MAX, LEAST_ARCHIVE_SIZE);

    if (count == 0)
        return;
    out->archives = calloc(count, sizeof(*out->archives));
    if (!out->archives) {
        decoder->result = err_set(decoder->err, ERR_NOMEM, "no memory for a snapshot's root");
        return;
    }
    out->archive_count = count;
    for (size_t i = 0; i < count && going(decoder); i++)
        take_archive(decoder, &out->archives[i]);
}

/* None is known to this version. */
static void skip_extensions(struct decoder *decoder)
{
    size_t count = take_count(decoder, ROOT_STRINGS_MAX, 2);

    for (size_t i = 0; i < count && going(decoder); i++) {
        read_varint(&decoder->in);
        uint64_t size = read_varint(&decoder->in);
        require(decoder, size <= cursor_left(&decoder->in));
        read_bytes(&decoder->in, going(decoder) ? (size_t)size : 0);
    }
}

static void take_heading(struct decoder *decoder, struct root *out)
{
    size_t name = take_into(decoder, out->name, sizeof(out->name));
    out->revision = read_varint(&decoder->in);
    size_t host = take_into(decoder, out->host, sizeof(out->host));
    out->sequence = read_varint(&decoder->in);
    size_t parent = take_into(decoder, out->parent, sizeof(out->parent));
    out->start_ns = read_zigzag(&decoder->in);
    out->end_ns = read_zigzag(&decoder->in);
    uint64_t flags = read_varint(&decoder->in);
    take_into(decoder, out->version, sizeof(out->version));

    require(decoder, root_name_valid(out->name, name) && host > 0 && out->sequence > 0);
    require(decoder, parent == 0 || root_name_valid(out->parent, parent));
    require(decoder, (flags & ~(uint64_t)(ROOT_COMPLETE | ROOT_ADHOC)) == 0);
    out->complete = flags & ROOT_COMPLETE;
    out->adhoc = flags & ROOT_ADHOC;
}

static void take_document(struct decoder *decoder, struct root *out)
{
    require(decoder, read_varint(&decoder->in) == ROOT_DOCUMENT_VERSION);
    require(decoder, read_varint(&decoder->in) == 0);
    take_heading(decoder, out);
    take_strings(decoder, &out->tags);
    take_types(decoder, out);
    take_strings(decoder, &out->exclusions);
    take_archives(decoder, out);
    skip_extensions(decoder);
    require(decoder, cursor_left(&decoder->in) == 0);
}

int root_decode(const void *bytes, size_t size, struct idtable *ids, struct root *out,
                struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};
    struct decoder decoder = {.in = cursor_of(bytes, size), .ids = ids, .err = err};

    if (size > ROOT_SIZE_MAX)
        return err_set(err, ERR_CORRUPT, "larger than a root can be");
    take_document(&decoder, &root);
    if (decoder.result < 0)
        return decoder.result;
    if (decoder.in.failed)
        return err_set(err, ERR_CORRUPT, "a snapshot's root that cannot be");
    *out = root;
    root = (struct root){0};
    return 0;
}
