#include "backup/archive/entry.h"

#include <assert.h>
#include <sys/stat.h>

#include "backup/archive/entry_internal.h"
#include "backup/archive/idtable.h"
#include "backup/base/buf.h"
#include "backup/base/err.h"

uint32_t entry_st_mode(const struct entry *entry)
{
    static const uint32_t formats[] = {
        [ENTRY_FILE] = S_IFREG,    [ENTRY_DIRECTORY] = S_IFDIR, [ENTRY_SYMLINK] = S_IFLNK,
        [ENTRY_CHARDEV] = S_IFCHR, [ENTRY_BLOCKDEV] = S_IFBLK,  [ENTRY_FIFO] = S_IFIFO,
        [ENTRY_SOCKET] = S_IFSOCK,
    };

    assert(entry->type >= ENTRY_FILE && entry->type <= ENTRY_SOCKET);
    return formats[entry->type] | entry->mode;
}

size_t entry_items_size(const struct block *block)
{
    size_t count = load_le16(block->data + block->size - TABLE_COUNT_SIZE);

    return block->size - TABLE_COUNT_SIZE - count * TABLE_SLOT_SIZE;
}

static int prepare_slot(uint8_t *slot, struct idtable *ids, struct err *err)
{
    uint8_t kind = slot[TABLE_KIND];
    struct archive_id id;
    uint32_t number;

    if (kind != ARCHIVE_DATA && kind != ARCHIVE_METADATA)
        return err_set(err, ERR_CORRUPT, "block refers to an archive of kind %u", kind);
    memcpy(id.bytes, slot, sizeof(id.bytes));
    int r = idtable_number(ids, &id, (enum archive_kind)kind, &number, err);
    if (r == 0)
        memcpy(slot, &number, sizeof(number));
    return r;
}

int entry_prepare_block(struct block *block, struct idtable *ids, struct err *err)
{
    if (block->size < TABLE_COUNT_SIZE)
        return err_set(err, ERR_CORRUPT, "block of %zu bytes", block->size);

    size_t count = load_le16(block->data + block->size - TABLE_COUNT_SIZE);
    size_t table = TABLE_COUNT_SIZE + count * TABLE_SLOT_SIZE;
    if (count > BLOCK_REFS_MAX || table >= block->size)
        return err_set(err, ERR_CORRUPT, "block of %zu bytes that refers to %zu archives",
                       block->size, count);
    for (size_t i = 0; i < count; i++) {
        int r = prepare_slot(block->data + block->size - table + i * TABLE_SLOT_SIZE, ids, err);
        if (r < 0)
            return r;
    }
    return 0;
}

size_t entry_references(const struct block *block)
{
    return load_le16(block->data + block->size - TABLE_COUNT_SIZE);
}

uint32_t entry_reference(const struct block *block, size_t index)
{
    size_t from_end = TABLE_COUNT_SIZE + (entry_references(block) - index) * TABLE_SLOT_SIZE;
    uint32_t number;

    memcpy(&number, block->data + block->size - from_end, sizeof(number));
    return number;
}

int entry_ref(const struct block *block, uint64_t index, uint64_t raw, struct place *out,
              struct err *err)
{
    uint32_t archive;

    if (raw >= UINT32_MAX || (!table_archive(block, index, ARCHIVE_DATA, &archive) &&
                              !table_archive(block, index, ARCHIVE_METADATA, &archive)))
        return err_set(err, ERR_CORRUPT, "reference to archive %llu of a block, offset %llu",
                       (unsigned long long)index, (unsigned long long)raw);
    *out = (struct place){.archive = archive, .raw = (uint32_t)raw};
    return 0;
}

int xattrs_append(struct buf *set, const char *name, size_t name_size, const void *value,
                  size_t value_size, struct err *err)
{
    size_t before = set->size;

    if (name_size == 0 || name_size > ENTRY_NAME_MAX || memchr(name, 0, name_size))
        return err_set(err, ERR_USAGE, "not the name of an extended attribute");
    int r = put_varint(set, name_size, err);
    if (r == 0)
        r = buf_append(set, name, name_size, err);
    if (r == 0)
        r = put_varint(set, value_size, err);
    if (r == 0)
        r = buf_append(set, value, value_size, err);
    if (r < 0)
        set->size = before;
    return r;
}

int xattrs_next(const uint8_t **at, const uint8_t *end, const char **name, size_t *name_size,
                const uint8_t **value, size_t *value_size, struct err *err)
{
    struct cursor in = cursor_of(*at, (size_t)(end - *at));

    if (*at == end)
        return 0;
    uint64_t name_length = read_varint(&in);
    const uint8_t *name_bytes = read_bytes(&in, name_length);
    uint64_t value_length = read_varint(&in);
    const uint8_t *value_bytes = read_bytes(&in, value_length);
    if (in.failed || name_length == 0 || name_length > ENTRY_NAME_MAX ||
        memchr(name_bytes, 0, name_length))
        return err_set(err, ERR_CORRUPT, "extended attributes are damaged");
    *name = (const char *)name_bytes;
    *name_size = name_length;
    *value = value_bytes;
    *value_size = value_length;
    *at = in.at;
    return 1;
}
