/* The log of all that changed something, for powercut.py. */
#include "tests/harness/faultshim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OUT_OF_THE_WAY = 200, FIELDS = 8 };

static int log_fd = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool fault_log_open(const char *path)
{
    long fd = fault_raw(SYS_openat, (long)AT_FDCWD, path,
                        (long)(O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC), 0644L, 0L, 0L);

    if (fd < 0)
        return false;
    log_fd = (int)fault_raw(SYS_fcntl, fd, (long)F_DUPFD_CLOEXEC, (long)OUT_OF_THE_WAY, 0L, 0L, 0L);
    (void)fault_raw(SYS_close, fd, 0L, 0L, 0L, 0L, 0L);
    return log_fd >= 0;
}

bool fault_log_is_open(void)
{
    return log_fd >= 0;
}

void fault_log_lock(void)
{
    pthread_mutex_lock(&lock);
}

void fault_log_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

void fault_log_write(const struct fault_record *record)
{
    size_t name_size = record->name ? strlen(record->name) : 0;
    size_t other_size = record->other_name ? strlen(record->other_name) : 0;
    uint64_t fields[FIELDS] = {record->kind,   record->inode, record->dir, record->other_dir,
                               record->offset, name_size,     other_size,  record->data_size};
    struct iovec parts[] = {
        {fields, sizeof(fields)},
        {(void *)(uintptr_t)record->name, name_size},
        {(void *)(uintptr_t)record->other_name, other_size},
        {(void *)(uintptr_t)record->data, record->data_size},
    };

    (void)fault_raw(SYS_writev, (long)log_fd, parts, 4L, 0L, 0L, 0L);
}

static uint64_t inode_of(int fd, const char *path)
{
    struct stat st;
    long flags = AT_SYMLINK_NOFOLLOW | (path[0] ? 0 : AT_EMPTY_PATH);

    return fault_raw(SYS_newfstatat, (long)fd, path, &st, flags, 0L, 0L) < 0 ? 0 : st.st_ino;
}

/* The inode of the directory, and the name in it; NULL if that is no path of ours. */
static const char *split(const char *path, uint64_t *out_dir)
{
    char dir[FAULT_PATH_SIZE];
    const char *slash = strrchr(path, '/');

    if (!slash)
        return NULL;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    *out_dir = inode_of(AT_FDCWD, dir[0] ? dir : "/");
    return slash + 1;
}

void fault_log_fd(char kind, int fd, uint64_t offset, const void *data, size_t size)
{
    int saved = errno;

    fault_log_write(&(struct fault_record){
        .kind = (uint64_t)kind,
        .inode = inode_of(fd, ""),
        .offset = offset,
        .data = data,
        .data_size = size,
    });
    errno = saved;
}

void fault_log_name(char kind, const char *path)
{
    struct fault_record record = {.kind = (uint64_t)kind};
    int saved = errno;

    record.name = split(path, &record.dir);
    if (kind != 'U')
        record.inode = inode_of(AT_FDCWD, path);
    fault_log_write(&record);
    errno = saved;
}

void fault_log_rename(const char *from, const char *to)
{
    struct fault_record record = {.kind = 'R'};
    int saved = errno;

    record.name = split(from, &record.dir);
    record.other_name = split(to, &record.other_dir);
    record.inode = inode_of(AT_FDCWD, to);
    fault_log_write(&record);
    errno = saved;
}
