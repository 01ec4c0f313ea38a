#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "fs/extract_internal.h"

static void name_of(const struct entry *entry, char name[ENTRY_NAME_MAX + 1])
{
    memcpy(name, entry->name, entry->name_size);
    name[entry->name_size] = 0;
}

/* A directory in the way of something else: only an empty one may go. */
static int clear_directory(struct extract *x, int dirfd, const char *name, struct err *err)
{
    if (x->pass != PASS_WRITE)
        return 0;
    if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return err_set(err, ERR_EXISTS, "a directory that is not empty is in its place");
    return err_sys(err, "remove the directory in its place");
}

/* After a power cut a file may have its size and time, and not its data. */
static bool content_is(struct extract *x, int dirfd, const char *name, const struct entry *entry)
{
    CLEANUP(closep) int fd = -1;
    struct err err;

    if (!x->distrust || entry->type != ENTRY_FILE)
        return true;
    fd = place_open(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    return fd >= 0 && verify_content(x, fd, entry, &err) == 0;
}

/* What is there has the entry's size and time; whether it may be given its attributes, too. */
static bool may_stay(struct extract *x, const struct handle *handle, const struct entry *entry,
                     const struct stat *st)
{
    struct attributes attributes;
    struct err err;
    bool grants = true;

    if (!meta_trusts(x, entry, st))
        return false;
    attributes_of(entry, &attributes);
    if (!attributes.has_xattrs || entry->type != ENTRY_FILE || st->st_uid == 0)
        return true;
    return xattr_grants(x, handle, &attributes, &grants, &err) == 0 && !grants;
}

static bool is_same(struct extract *x, int dirfd, const char *name, const struct entry *entry,
                    const struct stat *st)
{
    struct handle handle;
    struct stat now;
    struct err err;

    if (!meta_same(dirfd, name, entry, st))
        return false;
    if (!x->root || entry->type != ENTRY_FILE || st->st_uid == 0) /* the most common, at once */
        return content_is(x, dirfd, name, entry);
    if (place_look(dirfd, name, &handle, &now, &err) < 0)
        return false;
    bool may = may_stay(x, &handle, entry, &now);
    closep(&handle.fd);
    return may && content_is(x, dirfd, name, entry);
}

static int decide_at(struct extract *x, int dirfd, const struct entry *entry, bool keep,
                     enum verdict *out, struct err *err)
{
    enum extract_overwrite overwrite = x->options->overwrite;
    char name[ENTRY_NAME_MAX + 1];
    struct stat st;

    name_of(entry, name);
    *out = VERDICT_NEW;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, "stat");
    *out = VERDICT_LEAVE;
    if (keep || overwrite == OVERWRITE_NEVER)
        return 0;
    *out = VERDICT_NEW;
    if (S_ISDIR(st.st_mode))
        return clear_directory(x, dirfd, name, err);
    *out = VERDICT_OVER;
    if (overwrite == OVERWRITE_IF_CHANGED && is_same(x, dirfd, name, entry, &st))
        *out = VERDICT_SAME;
    return 0;
}

int write_decide(struct extract *x, struct dir *dir, const struct entry *entry, bool keep,
                 enum verdict *out, struct err *err)
{
    int dirfd;

    *out = VERDICT_NEW;
    if (dir->fresh || dir->state == DIR_ABSENT)
        return 0;
    int r = dir_hold(x, dir, &dirfd, err);
    if (r < 0)
        return r;
    r = decide_at(x, dirfd, entry, keep, out, err);
    dir_let(x, dir);
    return r;
}

/* Whether an object is the one that was made, or was found to be the same: another user may have
 * put one in its place. */
static bool is_expected(struct extract *x, const struct handle *handle, const struct entry *entry,
                        bool made, const struct stat *st)
{
    bool device = entry->type == ENTRY_CHARDEV || entry->type == ENTRY_BLOCKDEV;

    if ((st->st_mode & S_IFMT) != (entry_st_mode(entry) & S_IFMT) || st->st_nlink > entry->links)
        return false;
    if (device && st->st_rdev != entry->rdev)
        return false;
    return made ? st->st_uid == geteuid() : may_stay(x, handle, entry, st);
}

/* Gives what is at the name, and is of this type, its attributes. */
static int bring_in_line(struct extract *x, struct dir *dir, const struct entry *entry, bool made,
                         struct stat *out_st, struct err *err)
{
    struct handle handle = {.fd = -1};
    struct attributes attributes;
    char name[ENTRY_NAME_MAX + 1];
    int dirfd;

    name_of(entry, name);
    attributes_of(entry, &attributes);
    int r = dir_hold(x, dir, &dirfd, err);
    if (r < 0)
        return r;
    r = place_look(dirfd, name, &handle, out_st, err);
    dir_let(x, dir);
    if (r < 0)
        return r;
    r = is_expected(x, &handle, entry, made, out_st)
            ? meta_apply(x, &handle, &attributes, out_st, err)
            : err_set(err, ERR_SYSTEM, "it was replaced meanwhile");
    closep(&handle.fd);
    return r;
}

static int make_special(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
                        struct err *err)
{
    char name[ENTRY_NAME_MAX + 1];
    int dirfd;

    name_of(entry, name);
    int r = dir_hold(x, dir, &dirfd, err);
    if (r < 0)
        return r;
    r = place_make(dirfd, name, entry, -1, over, err);
    if (r < 0 && err->cause == EEXIST && !over && x->options->overwrite != OVERWRITE_NEVER)
        r = place_make(dirfd, name, entry, -1, true, err);
    dir_let(x, dir);
    return r;
}

void write_special(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
                   uint64_t link)
{
    struct stat st;
    struct err err;

    int r = make_special(x, dir, entry, over, &err);
    if (r == 0)
        r = bring_in_line(x, dir, entry, true, &st, &err);
    if (r == 0 && link)
        links_done(x->links, link - 1, &st);
    if (r == 0)
        extract_add(x, &x->result.others, 1);
    else
        extract_trouble(x, dir, entry->name, entry->name_size, SIDE_TARGET, &err);
    progress_add(x->options->progress, 1, 0);
}

/* One name was there already: if it is that file, its other names are links to it. */
static void remember_left(struct extract *x, struct dir *dir, const struct entry *entry)
{
    char name[ENTRY_NAME_MAX + 1];
    uint64_t record;
    struct stat st;
    struct err err;
    int dirfd;

    if (!entry->shared || links_find(x->links, entry->place, &record) ||
        dir_hold(x, dir, &dirfd, &err) < 0)
        return;
    name_of(entry, name);
    bool same = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                meta_same(dirfd, name, entry, &st) && content_is(x, dirfd, name, entry);
    dir_let(x, dir);
    if (same && links_add(x->links, dir, entry, &record, &err) == 0)
        links_done(x->links, record, &st);
}

static void leave(struct extract *x, struct dir *dir, const struct entry *entry, bool keep)
{
    if (keep)
        extract_note(x, dir, entry->name, entry->name_size, "kept");
    remember_left(x, dir, entry);
    extract_add(x, &x->result.kept, 1);
    progress_add(x->options->progress, 1, entry->size);
}

static void keep_same(struct extract *x, struct dir *dir, const struct entry *entry, uint64_t link)
{
    struct stat st;
    struct err err;

    int r = bring_in_line(x, dir, entry, false, &st, &err);
    if (r == 0 && link)
        links_done(x->links, link - 1, &st);
    if (r == 0)
        extract_add(x, &x->result.unchanged, 1);
    else
        extract_trouble(x, dir, entry->name, entry->name_size, SIDE_TARGET, &err);
    progress_add(x->options->progress, 1, entry->size);
}

/* A name of a file with several; 1: it is a later one, and on its way. */
static int place_shared(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
                        uint64_t *out_link, struct err *err)
{
    uint64_t record;

    if (!entry->shared)
        return 0;
    if (links_find(x->links, entry->place, &record)) {
        int r = files_add_link(x, dir, entry, over, err);
        return r < 0 ? r : 1;
    }
    int r = links_add(x->links, dir, entry, &record, err);
    if (r == 0)
        *out_link = record + 1;
    return r;
}

static int write_it(struct extract *x, struct dir *dir, const struct entry *entry, bool keep,
                    struct err *err)
{
    enum verdict verdict;
    uint64_t link = 0;

    bool special = entry->type != ENTRY_FILE && entry->type != ENTRY_SYMLINK;

    if (special && x->options->no_special) {
        extract_remark(x, REMARK_SPECIAL, "fifos, sockets and devices were not restored");
        return 0;
    }
    int r = dir_ensure(x, dir, err);
    if (r == 0)
        r = write_decide(x, dir, entry, keep, &verdict, err);
    if (r < 0)
        return r;
    if (verdict == VERDICT_LEAVE) {
        leave(x, dir, entry, keep);
        return 0;
    }
    r = place_shared(x, dir, entry, verdict != VERDICT_NEW, &link, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (verdict == VERDICT_SAME)
        keep_same(x, dir, entry, link);
    else if (entry->type == ENTRY_FILE)
        return files_add(x, dir, entry, verdict == VERDICT_OVER, link, err);
    else
        write_special(x, dir, entry, verdict == VERDICT_OVER, link);
    return 0;
}

void write_entry(struct extract *x, struct dir *dir, const struct entry *entry, bool keep)
{
    struct err err;

    if (write_it(x, dir, entry, keep, &err) < 0)
        extract_trouble(x, dir, entry->name, entry->name_size, SIDE_TARGET, &err);
}
