#include "tools/walbackups.h"

#include <stdlib.h>
#include <string.h>

#include "backup/archive/tree.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "catalog/catalog.h"
#include "tools/console.h"
#include "tools/session.h"

enum {
    LABEL_MAX = 64 * 1024,
    CONTROL_MAX = 64 * 1024,
    MANIFEST_END = 64 * 1024, /* the ranges stand behind the files */
};

void walbackups_clear(struct walbackups *backups)
{
    free(backups->at);
    *backups = (struct walbackups){0};
}

/* At most the last `limit` bytes of a file, with a NUL behind. */
static int read_end(struct session *session, const struct root *root, const char *path,
                    size_t limit, struct buf *out, struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    int r = tree_resolve(session->blocks, &root->types[TYPE_DATABASE].directory, path, strlen(path),
                         &held, err);

    if (r < 0)
        return r;
    if (held.entry.type != ENTRY_FILE)
        return err_set(err, ERR_NOT_FOUND, "%s is no file", path);
    uint64_t size = held.entry.size < limit ? held.entry.size : limit;
    out->limit = limit + 1;
    r = buf_reserve(out, (size_t)size + 1, err);
    if (r == 0 && size > 0)
        r = content_read(session->blocks, &held.entry.content, held.entry.size - size, out->data,
                         (size_t)size, err);
    if (r < 0)
        return r;
    out->size = (size_t)size;
    out->data[size] = '\0';
    return 0;
}

/* The word behind `label`, up to a blank, a quote or the line's end. */
static bool word_behind(const struct buf *text, const char *label, char *out, size_t size)
{
    const char *at = strstr((const char *)text->data, label);

    if (!at)
        return false;
    at += strlen(label);
    at += strspn(at, " \"");
    size_t length = strcspn(at, " \"\r\n");
    if (length == 0 || length >= size)
        return false;
    memcpy(out, at, length);
    out[length] = '\0';
    return true;
}

static int read_label(struct session *session, const struct root *root, struct walbackup *out,
                      struct err *err)
{
    CLEANUP(buf_clear) struct buf label = {0};
    char word[LSN_TEXT_SIZE];
    int r = read_end(session, root, "cluster/backup_label", LABEL_MAX, &label, err);

    if (r < 0)
        return r;
    if (!word_behind(&label, "START WAL LOCATION:", word, sizeof(word)) ||
        !lsn_parse(word, &out->start) ||
        !word_behind(&label, "START TIMELINE:", word, sizeof(word)) ||
        (out->timeline = (uint32_t)strtoul(word, NULL, 10)) == 0)
        return err_set(err, ERR_CORRUPT, "%s: its backup_label cannot be", root->name);
    return 0;
}

static int read_system(struct session *session, const struct root *root, struct walbackup *out,
                       struct err *err)
{
    CLEANUP(buf_clear) struct buf control = {0};
    int r = read_end(session, root, "cluster/global/pg_control", CONTROL_MAX, &control, err);

    if (r < 0)
        return r;
    if (control.size < sizeof(uint64_t))
        return err_set(err, ERR_CORRUPT, "%s: its pg_control is empty", root->name);
    out->system = load_le64(control.data);
    return 0;
}

/* The last range of the log that the manifest names ends where the backup is consistent. */
static int read_consistent(struct session *session, const struct root *root, struct walbackup *out,
                           struct err *err)
{
    static const char label[] = "\"End-LSN\":";
    CLEANUP(buf_clear) struct buf manifest = {0};
    char word[LSN_TEXT_SIZE];
    int r = read_end(session, root, "cluster/backup_manifest", MANIFEST_END, &manifest, err);

    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r == 0 && word_behind(&manifest, label, word, sizeof(word)))
        (void)lsn_parse(word, &out->consistent);
    return r;
}

/* *out_found: the snapshot holds a physical backup. */
static int read_backup(struct session *session, const struct snapshot_row *row,
                       struct walbackup *out, bool *out_found, struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};
    int r = catalog_root(session->catalog, row->name, &root, err);

    *out_found = false;
    *out = (struct walbackup){.end_ns = row->end_ns};
    memcpy(out->snapshot, row->name, sizeof(out->snapshot));
    if (r < 0 || !root.types[TYPE_DATABASE].present)
        return r;
    r = read_label(session, &root, out, err);
    if (r == -ERR_NOT_FOUND) /* a logical one */
        return 0;
    if (r == 0)
        r = read_system(session, &root, out, err);
    if (r == 0)
        r = read_consistent(session, &root, out, err);
    *out_found = r == 0;
    return r;
}

int walbackups_find(struct session *session, bool all, struct walbackups *out, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    CLEANUP(walbackups_clear) struct walbackups found = {0};
    int r = (all ? catalog_all_snapshots : catalog_snapshots)(session->catalog, NULL, &rows, err);

    if (r < 0)
        return r;
    found.at = calloc(rows.count + 1, sizeof(*found.at));
    if (!found.at)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < rows.count; i++) {
        bool is_one = false;
        if (!(rows.at[i].types & 1 << TYPE_DATABASE))
            continue;
        r = read_backup(session, &rows.at[i], &found.at[found.count], &is_one, err);
        if (r == -ERR_CORRUPT || r == -ERR_NOT_FOUND) {
            console_say("warning: %s: %s", rows.at[i].name, err->text);
            found.unreadable++;
        } else if (r < 0)
            return r;
        found.count += is_one;
    }
    *out = found;
    found = (struct walbackups){0};
    return 0;
}
