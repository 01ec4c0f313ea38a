/* The log that the backup needs to be consistent, and where timelines forked. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/source/pgfiles_internal.h"

enum { LOG_NAME_SIZE = 25, LOG_PATH_SIZE = 80 };

/* So that the restored server does not archive it once more. */
static int put_done(struct pgfiles *files, const char *name, struct err *err)
{
    char path[LOG_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "pg_wal/archive_status/%.40s.done", name);
    return pgfiles_put(files, path, "", 0, err);
}

static int put_log(struct pgfiles *files, int log, const char *name, uint64_t size, struct err *err)
{
    char path[LOG_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "pg_wal/%.40s", name);
    int r = pgfiles_submit(files, log, name, path, false, size, err);
    return r < 0 ? r : put_done(files, name, err);
}

/* From where the backup begins to where it ends; the server has written the last one to its end. */
static int put_segments(struct pgfiles *files, int log, struct err *err)
{
    const struct pgbase_result *out = files->out;
    uint64_t size = files->wal_segment_size, in_each = (UINT64_C(1) << 32) / size;
    char name[LOG_NAME_SIZE];
    int r = 0;

    for (uint64_t at = out->start_lsn / size; r == 0 && at <= (out->end_lsn - 1) / size; at++) {
        (void)snprintf(name, sizeof(name), "%08" PRIX32 "%08" PRIX32 "%08" PRIX32,
                       out->end_timeline, (uint32_t)(at / in_each), (uint32_t)(at % in_each));
        r = crew_ended(&files->crew) ? err_set(err, ERR_CANCELLED, "interrupted")
                                     : put_log(files, log, name, size, err);
    }
    return r;
}

static bool is_history(const char *name)
{
    return strspn(name, "0123456789ABCDEF") == 8 && strcmp(name + 8, ".history") == 0;
}

/* Where timelines forked. */
static int put_histories(struct pgfiles *files, int log, struct err *err)
{
    int fd = dup(log), r = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry = NULL;

    if (!dir) {
        r = err_sys(err, "cannot read pg_wal");
        if (fd >= 0)
            close(fd);
        return r;
    }
    do {
        errno = 0;
        entry = readdir(dir);
        if (entry && is_history(entry->d_name))
            r = put_log(files, log, entry->d_name, 0, err);
        else if (!entry && errno != 0)
            r = err_sys(err, "cannot read pg_wal");
    } while (r == 0 && entry);
    closedir(dir);
    return r;
}

int pgfiles_read_log(struct pgfiles *files, struct err *err)
{
    CLEANUP(closep) int log = -1;
    int r = io_openat(files->directory, "pg_wal", O_RDONLY | O_DIRECTORY, 0, &log, err);

    if (r < 0)
        return err_context(err, "pg_wal");
    r = put_segments(files, log, err);
    if (r == 0)
        r = put_histories(files, log, err);
    return crew_settle(&files->crew, r, err);
}
