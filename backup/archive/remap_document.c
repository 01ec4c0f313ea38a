#include <stdlib.h>
#include <string.h>

#include "backup/archive/remap_internal.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { DOCUMENT_VERSION = 1, ENTRY_SIZE = 2 * ARCHIVE_ID_SIZE + 1 + 3 * 4, HEAD_MAX = 64 };

void remap_document_clear(struct remap_document *document)
{
    free(document->superseded);
    free(document->entries);
    *document = (struct remap_document){0};
}

size_t remap_document_limit(void)
{
    return HEAD_MAX + (size_t)REMAP_OBJECTS_MAX * ARCHIVE_ID_SIZE +
           (size_t)REMAP_ENTRIES_MAX * ENTRY_SIZE;
}

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

int remap_compare(const void *a, const void *b)
{
    const struct remap_entry *left = a, *right = b;
    int order = memcmp(left->old.bytes, right->old.bytes, ARCHIVE_ID_SIZE);

    if (order == 0)
        order = compare_numbers(left->from, right->from);
    if (order == 0)
        order = memcmp(left->new.bytes, right->new.bytes, ARCHIVE_ID_SIZE);
    if (order == 0)
        order = compare_numbers(left->end, right->end);
    return order != 0 ? order : compare_numbers(left->at, right->at);
}

const struct remap_entry *remap_about(const struct remap_entry *entries, size_t count,
                                      const struct archive_id *old, size_t *out_count)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(entries[middle].old.bytes, old->bytes, ARCHIVE_ID_SIZE) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < count && archive_id_equal(&entries[end].old, old))
        end++;
    *out_count = end - low;
    return entries + low;
}

bool remap_compose(const struct remap_entry *entry, const struct remap_entry *next,
                   struct remap_entry *out)
{
    uint32_t end = entry->at + (entry->end - entry->from);
    uint32_t low = entry->at > next->from ? entry->at : next->from;
    uint32_t high = end < next->end ? end : next->end;

    if (low >= high)
        return false;
    *out = (struct remap_entry){
        .old = entry->old,
        .new = next->new,
        .kind = entry->kind,
        .from = entry->from + (low - entry->at),
        .end = entry->from + (high - entry->at),
        .at = next->at + (low - next->from),
    };
    return true;
}

static int put_entry(struct buf *out, const struct remap_entry *entry, struct err *err)
{
    uint8_t bytes[ENTRY_SIZE];
    uint8_t *numbers = bytes + 2 * ARCHIVE_ID_SIZE + 1;

    memcpy(bytes, entry->old.bytes, ARCHIVE_ID_SIZE);
    memcpy(bytes + ARCHIVE_ID_SIZE, entry->new.bytes, ARCHIVE_ID_SIZE);
    bytes[2 * ARCHIVE_ID_SIZE] = (uint8_t)entry->kind;
    store_le32(numbers, entry->from);
    store_le32(numbers + 4, entry->end);
    store_le32(numbers + 8, entry->at);
    return buf_append(out, bytes, sizeof(bytes), err);
}

int remap_document_encode(const struct remap_document *document, struct buf *out, struct err *err)
{
    int r = put_varint(out, DOCUMENT_VERSION, err);

    if (r == 0)
        r = put_varint(out, 0, err); /* required flags */
    if (r == 0)
        r = put_varint(out, document->superseded_count, err);
    for (size_t i = 0; r == 0 && i < document->superseded_count; i++)
        r = buf_append(out, document->superseded[i].bytes, ARCHIVE_ID_SIZE, err);
    if (r == 0)
        r = put_varint(out, document->count, err);
    for (size_t i = 0; r == 0 && i < document->count; i++)
        r = put_entry(out, &document->entries[i], err);
    return r;
}

static bool take_entry(struct cursor *in, struct remap_entry *out)
{
    const uint8_t *bytes = read_bytes(in, ENTRY_SIZE);

    if (!bytes)
        return false;
    const uint8_t *numbers = bytes + 2 * ARCHIVE_ID_SIZE + 1;
    memcpy(out->old.bytes, bytes, ARCHIVE_ID_SIZE);
    memcpy(out->new.bytes, bytes + ARCHIVE_ID_SIZE, ARCHIVE_ID_SIZE);
    out->kind = bytes[2 * ARCHIVE_ID_SIZE];
    out->from = load_le32(numbers);
    out->end = load_le32(numbers + 4);
    out->at = load_le32(numbers + 8);
    return (out->kind == ARCHIVE_DATA || out->kind == ARCHIVE_METADATA) && out->from < out->end &&
           out->end - out->from <= UINT32_MAX - out->at && !archive_id_equal(&out->old, &out->new);
}

/* In memory only as many as there are bytes for. */
static int take_superseded(struct cursor *in, struct remap_document *out, struct err *err)
{
    uint64_t count = read_varint(in);

    if (in->failed || count > REMAP_OBJECTS_MAX || count > cursor_left(in) / ARCHIVE_ID_SIZE)
        return err_set(err, ERR_CORRUPT, "a remap that cannot be");
    out->superseded = calloc((size_t)count + 1, sizeof(*out->superseded));
    if (!out->superseded)
        return err_set(err, ERR_NOMEM, "no memory for a remap");
    for (; out->superseded_count < count; out->superseded_count++) {
        struct archive_id *id = &out->superseded[out->superseded_count];
        memcpy(id->bytes, read_bytes(in, ARCHIVE_ID_SIZE), ARCHIVE_ID_SIZE);
        if (out->superseded_count > 0 && memcmp(id[-1].bytes, id->bytes, ARCHIVE_ID_SIZE) >= 0)
            return err_set(err, ERR_CORRUPT, "a remap that cannot be: its ids do not ascend");
    }
    return 0;
}

static int take_entries(struct cursor *in, struct remap_document *out, struct err *err)
{
    uint64_t count = read_varint(in);
    size_t alike = 0;

    if (in->failed || count > REMAP_ENTRIES_MAX || count * ENTRY_SIZE != cursor_left(in))
        return err_set(err, ERR_CORRUPT, "a remap that cannot be");
    out->entries = calloc((size_t)count + 1, sizeof(*out->entries));
    if (!out->entries)
        return err_set(err, ERR_NOMEM, "no memory for a remap");
    for (; out->count < count; out->count++) {
        struct remap_entry *entry = &out->entries[out->count];
        if (!take_entry(in, entry))
            return err_set(err, ERR_CORRUPT, "an entry of a remap that cannot be");
        if (out->count > 0 && remap_compare(entry - 1, entry) >= 0)
            return err_set(err, ERR_CORRUPT, "a remap that cannot be: its entries do not ascend");
        alike = out->count > 0 && archive_id_equal(&entry[-1].old, &entry->old) ? alike + 1 : 1;
        if (alike > REMAP_ALIKE_MAX)
            return err_set(err, ERR_CORRUPT, "a remap that cannot be: too much of one archive");
    }
    return 0;
}

/* No entry leads to where another one begins: nothing goes round in circles. */
static int check_flat(const struct remap_document *document, struct err *err)
{
    struct remap_entry composed;
    size_t count;

    for (size_t i = 0; i < document->count; i++) {
        const struct remap_entry *entry = &document->entries[i];
        const struct remap_entry *next =
            remap_about(document->entries, document->count, &entry->new, &count);
        for (size_t j = 0; j < count; j++)
            if (next[j].kind != entry->kind || remap_compose(entry, &next[j], &composed))
                return err_set(err, ERR_CORRUPT, "a remap that cannot be: it is not flat");
    }
    return 0;
}

int remap_document_decode(const uint8_t *bytes, size_t size, struct remap_document *out,
                          struct err *err)
{
    CLEANUP(remap_document_clear) struct remap_document document = {0};
    struct cursor in = cursor_of(bytes, size);

    if (read_varint(&in) != DOCUMENT_VERSION || read_varint(&in) != 0 || in.failed)
        return err_set(err, ERR_CORRUPT, "a remap that cannot be, or of a newer yester");
    int r = take_superseded(&in, &document, err);
    if (r == 0)
        r = take_entries(&in, &document, err);
    if (r == 0)
        r = check_flat(&document, err);
    if (r < 0)
        return r;
    *out = document;
    document = (struct remap_document){0};
    return 0;
}
