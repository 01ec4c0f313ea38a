#include <stdlib.h>

#include "backup/base/cleanup.h"
#include "backup/base/spill.h"
#include "backup/job/fileread.h"
#include "backup/job/ingest_internal.h"
#include "backup/source/srcdir.h"

/*
 * A file with several names is read for the first of them; the others wait, or find its place in
 * the map.  The map's value for one that is still being read is the group's address with the top
 * bit set: places have fewer bits, and so have addresses.
 */
static const uint64_t READING = UINT64_C(1) << 63;

struct linkgroup {
    struct link_key key;
    struct slot *waiting;
};

static void linkgroup_freep(struct linkgroup **group)
{
    free(*group);
}

struct link_key link_key_of(const struct statx *st)
{
    uint64_t born = st->stx_mask & STATX_BTIME
                        ? (uint64_t)st->stx_btime.tv_sec * 1000000000 + st->stx_btime.tv_nsec
                        : 0;

    return (struct link_key){
        .device = ((uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor) ^
                  born * UINT64_C(0x9E3779B97F4A7C15),
        .inode = st->stx_ino,
    };
}

static uint64_t value_of(struct place place)
{
    return (uint64_t)place.archive << 32 | place.raw;
}

void ingest_link(struct ingest *ingest, struct link_key key, struct entry *entry, bool *out_known,
                 struct linkgroup **out_group)
{
    uint64_t value;

    *out_known = false;
    *out_group = NULL;
    if (!spillmap_get(ingest->links, key.device, key.inode, &value))
        return;
    if (value & READING) {
        *out_group = (struct linkgroup *)(uintptr_t)(value & ~READING);
        return;
    }
    entry->place = (struct place){.archive = (uint32_t)(value >> 32), .raw = (uint32_t)value};
    *out_known = true;
}

int ingest_link_new(struct ingest *ingest, struct link_key key, struct linkgroup **out,
                    struct err *err)
{
    struct linkgroup *group = calloc(1, sizeof(*group));
    if (!group)
        return err_set(err, ERR_NOMEM, "no memory for a file's names");
    group->key = key;
    int r = spillmap_put(ingest->links, key.device, key.inode, (uint64_t)(uintptr_t)group | READING,
                         err);
    if (r < 0) {
        free(group);
        return r;
    }
    *out = group;
    return 0;
}

void ingest_link_join(struct ingest *ingest, struct linkgroup *group, struct slot *slot,
                      struct srcdir *dir)
{
    slot->next_of_group = group->waiting;
    slot->dir = srcdir_ref(dir);
    group->waiting = slot;
    ingest_hold(ingest, slot->frame);
}

int ingest_link_known(struct ingest *ingest, struct link_key key, const struct entry *entry,
                      struct err *err)
{
    return spillmap_put(ingest->links, key.device, key.inode, value_of(entry->place), err);
}

bool ingest_link_is_member(const struct slot *slot, const struct fileread *file)
{
    if (!slot->group)
        return false;
    struct link_key key = link_key_of(&file->st);
    return key.device == slot->group->key.device && key.inode == slot->group->key.inode;
}

/* Takes a name out of those that wait. */
static struct slot *take_waiting(struct ingest *ingest, struct linkgroup *group)
{
    struct slot *slot = group->waiting;

    if (slot) {
        group->waiting = slot->next_of_group;
        ingest_unhold(ingest, slot->frame);
    }
    return slot;
}

/* The waiting names take over what the leader found, and their directories go on. */
static int release(struct ingest *ingest, struct linkgroup *group, const struct entry *found,
                   struct err *err)
{
    struct slot *slot;
    int r = 0;

    while ((slot = take_waiting(ingest, group))) {
        const char *name = slot->entry.name;
        size_t size = slot->entry.name_size;

        slot->entry = *found;
        slot->entry.name = name;
        slot->entry.name_size = size;
        /* The inode item has these; the leader's memory may be gone when this name is written. */
        slot->entry.content = slot->entry.xattrs = (struct content){.form = CONTENT_NONE};
        srcdir_unref(STEAL(slot->dir));
        slot->ready = true;
        if (r == 0)
            r = ingest_advance(ingest, slot->frame, err);
    }
    return r;
}

int ingest_link_settle(struct ingest *ingest, struct slot *leader, struct err *err)
{
    CLEANUP(linkgroup_freep) struct linkgroup *group = STEAL(leader->group);
    struct entry *entry = &leader->entry;
    int r = 0;

    if (ingest->options.treewriter)
        r = treewriter_put_inode(ingest->options.treewriter, entry, &entry->place, err);
    if (r == 0)
        r = ingest_link_known(ingest, group->key, entry, err);
    return r < 0 ? r : release(ingest, group, entry, err);
}

int ingest_link_pass_on(struct ingest *ingest, struct slot *leader, struct err *err)
{
    CLEANUP(linkgroup_freep) struct linkgroup *group = STEAL(leader->group);
    struct slot *next = take_waiting(ingest, group);

    if (!next) /* the next name that comes begins anew */
        return spillmap_put(ingest->links, group->key.device, group->key.inode, READING, err);
    next->group = STEAL(group);
    int r = ingest_submit(ingest, next, next->dir, err);
    srcdir_unref(STEAL(next->dir));
    return r;
}
