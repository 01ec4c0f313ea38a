#include "fs/pgdata.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "fs/pgdata_internal.h"

int pgdata_open(struct blocks *blocks, const struct selection *selection,
                const struct pgdata_options *options, struct pgdata **out, struct err *err)
{
    struct pgdata *data = calloc(1, sizeof(*data));

    if (!data)
        return err_set(err, ERR_NOMEM, "no memory for a restore");
    data->blocks = blocks;
    data->selection = selection;
    data->options = options;
    data->fd = -1;
    int r = pgdata_learn(data, err);
    if (r < 0)
        pgdata_close(data);
    else
        *out = data;
    return r;
}

void pgdata_close(struct pgdata *data)
{
    if (!data)
        return;
    for (size_t i = 0; i < data->facts.tablespace_count; i++)
        free(data->tablespaces[i].location);
    free(data->tablespaces);
    closep(&data->fd);
    free(data);
}

const struct pgdata_facts *pgdata_facts(const struct pgdata *data)
{
    return &data->facts;
}

/* A name in the directory that is synced before it takes its place. */
int pgdata_write(const struct pgdata *data, const char *name, const void *bytes, size_t size,
                 struct err *err)
{
    CLEANUP(closep) int fd = -1;
    char temporary[64];
    struct stat st;

    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", name);
    int r = fstat(data->fd, &st) < 0 ? err_sys(err, "stat") : 0;
    if (r == 0)
        r = io_openat(data->fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, &fd,
                      err);
    if (r == 0)
        r = io_write_full(fd, bytes, size, err);
    if (r == 0 && geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
        r = err_sys(err, "give it its owner");
    if (r == 0)
        r = io_fsync(fd, name, err);
    if (r == 0 && renameat(data->fd, temporary, data->fd, name) < 0)
        r = err_sys(err, "put it in its place");
    return r < 0 ? err_context(err, "write %s", name) : 0;
}

/* ---- the parts ---- */

static void add_results(struct extract_result *sum, const struct extract_result *part)
{
    sum->files += part->files;
    sum->directories += part->directories;
    sum->others += part->others;
    sum->bytes += part->bytes;
    sum->unchanged += part->unchanged;
    sum->deleted += part->deleted;
    sum->kept += part->kept;
    sum->failed += part->failed;
    sum->damaged += part->damaged;
    sum->unread += part->unread;
    sum->room_needed += part->room_needed;
    sum->room_free = part->room_free;
}

static int bring(struct pgdata *data, const char *path, const char *target,
                 const char *const *excludes, size_t exclude_count, struct extract_result *sum,
                 struct err *err)
{
    const struct pgdata_options *options = data->options;
    struct extract_result part = {0};
    struct extract_options how = {
        .target = target,
        .content_path = path,
        .types = 1 << TYPE_DATABASE,
        .overwrite = options->delta ? OVERWRITE_ALWAYS : OVERWRITE_IF_CHANGED,
        .delete_extra = options->delta,
        .in_place = options->delta,
        .dry_run = options->dry_run,
        .excludes = excludes,
        .exclude_count = exclude_count,
        .trouble = options->trouble,
        .note = options->note,
        .context = options->context,
        .progress = options->progress,
    };

    int r = extract_run(data->blocks, data->selection, &how, &part, err);
    add_results(sum, &part);
    return r;
}

static int bring_spaces(struct pgdata *data, struct extract_result *sum, struct err *err)
{
    char path[PGDATA_PATH_SIZE];
    int r = 0;

    for (size_t i = 0; r == 0 && i < data->facts.tablespace_count; i++) {
        const struct pgdata_tablespace *space = &data->tablespaces[i];

        (void)snprintf(path, sizeof(path), PGDATA_TOP "/pg_tblspc/%u", space->oid);
        r = bring(data, path, space->to, NULL, 0, sum, err);
    }
    return r;
}

static int bring_cluster(struct pgdata *data, struct extract_result *sum, struct err *err)
{
    static const char *const excludes[] = {"/cluster/pg_tblspc/*", "/cluster/" PGDATA_CONTROL};

    return bring(data, PGDATA_TOP, data->options->directory, excludes, 2, sum, err);
}

static int bring_control(struct pgdata *data, struct extract_result *sum, struct err *err)
{
    char target[PGDATA_PATH_SIZE];

    (void)snprintf(target, sizeof(target), "%s/global", data->options->directory);
    return bring(data, PGDATA_TOP "/" PGDATA_CONTROL, target, NULL, 0, sum, err);
}

/* ---- the order ---- */

/* From here on what is there is no cluster any more, until the last file has come. */
static int unmake(const struct pgdata *data, struct err *err)
{
    char path[PGDATA_PATH_SIZE];

    if (!data->there)
        return 0;
    (void)snprintf(path, sizeof(path), "%s/" PGDATA_CONTROL, data->options->directory);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_sys(err, "remove %s", path);
    (void)snprintf(path, sizeof(path), "%s/global", data->options->directory);
    int r = io_fsync_dir_at(AT_FDCWD, path, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int open_directory(struct pgdata *data, struct err *err)
{
    int r =
        io_openat(AT_FDCWD, data->options->directory, O_RDONLY | O_DIRECTORY, 0, &data->fd, err);

    if (r == 0 && fchmod(data->fd, data->mode) < 0)
        r = err_sys(err, "give the data directory its mode");
    return r;
}

static int write_all(struct pgdata *data, struct extract_result *sum, struct err *err)
{
    int r = unmake(data, err);

    if (r == 0)
        r = bring_spaces(data, sum, err);
    if (r == 0)
        r = bring_cluster(data, sum, err);
    if (r == 0)
        r = open_directory(data, err);
    if (r == 0)
        r = pgdata_link_spaces(data, err);
    if (r == 0)
        r = pgdata_configure(data, err);
    if (r == 0)
        r = io_fsync_dir_at(data->fd, ".", err);
    return r < 0 ? r : bring_control(data, sum, err);
}

int pgdata_restore(struct pgdata *data, struct extract_result *out, struct err *err)
{
    *out = (struct extract_result){0};
    if (strlen(data->options->directory) > PGDATA_PATH_SIZE - 64)
        return err_set(err, ERR_USAGE, "the data directory's path is too long");
    if (!data->options->dry_run)
        return write_all(data, out, err);
    int r = bring_spaces(data, out, err);
    return r < 0 ? r : bring_cluster(data, out, err);
}
