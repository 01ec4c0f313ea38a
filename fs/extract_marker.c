#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/log.h"
#include "backup/base/spill.h"
#include "fs/extract_internal.h"

/*
 * .yester-restore in the target says that a restore is under way: 64 bytes with the boot's id, then
 * 16 bytes (device, inode) for each directory on the way that was made.  A later run so knows what
 * an interrupted one left: which temporary files are its own, whose attributes it still has to set,
 * and, after a start of the machine, that size and time of a file do not prove its content.
 */
enum { HEAD_SIZE = 64, UUID_SIZE = 36, MADE_SIZE = 16, MADE_AT_ONCE = 256 };

/* In place of the boot's id while times are not to be trusted. */
#define EARLIER "another boot"

static void boot_id(char out[HEAD_SIZE])
{
    CLEANUP(closep) int fd = -1;
    struct err err;
    size_t got;

    memset(out, 0, HEAD_SIZE);
    if (io_openat(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0, &fd, &err) == 0)
        (void)io_read_full(fd, out, HEAD_SIZE - 1, &got, &err);
}

static int read_made(struct extract *x, int fd, struct err *err)
{
    uint8_t bytes[MADE_AT_ONCE * MADE_SIZE];
    size_t got = sizeof(bytes);
    int r = 0;

    while (r == 0 && got == sizeof(bytes)) {
        r = io_read_full(fd, bytes, sizeof(bytes), &got, err);
        for (size_t at = 0; r == 0 && at + MADE_SIZE <= got; at += MADE_SIZE)
            r = spillmap_put(x->made, load_le64(bytes + at), load_le64(bytes + at + 8), 1, err);
    }
    return r;
}

/* Whether it is one of these at all: a restored file may have the name. */
static bool is_marker(const char *head, size_t size)
{
    static const char zeros[HEAD_SIZE];
    bool id = size >= UUID_SIZE && strspn(head, "0123456789abcdef-") == UUID_SIZE;

    return id || memcmp(head, zeros, size) == 0 ||
           (size >= strlen(EARLIER) && memcmp(head, EARLIER, strlen(EARLIER)) == 0);
}

/* What the run before left, if it did not come to its end. */
static int look_back(struct extract *x, int fd, const char now[HEAD_SIZE], struct err *err)
{
    char before[HEAD_SIZE + 1] = {0};
    size_t got;

    int r = io_read_full(fd, before, HEAD_SIZE, &got, err);
    if (r < 0 || got == 0)
        return r;
    if (!is_marker(before, got)) {
        closep(&x->marker);
        x->marker = -1;
        return 0;
    }
    x->resumed = true;
    x->distrust = got < HEAD_SIZE || now[0] == 0 || memcmp(before, now, HEAD_SIZE) != 0;
    return x->distrust ? 0 : read_made(x, fd, err);
}

static int open_marker(struct extract *x, int target, struct err *err)
{
    CLEANUP(closep)
    int fd = place_open(target, EXTRACT_MARKER, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;

    /* Others may have put it there: a link to something that must not be written to. */
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        st.st_nlink != 1) {
        log_debug("restore: no %s in the target: what an interrupted run leaves is not known",
                  EXTRACT_MARKER);
        return 0;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return err_set(err, ERR_BUSY, "another restore is writing to this target");
    x->marker = fd;
    fd = -1;
    return 0;
}

/* A target that the run before made still gets its attributes from this one. */
static int note_target(struct extract *x, int target, struct err *err)
{
    struct stat st;
    uint64_t value;

    if (fstat(target, &st) < 0)
        return err_sys(err, "stat the target");
    if (x->target_made)
        marker_made(x, &st);
    x->target_made = spillmap_get(x->made, st.st_dev, st.st_ino, &value);
    x->other_devices[0] = st.st_dev; /* the first is the target's own */
    x->other_count = 1;
    return 0;
}

/* The marker comes and goes, and the target's time stays. */
static void keep_time(int target, const struct stat *before)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, before->st_mtim};

    (void)futimens(target, times);
}

int marker_begin(struct extract *x, int target, struct err *err)
{
    char now[HEAD_SIZE];
    struct stat before;

    if (fstat(target, &before) < 0)
        return err_sys(err, "stat the target");
    int r = open_marker(x, target, err);
    keep_time(target, &before);
    if (r < 0)
        return r;
    if (x->marker < 0)
        return note_target(x, target, err);
    boot_id(now);
    r = look_back(x, x->marker, now, err);
    if (r == 0 && x->marker < 0)
        return note_target(x, target, err);
    if (r == 0 && x->resumed)
        place_sweep(target);
    if (r == 0 && x->distrust && (r = io_truncate(x->marker, 0, err)) < 0)
        err_context(err, "write %s", EXTRACT_MARKER);
    /* While times are not to be trusted the marker goes on saying so. */
    if (r == 0 && !x->distrust)
        r = io_pwrite_full(x->marker, now, sizeof(now), 0, err);
    else if (r == 0)
        r = io_pwrite_full(x->marker, EARLIER, strlen(EARLIER), 0, err);
    if (r == 0)
        r = io_fsync(x->marker, EXTRACT_MARKER, err);
    if (r == 0)
        r = io_fsync_dir_at(target, ".", err);
    if (r == 0 && lseek(x->marker, 0, SEEK_END) < 0)
        r = err_sys(err, "write %s", EXTRACT_MARKER);
    return r < 0 ? r : note_target(x, target, err);
}

void sync_note(struct extract *x, int fd, dev_t device)
{
    for (size_t i = 0; i < x->other_count; i++)
        if (x->other_devices[i] == device)
            return;
    int copy = x->other_count < EXTRACT_OTHERS ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (copy < 0) {
        x->more_others = true;
        return;
    }
    x->others[x->other_count] = copy;
    x->other_devices[x->other_count++] = device;
}

static int sync_one(int fd, struct err *err)
{
    int r;

    do
        r = syncfs(fd);
    while (r < 0 && errno == EINTR);
    return r < 0 ? err_sys(err, "write the target out to disk") : 0;
}

int sync_all(struct extract *x, int target, struct err *err)
{
    int r = sync_one(target, err);

    for (size_t i = 1; r == 0 && i < x->other_count; i++)
        r = sync_one(x->others[i], err);
    if (r == 0 && x->more_others)
        sync();
    return r;
}

void marker_made(struct extract *x, const struct stat *st)
{
    uint8_t bytes[MADE_SIZE];
    struct err err;

    store_le64(bytes, st->st_dev);
    store_le64(bytes + 8, st->st_ino);
    (void)spillmap_put(x->made, st->st_dev, st->st_ino, 1, &err);
    /* Not to be had, it costs the time of a directory after an interruption, no more. */
    if (x->marker >= 0 && !x->distrust)
        (void)io_write_full(x->marker, bytes, sizeof(bytes), &err);
}

/* A restored file of that name has taken its place. */
static bool is_in_place(int marker, int target)
{
    struct stat ours, there;

    return fstat(marker, &ours) == 0 &&
           fstatat(target, EXTRACT_MARKER, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

void marker_end(struct extract *x, int target, bool finished)
{
    for (size_t i = 1; i < x->other_count; i++)
        close(x->others[i]);
    x->other_count = 0;
    if (x->marker < 0)
        return;
    struct stat before;
    if (finished && is_in_place(x->marker, target) && fstat(target, &before) == 0 &&
        unlinkat(target, EXTRACT_MARKER, 0) == 0)
        keep_time(target, &before);
    closep(&x->marker);
    x->marker = -1;
}
