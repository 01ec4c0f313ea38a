/* verify_snapshots — which snapshots there are, their roots, and all that these refer to. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/job/verify_internal.h"
#include "backup/store/store.h"

void verify_snapshots_clear(struct verify_snapshots *snapshots)
{
    free(snapshots->at);
}

static bool wanted(const struct verify_options *options, const char *name)
{
    for (size_t i = 0; i < options->snapshot_count; i++)
        if (strcmp(options->snapshots[i], name) == 0)
            return true;
    return options->snapshot_count == 0;
}

/* "NAME/REVISION": the highest revision counts. */
static int note_root(void *context, const char *rest, uint64_t size, struct err *err)
{
    struct verify_snapshots *snapshots = context;
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t revision;
    int end = 0;

    (void)size;
    if (sscanf(rest, "%15[0-9_]/%8" SCNu64 "%n", name, &revision, &end) != 2 || rest[end] != '\0')
        return 0;
    if (!wanted(snapshots->options, name))
        return 0;
    for (size_t i = 0; i < snapshots->count; i++) {
        struct verify_snapshot *known = &snapshots->at[i];

        if (strcmp(known->name, name) != 0)
            continue;
        known->revision = revision > known->revision ? revision : known->revision;
        return 0;
    }
    struct verify_snapshot *grown =
        reallocarray(snapshots->at, snapshots->count + 1, sizeof(*grown));
    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for %zu snapshots", snapshots->count);
    snapshots->at = grown;
    struct verify_snapshot *one = &grown[snapshots->count++];
    *one = (struct verify_snapshot){.revision = revision};
    strcpy(one->name, name);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct verify_snapshot *)a)->name,
                  ((const struct verify_snapshot *)b)->name);
}

int verify_list_snapshots(struct verify *verify, struct verify_snapshots *out, struct err *err)
{
    out->options = verify->options;
    int r = store_list(verify->repo->store, "snapshots/", note_root, out, err);

    if (r < 0)
        return r;
    if (out->count > 0)
        qsort(out->at, out->count, sizeof(*out->at), by_name);
    for (size_t i = 0; i < verify->options->snapshot_count; i++) {
        const char *name = verify->options->snapshots[i];
        bool found = false;

        for (size_t j = 0; j < out->count && !found; j++)
            found = strcmp(out->at[j].name, name) == 0;
        if (!found)
            return err_set(err, ERR_NOT_FOUND, "there is no snapshot %s", name);
    }
    return 0;
}

/* The parts of a root's object that reading it does not look at. */
static int check_root_object(struct verify *verify, const char *object, struct err *err)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    int r = reader_open(verify->repo, ARCHIVE_ROOT, NULL, object, &reader, err);

    if (r == 0)
        r = reader_check_header(reader, err);
    return r < 0 ? r : reader_check_padding(reader, err);
}

static int read_root(struct verify *verify, struct verify_snapshot *found, struct root *out,
                     struct err *err)
{
    char object[OBJECT_NAME_SIZE];
    int r = root_read(verify->repo, found->name, found->revision, out, err);

    root_object_name(found->name, found->revision, object);
    if (r == 0 && !verify->marking_only)
        r = check_root_object(verify, object, err);
    if (r == 0 || !verify_is_damage(err) || verify->marking_only)
        return r;
    found->hurt = found->unreadable = true;
    verify->result->damaged_archives++;
    verify->options->damaged(verify->options->context, object, NO_ARCHIVE, err);
    return r;
}

/* That the index archives which the run wrote are there.  Of the others, prune may have deleted
 * what nothing refers to any more; what is referred to is met in the directories. */
static int mark_written(struct verify *verify, const struct root *root, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < root->archive_count && r == 0; i++) {
        const struct root_archive *written = &root->archives[i];
        uint32_t number;

        if (written->kind != ARCHIVE_INDEX)
            continue;
        r = idtable_number(verify->repo->ids, &written->id, written->kind, &number, err);
        if (r == 0)
            r = verify_mark(verify, number, MARK_NEEDED, err);
    }
    return r;
}

static int walk_types(struct verify *verify, struct verify_snapshot *found, const struct root *root,
                      struct err *err)
{
    int r = 0;

    for (int type = TYPE_FILES; type <= TYPES && r == 0; type++) {
        bool hurt = false;

        if (!root->types[type].present)
            continue;
        r = verify_tree(verify, &root->types[type].directory, &hurt, err);
        found->hurt = found->hurt || hurt;
    }
    return r;
}

int verify_walk_snapshots(struct verify *verify, struct verify_snapshots *snapshots,
                          struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < snapshots->count && r == 0; i++) {
        CLEANUP(root_clear) struct root root = {0};
        struct verify_snapshot *found = &snapshots->at[i];

        if (found->unreadable)
            continue;
        if (!verify->marking_only)
            verify->result->snapshots++;
        r = read_root(verify, found, &root, err);
        if (r < 0 && found->unreadable) {
            r = 0;
            continue;
        }
        if (r == 0)
            r = mark_written(verify, &root, err);
        if (r == 0)
            r = walk_types(verify, found, &root, err);
    }
    verify_release(verify);
    return r;
}

static int list_hurt(struct verify *verify, struct verify_snapshot *found, struct err *err)
{
    static const struct err lost = {.code = ERR_CORRUPT, .text = "its root cannot be read"};
    CLEANUP(root_clear) struct root root = {0};
    int r = 0;

    verify->result->hurt_snapshots++;
    if (found->unreadable) {
        verify->result->hurt_paths++;
        verify->options->hurt(verify->options->context, found->name, "/", &lost);
        return 0;
    }
    r = read_root(verify, found, &root, err);
    for (int type = TYPE_FILES; type <= TYPES && r == 0; type++)
        if (root.types[type].present)
            r = verify_list_hurt(verify, found->name, snapshot_type_name((enum snapshot_type)type),
                                 &root.types[type].directory, err);
    return r;
}

int verify_hurt_snapshots(struct verify *verify, struct verify_snapshots *snapshots,
                          struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < snapshots->count && r == 0; i++)
        if (snapshots->at[i].hurt)
            r = list_hurt(verify, &snapshots->at[i], err);
    return r;
}
