#include "tools/tarball.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "backup/archive/tree.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/spill.h"
#include "backup/job/treewalk.h"
#include "tools/tar.h"

enum { PIECE = 256 * 1024, PATH_LIMIT = 17 * 1024 * 1024, ATTRIBUTES_MAX = 4096 };

struct tarball {
    struct blocks *blocks;
    int fd;
    struct spillmap *links; /* inode item's place → where in `names` its first path is, + 1 */
    int names;              /* a file without a name: paths, each with its NUL */
    uint64_t names_size;
    struct buf path, first; /* of the member; of the one that it is a link to */
    struct buf set;         /* its xattrs as stored */
    struct tar_attribute attributes[ATTRIBUTES_MAX];
};

static const char *scratch_directory(void)
{
    const char *dir = getenv("TMPDIR");

    return dir && dir[0] == '/' ? dir : "/tmp";
}

int tarball_content(struct blocks *blocks, const struct content *content, uint64_t size, int fd,
                    struct err *err)
{
    uint8_t *piece = malloc(PIECE);
    int r = piece ? 0 : err_set(err, ERR_NOMEM, "no memory for a piece of a file");

    for (uint64_t at = 0; at < size && r == 0;) {
        size_t count = size - at < PIECE ? (size_t)(size - at) : PIECE;

        r = content_read(blocks, content, at, piece, count, err);
        if (r == 0)
            r = io_write_full(fd, piece, count, err);
        at += count;
    }
    free(piece);
    return r;
}

/* The pairs of an entry's xattrs, pointing into ball->set. */
static int load_attributes(struct tarball *ball, const struct entry *entry,
                           struct tar_member *member, struct err *err)
{
    size_t size = (size_t)entry->xattrs.size;
    int r = 0;

    ball->set.size = 0;
    if (!(entry->flags & ENTRY_XATTRS) || size == 0)
        return 0;
    r = buf_reserve(&ball->set, size, err);
    if (r == 0 && entry->xattrs.form == CONTENT_INLINE)
        memcpy(ball->set.data, entry->xattrs.bytes, size);
    else if (r == 0)
        r = content_read(ball->blocks, &entry->xattrs, 0, ball->set.data, size, err);
    const uint8_t *at = ball->set.data;
    const uint8_t *end = at + size;
    while (r == 0 && member->attribute_count < ATTRIBUTES_MAX) {
        struct tar_attribute *next = &ball->attributes[member->attribute_count];

        r = xattrs_next(&at, end, &next->name, &next->name_size, &next->value, &next->value_size,
                        err);
        if (r <= 0)
            return r;
        member->attribute_count++;
        r = 0;
    }
    return r < 0 ? r : err_set(err, ERR_TOO_LARGE, "more than %d attributes", ATTRIBUTES_MAX);
}

static int read_name(struct tarball *ball, uint64_t at, struct err *err)
{
    uint8_t length[4] = {0};
    size_t got;
    int r = io_pread_full(ball->names, length, sizeof(length), at, &got, err);

    ball->first.size = 0;
    if (r == 0)
        r = buf_reserve(&ball->first, load_le32(length), err);
    if (r == 0)
        r = io_pread_full(ball->names, ball->first.data, load_le32(length), at + sizeof(length),
                          &got, err);
    if (r == 0)
        ball->first.size = got;
    return r;
}

/* The first path of a file with several names: true, and it is in ball->first. */
static int seen_before(struct tarball *ball, const struct entry *entry, bool *out, struct err *err)
{
    uint8_t length[4];
    uint64_t at;
    int r;

    *out = spillmap_get(ball->links, entry->place.archive, entry->place.raw, &at);
    if (*out)
        return read_name(ball, at, err);
    store_le32(length, (uint32_t)ball->path.size);
    r = spillmap_put(ball->links, entry->place.archive, entry->place.raw, ball->names_size, err);
    if (r == 0)
        r = io_pwrite_full(ball->names, length, sizeof(length), ball->names_size, err);
    if (r == 0)
        r = io_pwrite_full(ball->names, ball->path.data, ball->path.size,
                           ball->names_size + sizeof(length), err);
    ball->names_size += sizeof(length) + ball->path.size;
    return r;
}

static char type_of(const struct entry *entry)
{
    static const char letters[] = {
        [ENTRY_FILE] = '0',    [ENTRY_DIRECTORY] = '5', [ENTRY_SYMLINK] = '2',
        [ENTRY_CHARDEV] = '3', [ENTRY_BLOCKDEV] = '4',  [ENTRY_FIFO] = '6'};

    return entry->type < sizeof(letters) ? letters[entry->type] : 0;
}

/* "./a/b", with a slash behind a directory. */
static int set_path(struct tarball *ball, const struct entry *entry, const char *path,
                    struct err *err)
{
    int r;

    ball->path.size = 0;
    r = buf_append(&ball->path, "./", 2, err);
    if (r == 0 && path[0])
        r = buf_append(&ball->path, path, strlen(path), err);
    if (r == 0 && path[0] && entry->type == ENTRY_DIRECTORY)
        r = buf_append(&ball->path, "/", 1, err);
    return r < 0 ? r : buf_append(&ball->path, "", 1, err);
}

static void describe(const struct entry *entry, struct tar_member *member)
{
    member->type = type_of(entry);
    member->mode = entry->mode;
    member->uid = entry->uid;
    member->gid = entry->gid;
    member->mtime_s = entry->mtime_s;
    member->mtime_ns = entry->mtime_ns;
    if (entry->type == ENTRY_CHARDEV || entry->type == ENTRY_BLOCKDEV) {
        member->major = major(entry->rdev);
        member->minor = minor(entry->rdev);
    }
    if (entry->type == ENTRY_SYMLINK) {
        member->target = entry->target;
        member->target_size = entry->target_size;
    }
    if (entry->type == ENTRY_FILE)
        member->size = entry->size;
}

static int write_member(struct tarball *ball, const struct entry *entry, const char *path,
                        struct err *err)
{
    struct tar_member member = {.target = ""};
    bool link = false;
    int r = set_path(ball, entry, path, err);

    if (r < 0 || !type_of(entry))
        return r;
    describe(entry, &member);
    if (entry->shared && entry->type != ENTRY_DIRECTORY)
        r = seen_before(ball, entry, &link, err);
    if (r == 0 && !link)
        r = load_attributes(ball, entry, &member, err);
    if (r < 0)
        return r;
    member.path = (const char *)ball->path.data;
    member.attributes = ball->attributes;
    if (link) {
        member.type = '1';
        member.size = 0;
        member.target = (const char *)ball->first.data;
        member.target_size = ball->first.size - 1; /* without its NUL */
    }
    r = tar_header(ball->fd, &member, err);
    if (r == 0 && member.size > 0)
        r = tarball_content(ball->blocks, &entry->content, entry->size, ball->fd, err);
    return r < 0 ? r : tar_pad(ball->fd, member.size, err);
}

static int write_all(struct tarball *ball, const struct entry *directory, struct err *err)
{
    CLEANUP(treewalk_freep) struct treewalk *walk = NULL;
    const struct entry *entry;
    const char *path;
    int r = treewalk_new(ball->blocks, &directory->directory, &walk, err);

    if (r == 0)
        r = write_member(ball, directory, "", err);
    while (r == 0 && (r = treewalk_next(walk, &entry, &path, err)) > 0)
        r = write_member(ball, entry, path, err);
    return r < 0 ? r : tar_end(ball->fd, err);
}

int tarball_write(struct blocks *blocks, const struct entry *directory, int fd, struct err *err)
{
    struct tarball *ball = calloc(1, sizeof(*ball));
    int r;

    if (!ball)
        return err_set(err, ERR_NOMEM, "no memory for a tar stream");
    *ball = (struct tarball){.blocks = blocks, .fd = fd, .names = -1};
    ball->path.limit = ball->first.limit = PATH_LIMIT;
    ball->set.limit = ENTRY_XATTRS_MAX;
    r = spillmap_new(scratch_directory(), &ball->links, err);
    if (r == 0)
        r = io_open_temporary(scratch_directory(), &ball->names, err);
    if (r == 0)
        r = write_all(ball, directory, err);
    spillmap_free(ball->links);
    closep(&ball->names);
    buf_clear(&ball->path);
    buf_clear(&ball->first);
    buf_clear(&ball->set);
    free(ball);
    return r;
}
