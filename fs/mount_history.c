#include <stdio.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "fs/merged.h"
#include "fs/mount_past.h"

/*
 * history/TYPE/PATH: a directory has the names of all snapshots; anything else is a directory of
 * its versions.
 */
enum { PATH_LIMIT = 64 * 1024 };

static const char suffix[] = "@file";

bool history_is(const struct node *node)
{
    return node->kind == NODE_PAST || node->kind == NODE_VERSIONS;
}

/* ---- attributes -------------------------------------------------------------------------- */

static uint64_t hash_name(struct mount *mount, uint64_t above, enum node_kind kind,
                          const char *name, size_t size)
{
    uint8_t bytes[sizeof(above) + 1 + ENTRY_NAME_MAX];

    memcpy(bytes, &above, sizeof(above));
    bytes[sizeof(above)] = (uint8_t)kind;
    memcpy(bytes + sizeof(above) + 1, name, size);
    return digest_hash64(keyring_id_key(mount->repo->keyring), bytes, sizeof(above) + 1 + size) |
           UINT64_C(1) << 63;
}

/* Stays the same however often the kernel forgets it: made of the names on the way. */
static int inode_of(struct mount *mount, uint64_t id, const struct node *node, uint64_t *out,
                    struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = PATH_LIMIT};
    const struct node type = {.kind = NODE_PAST,
                              .type = node->type,
                              .host = node->host,
                              .below_hosts = node->below_hosts};
    int rc = past_path(mount, id, &path, err);

    if (rc < 0)
        return rc;
    *out = layout_inode(mount, &type);
    if (path.size > 1)
        *out = digest_hash64(keyring_id_key(mount->repo->keyring), path.data, path.size) ^ *out ^
               node->kind;
    *out |= UINT64_C(1) << 63;
    return 0;
}

/* What directories of the past allow is what each of them allowed. */
static void restrict_to(struct mount *mount, const struct common *common, struct stat *st)
{
    st->st_mode = S_IFDIR | (common->mode & 0777);
    st->st_uid = common->other_uid ? mount->uid : common->uid;
    st->st_gid = common->other_gid ? mount->gid : common->gid;
}

static int common_of(struct mount *mount, const struct trail *trail, struct common *out,
                     struct err *err)
{
    bool first = true;

    for (size_t i = 0; i < trail->count; i++) {
        CLEANUP(held_entry_clear) struct held_entry held = {0};
        const struct run *run = &trail->at[i];
        if (run->type != ENTRY_DIRECTORY || run->place.archive == NO_ARCHIVE)
            continue;
        int rc = tree_at(mount->blocks, run->place, run->shared, &held, err);
        if (rc < 0)
            return rc;
        common_add(out, first, held.entry.mode, held.entry.uid, held.entry.gid);
        first = false;
    }
    return 0;
}

/* Of a directory of history; `common` NULL: anybody may look. */
static int stat_past(struct mount *mount, const struct node *node, const struct common *common,
                     struct stat *out, struct err *err)
{
    const struct node top = {
        .kind = NODE_HISTORY, .host = node->host, .below_hosts = node->below_hosts};
    int rc = layout_stat(mount, &top, out, err);

    if (rc == 0 && common)
        restrict_to(mount, common, out);
    return rc;
}

int history_stat(struct mount *mount, uint64_t id, const struct node *node, struct stat *out,
                 struct err *err)
{
    CLEANUP(past_unrefp) struct past *past = NULL;
    struct common common = {.mode = 0555, .uid = mount->uid, .gid = mount->gid};
    int rc = past_get(mount, id, node, &past, err);

    if (rc == 0 && node->kind == NODE_PAST)
        rc = common_of(mount, &past->trail, &common, err);
    if (rc == 0)
        rc = stat_past(mount, node, &common, out, err);
    return rc == 0 ? inode_of(mount, id, node, &out->st_ino, err) : rc;
}

/* ---- names ------------------------------------------------------------------------------- */

/* The node of a name below a directory of history; `name` is without "@file". */
static int enter_past(struct mount *mount, uint64_t parent_id, const struct node *parent,
                      enum node_kind kind, const char *name, const struct common *common,
                      struct fuse_entry_param *out, struct err *err)
{
    const struct node wanted = {
        .parent = parent_id,
        .key = hash_name(mount, 0, kind, name, strlen(name)),
        .host = parent->host,
        .kind = (uint8_t)kind,
        .type = parent->type,
        .below_hosts = parent->below_hosts,
        .name = name,
    };
    int rc = stat_past(mount, &wanted, kind == NODE_PAST ? common : NULL, &out->attr, err);

    if (rc == 0)
        rc = nodes_take(mount->nodes, &wanted, &out->ino, err);
    if (rc < 0)
        return rc;
    rc = inode_of(mount, out->ino, &wanted, &out->attr.st_ino, err);
    if (rc < 0) {
        nodes_forget(mount->nodes, out->ino, 1);
        out->ino = 0;
    }
    return rc;
}

static void kinds_of(const struct trail *trail, bool *out_directory, bool *out_other)
{
    *out_directory = *out_other = false;
    for (size_t i = 0; i < trail->count; i++) {
        bool directory = trail->at[i].type == ENTRY_DIRECTORY;
        *out_directory = *out_directory || directory;
        *out_other = *out_other || !directory;
    }
}

/* Where "NAME" or "NAME@file" leads; *out_kind is NODE_FREE where it is nothing. */
static int step_to(struct mount *mount, const struct past *past, const char *name, char *out_name,
                   enum node_kind *out_kind, struct trail *out, struct err *err)
{
    size_t size = strlen(name), ending = strlen(suffix);
    bool directory, other;
    int rc = trail_step(mount->blocks, &past->trail, name, size, out, err);

    *out_kind = NODE_FREE;
    if (rc < 0)
        return rc;
    memcpy(out_name, name, size + 1);
    kinds_of(out, &directory, &other);
    if (directory || other) {
        *out_kind = directory ? NODE_PAST : NODE_VERSIONS;
        return 0;
    }
    if (size <= ending || strcmp(name + size - ending, suffix) != 0)
        return 0;
    trail_clear(out);
    out_name[size - ending] = '\0';
    rc = trail_step(mount->blocks, &past->trail, out_name, size - ending, out, err);
    if (rc < 0)
        return rc;
    kinds_of(out, &directory, &other);
    *out_kind = directory && other ? NODE_VERSIONS : NODE_FREE;
    return 0;
}

static int look_up_name(struct mount *mount, uint64_t parent_id, const struct node *parent,
                        struct past *past, const char *name, struct fuse_entry_param *out,
                        struct err *err)
{
    CLEANUP(past_unrefp) struct past *child = NULL;
    CLEANUP(trail_clear) struct trail trail = {0};
    char clean[NODE_NAME_SIZE];
    struct common common = {0};
    enum node_kind kind;

    if (strlen(name) >= sizeof(clean))
        return 0;
    int rc = step_to(mount, past, name, clean, &kind, &trail, err);
    if (rc < 0 || kind == NODE_FREE)
        return rc;
    if (kind == NODE_PAST)
        rc = common_of(mount, &trail, &common, err);
    if (rc == 0)
        rc = enter_past(mount, parent_id, parent, kind, clean, &common, out, err);
    /* What was found on the way is what comes next. */
    if (rc == 0)
        rc = past_make(mount, out->ino, kind, past->era, &trail, &child, err);
    if (rc < 0 && out->ino != 0)
        nodes_forget(mount->nodes, out->ino, 1);
    return rc;
}

static int enter_version(struct mount *mount, const struct node *parent,
                         const struct version *version, struct fuse_entry_param *out,
                         struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    int rc = tree_at(mount->blocks, version->place, version->shared, &held, err);

    if (rc < 0)
        return rc;
    mount_stat_entry(mount, &held.entry, parent->host, parent, &out->attr);
    nodes_note_host(mount->nodes, version->place.archive, parent->host);
    out->ino = node_of_place(version->place, version->shared);
    return 0;
}

int history_lookup(struct mount *mount, uint64_t parent_id, const struct node *parent,
                   const char *name, struct fuse_entry_param *out, struct err *err)
{
    CLEANUP(past_unrefp) struct past *past = NULL;
    int rc = past_get(mount, parent_id, parent, &past, err);

    if (rc < 0)
        return rc;
    if (parent->kind == NODE_PAST)
        return look_up_name(mount, parent_id, parent, past, name, out, err);
    for (size_t i = 0; i < past->versions.count; i++) {
        const struct version *version = &past->versions.at[i];
        if (strcmp(past->era->timeline.at[version->first].name, name) == 0)
            return enter_version(mount, parent, version, out, err);
    }
    return 0;
}

/* ---- listings ---------------------------------------------------------------------------- */

/* Made once, by who lists first. */
static int get_names(struct mount *mount, struct past *past, const struct merged **out,
                     struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&past->lock);
    if (!past->names)
        rc = merged_make(mount->blocks, &past->trail, &past->names, err);
    *out = past->names;
    pthread_mutex_unlock(&past->lock);
    return rc;
}

/* A position is twice that in the list; the odd one is that of NAME@file. */
static int list_names(struct mount *mount, uint64_t id, const struct node *node, struct past *past,
                      uint64_t position, history_fn *each, void *context, struct err *err)
{
    const struct merged *names;
    struct merged_name name;
    char with_suffix[NODE_NAME_SIZE + sizeof(suffix)];
    int rc = get_names(mount, past, &names, err);

    while (rc == 0) {
        struct fuse_entry_param entry = {0};
        uint64_t at = position / 2, next = at;
        bool second = position % 2 == 1;
        if (!merged_next(names, &next, &name))
            return 0;
        enum node_kind kind = name.directory && !second ? NODE_PAST : NODE_VERSIONS;
        rc = enter_past(mount, id, node, kind, name.name, &name.common, &entry, err);
        if (rc < 0)
            break;
        position = name.directory && name.other && !second ? position + 1 : next * 2;
        (void)snprintf(with_suffix, sizeof(with_suffix), "%s%s", name.name, second ? suffix : "");
        if (!each(context, with_suffix, &entry, position))
            return 0;
    }
    return rc;
}

int history_list(struct mount *mount, uint64_t id, const struct node *node, uint64_t position,
                 history_fn *each, void *context, struct err *err)
{
    CLEANUP(past_unrefp) struct past *past = NULL;
    int rc = past_get(mount, id, node, &past, err);

    if (rc < 0)
        return rc;
    if (node->kind == NODE_PAST)
        return list_names(mount, id, node, past, position, each, context, err);
    for (; rc == 0 && position < past->versions.count; position++) {
        struct fuse_entry_param entry = {0};
        const struct version *version = &past->versions.at[position];
        rc = enter_version(mount, node, version, &entry, err);
        if (rc == 0 &&
            !each(context, past->era->timeline.at[version->first].name, &entry, position + 1))
            return 0;
    }
    return rc;
}
