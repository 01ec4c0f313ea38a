#include "fs/merged.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backup/archive/tree.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/sorter.h"
#include "backup/base/spill.h"
#include "fs/timeline.h"

#define SCRATCH "/var/tmp"

enum {
    SORT_MEMORY = 8 * 1024 * 1024,
    WRITE_STEP = 64 * 1024,
    HEADER_SIZE = 16, /* of a name in the file: its size, flags, mode, uid, gid */
};

enum flag { FLAG_DIRECTORY = 1, FLAG_OTHER = 2, FLAG_OTHER_UID = 4, FLAG_OTHER_GID = 8 };

struct merged {
    const uint8_t *map;
    size_t size;
};

void common_add(struct common *common, bool first, uint32_t mode, uint32_t uid, uint32_t gid)
{
    if (first) {
        *common = (struct common){.mode = mode, .uid = uid, .gid = gid};
        return;
    }
    common->mode &= mode;
    common->other_uid = common->other_uid || common->uid != uid;
    common->other_gid = common->other_gid || common->gid != gid;
}

void merged_free(struct merged *merged)
{
    if (!merged)
        return;
    if (merged->map)
        (void)munmap((void *)(uintptr_t)merged->map, merged->size);
    free(merged);
}

static void merged_freep(struct merged **merged)
{
    merged_free(*merged);
}

bool merged_next(const struct merged *merged, uint64_t *position, struct merged_name *out)
{
    if (*position >= merged->size)
        return false;
    const uint8_t *at = merged->map + *position;
    unsigned flags = at[2];
    *out = (struct merged_name){.size = load_le16(at)};
    out->directory = flags & FLAG_DIRECTORY;
    out->other = flags & FLAG_OTHER;
    out->common = (struct common){.mode = load_le32(at + 4),
                                  .uid = load_le32(at + 8),
                                  .gid = load_le32(at + 12),
                                  .other_uid = flags & FLAG_OTHER_UID,
                                  .other_gid = flags & FLAG_OTHER_GID};
    memcpy(out->name, at + HEADER_SIZE, out->size);
    *position += HEADER_SIZE + out->size;
    return true;
}

/* ---- reading ----------------------------------------------------------------------------- */

struct making {
    struct blocks *blocks;
    struct sorter *names;
    struct spillmap *seen; /* directories and leaves */
    int fd;
    uint64_t written;
    struct buf pending;
};

static void making_clear(struct making *making)
{
    sorter_free(making->names);
    spillmap_free(making->seen);
    closep(&making->fd);
    buf_clear(&making->pending);
}

static int is_new(struct making *making, struct place place, bool leaf, bool *out, struct err *err)
{
    uint64_t key = (uint64_t)place.archive << 32 | place.raw, ignored;

    *out = !spillmap_get(making->seen, key, leaf ? 2 : 1, &ignored);
    return *out ? spillmap_put(making->seen, key, leaf ? 2 : 1, 0, err) : 0;
}

/* "NAME\0", then what it was: sorting brings equal names together. */
static int add_entry(struct making *making, const struct entry *entry, struct err *err)
{
    uint8_t record[ENTRY_NAME_MAX + 1 + HEADER_SIZE];
    uint8_t *at = record + entry->name_size;

    memcpy(record, entry->name, entry->name_size);
    *at++ = '\0';
    memset(at, 0, HEADER_SIZE);
    at[0] = entry->type == ENTRY_DIRECTORY;
    if (at[0]) {
        store_le32(at + 4, entry->mode);
        store_le32(at + 8, entry->uid);
        store_le32(at + 12, entry->gid);
    }
    return sorter_add(making->names, record, entry->name_size + 1 + HEADER_SIZE, err);
}

static int read_directory(struct making *making, const struct dirref *directory, struct err *err)
{
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    struct tree_position position;
    const struct entry *entry = NULL;
    struct place leaf = {.archive = NO_ARCHIVE};
    bool fresh = true;
    int rc = tree_open(making->blocks, directory, 0, &cursor, err);

    while (rc == 0 && (rc = tree_next(cursor, &entry, err)) == 0 && entry) {
        tree_position(cursor, &position);
        if (!place_equal(position.leaf, leaf))
            rc = is_new(making, position.leaf, true, &fresh, err);
        leaf = position.leaf;
        if (rc == 0 && fresh)
            rc = add_entry(making, entry, err);
        else
            tree_skip_leaf(cursor);
    }
    return rc;
}

static int read_all(struct making *making, const struct trail *trail, struct err *err)
{
    bool fresh;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < trail->count; i++) {
        const struct run *run = &trail->at[i];
        if (run->type != ENTRY_DIRECTORY || run->directory.entries == 0)
            continue;
        rc = is_new(making, run->directory.place, false, &fresh, err);
        if (rc == 0 && fresh)
            rc = read_directory(making, &run->directory, err);
    }
    return rc;
}

/* ---- writing ----------------------------------------------------------------------------- */

static int flush(struct making *making, struct err *err)
{
    int rc = io_write_full(making->fd, making->pending.data, making->pending.size, err);

    making->written += making->pending.size;
    making->pending.size = 0;
    return rc;
}

static int write_name(struct making *making, const struct merged_name *name, struct err *err)
{
    uint8_t header[HEADER_SIZE] = {0};

    store_le16(header, (uint16_t)name->size);
    header[2] = (uint8_t)((name->directory ? FLAG_DIRECTORY : 0) | (name->other ? FLAG_OTHER : 0) |
                          (name->common.other_uid ? FLAG_OTHER_UID : 0) |
                          (name->common.other_gid ? FLAG_OTHER_GID : 0));
    store_le32(header + 4, name->common.mode);
    store_le32(header + 8, name->common.uid);
    store_le32(header + 12, name->common.gid);
    int rc = buf_append(&making->pending, header, sizeof(header), err);
    if (rc == 0)
        rc = buf_append(&making->pending, name->name, name->size, err);
    return rc == 0 && making->pending.size >= WRITE_STEP ? flush(making, err) : rc;
}

static void gather(struct merged_name *name, const uint8_t *bytes, size_t size)
{
    const uint8_t *at = bytes + size - HEADER_SIZE;

    if (at[0])
        common_add(&name->common, !name->directory, load_le32(at + 4), load_le32(at + 8),
                   load_le32(at + 12));
    name->directory = name->directory || at[0];
    name->other = name->other || !at[0];
}

static int write_all(struct making *making, struct err *err)
{
    struct merged_name name = {0};
    const uint8_t *bytes = NULL;
    size_t size = 0;
    int rc = sorter_finish(making->names, err);

    while (rc == 0 && (rc = sorter_next(making->names, &bytes, &size, err)) == 0 && bytes) {
        size_t length = size - HEADER_SIZE - 1;
        if (name.size != length || memcmp(name.name, bytes, length) != 0) {
            if (name.size > 0)
                rc = write_name(making, &name, err);
            name = (struct merged_name){.size = length};
            memcpy(name.name, bytes, length);
        }
        gather(&name, bytes, size);
    }
    if (rc == 0 && name.size > 0)
        rc = write_name(making, &name, err);
    return rc == 0 && making->pending.size > 0 ? flush(making, err) : rc;
}

static int map_names(const struct making *making, struct merged *merged, struct err *err)
{
    if (making->written == 0)
        return 0;
    void *map = mmap(NULL, making->written, PROT_READ, MAP_SHARED, making->fd, 0);
    if (map == MAP_FAILED)
        return err_sys(err, "names of a directory");
    merged->map = map;
    merged->size = making->written;
    return 0;
}

int merged_make(struct blocks *blocks, const struct trail *trail, struct merged **out,
                struct err *err)
{
    CLEANUP(making_clear)
    struct making making = {.blocks = blocks, .fd = -1, .pending = {.limit = 2 * WRITE_STEP}};
    CLEANUP(merged_freep) struct merged *merged = calloc(1, sizeof(*merged));
    int rc = merged ? sorter_new(SCRATCH, SORT_MEMORY, &making.names, err)
                    : err_set(err, ERR_NOMEM, "out of memory");

    if (rc == 0)
        rc = spillmap_new(SCRATCH, &making.seen, err);
    if (rc == 0)
        rc = io_open_temporary(SCRATCH, &making.fd, err);
    if (rc == 0)
        rc = read_all(&making, trail, err);
    if (rc == 0)
        rc = write_all(&making, err);
    if (rc == 0)
        rc = map_names(&making, merged, err);
    if (rc == 0)
        *out = STEAL(merged);
    return rc;
}
