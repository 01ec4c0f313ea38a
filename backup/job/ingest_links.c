#include <stdlib.h>

#include "backup/base/cleanup.h"
#include "backup/base/spill.h"
#include "backup/job/ingest_internal.h"

/*
 * A file with several names is read for the first of them; the others wait, or find its place in
 * the map.  The map's value for one that is still being read is the group's address with the top
 * bit set: places have fewer bits, and so have addresses.
 */
static const uint64_t READING = UINT64_C(1) << 63;

struct linkgroup {
    uint64_t device, inode;
    struct slot *waiting;
};

static uint64_t value_of(struct place place)
{
    return (uint64_t)place.archive << 32 | place.raw;
}

int ingest_link(struct ingest *ingest, struct entry *entry, bool *out_done,
                struct linkgroup **out_group, struct err *err)
{
    uint64_t value;

    (void)err;
    *out_done = false;
    *out_group = NULL;
    if (!spillmap_get(ingest->links, entry->device, entry->inode, &value))
        return 0;
    if (value & READING) {
        *out_group = (struct linkgroup *)(uintptr_t)(value & ~READING);
        return 0;
    }
    entry->place = (struct place){.archive = (uint32_t)(value >> 32), .raw = (uint32_t)value};
    *out_done = true;
    return 0;
}

int ingest_link_new(struct ingest *ingest, const struct entry *entry, struct linkgroup **out,
                    struct err *err)
{
    struct linkgroup *group = calloc(1, sizeof(*group));
    if (!group)
        return err_set(err, ERR_NOMEM, "no memory for a file's names");
    group->device = entry->device;
    group->inode = entry->inode;
    int r = spillmap_put(ingest->links, entry->device, entry->inode,
                         (uint64_t)(uintptr_t)group | READING, err);
    if (r < 0) {
        free(group);
        return r;
    }
    *out = group;
    return 0;
}

void ingest_link_join(struct linkgroup *group, struct slot *slot)
{
    slot->next_of_group = group->waiting;
    group->waiting = slot;
}

int ingest_link_known(struct ingest *ingest, const struct entry *entry, struct err *err)
{
    return spillmap_put(ingest->links, entry->device, entry->inode, value_of(entry->place), err);
}

/* The waiting names take over what the leader found, and their directories go on. */
static int release(struct ingest *ingest, struct linkgroup *group, const struct slot *leader,
                   const struct err *failure, struct err *err)
{
    int r = 0;

    while (group->waiting) {
        struct slot *slot = group->waiting;
        const char *name = slot->entry.name;
        size_t size = slot->entry.name_size;

        group->waiting = slot->next_of_group;
        if (failure) {
            ingest_trouble(ingest, slot->frame, slot->name, failure);
        } else {
            slot->entry = leader->entry;
            slot->entry.name = name;
            slot->entry.name_size = size;
        }
        slot->dropped = failure != NULL;
        slot->ready = true;
        if (r == 0)
            r = ingest_advance(ingest, slot->frame, err);
    }
    return r;
}

int ingest_link_settle(struct ingest *ingest, struct slot *leader, const struct err *failure,
                       struct err *err)
{
    struct linkgroup *group = STEAL(leader->group);
    uint64_t value = READING; /* nobody reads it: the next name begins anew */
    int r = 0;

    if (!failure && ingest->options.treewriter)
        r = treewriter_put_inode(ingest->options.treewriter, &leader->entry, &leader->entry.place,
                                 err);
    if (!failure)
        value = value_of(leader->entry.place);
    if (r == 0)
        r = spillmap_put(ingest->links, group->device, group->inode, value, err);
    if (r == 0)
        r = release(ingest, group, leader, failure, err);
    free(group);
    return r;
}
