#include "backup/job/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "backup/job/verify_internal.h"
#include "backup/store/store.h"

/* ---- marks and findings ------------------------------------------------------------------ */

bool verify_is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND ||
           (err->code == ERR_SYSTEM && err->cause == EIO);
}

bool verify_stopped(struct verify *verify)
{
    return progress_cancelled(verify->options->progress);
}

/* With the lock held. */
static int make_room(struct verify *verify, uint32_t archive, struct err *err)
{
    return idtable_room(&verify->marks, &verify->mark_count, sizeof(*verify->marks), archive, err);
}

int verify_mark(struct verify *verify, uint32_t archive, uint8_t mark, struct err *err)
{
    pthread_mutex_lock(&verify->lock);
    int r = make_room(verify, archive, err);
    if (r == 0)
        verify->marks[archive] |= mark;
    pthread_mutex_unlock(&verify->lock);
    return r;
}

uint8_t verify_marks(struct verify *verify, uint32_t archive)
{
    pthread_mutex_lock(&verify->lock);
    uint8_t marks = archive < verify->mark_count ? verify->marks[archive] : 0;
    pthread_mutex_unlock(&verify->lock);
    return marks;
}

void verify_damaged(struct verify *verify, uint32_t archive, const struct err *why)
{
    const struct archive_id *id = idtable_id(verify->repo->ids, archive);
    char object[OBJECT_NAME_SIZE];
    struct err err;

    repo_object_name(idtable_kind(verify->repo->ids, archive), id, object);
    pthread_mutex_lock(&verify->lock);
    bool told = archive < verify->mark_count && (verify->marks[archive] & MARK_BAD);
    if (!told && make_room(verify, archive, &err) < 0)
        verify->failure = err;
    if (!told && archive < verify->mark_count) {
        verify->marks[archive] |= MARK_BAD;
        verify->result->damaged_archives++;
        verify->options->damaged(verify->options->context, object, archive, why);
    }
    pthread_mutex_unlock(&verify->lock);
}

void verify_cold(struct verify *verify, uint32_t archive)
{
    struct err err;

    pthread_mutex_lock(&verify->lock);
    if (make_room(verify, archive, &err) < 0) {
        verify->failure = err;
    } else if (!(verify->marks[archive] & MARK_COLD)) {
        verify->marks[archive] |= MARK_COLD;
        verify->result->cold_archives++;
    }
    pthread_mutex_unlock(&verify->lock);
}

void verify_whole(struct verify *verify, uint32_t archive)
{
    pthread_mutex_lock(&verify->lock);
    bool bad = archive < verify->mark_count && (verify->marks[archive] & MARK_BAD);
    if (!bad && verify->options->whole)
        verify->options->whole(verify->options->context, archive);
    pthread_mutex_unlock(&verify->lock);
}

/* ---- snapshots --------------------------------------------------------------------------- */

struct found {
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t revision;
    bool hurt, unreadable;
};

struct snapshots {
    struct found *at;
    size_t count;
    const struct verify_options *options;
};

static void snapshots_clear(struct snapshots *snapshots)
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
    struct snapshots *snapshots = context;
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t revision;
    int end = 0;

    (void)size;
    if (sscanf(rest, "%15[0-9_]/%8" SCNu64 "%n", name, &revision, &end) != 2 || rest[end] != '\0')
        return 0;
    if (!wanted(snapshots->options, name))
        return 0;
    for (size_t i = 0; i < snapshots->count; i++) {
        struct found *known = &snapshots->at[i];

        if (strcmp(known->name, name) != 0)
            continue;
        known->revision = revision > known->revision ? revision : known->revision;
        return 0;
    }
    struct found *grown = reallocarray(snapshots->at, snapshots->count + 1, sizeof(*grown));
    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for %zu snapshots", snapshots->count);
    snapshots->at = grown;
    struct found *one = &grown[snapshots->count++];
    *one = (struct found){.revision = revision};
    strcpy(one->name, name);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

static int list_snapshots(struct verify *verify, struct snapshots *out, struct err *err)
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

static int read_root(struct verify *verify, struct found *found, struct root *out, struct err *err)
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

static int walk_types(struct verify *verify, struct found *found, const struct root *root,
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

static int walk_snapshots(struct verify *verify, struct snapshots *snapshots, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < snapshots->count && r == 0; i++) {
        CLEANUP(root_clear) struct root root = {0};
        struct found *found = &snapshots->at[i];

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

static int list_hurt(struct verify *verify, struct found *found, struct err *err)
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

/* ---- the order of things ----------------------------------------------------------------- */

static int again(struct verify *verify, struct snapshots *snapshots, struct err *err)
{
    spillmap_freep(&verify->seen);
    verify->seen = NULL;
    verify->marking_only = true;
    int r = spillmap_new(io_scratch(), &verify->seen, err);

    return r < 0 ? r : walk_snapshots(verify, snapshots, err);
}

static void slot_damaged(void *context, const char *name, const struct err *why)
{
    struct verify *verify = context;

    verify->result->damaged_archives++;
    verify->options->damaged(verify->options->context, name, NO_ARCHIVE, why);
}

/* A slot that rotted locks out whoever it was made for; he should not be the one to find out. */
static int check_keys(struct verify *verify, struct err *err)
{
    struct key_objects objects = repo_key_objects(verify->repo->store);

    return keyring_check(verify->repo->keyring, &objects, slot_damaged, verify, err);
}

/* One that cannot be read is among the archives, which are told one by one. */
static int check_remaps(struct verify *verify, struct err *err)
{
    int r = remap_refresh(verify->repo, err);

    if (r == 0 || !verify_is_damage(err))
        return r;
    verify->result->damaged_archives++;
    verify->options->damaged(verify->options->context, "remap", NO_ARCHIVE, err);
    return 0;
}

static void set_phase(struct verify *verify, const char *phase)
{
    if (verify->options->progress)
        atomic_store(&verify->options->progress->phase, phase);
}

static int check(struct verify *verify, struct snapshots *snapshots, struct err *err)
{
    bool some = verify->options->snapshot_count > 0;
    uint8_t marks = some ? MARK_NEEDED : MARK_NEEDED | MARK_THERE;
    int r = check_keys(verify, err);

    if (r == 0)
        r = verify_list(verify, err);
    if (r == 0)
        r = check_remaps(verify, err);
    if (r == 0)
        r = list_snapshots(verify, snapshots, err);
    set_phase(verify, "reading directories");
    if (r == 0)
        r = walk_snapshots(verify, snapshots, err);
    set_phase(verify, "checking archives");
    if (r == 0)
        r = verify_archives(verify, marks, verify->tree_trouble, err);
    set_phase(verify, "looking for who is hurt");
    /* What is damaged is known only now. */
    if (r == 0 && verify->result->damaged_archives > 0)
        r = again(verify, snapshots, err);
    for (size_t i = 0; i < snapshots->count && r == 0; i++)
        if (snapshots->at[i].hurt)
            r = list_hurt(verify, &snapshots->at[i], err);
    return r;
}

static void verify_clear(struct verify *verify)
{
    verify_release(verify);
    verify_tables_clear(verify);
    spillmap_free(verify->seen);
    spillmap_free(verify->bad_blocks);
    free(verify->marks);
    pthread_mutex_destroy(&verify->lock);
}

/* Damage that was found stays found, whatever came afterwards. */
static int conclude(const struct verify_result *found, int r, struct err *err)
{
    char why[160] = "";

    if (r == -ERR_CANCELLED || (found->damaged_archives == 0 && found->hurt_paths == 0))
        return r;
    if (r < 0)
        (void)snprintf(why, sizeof(why), "; not all was looked at: %.120s", err->text);
    return err_set(err, ERR_CORRUPT,
                   "damage found: objects: %" PRIu64 "; paths hurt: %" PRIu64
                   " (in snapshots: %" PRIu64 ")%s",
                   found->damaged_archives, found->hurt_paths, found->hurt_snapshots, why);
}

int verify_run(struct blocks *blocks, const struct verify_options *options,
               struct verify_result *out, struct err *err)
{
    CLEANUP(verify_clear)
    struct verify verify = {.blocks = blocks,
                            .repo = blocks_repo(blocks),
                            .options = options,
                            .result = out,
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .reader_archive = NO_ARCHIVE};
    CLEANUP(snapshots_clear) struct snapshots snapshots = {0};

    *out = (struct verify_result){0};
    int r = spillmap_new(io_scratch(), &verify.seen, err);
    if (r == 0)
        r = spillmap_new(io_scratch(), &verify.bad_blocks, err);
    if (r == 0)
        r = check(&verify, &snapshots, err);
    return conclude(out, r, err);
}
