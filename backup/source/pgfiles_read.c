/* Files of the data directory into the sink, several at a time. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/crc32c.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/source/pgfiles_internal.h"
#include "backup/source/pgpage.h"

enum {
    CONTROL_MAX = 8192, /* PG_CONTROL_FILE_SIZE */
    CONTROL_DATA_MIN = 200,
    CONTROL_DATA_MAX = 512, /* a sector: what is in use is never more */
    CONTROL_TRIES = 100,
    PAGE_TRIES = 5,
    PAUSE_NS = 10 * 1000 * 1000,
    TEXT_SIZE = 200,
};

/* A file on its way. */
struct reading {
    struct pgfiles *files;
    struct sink_file *file;
    int parent, fd;
    struct stat st;
    bool checks_pages, damaged;
    uint32_t first_block; /* of the segment */
    uint64_t whole_size;  /* 0: any */
    uint64_t at;          /* read so far */
    uint32_t crc;
    char path[PGFILES_PATH_SIZE];
};

static void pause_shortly(void)
{
    const struct timespec moment = {.tv_nsec = PAUSE_NS};

    (void)nanosleep(&moment, NULL);
}

void pgfiles_entry(const char *path, const struct stat *st, struct pgtar_entry *out)
{
    *out = (struct pgtar_entry){
        .kind = S_ISDIR(st->st_mode) ? PGTAR_DIRECTORY : PGTAR_FILE,
        .name = path,
        .target = "",
        .size = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size,
        .mode = st->st_mode & 07777,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .mtime = st->st_mtim.tv_sec > 0 ? (uint64_t)st->st_mtim.tv_sec : 1,
    };
}

/* ---- pages --------------------------------------------------------------------------------- */

static void tell_damage(struct reading *reading, const uint8_t *page, uint32_t block)
{
    struct pgfiles *files = reading->files;
    char text[TEXT_SIZE];

    (void)snprintf(text, sizeof(text),
                   "the checksum of block %u is wrong: %X is stored, its bytes have %X", block,
                   pgpage_stored_checksum(page),
                   pgpage_checksum(page, files->block_size, reading->first_block + block));
    reading->damaged = true;
    pthread_mutex_lock(&files->lock);
    struct err err;
    if (pgbase_result_damage(files->out, reading->path, text, &err) < 0)
        crew_fail(&files->crew, &err);
    pthread_mutex_unlock(&files->lock);
}

/* A page that was being written as it was read is whole when it is read again. */
static int check_page(struct reading *reading, uint8_t *page, uint64_t offset, struct err *err)
{
    const struct pgfiles *files = reading->files;
    uint32_t size = files->block_size, block = (uint32_t)(offset / size);
    int r = 0;

    for (int tries = 0;
         !pgpage_valid(page, size, reading->first_block + block, files->out->start_lsn); tries++) {
        size_t got = 0;
        if (tries == PAGE_TRIES) {
            tell_damage(reading, page, block);
            return 0;
        }
        pause_shortly();
        r = io_pread_full(reading->fd, page, size, offset, &got, err);
        if (r < 0 || got < size) /* cut off meanwhile: what had been read stays */
            return r;
    }
    return 0;
}

static int check_pages(struct reading *reading, uint8_t *bytes, size_t size, struct err *err)
{
    uint32_t page = reading->files->block_size;
    int r = 0;

    for (size_t at = 0; r == 0 && !reading->damaged && at + page <= size; at += page)
        r = check_page(reading, bytes + at, reading->at + at, err);
    return r;
}

/* A server that went away is noticed before all is read for nothing. */
static int check_server(const struct pgfiles *files, struct err *err)
{
    struct pollfd server = {.fd = files->socket, .events = POLLRDHUP};

    if (poll(&server, 1, 0) <= 0)
        return 0;
    return err_set(
        err, ERR_REMOTE,
        "base backup: the server closed the connection: it was stopped, or its log grew by "
        "more than max_slot_wal_keep_size meanwhile");
}

/* ---- one file ------------------------------------------------------------------------------ */

/* The next bytes, straight to where the sink has room for them. */
static int read_some(struct reading *reading, bool *out_ended, struct err *err)
{
    const struct pgfiles_sink *sink = &reading->files->options->sink;
    uint64_t left = (uint64_t)reading->st.st_size - reading->at;
    uint32_t page = reading->files->block_size;
    uint8_t single[PGPAGE_SIZE_MAX];
    void *room = single;
    size_t size = 0, got = 0;

    int r = sink->room(reading->file, &room, &size, err);
    if (r < 0)
        return r;
    bool is_direct = size >= page;
    if (is_direct) {
        size -= size % page; /* pages are checked whole */
    } else {
        room = single;
        size = page;
    }
    if (size > left)
        size = (size_t)left;
    r = io_pread_full(reading->fd, room, size, reading->at, &got, err);
    if (r == 0 && reading->checks_pages)
        r = check_pages(reading, room, got, err);
    if (r < 0)
        return err_context(err, "%s", reading->path);
    reading->crc = crc32c(reading->crc, room, got);
    reading->at += got;
    *out_ended = got < size || got == left;
    return is_direct ? sink->filled(reading->file, got, err)
                     : sink->push(reading->file, room, got, err);
}

static int log_is_gone(const char *path, struct err *err)
{
    return err_set(err, ERR_REMOTE, "%s: the server has removed the log that the backup needs",
                   path);
}

/* A segment of the log that the server does not need any more gets another name, and is then
 * written anew: what was read is good while the name is still there. */
static int check_segment(const struct reading *reading, struct err *err)
{
    const char *name = strrchr(reading->path, '/') + 1;
    struct stat now;

    if (reading->at == reading->whole_size &&
        fstatat(reading->parent, name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
        now.st_ino == reading->st.st_ino && now.st_dev == reading->st.st_dev)
        return 0;
    return log_is_gone(reading->path, err);
}

static int read_file(struct reading *reading, struct err *err)
{
    const struct pgfiles_sink *sink = &reading->files->options->sink;
    struct pgtar_entry entry;
    bool ended = reading->st.st_size == 0;

    pgfiles_entry(reading->path, &reading->st, &entry);
    int r = sink->open(sink->context, &entry, &reading->file, err);
    while (r == 0 && !ended) {
        if (crew_ended(&reading->files->crew))
            return err_set(err, ERR_CANCELLED, "interrupted");
        r = check_server(reading->files, err);
        if (r == 0)
            r = read_some(reading, &ended, err);
    }
    if (r == 0 && reading->whole_size > 0)
        r = check_segment(reading, err);
    if (r < 0)
        return r;
    entry.size = reading->at;
    return sink->close(sink->context, STEAL(reading->file), &entry, reading->crc, err);
}

static void run(void *argument)
{
    struct reading *reading = argument;
    struct pgfiles *files = reading->files;
    struct err err;

    if (!crew_ended(&files->crew) && read_file(reading, &err) < 0)
        crew_fail(&files->crew, &err);
    files->options->sink.drop(reading->file);
    close(reading->fd);
    free(reading);
}

/* *out_fd: -1 for what is gone. */
static int open_file(int parent, const char *name, const char *path, int *out_fd, struct stat *out,
                     struct err *err)
{
    CLEANUP(closep)
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) {
        *out_fd = -1;
        return 0;
    }
    if (fd < 0 || fstat(fd, out) < 0) {
        err_sys(err, "cannot read");
        return err_context(err, "%s", path);
    }
    if (!S_ISREG(out->st_mode))
        return err_set(err, ERR_SYSTEM, "%s: it was a file a moment ago", path);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    *out_fd = fd;
    fd = -1;
    return 0;
}

int pgfiles_submit(struct pgfiles *files, int parent, const char *name, const char *path,
                   bool has_pages, uint64_t whole_size, struct err *err)
{
    struct reading *reading = calloc(1, sizeof(*reading));
    struct pgtree_relation relation;

    if (!reading)
        return err_set(err, ERR_NOMEM, "no memory to read a file");
    reading->files = files;
    reading->parent = parent;
    reading->whole_size = whole_size;
    (void)snprintf(reading->path, sizeof(reading->path), "%s", path);
    if (has_pages && files->checksums && pgtree_relation(name, &relation)) {
        reading->checks_pages = true;
        reading->first_block = relation.segment * files->segment_blocks;
    }
    int r = open_file(parent, name, path, &reading->fd, &reading->st, err);
    if (r == 0 && reading->fd < 0 && whole_size > 0)
        r = log_is_gone(path, err);
    if (r < 0 || reading->fd < 0) {
        free(reading);
        return r;
    }
    crew_submit(&files->crew, run, reading);
    return 0;
}

/* ---- what is small ------------------------------------------------------------------------- */

static int put(struct pgfiles *files, const struct pgtar_entry *entry, const void *bytes,
               struct err *err)
{
    const struct pgfiles_sink *sink = &files->options->sink;
    struct sink_file *file = NULL;

    int r = sink->open(sink->context, entry, &file, err);
    if (r == 0 && entry->size > 0)
        r = sink->push(file, bytes, (size_t)entry->size, err);
    if (r < 0) {
        sink->drop(file);
        return r;
    }
    return sink->close(sink->context, file, entry, crc32c(0, bytes, (size_t)entry->size), err);
}

int pgfiles_put(struct pgfiles *files, const char *path, const void *bytes, size_t size,
                struct err *err)
{
    const struct pgtar_entry entry = {
        .kind = PGTAR_FILE, .name = path, .target = "", .size = size, .mode = 0600};

    return put(files, &entry, bytes, err);
}

/* Its last field is the checksum of all before it; where that is depends on the version. */
static bool is_whole_control(const uint8_t *bytes, size_t size)
{
    uint32_t stored;

    for (size_t at = CONTROL_DATA_MIN; at <= CONTROL_DATA_MAX && at + sizeof(stored) <= size;
         at += sizeof(stored)) {
        memcpy(&stored, bytes + at, sizeof(stored));
        if (crc32c(0, bytes, at) == stored)
            return true;
    }
    return false;
}

/* The server writes it in place, without a lock that others see. */
static int read_control(int fd, uint8_t out[CONTROL_MAX], size_t *out_size, struct err *err)
{
    for (int tries = 0; tries < CONTROL_TRIES; tries++) {
        int r = io_pread_full(fd, out, CONTROL_MAX, 0, out_size, err);
        if (r < 0 || is_whole_control(out, *out_size))
            return r;
        pause_shortly();
    }
    return err_set(err, ERR_CORRUPT, "its checksum is wrong");
}

int pgfiles_put_control(struct pgfiles *files, struct err *err)
{
    static const char path[] = "global/pg_control";
    CLEANUP(closep) int fd = -1;
    uint8_t bytes[CONTROL_MAX];
    struct pgtar_entry entry;
    struct stat st;
    size_t size;

    int r = open_file(files->directory, path, path, &fd, &st, err);
    if (r == 0 && fd < 0)
        return err_set(err, ERR_SYSTEM, "%s is gone", path);
    if (r < 0)
        return r;
    r = read_control(fd, bytes, &size, err);
    if (r < 0)
        return err_context(err, "%s", path);
    pgfiles_entry(path, &st, &entry);
    entry.size = size;
    return put(files, &entry, bytes, err);
}
