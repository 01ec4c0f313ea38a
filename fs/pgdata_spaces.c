/* Tablespaces: a directory elsewhere, a link to it in pg_tblspc, a line of tablespace_map. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "fs/pgdata_internal.h"

static int refuse(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "tablespace_map of the backup is not understood");
}

/* "16385 /srv/space": in the path a backslash stands before a line's end and before itself. */
static int parse_line(struct pgdata *data, const char *at, size_t size, struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = PGDATA_PATH_SIZE};
    char *space = memchr(at, ' ', size);
    char *digits_end;
    int r = 0;

    unsigned long oid = strtoul(at, &digits_end, 10);
    if (!space || digits_end != space || oid == 0 || oid > UINT32_MAX)
        return refuse(err);
    for (const char *c = space + 1; r == 0 && c < at + size; c++) {
        if (*c == '\\' && c + 1 < at + size)
            c++;
        r = *c ? buf_append(&path, c, 1, err) : refuse(err);
    }
    if (r == 0)
        r = buf_append(&path, "", 1, err);
    if (r < 0 || path.data[0] != '/')
        return refuse(err);
    struct pgdata_tablespace *spaces = data->tablespaces;
    size_t count = data->facts.tablespace_count;
    spaces[count] = (struct pgdata_tablespace){(uint32_t)oid, strdup((char *)path.data), NULL};
    if (!spaces[count].location)
        return err_set(err, ERR_NOMEM, "no memory for tablespaces");
    data->facts.tablespace_count++;
    return 0;
}

/* A line's end within a path has a backslash before it. */
static size_t line_length(const char *at, const char *end)
{
    const char *c = at;

    while (c < end && *c != '\n')
        c += *c == '\\' && c + 1 < end ? 2 : 1;
    return (size_t)(c - at);
}

int pgdata_parse_map(struct pgdata *data, const struct buf *map, struct err *err)
{
    const char *at = (const char *)map->data, *end = at + map->size - 1;
    size_t lines = 1;
    int r = 0;

    for (size_t i = 0; i < map->size; i++)
        lines += map->data[i] == '\n';
    if (lines > PGDATA_TABLESPACES_MAX)
        return refuse(err);
    data->tablespaces = calloc(lines, sizeof(*data->tablespaces));
    if (!data->tablespaces)
        return err_set(err, ERR_NOMEM, "no memory for tablespaces");
    while (r == 0 && at < end) {
        size_t size = line_length(at, end);
        if (size > 0)
            r = parse_line(data, at, size, err);
        at += size + 1;
    }
    return r;
}

static int link_space(int dirfd, const struct pgdata_tablespace *space, struct err *err)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "%u", space->oid);
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, "pg_tblspc/%s is in the way", name);
    if (symlinkat(space->to, dirfd, name) < 0)
        return err_sys(err, "make the link pg_tblspc/%s", name);
    return 0;
}

static int add_line(struct buf *map, const struct pgdata_tablespace *space, struct err *err)
{
    char oid[16];

    (void)snprintf(oid, sizeof(oid), "%u ", space->oid);
    int r = buf_append(map, oid, strlen(oid), err);
    for (const char *c = space->to; r == 0 && *c; c++) {
        if (*c == '\\' || *c == '\n' || *c == '\r')
            r = buf_append(map, "\\", 1, err);
        if (r == 0)
            r = buf_append(map, c, 1, err);
    }
    return r < 0 ? r : buf_append(map, "\n", 1, err);
}

/* The server makes the links anew from this file when it starts. */
static int write_map(struct pgdata *data, struct err *err)
{
    CLEANUP(buf_clear) struct buf map = {.limit = SIZE_MAX};
    int r = 0;

    for (size_t i = 0; r == 0 && i < data->facts.tablespace_count; i++)
        r = add_line(&map, &data->tablespaces[i], err);
    return r < 0 ? r : pgdata_write(data, "tablespace_map", map.data, map.size, err);
}

int pgdata_link_spaces(struct pgdata *data, struct err *err)
{
    CLEANUP(closep) int dirfd = -1;

    if (data->facts.tablespace_count == 0)
        return 0;
    int r = io_openat(data->fd, "pg_tblspc", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &dirfd, err);
    if (r < 0)
        return err_context(err, "pg_tblspc");
    for (size_t i = 0; r == 0 && i < data->facts.tablespace_count; i++)
        r = link_space(dirfd, &data->tablespaces[i], err);
    if (r == 0)
        r = io_fsync_dir_at(dirfd, ".", err);
    return r < 0 || data->options->map_count == 0 ? r : write_map(data, err);
}
