#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/path.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "fs/extract_internal.h"

/* One record for each inode: device, inode number, done, length of the path, the path of the first
 * name below the target. */
enum { RECORD_SIZE = 32 };

struct links {
    struct spillmap *map; /* place of the inode item -> its record */
    int fd;               /* the records; -1: none yet */
    uint64_t end;
    const char *directory;
};

int links_new(struct links **out, struct err *err)
{
    struct links *links = calloc(1, sizeof(*links));

    if (!links)
        return err_set(err, ERR_NOMEM, "no memory for hard links");
    links->fd = -1;
    links->directory = getenv("TMPDIR");
    if (!links->directory || !*links->directory)
        links->directory = "/var/tmp";
    int r = spillmap_new(links->directory, &links->map, err);
    if (r < 0)
        links_free(links);
    else
        *out = links;
    return r;
}

void links_free(struct links *links)
{
    if (!links)
        return;
    spillmap_free(links->map);
    closep(&links->fd);
    free(links);
}

bool links_find(const struct links *links, struct place inode, uint64_t *out_record)
{
    return spillmap_get(links->map, inode.archive, inode.raw, out_record);
}

static int open_records(struct links *links, struct err *err)
{
    if (links->fd >= 0)
        return 0;
    links->fd = open(links->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (links->fd < 0)
        links->fd = memfd_create("yester-links", MFD_CLOEXEC);
    return links->fd < 0 ? err_sys(err, "a temporary file in %s", links->directory) : 0;
}

int links_add(struct links *links, const struct dir *dir, const struct entry *entry,
              uint64_t *out_record, struct err *err)
{
    CLEANUP(buf_clear) struct buf record = {.limit = EXTRACT_PATH_MAX};
    uint8_t head[RECORD_SIZE] = {0};
    int r = open_records(links, err);

    if (r == 0)
        r = buf_append(&record, head, sizeof(head), err);
    if (r == 0)
        r = dir_path(dir, entry->name, entry->name_size, &record, err);
    if (r < 0)
        return r;
    store_le64(record.data + 24, record.size - RECORD_SIZE);
    r = io_pwrite_full(links->fd, record.data, record.size, links->end, err);
    if (r == 0)
        r = spillmap_put(links->map, entry->place.archive, entry->place.raw, links->end, err);
    if (r < 0)
        return r;
    *out_record = links->end;
    links->end += record.size;
    return 0;
}

/* False only when it is known to be another file. */
bool links_agree(const struct links *links, uint64_t record, const struct stat *st)
{
    uint8_t head[24];
    struct err err;
    size_t got;

    if (io_pread_full(links->fd, head, sizeof(head), record, &got, &err) < 0 ||
        got < sizeof(head) || load_le64(head + 16) != 1)
        return true;
    return load_le64(head) == st->st_dev && load_le64(head + 8) == st->st_ino;
}

void links_done(struct links *links, uint64_t record, const struct stat *st)
{
    uint8_t head[24];
    struct err err;

    store_le64(head, st->st_dev);
    store_le64(head + 8, st->st_ino);
    store_le64(head + 16, 1);
    /* If it cannot be noted, the next name becomes a file of its own. */
    (void)io_pwrite_full(links->fd, head, sizeof(head), record, &err);
}

/* Down a path below the target, name by name; nothing on the way may be a symlink. */
static int open_below(struct extract *x, const char *path, size_t size, int *out_fd,
                      struct err *err)
{
    const char *at = path, *end = path + size, *name;
    CLEANUP(closep) int fd = -1;
    size_t length;
    int top;

    int r = dir_hold(x, dirs_target(x->dirs), &top, err);
    if (r < 0)
        return r;
    while (r == 0 && path_next(&at, end, &name, &length)) {
        char one[ENTRY_NAME_MAX + 1];
        int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC | (at < end ? O_DIRECTORY : 0);

        memcpy(one, name, length);
        one[length] = 0;
        int next = place_open(fd >= 0 ? fd : top, one, flags, 0);
        if (next < 0)
            r = err_sys(err, "open the first name");
        closep(&fd);
        fd = next;
    }
    dir_let(x, dirs_target(x->dirs));
    if (r == 0) {
        *out_fd = fd;
        fd = -1;
    }
    return r;
}

/* Opens the first name (O_PATH), if it was restored and is still the same. */
static int open_first(struct extract *x, uint64_t record, int *out_fd, struct stat *out_st,
                      struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = EXTRACT_PATH_MAX};
    CLEANUP(closep) int fd = -1;
    uint8_t head[RECORD_SIZE];
    size_t got;

    int r = io_pread_full(x->links->fd, head, sizeof(head), record, &got, err);
    if (r < 0)
        return r;
    uint64_t size = got == sizeof(head) ? load_le64(head + 24) : 0;
    if (load_le64(head + 16) != 1 || size == 0 || size > EXTRACT_PATH_MAX)
        return err_set(err, ERR_NOT_FOUND, "the first name was not restored");
    r = buf_reserve(&path, (size_t)size, err);
    if (r == 0)
        r = io_pread_full(x->links->fd, path.data, (size_t)size, record + RECORD_SIZE, &got, err);
    if (r == 0)
        r = open_below(x, (const char *)path.data, got, &fd, err);
    if (r < 0)
        return r;
    if (fstat(fd, out_st) < 0)
        return err_sys(err, "stat the first name");
    if (out_st->st_dev != load_le64(head) || out_st->st_ino != load_le64(head + 8))
        return err_set(err, ERR_NOT_FOUND, "the first name is another file by now");
    *out_fd = fd;
    fd = -1;
    return 0;
}

static void make_file_of_link(struct extract *x, const struct later *later,
                              const struct entry *entry)
{
    uint64_t record;
    struct err err;

    int r = links_add(x->links, later->dir, entry, &record, &err);
    uint64_t link = r == 0 ? record + 1 : 0;
    if (entry->type == ENTRY_FILE)
        outfile_write_now(x, later->dir, entry, later->over, link);
    else
        write_special(x, later->dir, entry, later->over, link);
}

/* 1: it is that file already. */
static int link_there(int dirfd, const struct later *later, const struct stat *first)
{
    struct stat st;

    return fstatat(dirfd, later->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           st.st_dev == first->st_dev && st.st_ino == first->st_ino;
}

static int make_link(struct extract *x, const struct later *later, const struct entry *entry,
                     int source, const struct stat *first, struct err *err)
{
    int dirfd;
    int r = dir_hold(x, later->dir, &dirfd, err);

    if (r < 0)
        return r;
    if (link_there(dirfd, later, first)) {
        extract_add(x, &x->result.unchanged, 1);
    } else {
        r = place_make(dirfd, later->name, entry, source, later->over, err);
        if (r < 0 && err->cause == EEXIST && x->options->overwrite != OVERWRITE_NEVER)
            r = place_make(dirfd, later->name, entry, source, true, err);
        if (r == 0)
            extract_add(x, &x->result.files, 1);
    }
    dir_let(x, later->dir);
    return r;
}

/* Whether there is nothing to link to, or no way to: it becomes a file of its own.  Whatever else
 * goes wrong would leave two files where one was, and nobody told. */
static bool is_no_link(const struct err *err)
{
    return err->code == ERR_NOT_FOUND || err->cause == EMLINK || err->cause == EXDEV ||
           err->cause == ELOOP || err->cause == ENOTDIR;
}

void links_make(struct extract *x, const struct later *later)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    CLEANUP(closep) int source = -1;
    struct stat first;
    uint64_t record = 0;
    struct err err;

    int r = tree_at(x->blocks, later->inode, true, &held, &err);
    if (r < 0) {
        extract_trouble(x, later->dir, later->name, later->name_size, SIDE_REPOSITORY, &err);
        return;
    }
    held.entry.name = later->name;
    held.entry.name_size = later->name_size;
    /* An inode's number may have been given to another user's file since. */
    r = links_find(x->links, later->inode, &record)
            ? open_first(x, record, &source, &first, &err)
            : err_set(&err, ERR_NOT_FOUND, "the first name was not restored");
    if (r == 0 && x->root && first.st_uid != held.entry.uid)
        r = err_set(&err, ERR_NOT_FOUND, "the first name is another file by now");
    if (r == 0)
        r = make_link(x, later, &held.entry, source, &first, &err);
    if (r < 0 && is_no_link(&err)) {
        make_file_of_link(x, later, &held.entry);
        return;
    }
    if (r < 0)
        extract_trouble(x, later->dir, later->name, later->name_size, SIDE_TARGET, &err);
    progress_add(x->options->progress, 1, 0);
}
