#include <stdio.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/clock.h"
#include "backup/base/path.h"
#include "fs/mount_internal.h"

/* The children of the root and of a host: latest, history, hosts (at the top only), then the
 * snapshots. */
enum { FIRST_SHOT = 3, MANIFEST_CHILD = TYPES };

uint64_t layout_key(enum node_kind kind, uint32_t number, unsigned type)
{
    return (uint64_t)kind << 56 | (uint64_t)type << 48 | number;
}

static void set_child(struct child *child, uint64_t id, const struct node *parent, const char *name,
                      struct node node)
{
    bool of_host = node.kind == NODE_HOST || node.kind == NODE_LATEST ||
                   node.kind == NODE_HISTORY || node.kind == NODE_PAST;
    uint32_t number = of_host ? node.host : node.snapshot;

    node.parent = id;
    node.below_hosts = parent->below_hosts || parent->kind == NODE_HOSTS;
    node.key = layout_key(node.kind, number, node.type);
    child->node = node;
    (void)snprintf(child->name, sizeof(child->name), "%s", name);
}

/* The host whose snapshots a directory shows. */
static bool host_of(struct mount *mount, const struct node *node, uint16_t *out)
{
    *out = node->host;
    return node->kind == NODE_HOST || shots_top(mount->shots, out);
}

static bool next_in_host(struct mount *mount, uint64_t id, const struct node *node,
                         uint64_t *number, struct child *out)
{
    uint16_t host;
    struct shot shot;
    bool any = host_of(mount, node, &host);
    uint32_t at = *number > FIRST_SHOT ? (uint32_t)(*number - FIRST_SHOT) : 0;

    if (*number == 0) {
        set_child(out, id, node, "latest",
                  (struct node){.kind = NODE_LATEST, .host = any ? host : 0});
        return true;
    }
    if (*number == 1) {
        set_child(out, id, node, "history",
                  (struct node){.kind = NODE_HISTORY, .host = any ? host : 0});
        return true;
    }
    if (*number == 2 && node->kind == NODE_ROOT) {
        set_child(out, id, node, "hosts", (struct node){.kind = NODE_HOSTS});
        return true;
    }
    if (!any || !shots_next(mount->shots, host, &at, &shot))
        return false;
    *number = (uint64_t)at + FIRST_SHOT;
    set_child(out, id, node, shot.name,
              (struct node){.kind = NODE_SNAPSHOT, .snapshot = at, .host = host});
    return true;
}

static bool next_host(struct mount *mount, uint64_t id, const struct node *node, uint64_t *number,
                      struct child *out)
{
    char name[HOST_NAME_MAX_SIZE + 1];

    for (; *number < MOUNT_HOSTS_MAX && shots_host(mount->shots, (uint16_t)*number, name);
         ++*number) {
        if (!path_is_name(name, strlen(name)) ||
            shots_newest_ns(mount->shots, (uint16_t)*number) == 0)
            continue;
        set_child(out, id, node, name, (struct node){.kind = NODE_HOST, .host = (uint16_t)*number});
        return true;
    }
    return false;
}

static bool next_link(struct mount *mount, uint64_t id, const struct node *node, uint64_t *number,
                      struct child *out)
{
    for (; *number < TYPES; ++*number) {
        unsigned type = (unsigned)*number + 1;
        struct shot shot;
        uint32_t snapshot;
        if (!shots_latest(mount->shots, node->host, type, &snapshot, &shot))
            continue;
        set_child(out, id, node, snapshot_type_name((enum snapshot_type)type),
                  (struct node){.kind = NODE_LINK,
                                .snapshot = snapshot,
                                .host = node->host,
                                .type = (uint8_t)type});
        return true;
    }
    return false;
}

/* Types that any snapshot of the host has. */
static uint8_t types_of_host(struct mount *mount, uint16_t host)
{
    struct shot shot;
    unsigned types = 0;

    for (uint32_t number = 0; shots_next(mount->shots, host, &number, &shot); number++)
        types |= shot.types;
    return (uint8_t)types;
}

static bool next_in_history(struct mount *mount, uint64_t id, const struct node *node,
                            uint64_t *number, struct child *out)
{
    uint8_t types = types_of_host(mount, node->host);

    for (; *number < TYPES; ++*number) {
        unsigned type = (unsigned)*number + 1;
        if ((types & 1u << type) == 0)
            continue;
        set_child(out, id, node, snapshot_type_name((enum snapshot_type)type),
                  (struct node){.kind = NODE_PAST, .host = node->host, .type = (uint8_t)type});
        return true;
    }
    return false;
}

static bool next_in_snapshot(struct mount *mount, uint64_t id, const struct node *node,
                             uint64_t *number, struct child *out)
{
    struct node child = {.snapshot = node->snapshot, .host = node->host};
    struct shot shot;

    if (!shots_get(mount->shots, node->snapshot, &shot))
        return false;
    for (; *number < TYPES; ++*number) {
        unsigned type = (unsigned)*number + 1;
        if ((shot.types & 1u << type) == 0)
            continue;
        child.kind = NODE_TYPE;
        child.type = (uint8_t)type;
        set_child(out, id, node, snapshot_type_name((enum snapshot_type)type), child);
        return true;
    }
    child.kind = NODE_MANIFEST;
    set_child(out, id, node, "manifest.json", child);
    return *number == MANIFEST_CHILD;
}

bool layout_next(struct mount *mount, uint64_t id, const struct node *node, uint64_t *number,
                 struct child *out)
{
    switch (node->kind) {
    case NODE_ROOT:
    case NODE_HOST:
        return next_in_host(mount, id, node, number, out);
    case NODE_HOSTS:
        return next_host(mount, id, node, number, out);
    case NODE_LATEST:
        return next_link(mount, id, node, number, out);
    case NODE_HISTORY:
        return next_in_history(mount, id, node, number, out);
    case NODE_SNAPSHOT:
        return next_in_snapshot(mount, id, node, number, out);
    default:
        return false;
    }
}

bool layout_find(struct mount *mount, uint64_t id, const struct node *node, const char *name,
                 struct child *out)
{
    bool dated = node->kind == NODE_ROOT || node->kind == NODE_HOST;
    struct shot shot;
    uint32_t snapshot;
    uint16_t host;

    if (dated && host_of(mount, node, &host) &&
        shots_by_name(mount->shots, host, name, &snapshot, &shot)) {
        set_child(out, id, node, shot.name,
                  (struct node){.kind = NODE_SNAPSHOT, .snapshot = snapshot, .host = host});
        return true;
    }
    for (uint64_t number = 0; !dated || number < FIRST_SHOT; number++) {
        if (!layout_next(mount, id, node, &number, out))
            return false;
        if (strcmp(out->name, name) == 0)
            return true;
    }
    return false;
}

int layout_link(struct mount *mount, const struct node *node, char *out, size_t size,
                struct err *err)
{
    struct shot shot;

    if (!shots_get(mount->shots, node->snapshot, &shot))
        return err_set(err, ERR_NOT_FOUND, "no such snapshot");
    (void)snprintf(out, size, "../%s/%s", shot.name,
                   snapshot_type_name((enum snapshot_type)node->type));
    return 0;
}

static bool is_dated(const struct node *node)
{
    return node->kind != NODE_ROOT && node->kind != NODE_HOSTS && node->kind != NODE_HOST &&
           node->kind != NODE_LATEST && node->kind != NODE_HISTORY && !history_is(node);
}

/* ---- attributes -------------------------------------------------------------------------- */

uint64_t layout_inode(struct mount *mount, const struct node *node)
{
    char what[HOST_NAME_MAX_SIZE + 80];
    char host[HOST_NAME_MAX_SIZE + 1];
    struct shot shot = {0};

    if (node->kind == NODE_ROOT)
        return FUSE_ROOT_ID;
    (void)shots_host(mount->shots, node->host, host);
    if (is_dated(node))
        (void)shots_get(mount->shots, node->snapshot, &shot);
    int size = snprintf(what, sizeof(what), "%d %d %d %s %s", node->kind, node->type,
                        node->below_hosts, shot.name, host);
    return digest_hash64(keyring_id_key(mount->repo->keyring), what, (size_t)size) | UINT64_C(1)
                                                                                         << 63;
}

static void set_times(struct stat *st, int64_t ns)
{
    struct timespec time = {.tv_sec = ns / NS_PER_SECOND, .tv_nsec = ns % NS_PER_SECOND};

    if (time.tv_nsec < 0) {
        time.tv_nsec += NS_PER_SECOND;
        time.tv_sec--;
    }
    st->st_mtim = st->st_ctim = st->st_atim = time;
}

static int64_t newest_of_all(struct mount *mount)
{
    int64_t newest = 0;
    size_t hosts = shots_host_count(mount->shots);

    for (size_t i = 0; i < hosts; i++) {
        int64_t ns = shots_newest_ns(mount->shots, (uint16_t)i);
        newest = ns > newest ? ns : newest;
    }
    return newest;
}

int layout_stat(struct mount *mount, const struct node *node, struct stat *out, struct err *err)
{
    struct shot shot = {0};
    bool dated = is_dated(node);
    int rc = 0;

    if (node->kind == NODE_MANIFEST)
        rc = shots_load(mount->shots, node->snapshot, &shot, err);
    else if (dated && !shots_get(mount->shots, node->snapshot, &shot))
        rc = err_set(err, ERR_NOT_FOUND, "no such snapshot");
    if (rc < 0)
        return rc;
    *out = (struct stat){
        .st_mode = S_IFDIR | 0555,
        .st_nlink = 1, /* of a directory: not known */
        .st_uid = mount->uid,
        .st_gid = mount->gid,
        .st_blksize = 4096,
        .st_ino = layout_inode(mount, node),
    };
    set_times(out, dated ? shot.start_ns : newest_of_all(mount));
    if (node->kind == NODE_MANIFEST) {
        out->st_mode = S_IFREG | 0444;
        out->st_size = (off_t)shot.manifest_size;
        out->st_blocks = (out->st_size + 511) / 512;
    }
    if (node->kind == NODE_LINK) {
        out->st_mode = S_IFLNK | 0777;
        out->st_size = (off_t)(strlen("..//") + strlen(shot.name) +
                               strlen(snapshot_type_name((enum snapshot_type)node->type)));
    }
    return 0;
}

/* ---- names for the log ------------------------------------------------------------------- */

/* The name of a stored entry: its record has it. */
static void stored_name(struct mount *mount, struct place place, bool shared, char *out,
                        size_t size)
{
    struct held_entry held = {0};
    struct err ignored;

    (void)snprintf(out, size, shared ? "(a file of several names)" : "?");
    if (shared || tree_at(mount->blocks, place, false, &held, &ignored) < 0)
        return;
    path_printable(held.entry.name, held.entry.name_size, out, size);
    held_entry_clear(&held);
}

static void node_name(struct mount *mount, const struct node *node, char *out, size_t size)
{
    struct shot shot;

    (void)snprintf(out, size, "?");
    if (node->kind == NODE_STORED)
        stored_name(mount, node_place_of_key(node->key), false, out, size);
    else if (node->kind == NODE_TYPE || node->kind == NODE_LINK)
        (void)snprintf(out, size, "%s", snapshot_type_name((enum snapshot_type)node->type));
    else if (node->kind == NODE_HISTORY)
        (void)snprintf(out, size, "history");
    else if (node->kind == NODE_SNAPSHOT && shots_get(mount->shots, node->snapshot, &shot))
        (void)snprintf(out, size, "%s", shot.name);
    else if (node->kind == NODE_MANIFEST)
        (void)snprintf(out, size, "manifest.json");
}

static void past_name(struct mount *mount, uint64_t id, const struct node *node, char *out,
                      size_t size)
{
    char name[NODE_NAME_SIZE];

    if (!history_is(node))
        return;
    nodes_name(mount->nodes, id, name);
    if (name[0] != '\0')
        path_printable(name, strlen(name), out, size);
    else
        (void)snprintf(out, size, "%s", snapshot_type_name((enum snapshot_type)node->type));
}

void layout_path(struct mount *mount, uint64_t id, char *out, size_t size)
{
    char name[4 * ENTRY_NAME_MAX + 1];
    char rest[512] = "";
    struct node node;
    bool shared;

    if (node_is_placed(id)) {
        struct place place = node_place(id, &shared);
        stored_name(mount, place, shared, out, size);
        return;
    }
    out[0] = '\0';
    for (int depth = 0; depth < 8 && nodes_get(mount->nodes, id, &node); depth++) {
        if (node.kind == NODE_ROOT)
            return;
        node_name(mount, &node, name, sizeof(name));
        past_name(mount, id, &node, name, sizeof(name));
        (void)snprintf(rest, sizeof(rest), "%s", out);
        (void)snprintf(out, size, "%s%s%s", name, rest[0] != '\0' ? "/" : "", rest);
        id = node.parent;
    }
}
