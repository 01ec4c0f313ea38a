#include "backup/source/pgfiles.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/base/lsn.h"
#include "backup/base/progress.h"
#include "backup/source/pgfiles_internal.h"
#include "backup/source/pgslot.h"

enum { SINCE_15 = 150000 };

int pgfiles_open(const struct pg_server *server, struct pgfiles **out, struct err *err)
{
    struct pgfiles *files = calloc(1, sizeof(*files));
    struct err why;

    if (!files)
        return err_set(err, ERR_NOMEM, "no memory for a base backup");
    files->directory = -1;
    pthread_mutex_init(&files->lock, NULL);
    int r = pgfiles_find(files, server, &why);
    if (r == 0) {
        *out = files;
        return 0;
    }
    pgfiles_close(files);
    if (r < 0) {
        *err = why;
        return r;
    }
    log_debug("the server is asked for its files: %s", why.text);
    *out = NULL;
    return 0;
}

void pgfiles_close(struct pgfiles *files)
{
    if (!files)
        return;
    pg_close(files->conn);
    if (files->directory >= 0)
        close(files->directory);
    pthread_mutex_destroy(&files->lock);
    free(files->spaces);
    free(files);
}

void pgfiles_closep(struct pgfiles **files)
{
    pgfiles_close(*files);
}

/* ---- the beginning ------------------------------------------------------------------------- */

static int begin(struct pgfiles *files, struct err *err)
{
    bool renamed = pg_version(files->conn) >= SINCE_15;
    const char *sql =
        renamed ? "SELECT pg_backup_start($1, true)" : "SELECT pg_start_backup($1, true, false)";
    const char *const values[] = {files->options->label};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    int r = pg_query_with(files->conn, sql, values, 1, &rows, err);
    if (r == 0 && !lsn_parse(pg_text(rows, 0, 0), &files->out->start_lsn))
        r = err_set(err, ERR_REMOTE, "pg_backup_start: the server's answer is not understood");
    return r < 0 ? err_context(err, "base backup") : 0;
}

/* ---- the files ----------------------------------------------------------------------------- */

static int add_size(void *context, const struct pgfiles_item *item, struct err *err)
{
    struct pgfiles *files = context;
    size_t space = pgfiles_space_of(files->out, item->path);
    bool is_own = space == files->out->tablespace_count;
    struct progress *progress = files->options->progress;
    uint64_t size = S_ISREG(item->st.st_mode) ? (uint64_t)item->st.st_size : 0;

    *(is_own ? &files->out->size : &files->out->tablespaces[space].size) += size;
    if (progress)
        atomic_fetch_add(&progress->bytes_total, size);
    return progress_cancelled(progress) ? err_set(err, ERR_CANCELLED, "interrupted") : 0;
}

static void note_space(struct pgfiles *files, const struct pgfiles_item *item)
{
    size_t i = pgfiles_space_of(files->out, item->path);

    if (i == files->out->tablespace_count)
        return;
    files->spaces[i].has_top = true;
    if (strcmp(item->name, files->version_directory) == 0)
        files->spaces[i].has_content = true;
}

static int take(void *context, const struct pgfiles_item *item, struct err *err)
{
    struct pgfiles *files = context;
    const struct pgfiles_sink *sink = &files->options->sink;
    struct pgtar_entry entry;

    if (crew_ended(&files->crew))
        return err_set(err, ERR_CANCELLED, "interrupted");
    if (item->kind == PGTREE_CONTROL)
        return 0;
    if (item->kind == PGTREE_FILE)
        return pgfiles_submit(files, item->parent, item->name, item->path, item->has_pages, 0, err);
    note_space(files, item);
    pgfiles_entry(item->path, &item->st, &entry);
    return sink->directory(sink->context, &entry, err);
}

static int read_files(struct pgfiles *files, struct err *err)
{
    int r = pgfiles_walk(files, add_size, false, files, err);

    if (r == 0)
        r = pgfiles_walk(files, take, true, files, err);
    if (r == 0)
        r = pgfiles_check_spaces(files, err);
    r = crew_settle(&files->crew, r, err);
    return r < 0 ? r : pgfiles_put_control(files, err);
}

/* ---- the end ------------------------------------------------------------------------------- */

static int read_timeline(struct pgfiles *files, const char *label, struct err *err)
{
    static const char word[] = "START TIMELINE: ";
    const char *at = strstr(label, word);
    unsigned long number = at ? strtoul(at + sizeof(word) - 1, NULL, 10) : 0;

    if (number == 0 || number > UINT32_MAX)
        return err_set(err, ERR_REMOTE, "backup_label is not understood");
    files->out->start_timeline = files->out->end_timeline = (uint32_t)number;
    return 0;
}

static int put_label(struct pgfiles *files, const char *label, const char *map, struct err *err)
{
    int r = read_timeline(files, label, err);

    if (r == 0 && !pgfiles_same_spaces(files->out, map))
        r = err_set(err, ERR_BUSY,
                    "a tablespace was made or dropped as the backup began: try again");
    if (r == 0)
        r = pgfiles_put(files, "backup_label", label, strlen(label), err);
    if (r == 0 && *map)
        r = pgfiles_put(files, "tablespace_map", map, strlen(map), err);
    return r;
}

static int end(struct pgfiles *files, struct err *err)
{
    bool renamed = pg_version(files->conn) >= SINCE_15;
    const char *sql = renamed
                          ? "SELECT lsn, labelfile, spcmapfile FROM pg_backup_stop(false)"
                          : "SELECT lsn, labelfile, spcmapfile FROM pg_stop_backup(false, false)";
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct pgbase_result *out = files->out;

    int r = pg_query(files->conn, sql, &rows, err);
    if (r == 0 && (pg_count(rows) != 1 || !lsn_parse(pg_text(rows, 0, 0), &out->end_lsn) ||
                   out->end_lsn <= out->start_lsn))
        r = err_set(err, ERR_REMOTE, "pg_backup_stop: the server's answer is not understood");
    if (r < 0)
        return err_context(err, "end of the base backup");
    return put_label(files, pg_text(rows, 0, 1), pg_text(rows, 0, 2), err);
}

/* ---- the run ------------------------------------------------------------------------------- */

static int back_up(struct pgfiles *files, struct err *err)
{
    const struct pgfiles_options *options = files->options;
    int r = pgslot_make(files->conn, false, options->note, options->context, err);

    if (r == 0)
        r = begin(files, err);
    if (r == 0)
        r = pgfiles_find_spaces(files, err);
    if (r == 0)
        r = read_files(files, err);
    if (r == 0)
        r = end(files, err);
    return r < 0 ? r : pgfiles_read_log(files, err);
}

int pgfiles_describe(struct pgfiles *files, struct pgtar_entry *out_top, struct pgbase_result *out,
                     struct err *err)
{
    struct stat st;

    if (fstat(files->directory, &st) < 0)
        return err_sys(err, "cannot look at the data directory");
    pgfiles_entry("", &st, out_top);
    *out = (struct pgbase_result){
        .system_id = files->system_id,
        .version_number = pg_version(files->conn),
        .checksums = files->checksums,
        .segment_size = files->wal_segment_size,
    };
    (void)snprintf(out->version, sizeof(out->version), "%s", pg_version_text(files->conn));
    return 0;
}

/* Beyond one for each processor readers only push each other's bytes out of the caches; two, so
 * that one may wait for the disk. */
static size_t count_readers(unsigned jobs)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t enough = cores > 2 ? (size_t)cores : 2;

    return jobs < enough ? jobs : enough;
}

int pgfiles_run(struct pgfiles *files, const struct pgfiles_options *options,
                struct pgbase_result *out, struct err *err)
{
    struct pgbase_result result;
    struct pgtar_entry top;

    int r = pgfiles_describe(files, &top, &result, err);
    if (r < 0)
        return r;
    files->options = options;
    files->out = &result;
    files->socket = PQsocket(files->conn);
    size_t readers = count_readers(options->jobs);
    r = crew_open(&files->crew, readers, 2 * readers, options->progress, "to read files", err);
    if (r == 0)
        r = back_up(files, err);
    crew_close(&files->crew);
    if (r < 0)
        pgbase_result_clear(&result);
    else
        *out = result;
    return r;
}
