#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "backup/archive/thaw.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/spill.h"
#include "fs/extract_internal.h"

enum { ROOM_UNIT = 4096 };

/* What a file takes on disk: its data in whole blocks, not its holes. */
static uint64_t room_of(struct extract *x, const struct entry *entry)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent extent;
    uint64_t start, data = 0;
    struct err err;

    if (entry->size == 0)
        return 0;
    if (entry->content.form == CONTENT_ONE)
        data = entry->size;
    else if (content_open(&cursor, x->blocks, &entry->content, 0, &err) < 0)
        return entry->size;
    else
        while (content_next(&cursor, &extent, &start, &err) > 0)
            data += extent_is_hole(&extent) ? 0 : extent.length;
    return (data + ROOM_UNIT - 1) / ROOM_UNIT * ROOM_UNIT;
}

/* Names of one file take its room once. */
static bool met_before(struct extract *x, const struct entry *entry)
{
    uint64_t value;
    struct err err;

    if (!entry->shared)
        return false;
    if (spillmap_get(x->counted, entry->place.archive, entry->place.raw, &value))
        return true;
    (void)spillmap_put(x->counted, entry->place.archive, entry->place.raw, 1, &err);
    return false;
}

/* The file that is replaced gives its room back, but only afterwards. */
static uint64_t room_given_back(struct extract *x, struct dir *dir, const struct entry *entry)
{
    char name[ENTRY_NAME_MAX + 1];
    struct stat st = {0};
    struct err err;
    int dirfd;

    memcpy(name, entry->name, entry->name_size);
    name[entry->name_size] = 0;
    if (dir_hold(x, dir, &dirfd, &err) < 0)
        return 0;
    bool there = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    dir_let(x, dir);
    return there && st.st_nlink == 1 ? (uint64_t)st.st_blocks * 512 : 0;
}

static void need_content(struct extract *x, const struct content *content)
{
    int none = 0, r = 0;
    struct err err;

    if (x->options->thaw)
        r = thaw_need_content(x->options->thaw, x->blocks, content, &err);
    /* What is damaged is told when it is read. */
    if (r < 0 && r != -ERR_CORRUPT && r != -ERR_NOT_FOUND &&
        atomic_compare_exchange_strong(&x->stop, &none, r))
        x->uncounted = err;
}

/* A large set of them is stored as content is; what is there already is compared with it. */
void count_attributes(struct extract *x, const struct entry *entry)
{
    if (entry->flags & ENTRY_XATTRS)
        need_content(x, &entry->xattrs);
}

static void count_written(struct extract *x, struct dir *dir, const struct entry *entry, bool over)
{
    struct extract_result *result = &x->result;

    if (entry->type != ENTRY_FILE) {
        result->others++;
        result->room_needed += ROOM_UNIT;
        return;
    }
    result->files++;
    if (met_before(x, entry))
        return;
    result->bytes += entry->size;
    need_content(x, &entry->content);
    uint64_t room = room_of(x, entry);
    uint64_t back = over ? room_given_back(x, dir, entry) : 0;
    if (over && !x->options->in_place && room > x->largest)
        x->largest = room;
    result->room_needed += room > back ? room - back : 0;
}

static bool is_special(const struct entry *entry)
{
    return entry->type != ENTRY_FILE && entry->type != ENTRY_SYMLINK;
}

void count_entry(struct extract *x, struct dir *dir, const struct entry *entry, bool keep)
{
    enum verdict verdict;
    struct err err;

    int r = dir_ensure(x, dir, &err);
    if (r == 0)
        r = write_decide(x, dir, entry, keep, &verdict, &err);
    if (r < 0) {
        extract_trouble(x, dir, entry->name, entry->name_size, SIDE_TARGET, &err);
        return;
    }
    if (x->options->no_special && is_special(entry))
        return;
    if (verdict == VERDICT_LEAVE) {
        x->result.kept++;
        return;
    }
    count_attributes(x, entry);
    if (verdict == VERDICT_SAME) {
        x->result.unchanged++;
        return;
    }
    count_written(x, dir, entry, verdict == VERDICT_OVER);
    if (x->options->dry_run)
        extract_note(x, dir, entry->name, entry->name_size, "would write");
}

void count_directory(struct extract *x, struct dir *dir)
{
    if (dir->fresh) /* the target, by another job */
        return;
    dir->fresh = true;
    x->result.directories++;
    x->result.room_needed += ROOM_UNIT;
    if (x->options->dry_run)
        extract_note(x, dir, NULL, 0, "would write");
}

static int free_room(const struct extract *x, int target, uint64_t *out, struct err *err)
{
    struct statvfs vfs;

    if (fstatvfs(target, &vfs) < 0)
        return err_sys(err, "free room of the target");
    *out = (uint64_t)(x->root ? vfs.f_bfree : vfs.f_bavail) * vfs.f_frsize;
    return 0;
}

/* Room where the target will be: in the nearest directory that is there. */
static int free_room_above(struct extract *x, uint64_t *out, struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = EXTRACT_PATH_MAX};
    CLEANUP(closep) int fd = -1;
    size_t size = strlen(x->options->target);
    int r = buf_append(&path, x->options->target, size + 1, err);

    while (r == 0 && fd < 0) {
        char *at = (char *)path.data;
        while (size > 0 && at[size - 1] != '/')
            size--;
        while (size > 1 && at[size - 1] == '/')
            size--;
        at[size] = 0;
        r = io_openat(AT_FDCWD, size > 0 ? at : ".", O_RDONLY | O_DIRECTORY, 0, &fd, err);
        if (r == -ERR_NOT_FOUND && size > 1)
            r = 0;
    }
    return r < 0 ? r : free_room(x, fd, out, err);
}

int room_count(struct extract *x, int target, struct err *err)
{
    CLEANUP(spillmap_freep) struct spillmap *counted = NULL;

    int r = spillmap_new("/var/tmp", &counted, err);
    if (r < 0)
        return r;
    x->counted = counted;
    r = extract_pass(x, PASS_COUNT, target, err);
    x->counted = NULL;
    if (r == 0 && x->uncounted.code != ERR_NONE) {
        *err = x->uncounted;
        r = -(int)err->code;
    }
    x->result.room_needed += x->largest;
    x->largest = 0;
    if (r == 0 && x->options->target)
        r = target >= 0 ? free_room(x, target, &x->result.room_free, err)
                        : free_room_above(x, &x->result.room_free, err);
    return r;
}

int room_check(struct extract *x, int target, struct err *err)
{
    struct extract_result before = x->result;
    uint64_t files, bytes, room = 0;

    jobs_total(x, &files, &bytes);
    int r = free_room(x, target, &room, err);
    if (r < 0 || (!x->options->thaw && files < UINT32_MAX && bytes < room &&
                  files * ROOM_UNIT * 2 < room - bytes))
        return r; /* even if all of it is new */
    r = room_count(x, target, err);
    uint64_t needed = x->result.room_needed;
    x->result = before;
    if (r == 0 && needed > room)
        return err_set(err, ERR_SYSTEM,
                       "the target has not enough room: %llu MiB are needed, %llu MiB are free",
                       (unsigned long long)(needed >> 20), (unsigned long long)(room >> 20));
    return r;
}
