/* An entry as a record of the sorter. */
#include <string.h>

#include "backup/base/bytes.h"
#include "backup/base/path.h"
#include "backup/job/gather_internal.h"

int gather_path_check(const char *path, struct err *err)
{
    const char *at = path, *end = path + strlen(path), *name;
    size_t size, sum = 0;

    while (path_next(&at, end, &name, &size)) {
        if (size > ENTRY_NAME_MAX || !path_is_name(name, size))
            return err_set(err, ERR_USAGE, "not the name of a file: %.*s",
                           (int)(size < 200 ? size : 200), name);
        sum += size + 1;
    }
    /* Each component with one slash behind it but the last: then there is no other slash. */
    if (sum == 0 || sum != (size_t)(end - path) + 1)
        return err_set(err, ERR_USAGE, "not a path below a type: %.200s", path);
    if (sum > GATHER_PATH_MAX)
        return err_set(err, ERR_TOO_LARGE, "a path of %zu bytes", sum);
    return 0;
}

static int put_extent(struct buf *out, uint64_t length, struct place place, struct err *err)
{
    int r = put_varint(out, length, err);

    if (r == 0)
        r = put_u32(out, place.archive, err);
    return r < 0 ? r : put_u32(out, place.raw, err);
}

static int put_content(struct buf *out, const struct content *content, struct err *err)
{
    int r = put_u8(out, (uint8_t)content->form, err);

    if (r == 0)
        r = put_varint(out, content->size, err);
    if (r == 0 && (content->form == CONTENT_ONE || content->form == CONTENT_TREE))
        r = put_extent(out, 0, content->place, err);
    if (r < 0 || content->form != CONTENT_LIST)
        return r;
    r = put_varint(out, content->count, err);
    for (size_t i = 0; r == 0 && i < content->count; i++)
        r = put_extent(out, content->list[i].length, content->list[i].place, err);
    return r;
}

static int put_bytes(struct buf *out, const void *bytes, size_t size, struct err *err)
{
    int r = put_varint(out, size, err);

    return r < 0 || size == 0 ? r : buf_append(out, bytes, size, err);
}

static int put_attributes(struct buf *out, const struct entry *entry, struct err *err)
{
    const uint64_t numbers[] = {entry->mode, entry->uid, entry->gid, entry->mtime_ns};

    int r = put_u8(out, (uint8_t)entry->type, err);
    if (r == 0)
        r = put_u8(out, entry->flags, err);
    for (size_t i = 0; r == 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++)
        r = put_varint(out, numbers[i], err);
    return r < 0 ? r : put_zigzag(out, entry->mtime_s, err);
}

/* A name holds neither slash nor NUL: so the key sorts as a walk goes, and ends where a component
 * is empty. */
static int put_key(struct buf *out, const char *path, struct err *err)
{
    size_t size = strlen(path), start = out->size;
    const uint8_t ends[2] = {0, 0};

    int r = buf_append(out, path, size, err);
    if (r == 0)
        r = buf_append(out, ends, sizeof(ends), err);
    for (size_t i = 0; r == 0 && i < size; i++)
        if (out->data[start + i] == '/')
            out->data[start + i] = 0;
    return r;
}

int gather_record_encode(const char *path, const struct entry *entry, struct buf *out,
                         struct err *err)
{
    size_t xattrs = entry->xattrs.form == CONTENT_INLINE ? (size_t)entry->xattrs.size : 0;

    int r = put_key(out, path, err);
    if (r == 0)
        r = put_attributes(out, entry, err);
    if (r == 0)
        r = buf_append(out, entry->digest, sizeof(entry->digest), err);
    if (r == 0)
        r = put_content(out, &entry->content, err);
    if (r == 0)
        r = put_bytes(out, entry->xattrs.bytes, xattrs, err);
    return r < 0 ? r : put_bytes(out, entry->target, entry->target_size, err);
}

static void read_extent(struct cursor *in, struct extent *out)
{
    out->length = read_varint(in);
    out->place.archive = read_u32(in);
    out->place.raw = read_u32(in);
}

static void read_content(struct cursor *in, struct gather_record *out)
{
    struct content *content = &out->entry.content;
    struct extent extent;

    *content = (struct content){.form = (enum content_form)read_u8(in), .size = read_varint(in)};
    if (content->form == CONTENT_ONE || content->form == CONTENT_TREE) {
        read_extent(in, &extent);
        content->place = extent.place;
    }
    if (content->form != CONTENT_LIST)
        return;
    uint64_t count = read_varint(in);
    in->failed = in->failed || count > INLINE_EXTENTS_MAX;
    for (size_t i = 0; !in->failed && i < count; i++)
        read_extent(in, &out->extents[i]);
    content->list = out->extents;
    content->count = (size_t)count;
}

static const uint8_t *read_sized(struct cursor *in, size_t *out_size)
{
    uint64_t size = read_varint(in);

    in->failed = in->failed || size > GATHER_RECORD_MAX;
    *out_size = in->failed ? 0 : (size_t)size;
    return read_bytes(in, *out_size);
}

static void read_attributes(struct cursor *in, struct entry *entry)
{
    entry->type = (enum entry_type)read_u8(in);
    entry->flags = read_u8(in);
    entry->mode = (uint32_t)read_varint(in);
    entry->uid = (uint32_t)read_varint(in);
    entry->gid = (uint32_t)read_varint(in);
    entry->mtime_ns = entry->ctime_ns = (uint32_t)read_varint(in);
    entry->mtime_s = entry->ctime_s = read_zigzag(in);
    entry->links = 1;
}

static void read_rest(struct cursor *in, struct gather_record *out)
{
    struct entry *entry = &out->entry;
    size_t size;

    read_attributes(in, entry);
    const uint8_t *bytes = read_bytes(in, sizeof(entry->digest));
    if (bytes)
        memcpy(entry->digest, bytes, sizeof(entry->digest));
    read_content(in, out);
    entry->size = entry->type == ENTRY_FILE ? entry->content.size : 0;
    entry->directory.place.archive = NO_ARCHIVE;
    bytes = read_sized(in, &size);
    if (size > 0)
        entry->xattrs = (struct content){
            .form = CONTENT_INLINE, .size = size, .bytes = bytes, .end = bytes + size};
    entry->target = (const char *)read_sized(in, &entry->target_size);
}

int gather_record_decode(const uint8_t *bytes, size_t size, struct gather_record *out,
                         struct err *err)
{
    size_t at = 0, name = 0;

    out->entry = (struct entry){0};
    while (at < size && bytes[at] != 0) {
        const uint8_t *end = memchr(bytes + at, 0, size - at);
        name = at;
        at = end ? (size_t)(end - bytes) + 1 : size;
    }
    out->key = bytes;
    out->key_size = at;
    struct cursor in = cursor_of(bytes + at, size - at);
    (void)read_u8(&in);
    read_rest(&in, out);
    out->entry.name = (const char *)bytes + name;
    out->entry.name_size = at > name ? at - name - 1 : 0;
    if (in.failed || cursor_left(&in) > 0)
        return err_set(err, ERR_SYSTEM, "a temporary file was damaged");
    return 0;
}
