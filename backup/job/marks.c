#include "backup/job/marks.h"

#include <stdbool.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/job/references.h"
#include "backup/store/store.h"

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
    if (hex_decode(name, strlen(name), id.bytes, sizeof(id.bytes)))
        references_note(noting->out, idtable_find(noting->ids, &id));
    return 0;
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
    static const char *const folders[] = {"data/", "meta/", "index/"};
    CLEANUP(references_clear) struct references there = {0};
    struct noting noting = {repo->ids, &there};
    uint32_t count = idtable_count(repo->ids);
    int r = references_init(&there) ? 0 : err_set(err, ERR_NOMEM, "no memory for the archives");

    for (size_t i = 0; r == 0 && i < sizeof(folders) / sizeof(folders[0]); i++)
        r = store_list(repo->store, folders[i], note_object, &noting, err);
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
