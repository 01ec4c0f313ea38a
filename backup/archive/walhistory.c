#include "backup/archive/walhistory.h"

#include <stdlib.h>
#include <string.h>

#include "backup/archive/wal.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "backup/store/store.h"

enum { LINE_SIZE = 64 };

static int no_history(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "a timeline's history that cannot be");
}

/* "1\t0/3000148\treason"; blank lines and comments are passed over. */
static int parse_line(const char *line, size_t size, struct walhistory *out, struct err *err)
{
    char text[LINE_SIZE] = "", *end;
    struct wal_ancestor ancestor;

    line += strspn(line, " \t") < size ? strspn(line, " \t") : size;
    memcpy(text, line, size < sizeof(text) ? size : sizeof(text) - 1);
    if (!text[0] || text[0] == '#' || text[0] == '\n' || text[0] == '\r')
        return 0;
    unsigned long timeline = strtoul(text, &end, 10);
    char *lsn = end + strspn(end, " \t");
    lsn[strcspn(lsn, " \t\r\n")] = '\0';
    if (end == text || timeline == 0 || timeline > UINT32_MAX || !lsn_parse(lsn, &ancestor.end))
        return no_history(err);
    ancestor.timeline = (uint32_t)timeline;
    if (out->count == WAL_TIMELINES_MAX || ancestor.timeline >= out->timeline ||
        (out->count > 0 && ancestor.timeline <= out->at[out->count - 1].timeline))
        return no_history(err);
    out->at[out->count++] = ancestor;
    return 0;
}

int walhistory_parse(const void *bytes, size_t size, uint32_t timeline, struct walhistory *out,
                     struct err *err)
{
    const char *at = bytes, *end = at + size;
    int r = 0;

    *out = (struct walhistory){.timeline = timeline};
    if (size > WAL_HISTORY_MAX || (size > 0 && memchr(bytes, 0, size)))
        return no_history(err);
    while (r == 0 && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline ? newline + 1 : end;
        CLEANUP(buf_clear) struct buf line = {.limit = WAL_HISTORY_MAX + 1};

        r = buf_append(&line, at, (size_t)(next - at), err);
        if (r == 0)
            r = buf_append(&line, "", 1, err);
        if (r == 0)
            r = parse_line((const char *)line.data, line.size - 1, out, err);
        at = next;
    }
    return r;
}

static int gather(void *context, const uint8_t *bytes, size_t count, struct err *err)
{
    return buf_append(context, bytes, count, err);
}

int walhistory_read(struct repo *repo, uint64_t system, uint32_t timeline, struct walhistory *out,
                    struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    CLEANUP(buf_clear) struct buf bytes = {.limit = WAL_HISTORY_MAX};
    const struct wal_meta meta = {.what = WAL_HISTORY, .system = system, .timeline = timeline};
    char object[OBJECT_NAME_SIZE];

    if (timeline == 1) {
        *out = (struct walhistory){.timeline = 1};
        return 0;
    }
    wal_object_name(repo, &meta, object);
    int r = walreader_open(repo, object, &reader, err);
    if (r == 0)
        r = walreader_copy(reader, 0, walreader_meta(reader)->length, gather, &bytes, err);
    return r < 0 ? r : walhistory_parse(bytes.data, bytes.size, timeline, out, err);
}

uint64_t walhistory_end(const struct walhistory *history, uint32_t timeline)
{
    if (timeline == history->timeline)
        return UINT64_MAX;
    for (size_t i = 0; i < history->count; i++)
        if (history->at[i].timeline == timeline)
            return history->at[i].end;
    return 0;
}

uint32_t walhistory_next(const struct walhistory *history, uint32_t timeline)
{
    for (size_t i = 0; i + 1 < history->count; i++)
        if (history->at[i].timeline == timeline)
            return history->at[i + 1].timeline;
    return history->timeline;
}

static int probe(struct repo *repo, const struct wal_meta *meta, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    char name[OBJECT_NAME_SIZE];

    wal_object_name(repo, meta, name);
    int r = store_open(repo->store, name, &object, err);
    return r == -ERR_NOT_FOUND ? 0 : r < 0 ? r : 1;
}

int walhistory_newest(struct repo *repo, uint64_t system, uint32_t timeline, uint32_t *out,
                      struct err *err)
{
    struct wal_meta meta = {.what = WAL_HISTORY, .system = system, .timeline = timeline};
    int r;

    do
        meta.timeline++;
    while (meta.timeline < UINT32_MAX && (r = probe(repo, &meta, err)) == 1);
    if (r < 0)
        return r;
    *out = meta.timeline - 1;
    return 0;
}
