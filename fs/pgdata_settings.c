/* What tells the restored server to recover, and how far: postgresql.auto.conf, recovery.signal. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "fs/pgdata_internal.h"

#define SETTINGS_FILE "postgresql.auto.conf"

enum { SETTINGS_MAX = 1024 * 1024 };

/* What an earlier recovery of this cluster, or the server's owner, may have left in the file: two
 * targets at a time are an error to the server. */
static bool is_about_recovery(const char *line, size_t size)
{
    static const char *const names[] = {"restore_command", "recovery_target"};
    size_t skip = 0;

    while (skip < size && (line[skip] == ' ' || line[skip] == '\t'))
        skip++;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t length = strlen(names[i]);
        if (size - skip >= length && strncasecmp(line + skip, names[i], length) == 0)
            return true;
    }
    return false;
}

static int keep_others(const struct buf *before, struct buf *out, struct err *err)
{
    const char *at = (const char *)before->data, *end = at + before->size;
    int r = 0;

    while (r == 0 && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = newline ? (size_t)(newline - at) : (size_t)(end - at);

        if (!is_about_recovery(at, size)) {
            r = buf_append(out, at, size, err);
            if (r == 0)
                r = buf_append(out, "\n", 1, err);
        }
        at += size + 1;
    }
    return r;
}

/* name = 'value': quotes and backslashes are doubled. */
static int set(struct buf *out, const char *name, const char *value, struct err *err)
{
    int r = strpbrk(value, "\r\n") ? err_set(err, ERR_USAGE, "%s cannot have several lines", name)
                                   : buf_append(out, name, strlen(name), err);

    if (r == 0)
        r = buf_append(out, " = '", 4, err);
    for (const char *c = value; r == 0 && *c; c++) {
        if (*c == '\'' || *c == '\\')
            r = buf_append(out, c, 1, err);
        if (r == 0)
            r = buf_append(out, c, 1, err);
    }
    return r < 0 ? r : buf_append(out, "'\n", 2, err);
}

static int set_target(struct buf *out, const struct pgdata_recovery *recovery, struct err *err)
{
    static const char *const names[] = {
        [UNTIL_IMMEDIATE] = "recovery_target", [UNTIL_TIME] = "recovery_target_time",
        [UNTIL_LSN] = "recovery_target_lsn",   [UNTIL_XID] = "recovery_target_xid",
        [UNTIL_NAME] = "recovery_target_name",
    };
    bool immediate = recovery->until == UNTIL_IMMEDIATE;
    const char *timeline = recovery->timeline;
    int r = 0;

    if (!timeline)
        timeline = immediate ? "current" : "latest";
    if (recovery->until != UNTIL_LATEST)
        r = set(out, names[recovery->until], immediate ? "immediate" : recovery->value, err);
    if (r == 0 && recovery->until != UNTIL_LATEST)
        r = set(out, "recovery_target_action", "promote", err);
    return r < 0 ? r : set(out, "recovery_target_timeline", timeline, err);
}

int pgdata_configure(struct pgdata *data, struct err *err)
{
    static const char comment[] = "# How far to recover, by yester restore.\n";
    CLEANUP(buf_clear) struct buf before = {.limit = SETTINGS_MAX};
    CLEANUP(buf_clear) struct buf after = {.limit = 2 * SETTINGS_MAX};

    int r = io_read_file(data->fd, SETTINGS_FILE, SETTINGS_MAX, &before, err);
    if (r < 0 && r != -ERR_NOT_FOUND)
        return err_context(err, SETTINGS_FILE);
    r = keep_others(&before, &after, err);
    if (r == 0)
        r = buf_append(&after, comment, strlen(comment), err);
    if (r == 0)
        r = set(&after, "restore_command", data->options->recovery.restore_command, err);
    if (r == 0)
        r = set_target(&after, &data->options->recovery, err);
    if (r == 0)
        r = pgdata_write(data, SETTINGS_FILE, after.data, after.size, err);
    if (r == 0 && unlinkat(data->fd, "standby.signal", 0) < 0 && errno != ENOENT)
        r = err_sys(err, "remove standby.signal");
    return r < 0 ? r : pgdata_write(data, "recovery.signal", "", 0, err);
}
