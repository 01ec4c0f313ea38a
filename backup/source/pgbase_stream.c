#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/source/pgbase_internal.h"

enum { WAIT_MS = 250, MESSAGE_MAX = 16 * 1024 * 1024 };

static void pq_freep(char **bytes)
{
    if (*bytes)
        PQfreemem(*bytes);
}

int pgbase_wait(struct pgbase *base, struct err *err)
{
    struct pollfd server = {.fd = PQsocket(base->conn), .events = POLLIN};

    if (progress_cancelled(base->options->progress))
        return err_set(err, ERR_CANCELLED, "interrupted");
    if (server.fd < 0)
        return err_set(err, ERR_REMOTE, "the connection to the server is closed");
    if (poll(&server, 1, WAIT_MS) > 0 && !PQconsumeInput(base->conn))
        return pg_error(base->conn, NULL, err);
    return 0;
}

/* One message of a COPY; size 0: the COPY is over. */
static int next_message(struct pgbase *base, char **out, size_t *out_size, struct err *err)
{
    int size, r = 0;

    while (r == 0 && (size = PQgetCopyData(base->conn, out, 1)) == 0)
        r = pgbase_wait(base, err);
    if (r < 0)
        return r;
    if (progress_cancelled(base->options->progress))
        return err_set(err, ERR_CANCELLED, "interrupted");
    if (size < -1)
        return pg_error(base->conn, NULL, err);
    if (size > MESSAGE_MAX)
        return err_set(err, ERR_REMOTE, "the server sent a message of %d bytes", size);
    *out_size = size < 0 ? 0 : (size_t)size;
    return 0;
}

/* ---- a tar's files, at their place in the data directory ---- */

/* A tablespace's own directory is not in its tar: it is like the first that is. */
static int put_top(struct pgbase *base, const struct pgtar_entry *like, struct err *err)
{
    struct pgtar_entry top = *like;
    char name[sizeof(base->prefix)];

    base->top_due = false;
    (void)snprintf(name, sizeof(name), "%s", base->prefix);
    name[strlen(name) - 1] = 0; /* its slash */
    top.kind = PGTAR_DIRECTORY;
    top.name = name;
    int r = base->options->sink.begin(base->options->sink.context, &top, err);
    return r < 0 ? r : base->options->sink.end(base->options->sink.context, err);
}

static int begin_entry(void *context, const struct pgtar_entry *entry, struct err *err)
{
    struct pgbase *base = context;
    char name[sizeof(base->prefix) + PGTAR_NAME_SIZE];
    struct pgtar_entry placed = *entry;

    int r = base->top_due ? put_top(base, entry, err) : 0;
    if (r < 0)
        return r;
    (void)snprintf(name, sizeof(name), "%s%s", base->prefix, entry->name);
    placed.name = name;
    return base->options->sink.begin(base->options->sink.context, &placed, err);
}

static int entry_data(void *context, const void *bytes, size_t size, struct err *err)
{
    struct pgbase *base = context;

    return base->options->sink.data(base->options->sink.context, bytes, size, err);
}

static int end_entry(void *context, struct err *err)
{
    struct pgbase *base = context;

    return base->options->sink.end(base->options->sink.context, err);
}

static void set_space(struct pgbase *base, struct pgbase_tablespace *space)
{
    base->space = space;
    base->top_due = space != NULL;
    base->prefix[0] = 0;
    if (space)
        (void)snprintf(base->prefix, sizeof(base->prefix), "pg_tblspc/%u/", space->oid);
}

static void begin_tar(struct pgbase *base, struct pgbase_tablespace *space)
{
    struct pgtar_sink sink = {begin_entry, entry_data, end_entry, base};

    pgtar_init(&base->tar, &sink);
    base->part = PART_TAR;
    set_space(base, space);
}

/* The server says nothing where a tablespace is gone.  tablespace_map names it, so a restore wants
 * its directory. */
int pgbase_put_empty(struct pgbase *base, struct err *err)
{
    const struct pgtar_entry none = {.target = "", .mode = 0700};
    int r = 0;

    for (size_t i = 0; r == 0 && i < base->out->tablespace_count; i++) {
        char text[PGBASE_TEXT_SIZE + 80];
        if (!base->out->tablespaces[i].empty)
            continue;
        (void)snprintf(
            text, sizeof(text),
            "tablespace %u came empty: it was dropped meanwhile, or its disk is not there",
            base->out->tablespaces[i].oid);
        base->options->note(base->options->context, text);
        set_space(base, &base->out->tablespaces[i]);
        r = put_top(base, &none, err);
    }
    return r;
}

static int begin_manifest(struct pgbase *base, struct err *err)
{
    const struct pgtar_entry manifest = {.name = "backup_manifest",
                                         .target = "",
                                         .size = PGTAR_SIZE_UNKNOWN,
                                         .mode = 0600,
                                         .mtime = 0};

    base->part = PART_MANIFEST;
    return base->options->sink.begin(base->options->sink.context, &manifest, err);
}

static int end_part(struct pgbase *base, struct err *err)
{
    enum pgbase_part part = base->part;

    base->part = PART_NONE;
    if (part == PART_TAR) {
        if (base->top_due)
            base->space->empty = true;
        return pgtar_finish(&base->tar, err);
    }
    return part == PART_MANIFEST ? end_entry(base, err) : 0;
}

static int take_data(struct pgbase *base, const void *bytes, size_t size, struct err *err)
{
    if (base->part == PART_TAR)
        return pgtar_push(&base->tar, bytes, size, err);
    if (base->part == PART_MANIFEST)
        return entry_data(base, bytes, size, err);
    return err_set(err, ERR_REMOTE, "the server sent data of no archive");
}

/* ---- one COPY for each part (servers up to 14) ---- */

static int read_copy(struct pgbase *base, struct err *err)
{
    size_t size = 1;
    int r = 0;

    while (r == 0 && size > 0) {
        CLEANUP(pq_freep) char *bytes = NULL;

        r = next_message(base, &bytes, &size, err);
        if (r == 0 && size > 0)
            r = take_data(base, bytes, size, err);
    }
    return r < 0 ? r : end_part(base, err);
}

int pgbase_read_tar(struct pgbase *base, struct pgbase_tablespace *space, struct err *err)
{
    begin_tar(base, space);
    return read_copy(base, err);
}

int pgbase_read_manifest(struct pgbase *base, struct err *err)
{
    int r = begin_manifest(base, err);

    return r < 0 ? r : read_copy(base, err);
}

/* ---- one COPY of messages (servers from 15 on) ---- */

/* "base.tar" is the data directory, "16385.tar" a tablespace that was announced. */
static int begin_archive(struct pgbase *base, const char *bytes, size_t size, struct err *err)
{
    size_t length = strnlen(bytes, size);
    const struct pgbase_result *out = base->out;
    char name[24];

    if (length < size && strcmp(bytes, "base.tar") == 0) {
        begin_tar(base, NULL);
        return 0;
    }
    for (size_t i = 0; i < out->tablespace_count && length < size; i++) {
        (void)snprintf(name, sizeof(name), "%u.tar", out->tablespaces[i].oid);
        if (strcmp(bytes, name) == 0) {
            begin_tar(base, &out->tablespaces[i]);
            return 0;
        }
    }
    return err_set(err, ERR_REMOTE, "the server sent an archive that it did not announce");
}

static int take_message(struct pgbase *base, const char *bytes, size_t size, struct err *err)
{
    int r = 0;

    switch (bytes[0]) {
    case 'd':
        return size > 1 ? take_data(base, bytes + 1, size - 1, err) : 0;
    case 'p':
        return 0; /* how far the server is: what arrives tells it as well */
    case 'n':
        r = end_part(base, err);
        return r < 0 ? r : begin_archive(base, bytes + 1, size - 1, err);
    case 'm':
        r = end_part(base, err);
        return r < 0 ? r : begin_manifest(base, err);
    default:
        return err_set(err, ERR_REMOTE, "the server sent a message of unknown kind %d", bytes[0]);
    }
}

int pgbase_read_messages(struct pgbase *base, struct err *err)
{
    size_t size = 1;
    int r = 0;

    while (r == 0 && size > 0) {
        CLEANUP(pq_freep) char *bytes = NULL;

        r = next_message(base, &bytes, &size, err);
        if (r == 0 && size > 0)
            r = take_message(base, bytes, size, err);
    }
    return r < 0 ? r : end_part(base, err);
}
