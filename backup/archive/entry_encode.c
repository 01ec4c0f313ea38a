/* Records and inode items to bytes.  What entry_decode() would refuse is not written. */
#include <stdlib.h>

#include "backup/archive/entry_internal.h"
#include "backup/base/buf.h"
#include "backup/base/err.h"
#include "backup/base/path.h"

/* Room for all numbers of a record: 12 varints and the type. */
enum { NUMBERS_SIZE_MAX = 1 + 12 * VARINT_MAX };

int reftable_index(struct reftable *table, uint32_t archive, size_t *out, struct err *err)
{
    /* Neighbours are mostly in the archive that was mentioned last. */
    for (size_t i = table->count; i > 0; i--) {
        if (table->archives[i - 1] == archive) {
            *out = i - 1;
            return 0;
        }
    }
    if (table->count == BLOCK_REFS_MAX)
        return err_set(err, ERR_TOO_LARGE, "more than %d archives in a block", BLOCK_REFS_MAX);
    *out = table->count;
    table->archives[table->count++] = archive;
    return 0;
}

static int note_patch(struct patches *patches, size_t at, uint32_t archive, struct err *err)
{
    if (patches->count == patches->capacity) {
        size_t capacity = patches->capacity > 0 ? 2 * patches->capacity : 16;
        struct patch *list = realloc(patches->list, capacity * sizeof(*list));

        if (!list)
            return err_set(err, ERR_NOMEM, "no memory for %zu references", capacity);
        patches->list = list;
        patches->capacity = capacity;
    }
    patches->list[patches->count++] = (struct patch){.at = (uint32_t)at, .archive = archive};
    return 0;
}

int encoder_put_place(struct encoder *encoder, struct place place, struct err *err)
{
    size_t index = 0;
    int r;

    if (place.archive == NO_ARCHIVE)
        return err_set(err, ERR_USAGE, "an entry without its place");
    if (encoder->patches) {
        r = note_patch(encoder->patches, encoder->out->size, place.archive, err);
    } else {
        r = reftable_index(encoder->refs, place.archive, &index, err);
        if (r == 0)
            r = put_varint(encoder->out, index, err);
    }
    return r < 0 ? r : put_varint(encoder->out, place.raw, err);
}

int encoder_put_extent(struct encoder *encoder, const struct extent *extent, struct err *err)
{
    bool hole = extent_is_hole(extent);

    if (extent->length == 0 || extent->length > INT64_MAX ||
        (!hole && extent->length > UINT32_MAX - extent->place.raw))
        return err_set(err, ERR_USAGE, "an extent of %llu bytes",
                       (unsigned long long)extent->length);
    int r = put_varint(encoder->out, extent->length << 1 | (hole ? 1 : 0), err);
    if (r < 0 || hole)
        return r;
    return encoder_put_place(encoder, extent->place, err);
}

/* Extents that a cursor has just been over are not damaged: the block was checked. */
static int next_of_list(const struct content *content, size_t index, struct cursor *encoded,
                        struct extent *out, struct err *err)
{
    if (content->list)
        *out = content->list[index];
    else if (!read_extent(content->block, encoded, out))
        return err_set(err, ERR_CORRUPT, "bad extent");
    return 0;
}

static int put_list(struct encoder *encoder, const struct content *content, struct err *err)
{
    uint64_t left = content->size;
    struct cursor encoded = {.failed = true};

    if (content->count == 0 || content->count > INLINE_EXTENTS_MAX)
        return err_set(err, ERR_USAGE, "a list of %zu extents", content->count);
    if (!content->list)
        encoded = cursor_of(content->bytes, (size_t)(content->end - content->bytes));
    int r = put_varint(encoder->out, content->count, err);
    for (size_t i = 0; r == 0 && i < content->count; i++) {
        struct extent extent;

        r = next_of_list(content, i, &encoded, &extent, err);
        if (r == 0 && extent.length > left)
            return err_set(err, ERR_USAGE, "extents beyond the size");
        if (r == 0)
            r = encoder_put_extent(encoder, &extent, err);
        left -= r == 0 ? extent.length : 0;
    }
    if (r == 0 && left > 0)
        return err_set(err, ERR_USAGE, "extents that end before the size");
    return r;
}

static int put_content(struct encoder *encoder, const struct content *content, struct err *err)
{
    int r;

    switch (content->form) {
    case CONTENT_ONE:
        if (content->size > UINT32_MAX - content->place.raw)
            return err_set(err, ERR_USAGE, "an extent beyond its archive");
        r = put_u8(encoder->out, 0, err);
        return r < 0 ? r : encoder_put_place(encoder, content->place, err);
    case CONTENT_LIST:
        r = put_u8(encoder->out, 1, err);
        return r < 0 ? r : put_list(encoder, content, err);
    case CONTENT_TREE:
        r = put_u8(encoder->out, 2, err);
        return r < 0 ? r : encoder_put_place(encoder, content->place, err);
    default:
        return err_set(err, ERR_USAGE, "a file without its content");
    }
}

static int put_file(struct encoder *encoder, const struct entry *entry, struct err *err)
{
    if (entry->size > INT64_MAX || entry->content.size != entry->size)
        return err_set(err, ERR_USAGE, "a file whose content is not as long as its size");
    int r = put_varint(encoder->out, entry->size, err);
    if (r < 0 || entry->size == 0)
        return r;
    r = buf_append(encoder->out, entry->digest, ENTRY_DIGEST_SIZE, err);
    return r < 0 ? r : put_content(encoder, &entry->content, err);
}

static int put_directory(struct encoder *encoder, const struct entry *entry, struct err *err)
{
    static const uint8_t empty[5];
    const struct dirref *directory = &entry->directory;

    if (entry->below_entries < directory->entries)
        return err_set(err, ERR_USAGE, "a directory whose sums are too small");
    if (directory->entries == 0)
        return buf_append(encoder->out, empty, sizeof(empty), err);
    int r = encoder_put_place(encoder, directory->place, err);
    if (r == 0)
        r = put_varint(encoder->out, directory->entries, err);
    if (r == 0)
        r = put_varint(encoder->out, entry->below_entries, err);
    if (r == 0)
        r = put_varint(encoder->out, entry->below_bytes, err);
    return r;
}

static int put_target(struct encoder *encoder, const struct entry *entry, struct err *err)
{
    if (entry->target_size == 0 || entry->target_size > ENTRY_TARGET_MAX ||
        memchr(entry->target, 0, entry->target_size))
        return err_set(err, ERR_USAGE, "a symbolic link to %zu bytes", entry->target_size);
    int r = put_varint(encoder->out, entry->target_size, err);
    return r < 0 ? r : buf_append(encoder->out, entry->target, entry->target_size, err);
}

static int put_by_type(struct encoder *encoder, const struct entry *entry, struct err *err)
{
    switch (entry->type) {
    case ENTRY_FILE:
        return put_file(encoder, entry, err);
    case ENTRY_DIRECTORY:
        return put_directory(encoder, entry, err);
    case ENTRY_SYMLINK:
        return put_target(encoder, entry, err);
    case ENTRY_CHARDEV:
    case ENTRY_BLOCKDEV:
        return put_varint(encoder->out, entry->rdev, err);
    default:
        return 0;
    }
}

static int put_xattrs(struct encoder *encoder, const struct content *xattrs, struct err *err)
{
    bool is_inline = xattrs->form == CONTENT_INLINE;
    size_t limit = is_inline ? INLINE_XATTRS_MAX : ENTRY_XATTRS_MAX;

    if (xattrs->form == CONTENT_NONE)
        return 0;
    if (xattrs->size == 0 || xattrs->size > limit)
        return err_set(err, ERR_USAGE, "%llu bytes of extended attributes",
                       (unsigned long long)xattrs->size);
    int r = put_u8(encoder->out, is_inline ? 0 : 1, err);
    if (r == 0)
        r = put_varint(encoder->out, xattrs->size, err);
    if (r < 0)
        return r;
    if (is_inline)
        return buf_append(encoder->out, xattrs->bytes, xattrs->size, err);
    return put_content(encoder, xattrs, err);
}

static uint8_t *add_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static uint8_t *add_zigzag(uint8_t *at, uint64_t value)
{
    return add_varint(at, value << 1 ^ (0 - (value >> 63)));
}

static int put_numbers(struct encoder *encoder, const struct entry *entry, bool shared,
                       struct err *err)
{
    uint8_t bytes[NUMBERS_SIZE_MAX];
    uint8_t flags = entry->flags & (ENTRY_CHANGED | ENTRY_PARTIAL);
    uint8_t *at = bytes;

    if (entry->xattrs.form != CONTENT_NONE)
        flags |= ENTRY_XATTRS;
    *at++ = (uint8_t)(entry->type | flags);
    at = add_varint(at, entry->mode);
    at = add_varint(at, entry->uid);
    at = add_varint(at, entry->gid);
    at = add_zigzag(at, (uint64_t)entry->mtime_s);
    at = add_varint(at, entry->mtime_ns);
    at = add_zigzag(at, (uint64_t)entry->ctime_s - (uint64_t)entry->mtime_s);
    at = add_varint(at, entry->ctime_ns);
    at = add_varint(at, entry->inode);
    at = add_varint(at, entry->device);
    if (shared)
        at = add_varint(at, entry->links);
    return buf_append(encoder->out, bytes, (size_t)(at - bytes), err);
}

static int put_attributes(struct encoder *encoder, const struct entry *entry, bool shared,
                          struct err *err)
{
    bool directory = entry->type == ENTRY_DIRECTORY;

    if (entry->type < ENTRY_FILE || entry->type > ENTRY_SOCKET || (directory && shared) ||
        (!directory && entry->flags & ENTRY_PARTIAL))
        return err_set(err, ERR_USAGE, "an entry of type %d, flags %d", (int)entry->type,
                       entry->flags);
    if (entry->mode > 07777 || entry->mtime_ns >= 1000000000 || entry->ctime_ns >= 1000000000 ||
        (shared && entry->links == 0))
        return err_set(err, ERR_USAGE, "an entry's mode, times or links are out of range");
    int r = put_numbers(encoder, entry, shared, err);
    if (r == 0)
        r = put_by_type(encoder, entry, err);
    return r < 0 ? r : put_xattrs(encoder, &entry->xattrs, err);
}

static int put_record(struct encoder *encoder, const struct entry *entry, struct err *err)
{
    if (entry->name_size > ENTRY_NAME_MAX || !path_is_name(entry->name, entry->name_size))
        return err_set(err, ERR_USAGE, "not the name of a file");
    int r = put_varint(encoder->out, entry->name_size, err);
    if (r == 0)
        r = buf_append(encoder->out, entry->name, entry->name_size, err);
    if (r < 0)
        return r;
    if (!entry->shared && entry->type != ENTRY_LINK)
        return put_attributes(encoder, entry, false, err);
    r = put_u8(encoder->out, ENTRY_LINK, err);
    return r < 0 ? r : encoder_put_place(encoder, entry->shared ? entry->place : entry->link, err);
}

/* All or nothing: `put` may have written a part of it. */
static int put_whole(struct encoder *encoder, const struct entry *entry,
                     int (*put)(struct encoder *, const struct entry *, struct err *),
                     struct err *err)
{
    size_t size = encoder->out->size;
    size_t refs = encoder->refs ? encoder->refs->count : 0;
    size_t patches = encoder->patches ? encoder->patches->count : 0;

    int r = put(encoder, entry, err);
    if (r == 0)
        return 0;
    encoder->out->size = size;
    if (encoder->refs)
        encoder->refs->count = refs;
    if (encoder->patches)
        encoder->patches->count = patches;
    return r;
}

int encoder_put_record(struct encoder *encoder, const struct entry *entry, struct err *err)
{
    return put_whole(encoder, entry, put_record, err);
}

int entry_encode(const struct entry *entry, struct reftable *refs, struct buf *out, struct err *err)
{
    struct encoder encoder = {.out = out, .refs = refs};

    return put_whole(&encoder, entry, put_record, err);
}

static int put_inode(struct encoder *encoder, const struct entry *entry, struct err *err)
{
    int r = put_u8(encoder->out, ITEM_INODE, err);

    return r < 0 ? r : put_attributes(encoder, entry, true, err);
}

int entry_encode_inode(const struct entry *entry, struct reftable *refs, struct buf *out,
                       struct err *err)
{
    struct encoder encoder = {.out = out, .refs = refs};

    return put_whole(&encoder, entry, put_inode, err);
}
