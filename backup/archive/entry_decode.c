/* Records and inode items from bytes: every value of every field is checked here, once, so that
 * whoever has a struct entry need not. */
#include <sys/types.h>

#include "backup/archive/entry_internal.h"
#include "backup/base/err.h"

/* The parts below return NULL, or in a few words what is bad. */
static int bad_record(struct place place, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "record at raw offset %u: bad %s", place.raw, what);
}

static inline bool is_name(const uint8_t *name, size_t size)
{
    if (size == 0 || size > ENTRY_NAME_MAX)
        return false;
    if (name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.')))
        return false;
    for (size_t i = 0; i < size; i++)
        if (name[i] == '/' || name[i] == '\0')
            return false;
    return true;
}

static const char *decode_list(const struct block *block, struct cursor *in, struct content *out)
{
    uint64_t count = read_varint(in);
    uint64_t left = out->size;
    struct extent extent;

    if (in->failed || count == 0 || count > INLINE_EXTENTS_MAX)
        return "number of extents";
    out->bytes = in->at;
    for (uint64_t i = 0; i < count; i++) {
        if (!read_extent(block, in, &extent) || extent.length > left)
            return "extent";
        left -= extent.length;
    }
    out->end = in->at;
    out->count = (size_t)count;
    return left == 0 ? NULL : "extents";
}

/* `form` was read; out->size is set and not 0. */
static const char *decode_content(const struct block *block, struct cursor *in, uint8_t form,
                                  struct content *out)
{
    out->block = block;
    switch (form) {
    case 0:
        out->form = CONTENT_ONE;
        if (!read_place(block, in, ARCHIVE_DATA, &out->place))
            return "place";
        return out->size <= UINT32_MAX - out->place.raw ? NULL : "extent";
    case 1:
        out->form = CONTENT_LIST;
        return decode_list(block, in, out);
    case 2:
        out->form = CONTENT_TREE;
        return read_place(block, in, ARCHIVE_METADATA, &out->place) ? NULL : "place";
    default:
        return "form of content";
    }
}

static const char *decode_file(const struct block *block, struct cursor *in, struct entry *out)
{
    out->size = read_varint(in);
    out->content.size = out->size;
    if (out->size > INT64_MAX)
        return "size";
    if (out->size == 0)
        return NULL;
    const uint8_t *digest = read_bytes(in, ENTRY_DIGEST_SIZE);
    uint8_t form = read_u8(in);
    if (in->failed)
        return "digest";
    memcpy(out->digest, digest, ENTRY_DIGEST_SIZE);
    return decode_content(block, in, form, &out->content);
}

static const char *decode_directory(const struct block *block, struct cursor *in, struct entry *out)
{
    uint64_t index = read_varint(in);
    uint64_t raw = read_varint(in);

    out->directory = (struct dirref){.place = {.archive = NO_ARCHIVE}};
    out->directory.entries = read_varint(in);
    out->below_entries = read_varint(in);
    out->below_bytes = read_varint(in);
    if (in->failed || raw >= UINT32_MAX || out->below_entries < out->directory.entries)
        return "directory";
    if (out->directory.entries == 0)
        return index == 0 && raw == 0 && out->below_entries == 0 && out->below_bytes == 0
                   ? NULL
                   : "empty directory";
    out->directory.place.raw = (uint32_t)raw;
    return table_archive(block, index, ARCHIVE_METADATA, &out->directory.place.archive) ? NULL
                                                                                        : "place";
}

static const char *decode_target(struct cursor *in, struct entry *out)
{
    uint64_t size = read_varint(in);
    const uint8_t *target = read_bytes(in, size);

    if (!target || size == 0 || size > ENTRY_TARGET_MAX || memchr(target, 0, size))
        return "target";
    out->target = (const char *)target;
    out->target_size = size;
    return NULL;
}

static const char *decode_by_type(const struct block *block, struct cursor *in, struct entry *out)
{
    switch (out->type) {
    case ENTRY_FILE:
        return decode_file(block, in, out);
    case ENTRY_DIRECTORY:
        return decode_directory(block, in, out);
    case ENTRY_SYMLINK:
        return decode_target(in, out);
    case ENTRY_CHARDEV:
    case ENTRY_BLOCKDEV:
        out->rdev = read_varint(in);
        return NULL;
    default:
        return NULL;
    }
}

static const char *decode_xattrs(const struct block *block, struct cursor *in, struct content *out)
{
    uint8_t form = read_u8(in);

    out->size = read_varint(in);
    if (form == 1) {
        uint8_t content_form = read_u8(in);

        if (in->failed || out->size == 0 || out->size > ENTRY_XATTRS_MAX)
            return "extended attributes";
        return decode_content(block, in, content_form, out);
    }
    out->form = CONTENT_INLINE;
    out->block = block;
    out->bytes = read_bytes(in, out->size);
    out->end = in->at;
    return out->bytes && form == 0 && out->size > 0 && out->size <= INLINE_XATTRS_MAX
               ? NULL
               : "extended attributes";
}

static const char *decode_numbers(struct cursor *in, struct entry *out)
{
    uint64_t mode = read_varint(in);
    uint64_t uid = read_varint(in);
    uint64_t gid = read_varint(in);
    int64_t mtime = read_zigzag(in);
    uint64_t mtime_ns = read_varint(in);
    uint64_t ctime = (uint64_t)mtime + (uint64_t)read_zigzag(in); /* modulo 2^64 */
    uint64_t ctime_ns = read_varint(in);

    if (mode > 07777 || uid > UINT32_MAX || gid > UINT32_MAX)
        return "mode or owner";
    if (mtime_ns >= 1000000000 || ctime_ns >= 1000000000)
        return "time";
    out->mode = (uint32_t)mode;
    out->uid = (uint32_t)uid;
    out->gid = (uint32_t)gid;
    out->mtime_s = mtime;
    out->mtime_ns = (uint32_t)mtime_ns;
    out->ctime_s = (int64_t)ctime;
    out->ctime_ns = (uint32_t)ctime_ns;
    out->inode = read_varint(in);
    out->device = read_varint(in);
    return NULL;
}

/* What stands behind the type in a record and in an inode item. */
static const char *decode_attributes(const struct block *block, struct cursor *in,
                                     struct entry *out)
{
    const char *bad = decode_numbers(in, out);

    if (bad)
        return bad;
    out->links = out->shared ? read_varint(in) : 1;
    if (out->links == 0)
        return "number of links";
    bad = decode_by_type(block, in, out);
    if (!bad && out->flags & ENTRY_XATTRS)
        bad = decode_xattrs(block, in, &out->xattrs);
    if (!bad && in->failed)
        bad = "end";
    return bad;
}

static bool take_type(struct cursor *in, struct entry *out)
{
    uint8_t byte = read_u8(in);
    unsigned type = byte & 15;

    out->flags = byte & 0xF0;
    out->type = (enum entry_type)type;
    if (type == ENTRY_LINK)
        return out->flags == 0 && !out->shared;
    if (type < ENTRY_FILE || type > ENTRY_SOCKET || byte & 128)
        return false;
    if (type == ENTRY_DIRECTORY)
        return !out->shared;
    return !(byte & ENTRY_PARTIAL);
}

int entry_decode(const struct block *block, size_t offset, struct place place, struct entry *out,
                 size_t *out_size, struct err *err)
{
    struct cursor in = cursor_at(block, offset);
    uint64_t name_size = read_varint(&in);
    const uint8_t *name = read_bytes(&in, name_size);
    struct entry entry = {.place = place, .name = (const char *)name, .name_size = name_size};

    if (!name || !is_name(name, name_size))
        return bad_record(place, "name", err);
    if (!take_type(&in, &entry))
        return bad_record(place, "type", err);
    const char *bad = NULL;
    if (entry.type == ENTRY_LINK)
        bad = read_place(block, &in, ARCHIVE_METADATA, &entry.link) ? NULL : "link";
    else
        bad = decode_attributes(block, &in, &entry);
    if (bad)
        return bad_record(place, bad, err);
    *out = entry;
    if (out_size)
        *out_size = (size_t)(in.at - block->data) - offset;
    return 0;
}

int entry_decode_inode(const struct block *block, size_t offset, struct place place,
                       struct entry *out, struct err *err)
{
    struct cursor in = cursor_at(block, offset);
    struct entry entry = {.place = place, .shared = true, .name = ""};

    if (read_u8(&in) != ITEM_INODE || !take_type(&in, &entry))
        return bad_record(place, "type of an inode", err);
    const char *bad = decode_attributes(block, &in, &entry);
    if (bad)
        return bad_record(place, bad, err);
    *out = entry;
    return 0;
}
