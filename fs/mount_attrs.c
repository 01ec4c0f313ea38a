#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "backup/base/cleanup.h"
#include "backup/base/log.h"
#include "fs/mount_internal.h"
#include "fs/view.h"

enum { SECTOR = 512 };

int mount_entry(struct mount *mount, uint64_t id, struct held_entry *out, struct err *err)
{
    bool shared = false;
    struct place place;
    struct node node;

    if (node_is_placed(id)) {
        place = node_place(id, &shared);
    } else {
        if (!nodes_get(mount->nodes, id, &node) || node.kind != NODE_STORED)
            return err_set(err, ERR_USAGE, "no stored entry");
        place = node_place_of_key(node.key);
    }
    return tree_at(mount->blocks, place, shared, out, err);
}

int mount_directory(struct mount *mount, uint64_t id, const struct node *node, struct dirref *out,
                    struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct shot shot;
    int rc;

    if (node->kind == NODE_TYPE) {
        rc = shots_load(mount->shots, node->snapshot, &shot, err);
        if (rc == 0)
            *out = shot.directories[node->type];
        return rc;
    }
    rc = mount_entry(mount, id, &held, err);
    if (rc == 0 && held.entry.type != ENTRY_DIRECTORY)
        rc = err_set(err, ERR_CORRUPT, "a directory's record is none");
    if (rc == 0)
        *out = held.entry.directory;
    return rc;
}

/* ---- attributes -------------------------------------------------------------------------- */

/* Bytes that are no hole, where that is known without another read. */
static uint64_t allocated(struct mount *mount, const struct entry *entry)
{
    struct content_cursor cursor;
    struct extent extent;
    struct err ignored;
    uint64_t start, sum = 0;
    bool cheap = entry->content.form == CONTENT_ONE || entry->content.form == CONTENT_LIST;

    if (!cheap || content_open(&cursor, mount->blocks, &entry->content, 0, &ignored) < 0)
        return entry->size;
    while (content_next(&cursor, &extent, &start, &ignored) > 0)
        sum += extent_is_hole(&extent) ? 0 : extent.length;
    content_close(&cursor);
    return sum;
}

/* A directory is another one in each snapshot: tools must not take two for the same. */
static uint64_t directory_number(struct mount *mount, uint64_t number, const struct node *within)
{
    const struct node snapshot = {
        .kind = NODE_SNAPSHOT,
        .snapshot = within->snapshot,
        .host = within->host,
        .below_hosts = within->below_hosts,
    };

    number ^= layout_inode(mount, &snapshot);
    return number > UINT16_MAX ? number : number + UINT16_MAX;
}

void mount_stat_entry(struct mount *mount, const struct entry *entry, uint16_t host,
                      const struct node *within, struct stat *out)
{
    char name[HOST_NAME_MAX_SIZE + 1];

    (void)shots_host(mount->shots, host, name);
    *out = (struct stat){
        .st_mode = entry_st_mode(entry),
        .st_nlink = entry->links,
        .st_uid = entry->uid,
        .st_gid = entry->gid,
        .st_rdev = entry->rdev,
        .st_blksize = 128 * 1024,
        .st_mtim = {.tv_sec = entry->mtime_s, .tv_nsec = entry->mtime_ns},
        .st_ctim = {.tv_sec = entry->ctime_s, .tv_nsec = entry->ctime_ns},
        .st_ino = view_inode_number(mount->repo, name, entry),
    };
    out->st_atim = out->st_mtim;
    if (entry->type == ENTRY_FILE) {
        out->st_size = (off_t)entry->size;
        out->st_blocks = (blkcnt_t)((allocated(mount, entry) + SECTOR - 1) / SECTOR);
    } else if (entry->type == ENTRY_SYMLINK) {
        out->st_size = (off_t)entry->target_size;
    } else if (entry->type == ENTRY_DIRECTORY) {
        out->st_nlink = 1; /* not known: how many directories are in it */
        out->st_ino = directory_number(mount, out->st_ino, within);
    }
}

int mount_stat(struct mount *mount, uint64_t id, struct stat *out, struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct node node = {0};
    bool placed = node_is_placed(id);

    if (!placed && !nodes_get(mount->nodes, id, &node))
        return err_set(err, ERR_NOT_FOUND, "no such node");
    if (!placed && history_is(&node))
        return history_stat(mount, id, &node, out, err);
    if (!placed && node.kind != NODE_STORED)
        return layout_stat(mount, &node, out, err);
    int rc = mount_entry(mount, id, &held, err);
    if (rc < 0)
        return rc;
    uint16_t host = placed ? nodes_host(mount->nodes, held.entry.place.archive) : node.host;
    mount_stat_entry(mount, &held.entry, host, &node, out);
    return 0;
}

/* Whether this is the first report of damage at a node (or the first for a while). */
static bool is_news(struct mount *mount, uint64_t id)
{
    size_t count = sizeof(mount->damaged) / sizeof(mount->damaged[0]);
    uint64_t mixed = id * UINT64_C(0x9E3779B97F4A7C15);

    return atomic_exchange(&mount->damaged[(mixed >> 32) % count], id) != id;
}

/* What is in cold storage is told once for each archive, however many files lie in it: its name is
 * the text. */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001B3);
    return hash;
}

/* What is to be said before the reason, so that nobody takes for damage what is none. */
static const char *kind_of(const struct err *err)
{
    if (err->code == ERR_REMOTE)
        return "the storage could not be reached, read it again later: ";
    return err->code == ERR_DENIED ? "the storage refused to give it: " : "";
}

int mount_errno(struct mount *mount, uint64_t id, const struct err *err)
{
    char path[1024];

    if (err->code == ERR_NOMEM)
        return ENOMEM;
    if (is_news(mount, err->code == ERR_COLD ? hash_text(err->text) : id)) {
        layout_path(mount, id, path, sizeof(path));
        log_error("%s/…/%s: %s%s", mount->directory, path, kind_of(err), err->text);
    }
    return EIO;
}

void mount_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *file)
{
    struct mount *mount = fuse_req_userdata(req);
    struct stat st;
    struct err err;

    (void)file;
    atomic_fetch_add(&mount->counters.getattrs, 1);
    if (mount_stat(mount, id, &st, &err) < 0)
        fuse_reply_err(req, mount_errno(mount, id, &err));
    else
        fuse_reply_attr(req, &st, MOUNT_TIMEOUT);
}

void mount_readlink(fuse_req_t req, fuse_ino_t id)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct mount *mount = fuse_req_userdata(req);
    char target[ENTRY_TARGET_MAX + 1];
    struct node node;
    struct err err;
    int rc;

    atomic_fetch_add(&mount->counters.others, 1);
    if (nodes_get(mount->nodes, id, &node)) {
        rc = layout_link(mount, &node, target, sizeof(target), &err);
    } else {
        rc = mount_entry(mount, id, &held, &err);
        if (rc == 0 && held.entry.target_size > ENTRY_TARGET_MAX)
            rc = err_set(&err, ERR_CORRUPT, "a symlink's target is too long");
        if (rc == 0 && held.entry.target_size > 0)
            memcpy(target, held.entry.target, held.entry.target_size);
        if (rc == 0)
            target[held.entry.target_size] = '\0';
    }
    if (rc < 0)
        fuse_reply_err(req, mount_errno(mount, id, &err));
    else
        fuse_reply_readlink(req, target);
}

/* ---- xattrs ------------------------------------------------------------------------------ */

/* The stored set; *out_copy is to be freed, the bytes are good while `held` is. */
static int xattr_set(struct mount *mount, const struct held_entry *held, const uint8_t **out,
                     size_t *out_size, uint8_t **out_copy, struct err *err)
{
    const struct content *content = &held->entry.xattrs;

    if (content->form == CONTENT_INLINE) {
        *out = content->bytes;
        *out_size = (size_t)(content->end - content->bytes);
        return 0;
    }
    *out_size = 0;
    if (content->form == CONTENT_NONE)
        return 0;
    if (content->size > ENTRY_XATTRS_MAX)
        return err_set(err, ERR_CORRUPT, "a set of xattrs is too large");
    uint8_t *copy = malloc((size_t)content->size);
    if (!copy)
        return err_set(err, ERR_NOMEM, "out of memory");
    *out_copy = copy;
    *out = copy;
    *out_size = (size_t)content->size;
    return content_read(mount->blocks, content, 0, copy, (size_t)content->size, err);
}

static void freep(uint8_t **bytes)
{
    free(*bytes);
}

/* What getxattr and listxattr have in common: a size alone is asked for with size 0. */
static void reply_sized(fuse_req_t req, const void *bytes, size_t count, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, count);
    else if (count > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, bytes, count);
}

/* Replies with the value of `name`. */
static int reply_value(fuse_req_t req, const uint8_t *at, size_t set_size, const char *name,
                       size_t size, struct err *err)
{
    const uint8_t *end = at + set_size, *value;
    const char *found;
    size_t found_size, value_size;
    int more;

    while ((more = xattrs_next(&at, end, &found, &found_size, &value, &value_size, err)) > 0) {
        if (found_size != strlen(name) || memcmp(found, name, found_size) != 0)
            continue;
        reply_sized(req, value, value_size, size);
        return 0;
    }
    if (more == 0)
        fuse_reply_err(req, ENODATA);
    return more;
}

/* Replies with all names, each with its NUL. */
static int reply_names(fuse_req_t req, const uint8_t *at, size_t set_size, size_t size,
                       struct err *err)
{
    CLEANUP(freep) uint8_t *names = malloc(set_size + 1); /* a name is stored with its length */
    const uint8_t *end = at + set_size, *value;
    const char *name;
    size_t name_size, value_size, used = 0;
    int more;

    if (!names)
        return err_set(err, ERR_NOMEM, "out of memory");
    while ((more = xattrs_next(&at, end, &name, &name_size, &value, &value_size, err)) > 0) {
        memcpy(names + used, name, name_size);
        used += name_size;
        names[used++] = '\0';
    }
    if (more == 0)
        reply_sized(req, names, used, size);
    return more;
}

/* `name` NULL: the list. */
static void answer_xattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    CLEANUP(freep) uint8_t *copy = NULL;
    struct mount *mount = fuse_req_userdata(req);
    const uint8_t *set = NULL;
    size_t set_size = 0;
    struct node node;
    struct err err;
    int rc = 0;

    atomic_fetch_add(&mount->counters.xattrs, 1);
    if (!nodes_get(mount->nodes, id, &node) || node.kind == NODE_STORED) {
        rc = mount_entry(mount, id, &held, &err);
        if (rc == 0)
            rc = xattr_set(mount, &held, &set, &set_size, &copy, &err);
    }
    if (rc == 0 && set_size == 0 && name)
        fuse_reply_err(req, ENODATA);
    else if (rc == 0 && set_size == 0)
        reply_sized(req, "", 0, size);
    else if (rc == 0)
        rc = name ? reply_value(req, set, set_size, name, size, &err)
                  : reply_names(req, set, set_size, size, &err);
    if (rc < 0)
        fuse_reply_err(req, mount_errno(mount, id, &err));
}

void mount_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
    answer_xattr(req, id, name, size);
}

void mount_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
    answer_xattr(req, id, NULL, size);
}

void mount_statfs(fuse_req_t req, fuse_ino_t id)
{
    struct mount *mount = fuse_req_userdata(req);
    uint64_t files, bytes;

    (void)id;
    atomic_fetch_add(&mount->counters.others, 1);
    shots_sums(mount->shots, &files, &bytes);
    const struct statvfs st = {
        .f_bsize = 4096,
        .f_frsize = 4096,
        .f_blocks = (bytes + 4095) / 4096, /* what is stored; nothing is free */
        .f_files = files,
        .f_namemax = ENTRY_NAME_MAX,
    };
    fuse_reply_statfs(req, &st);
}
