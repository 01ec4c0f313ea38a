#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "fs/mount_internal.h"

/*
 * A cookie is the number of entries before: "." and "..", then the directory's own.  A reader that
 * goes on where it stopped finds its cursor kept; one that seeks gets a new one.
 */
enum { DOTS = 2, REPLY_MAX = MOUNT_READ_MAX };

struct kept {
    uint64_t id, number; /* the entry to be shown next */
    uint64_t used;       /* when */
    struct tree_cursor *cursor;
    const struct entry *pending; /* what the cursor gave last, if it is still to be shown */
};

struct cursors {
    pthread_mutex_t lock; /* guards what follows */
    struct kept kept[MOUNT_CURSORS];
    uint64_t clock;
};

struct cursors *cursors_new(void)
{
    struct cursors *cursors = calloc(1, sizeof(*cursors));

    if (cursors)
        pthread_mutex_init(&cursors->lock, NULL);
    return cursors;
}

void cursors_free(struct cursors *cursors)
{
    if (!cursors)
        return;
    for (size_t i = 0; i < MOUNT_CURSORS; i++)
        tree_close(cursors->kept[i].cursor);
    pthread_mutex_destroy(&cursors->lock);
    free(cursors);
}

/* Takes the cursor that stands there out; false: there is none. */
static bool take_kept(struct cursors *cursors, uint64_t id, uint64_t number, struct kept *out)
{
    bool found = false;

    pthread_mutex_lock(&cursors->lock);
    for (size_t i = 0; !found && i < MOUNT_CURSORS; i++) {
        struct kept *kept = &cursors->kept[i];
        found = kept->cursor && kept->id == id && kept->number == number;
        if (found) {
            *out = *kept;
            *kept = (struct kept){0};
        }
    }
    pthread_mutex_unlock(&cursors->lock);
    return found;
}

/* In place of the one that was used longest ago. */
static void keep(struct cursors *cursors, const struct kept *kept)
{
    struct tree_cursor *victim;
    struct kept *place;

    pthread_mutex_lock(&cursors->lock);
    place = &cursors->kept[0];
    for (size_t i = 1; i < MOUNT_CURSORS; i++)
        if (cursors->kept[i].used < place->used)
            place = &cursors->kept[i];
    victim = place->cursor;
    *place = *kept;
    place->used = ++cursors->clock;
    pthread_mutex_unlock(&cursors->lock);
    tree_close(victim);
}

/* ---- one name ---------------------------------------------------------------------------- */

/* The node of a child that stands in the layout. */
static int enter_child(struct mount *mount, const struct child *child, struct fuse_entry_param *out,
                       struct err *err)
{
    int rc = layout_stat(mount, &child->node, &out->attr, err);

    return rc < 0 ? rc : nodes_take(mount->nodes, &child->node, &out->ino, err);
}

/* The node of a stored entry, without counting a lookup where none is kept. */
static int enter_entry(struct mount *mount, uint64_t parent_id, const struct node *parent,
                       const struct entry *entry, struct fuse_entry_param *out, struct err *err)
{
    const struct node wanted = {
        .parent = parent_id,
        .key = node_key_of_place(entry->place),
        .below = entry->below_entries,
        .snapshot = parent->snapshot,
        .host = parent->host,
        .kind = NODE_STORED,
        .type = parent->type,
        .below_hosts = parent->below_hosts,
    };

    mount_stat_entry(mount, entry, parent->host, parent, &out->attr);
    /* Who goes down comes to an end. */
    if (entry->type == ENTRY_DIRECTORY && parent->kind == NODE_STORED &&
        entry->below_entries >= parent->below)
        return err_set(err, ERR_CORRUPT, "a directory that is in itself");
    if (entry->type == ENTRY_DIRECTORY)
        return nodes_take(mount->nodes, &wanted, &out->ino, err);
    nodes_note_host(mount->nodes, entry->place.archive, parent->host);
    out->ino = node_of_place(entry->place, entry->shared);
    return 0;
}

static bool is_stored(const struct node *node)
{
    return node->kind == NODE_TYPE || node->kind == NODE_STORED;
}

/* out->ino stays 0 where there is no such name. */
static int look_up(struct mount *mount, uint64_t parent_id, const struct node *parent,
                   const char *name, struct fuse_entry_param *out, struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct child child;
    struct dirref directory;

    if (history_is(parent))
        return history_lookup(mount, parent_id, parent, name, out, err);
    if (!is_stored(parent))
        return layout_find(mount, parent_id, parent, name, &child)
                   ? enter_child(mount, &child, out, err)
                   : 0;
    int rc = mount_directory(mount, parent_id, parent, &directory, err);
    if (rc < 0 || directory.entries == 0)
        return rc;
    rc = tree_find(mount->blocks, &directory, name, strlen(name), &held, err);
    if (rc == -ERR_NOT_FOUND)
        return 0;
    return rc < 0 ? rc : enter_entry(mount, parent_id, parent, &held.entry, out, err);
}

void mount_lookup(fuse_req_t req, fuse_ino_t parent_id, const char *name)
{
    struct mount *mount = fuse_req_userdata(req);
    struct fuse_entry_param entry = {.attr_timeout = MOUNT_TIMEOUT, .entry_timeout = MOUNT_TIMEOUT};
    struct node parent;
    struct err err;

    atomic_fetch_add(&mount->counters.lookups, 1);
    if (!nodes_get(mount->nodes, parent_id, &parent)) {
        fuse_reply_err(req, node_is_placed(parent_id) ? ENOTDIR : ESTALE);
        return;
    }
    if (look_up(mount, parent_id, &parent, name, &entry, &err) < 0) {
        fuse_reply_err(req, mount_errno(mount, parent_id, &err));
        return;
    }
    /* A reply that nobody waits for any more is not counted by the kernel. */
    if (fuse_reply_entry(req, &entry) == -ENOENT)
        nodes_forget(mount->nodes, entry.ino, 1);
}

void mount_forget(fuse_req_t req, fuse_ino_t id, uint64_t lookups)
{
    struct mount *mount = fuse_req_userdata(req);

    atomic_fetch_add(&mount->counters.forgets, 1);
    nodes_forget(mount->nodes, id, lookups);
    fuse_reply_none(req);
}

void mount_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct mount *mount = fuse_req_userdata(req);

    atomic_fetch_add(&mount->counters.forgets, 1);
    for (size_t i = 0; i < count; i++)
        nodes_forget(mount->nodes, forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* ---- a row of names ---------------------------------------------------------------------- */

/* A reply to readdir or readdirplus while it is filled. */
struct listing {
    fuse_req_t req;
    struct mount *mount;
    uint64_t id;
    struct node node;
    bool plus;
    char *bytes;
    size_t used, size;
    size_t files; /* that the kernel knows from here on */
};

/* Appends a name; false: it does not fit. */
static bool append(struct listing *listing, const char *name, const struct fuse_entry_param *entry,
                   uint64_t cookie)
{
    char *at = listing->bytes + listing->used;
    size_t left = listing->size - listing->used;
    size_t need =
        listing->plus
            ? fuse_add_direntry_plus(listing->req, at, left, name, entry, (off_t)cookie)
            : fuse_add_direntry(listing->req, at, left, name, &entry->attr, (off_t)cookie);

    if (need > left)
        return false;
    listing->used += need;
    return true;
}

/* "." and ".." by their numbers alone: the kernel has both. */
static bool append_dot(struct listing *listing, uint64_t number)
{
    struct fuse_entry_param entry = {.attr = {.st_mode = S_IFDIR, .st_ino = UINT32_MAX}};
    uint64_t id = number == 0 ? listing->id : listing->node.parent;
    struct err ignored;
    struct stat st;

    if (listing->id == FUSE_ROOT_ID)
        id = listing->id;
    if (mount_stat(listing->mount, id, &st, &ignored) == 0)
        entry.attr.st_ino = st.st_ino;
    return append(listing, number == 0 ? "." : "..", &entry, number + 1);
}

/* A name that does not fit was not looked up. */
static bool append_entered(struct listing *listing, const char *name,
                           struct fuse_entry_param *entry, uint64_t cookie)
{
    entry->attr_timeout = entry->entry_timeout = MOUNT_TIMEOUT;
    bool fits = append(listing, name, entry, cookie);

    if (!fits || !listing->plus)
        nodes_forget(listing->mount->nodes, entry->ino, 1);
    return fits;
}

static int list_layout(struct listing *listing, uint64_t number, struct err *err)
{
    struct child child;
    int rc = 0;

    for (; rc == 0; number++) {
        struct fuse_entry_param entry = {0};
        if (!layout_next(listing->mount, listing->id, &listing->node, &number, &child))
            return 0;
        rc = enter_child(listing->mount, &child, &entry, err);
        if (rc == 0 && !append_entered(listing, child.name, &entry, number + DOTS + 1))
            return 0;
    }
    return rc;
}

/* Without a look at what cannot fit. */
static bool has_room(const struct listing *listing, const struct entry *entry)
{
    size_t fixed = listing->plus ? 160 : 32;

    return listing->size - listing->used >= fixed + entry->name_size;
}

static int list_entry(struct listing *listing, const struct entry *entry, uint64_t cookie,
                      bool *out_fits, struct err *err)
{
    struct fuse_entry_param param = {0};
    char name[ENTRY_NAME_MAX + 1];

    memcpy(name, entry->name, entry->name_size);
    name[entry->name_size] = '\0';
    *out_fits = has_room(listing, entry);
    if (!*out_fits)
        return 0;
    int rc = enter_entry(listing->mount, listing->id, &listing->node, entry, &param, err);
    if (rc == 0)
        *out_fits = append_entered(listing, name, &param, cookie);
    if (rc == 0 && *out_fits && listing->plus && entry->type == ENTRY_FILE) {
        push_listed(listing->mount->push, listing->id, param.ino, entry->size);
        listing->files++;
    }
    return rc;
}

/* Goes on with a cursor until the reply is full or the directory ends. */
static int list_from(struct listing *listing, struct kept *kept, struct err *err)
{
    bool fits = true;
    int rc = 0;

    while (rc == 0) {
        if (!kept->pending)
            rc = tree_next(kept->cursor, &kept->pending, err);
        if (rc < 0 || !kept->pending)
            break;
        rc = list_entry(listing, kept->pending, kept->number + DOTS + 1, &fits, err);
        if (rc < 0 || !fits)
            break;
        kept->pending = NULL;
        kept->number++;
    }
    return rc;
}

static int list_stored(struct listing *listing, uint64_t number, struct err *err)
{
    struct mount *mount = listing->mount;
    struct kept kept = {.id = listing->id, .number = number};
    struct dirref directory;
    int rc = 0;

    if (number == 0)
        push_listing(mount->push, listing->id);
    if (!take_kept(mount->cursors, listing->id, number, &kept)) {
        rc = mount_directory(mount, listing->id, &listing->node, &directory, err);
        if (rc < 0 || number >= directory.entries)
            return rc;
        rc = tree_open(mount->blocks, &directory, number, &kept.cursor, err);
        if (rc < 0)
            return rc;
    }
    rc = list_from(listing, &kept, err);
    if (rc == 0 && kept.pending)
        keep(mount->cursors, &kept);
    else
        tree_close(kept.cursor);
    return rc;
}

static bool list_past(void *context, const char *name, struct fuse_entry_param *entry,
                      uint64_t next)
{
    return append_entered(context, name, entry, next + DOTS);
}

static int fill(struct listing *listing, uint64_t number, struct err *err)
{
    for (; number < DOTS; number++)
        if (!append_dot(listing, number))
            return 0;
    if (history_is(&listing->node))
        return history_list(listing->mount, listing->id, &listing->node, number - DOTS, list_past,
                            listing, err);
    return is_stored(&listing->node) ? list_stored(listing, number - DOTS, err)
                                     : list_layout(listing, number - DOTS, err);
}

/* The kernel has not seen this reply: it will not forget what is in it. */
static void take_back(const struct listing *listing)
{
    struct fuse_direntplus entry;

    for (size_t at = 0; listing->plus && at + sizeof(entry) <= listing->used;) {
        memcpy(&entry, listing->bytes + at, sizeof(entry));
        nodes_forget(listing->mount->nodes, entry.entry_out.nodeid, 1);
        at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + entry.dirent.namelen);
    }
}

static void answer_listing(struct listing *listing, uint64_t number)
{
    struct err err;
    int rc = fill(listing, number, &err);

    /* What came before the damage is shown; the damage with the next call. */
    if (rc < 0 && listing->used == 0)
        fuse_reply_err(listing->req, mount_errno(listing->mount, listing->id, &err));
    else if (fuse_reply_buf(listing->req, listing->bytes, listing->used) == -ENOENT)
        take_back(listing);
    else
        push_shown(listing->mount->push, listing->id, listing->files);
}

static void list(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, bool plus)
{
    struct mount *mount = fuse_req_userdata(req);
    struct listing listing = {.req = req, .mount = mount, .id = id, .plus = plus};

    atomic_fetch_add(&mount->counters.readdirs, 1);
    listing.size = size < REPLY_MAX ? size : REPLY_MAX;
    if (!nodes_get(mount->nodes, id, &listing.node)) {
        fuse_reply_err(req, ENOTDIR);
        return;
    }
    listing.bytes = malloc(listing.size);
    if (!listing.bytes)
        fuse_reply_err(req, ENOMEM);
    else
        answer_listing(&listing, offset > 0 ? (uint64_t)offset : 0);
    free(listing.bytes);
}

void mount_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                   struct fuse_file_info *file)
{
    (void)file;
    list(req, id, size, offset, false);
}

void mount_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                       struct fuse_file_info *file)
{
    (void)file;
    list(req, id, size, offset, true);
}
