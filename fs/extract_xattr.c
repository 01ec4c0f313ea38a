#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "backup/base/cleanup.h"
#include "fs/extract_internal.h"

#define CAPABILITY "security.capability"

enum { LIST_MAX = 65536, VALUE_MAX = 65536, ATTR_NAME_MAX = 255 };

/* Calls by descriptor do not work with O_PATH; by its name in /proc they do, and follow nothing
 * further. */
static const char *proc_path(const struct handle *handle, char path[40])
{
    snprintf(path, 40, "/proc/self/fd/%d", handle->fd);
    return path;
}

static ssize_t list_names(const struct handle *handle, char *names, size_t size)
{
    char path[40];

    return handle->path_only ? listxattr(proc_path(handle, path), names, size)
                             : flistxattr(handle->fd, names, size);
}

static ssize_t get_value(const struct handle *handle, const char *name, void *value, size_t size)
{
    char path[40];

    return handle->path_only ? getxattr(proc_path(handle, path), name, value, size)
                             : fgetxattr(handle->fd, name, value, size);
}

static int set_value(const struct handle *handle, const char *name, const void *value, size_t size)
{
    char path[40];

    return handle->path_only ? setxattr(proc_path(handle, path), name, value, size, 0)
                             : fsetxattr(handle->fd, name, value, size, 0);
}

static int remove_value(const struct handle *handle, const char *name)
{
    char path[40];

    return handle->path_only ? removexattr(proc_path(handle, path), name)
                             : fremovexattr(handle->fd, name);
}

/* Whether an xattr that the snapshot does not have is to go: what a system sets by its own policy
 * (SELinux's labels, IMA) stays. */
static bool is_ours(const char *name, bool root)
{
    static const char *const always[] = {"user.", "system.posix_acl_"};

    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
        if (strncmp(name, always[i], strlen(always[i])) == 0)
            return true;
    return root && strcmp(name, CAPABILITY) == 0;
}

/* File capabilities are what set-id bits are. */
static bool is_unwanted(const struct extract *x, const char *name)
{
    return x->options->no_setuid && strcmp(name, CAPABILITY) == 0;
}

/* The stored set; empty where there is none. */
static int load_set(struct extract *x, const struct attributes *attributes, struct buf *out,
                    struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};

    if (!attributes->has_xattrs)
        return 0;
    int r = tree_at(x->blocks, attributes->place, attributes->shared, &held, err);
    if (r < 0)
        return err_context(err, "extended attributes");
    const struct content *content = &held.entry.xattrs;
    if (content->size > ENTRY_XATTRS_MAX)
        return err_set(err, ERR_CORRUPT, "extended attributes that are too large");
    if (content->form == CONTENT_INLINE)
        return buf_append(out, content->bytes, (size_t)content->size, err);
    r = buf_reserve(out, (size_t)content->size, err);
    if (r == 0)
        r = content_read(x->blocks, content, 0, out->data + out->size, (size_t)content->size, err);
    if (r == 0)
        out->size += (size_t)content->size;
    return r;
}

static bool set_has(const struct buf *set, const char *wanted)
{
    const uint8_t *at = set->data, *end = set->size > 0 ? at + set->size : at, *value;
    size_t length = strlen(wanted), name_size, value_size;
    const char *name;
    struct err err;

    while (set->size > 0 && xattrs_next(&at, end, &name, &name_size, &value, &value_size, &err) > 0)
        if (name_size == length && memcmp(name, wanted, length) == 0)
            return true;
    return false;
}

/* Calls `each` for what the object has and the set has not; returns how often. */
static int each_extra(struct extract *x, const struct handle *handle, const struct buf *set,
                      int (*each)(const struct handle *, const char *name))
{
    CLEANUP(buf_clear) struct buf names = {.limit = LIST_MAX};
    ssize_t size = list_names(handle, NULL, 0);
    struct err err;
    int count = 0;

    if (size <= 0 || buf_reserve(&names, (size_t)size, &err) < 0)
        return 0; /* nothing, or a file system without */
    size = list_names(handle, (char *)names.data, (size_t)size);
    for (ssize_t at = 0; at < size;) {
        const char *name = (const char *)names.data + at;
        at += (ssize_t)strlen(name) + 1;
        if (!is_ours(name, x->root) || (set_has(set, name) && !is_unwanted(x, name)))
            continue;
        if (each(handle, name) < 0)
            return -1;
        count++;
    }
    return count;
}

struct pair {
    char name[ATTR_NAME_MAX + 1];
    const uint8_t *value;
    size_t size;
};

static int next_pair(const uint8_t **at, const uint8_t *end, struct pair *out, struct err *err)
{
    const char *name;
    size_t size;

    if (*at == end)
        return 0;
    int r = xattrs_next(at, end, &name, &size, &out->value, &out->size, err);
    if (r <= 0)
        return r;
    if (size == 0 || size > ATTR_NAME_MAX || memchr(name, 0, size) || out->size > VALUE_MAX)
        return err_set(err, ERR_CORRUPT, "an extended attribute that no file can have");
    memcpy(out->name, name, size);
    out->name[size] = 0;
    return 1;
}

static bool has_value(const struct handle *handle, const struct pair *pair)
{
    CLEANUP(buf_clear) struct buf now = {.limit = VALUE_MAX + 1};
    struct err err;

    if (buf_reserve(&now, pair->size + 1, &err) < 0)
        return false;
    ssize_t got = get_value(handle, pair->name, now.data, pair->size + 1);
    return got >= 0 && (size_t)got == pair->size && memcmp(now.data, pair->value, pair->size) == 0;
}

/* What only root may set. */
static bool may_be_refused(const struct extract *x, const char *name)
{
    return !x->root && (strncmp(name, "security.", 9) == 0 || strncmp(name, "trusted.", 8) == 0);
}

static int set_pair(struct extract *x, const struct handle *handle, const struct pair *pair,
                    struct err *err)
{
    if (is_unwanted(x, pair->name) || has_value(handle, pair))
        return 0;
    if (set_value(handle, pair->name, pair->value, pair->size) == 0)
        return 0;
    if (may_be_refused(x, pair->name)) {
        extract_remark(x, REMARK_XATTR,
                       "security.* and trusted.* attributes were not restored: not root");
        return 0;
    }
    int r = err_sys(err, "set attribute %s", pair->name);
    /* No room for an attribute says nothing of room for files. */
    err->cause = 0;
    return r;
}

int xattr_sync(struct extract *x, const struct handle *handle, const struct attributes *attributes,
               bool *out_changed, struct err *err)
{
    CLEANUP(buf_clear) struct buf set = {.limit = ENTRY_XATTRS_MAX};
    struct pair pair;

    int r = load_set(x, attributes, &set, err);
    if (r < 0)
        return r;
    int removed = each_extra(x, handle, &set, remove_value);
    if (removed < 0)
        return err_sys(err, "remove an attribute");
    *out_changed = removed > 0 || set.size > 0;
    const uint8_t *at = set.data, *end = set.size > 0 ? set.data + set.size : set.data;
    while ((r = next_pair(&at, end, &pair, err)) > 0) {
        r = set_pair(x, handle, &pair, err);
        if (r < 0)
            return r;
    }
    return r;
}

static int refuse(const struct handle *handle, const char *name)
{
    (void)handle;
    (void)name;
    return -1;
}

int xattr_compare(struct extract *x, const struct handle *handle,
                  const struct attributes *attributes, struct err *err)
{
    CLEANUP(buf_clear) struct buf set = {.limit = ENTRY_XATTRS_MAX};
    struct pair pair;

    int r = load_set(x, attributes, &set, err);
    if (r < 0)
        return r;
    if (each_extra(x, handle, &set, refuse) < 0)
        return err_set(err, ERR_EXISTS, "it has extended attributes that it should not have");
    const uint8_t *at = set.data, *end = set.size > 0 ? set.data + set.size : set.data;
    while ((r = next_pair(&at, end, &pair, err)) > 0)
        if (!is_unwanted(x, pair.name) && !may_be_refused(x, pair.name) &&
            !has_value(handle, &pair))
            return err_set(err, ERR_EXISTS, "its attribute %s is another one", pair.name);
    return r;
}

int xattr_grants(struct extract *x, const struct handle *handle,
                 const struct attributes *attributes, bool *out, struct err *err)
{
    CLEANUP(buf_clear) struct buf set = {.limit = ENTRY_XATTRS_MAX};
    struct pair pair;

    *out = false;
    if (!x->root || x->options->no_setuid || !attributes->has_xattrs)
        return 0;
    int r = load_set(x, attributes, &set, err);
    if (r < 0)
        return r;
    const uint8_t *at = set.data, *end = set.size > 0 ? set.data + set.size : set.data;
    while (!*out && (r = next_pair(&at, end, &pair, err)) > 0)
        *out = strcmp(pair.name, CAPABILITY) == 0 && !has_value(handle, &pair);
    return r < 0 ? r : 0;
}
