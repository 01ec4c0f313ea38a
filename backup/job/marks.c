#include "backup/job/marks.h"

#include <stdio.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/log.h"
#include "backup/base/together.h"
#include "backup/job/references.h"
#include "backup/store/store.h"

enum { MARK_SIZE = 64, VERSION = 1 };

static const char magic[8] = {'Y', 'S', 'T', 'R', 'M', 'A', 'R', 'K'};

struct noting {
    const struct idtable *ids;
    const struct references *out;
};

static int note_object(void *context, const char *name, uint64_t size, struct err *err)
{
    const struct noting *noting = context;
    struct archive_id id;

    (void)size;
    (void)err;
    if (idtable_parse(name, &id))
        references_note(noting->out, idtable_find(noting->ids, &id));
    return 0;
}

/* Bytes of ids. */
static int keep_id(void *context, const char *name, uint64_t size, struct err *err)
{
    struct archive_id id;

    (void)size;
    if (!idtable_parse(name, &id))
        return 0; /* not the repository's */
    return buf_append(context, id.bytes, sizeof(id.bytes), err);
}

struct looking {
    struct repo *repo;
    struct buf marked;
};

static int list_marks(void *context, struct err *err)
{
    struct looking *looking = context;

    return store_list(looking->repo->store, "marks/", keep_id, &looking->marked, err);
}

/* What was moved stays what it is where a remap says so; else it is stored again. */
static int refresh_moves(void *context, struct err *err)
{
    const struct looking *looking = context;
    int r = remap_refresh(looking->repo, err);

    if (r == -ERR_CORRUPT)
        log_debug("some of what was moved is stored again: %s", err->text);
    return r == -ERR_CORRUPT ? 0 : r;
}

/* The marks are held against the ids when the remaps have theirs. */
int marks_note_and_moves(struct repo *repo, const struct references *out, struct err *err)
{
    struct looking looking = {repo, {.limit = (size_t)REFERENCES_MAX * ARCHIVE_ID_SIZE}};
    struct together_call calls[] = {{.run = refresh_moves, .context = &looking},
                                    {.run = list_marks, .context = &looking}};
    struct archive_id id;
    int r = together(calls, sizeof(calls) / sizeof(calls[0]), repo_is_remote(repo), err);

    for (size_t at = 0; r == 0 && at < looking.marked.size; at += ARCHIVE_ID_SIZE) {
        memcpy(id.bytes, looking.marked.data + at, ARCHIVE_ID_SIZE);
        references_note(out, idtable_find(repo->ids, &id));
    }
    buf_clear(&looking.marked);
    return r;
}

int marks_note(struct repo *repo, const struct references *out, struct err *err)
{
    struct noting noting = {repo->ids, out};

    return store_list(repo->store, "marks/", note_object, &noting, err);
}

/* A listing may be cut short, so that each archive it lacks is asked for: 1 if it is gone. */
static int is_gone(struct repo *repo, uint32_t archive, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    char name[OBJECT_NAME_SIZE];

    repo_object_name(idtable_kind(repo->ids, archive), idtable_id(repo->ids, archive), name);
    int r = store_open(repo->store, name, &object, err);
    return r == -ERR_NOT_FOUND ? 1 : r;
}

int marks_find_gone(struct repo *repo, const struct references *needed,
                    const struct references *out, struct err *err)
{
    CLEANUP(references_clear) struct references there = {0};
    struct noting noting = {repo->ids, &there};
    const struct store_listing folders[] = {{"data/", note_object, &noting},
                                            {"meta/", note_object, &noting},
                                            {"index/", note_object, &noting}};
    uint32_t count = idtable_count(repo->ids);
    int r = references_init(&there) ? 0 : err_set(err, ERR_NOMEM, "no memory for the archives");

    if (r == 0)
        r = store_list_all(repo->store, folders, sizeof(folders) / sizeof(folders[0]), err);
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        if (!references_has(needed, i) || references_has(&there, i))
            continue;
        r = is_gone(repo, i, err);
        if (r == 1)
            references_note(out, i);
        r = r < 0 ? r : 0;
    }
    return r;
}

/* ---- one mark ---------------------------------------------------------------------------- */

static void object_name(const struct archive_id *id, char out[OBJECT_NAME_SIZE])
{
    char hex[2 * ARCHIVE_ID_SIZE + 1];

    hex_encode(id->bytes, ARCHIVE_ID_SIZE, hex);
    (void)snprintf(out, OBJECT_NAME_SIZE, "marks/%s", hex);
}

int marks_put(struct repo *repo, const struct archive_id *id, const struct marks_moment *now,
              int64_t grace_ns, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    uint8_t bytes[MARK_SIZE] = {0};
    char name[OBJECT_NAME_SIZE];
    struct err why;

    memcpy(bytes, magic, sizeof(magic));
    store_le16(bytes + 8, VERSION);
    memcpy(bytes + 16, repo->id, REPO_ID_SIZE);
    store_le64(bytes + 32, (uint64_t)now->time_ns);
    store_le64(bytes + 40, now->boot);
    store_le64(bytes + 48, (uint64_t)now->boot_ns);
    store_le64(bytes + 56, (uint64_t)grace_ns);
    object_name(id, name);
    int r = store_create(repo->store, name, bytes, sizeof(bytes), err);
    if (r != -ERR_EXISTS)
        return r;
    int there = store_open(repo->store, name, &object, &why);
    if (there == -ERR_NOT_FOUND)
        return r;
    if (there < 0)
        *err = why;
    return there;
}

int marks_read(struct repo *repo, const struct archive_id *id, struct mark *out, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    uint8_t bytes[MARK_SIZE];
    char name[OBJECT_NAME_SIZE];

    *out = (struct mark){0};
    object_name(id, name);
    int r = store_open(repo->store, name, &object, err);
    if (r < 0 || store_object_size(object) != sizeof(bytes))
        return r;
    r = store_read(object, 0, bytes, sizeof(bytes), err);
    if (r < 0)
        return r;
    *out = (struct mark){.made = {.time_ns = (int64_t)load_le64(bytes + 32),
                                  .boot = load_le64(bytes + 40),
                                  .boot_ns = (int64_t)load_le64(bytes + 48)},
                         .grace_ns = (int64_t)load_le64(bytes + 56)};
    out->sound = memcmp(bytes, magic, sizeof(magic)) == 0 && load_le16(bytes + 8) == VERSION &&
                 memcmp(bytes + 16, repo->id, REPO_ID_SIZE) == 0 && out->grace_ns >= 0;
    return 0;
}

int marks_remove(struct repo *repo, const struct archive_id *id, struct err *err)
{
    char name[OBJECT_NAME_SIZE];

    object_name(id, name);
    int r = store_remove(repo->store, name, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

int64_t marks_age(const struct mark *mark, const struct marks_moment *now)
{
    const struct marks_moment *made = &mark->made;

    if (!mark->sound || made->boot == 0 || made->boot != now->boot || made->boot_ns < 0 ||
        made->boot_ns > now->boot_ns)
        return -1;
    return now->boot_ns - made->boot_ns;
}
