#include "backup/job/reseal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/note.h"
#include "backup/archive/remap.h"
#include "backup/archive/root.h"
#include "backup/archive/writer.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/job/roster.h"
#include "backup/store/store.h"

/* ---- what is left ------------------------------------------------------------------------ */

struct census {
    struct repo *repo;
    const char *prefix;
    struct reseal_left *left;
};

/* What is no archive, or says no epoch that there is, opens neither before nor after. */
static int is_older(struct repo *repo, const char *name, bool *out, struct err *err)
{
    uint32_t epoch = 0;
    int r = repo_object_epoch(repo, name, &epoch, err);

    *out = r == 0 && epoch < keyring_epoch(repo->keyring);
    return r == -ERR_CORRUPT || r == -ERR_NOT_FOUND ? 0 : r;
}

static int count_object(void *context, const char *rest, uint64_t size, struct err *err)
{
    const struct census *census = context;
    struct reseal_left *left = census->left;
    char name[OBJECT_NAME_SIZE];
    bool older = false;

    if (snprintf(name, sizeof(name), "%s%s", census->prefix, rest) >= (int)sizeof(name))
        return 0; /* not the repository's */
    bool log = strcmp(census->prefix, "wal/") == 0 || strcmp(census->prefix, "tails/") == 0;
    int r = is_older(census->repo, name, &older, err);
    if (r < 0 || (!older && !log))
        return r;
    left->objects++;
    left->bytes += size;
    if (log) {
        left->logs++;
        left->log_bytes += size;
    } else if (!left->first[0]) {
        strcpy(left->first, name);
    }
    return 0;
}

int reseal_left(struct repo *repo, struct reseal_left *out, struct err *err)
{
    static const char *const prefixes[] = {"data/",      "meta/",  "index/",    "remap/",
                                           "snapshots/", "holds/", "releases/", "forgets/",
                                           "wal/",       "tails/", "parity/",   "audit/"};
    struct reseal_left left = {0};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct census census = {repo, prefixes[i], &left};
        r = store_list(repo->store, prefixes[i], count_object, &census, err);
    }
    if (r == 0)
        *out = left;
    return r;
}

/* ---- roots ------------------------------------------------------------------------------- */

/* The first revision is what keeps the name; here it is the same root once more. */
static int renew_first(struct repo *repo, const struct roster_snapshot *snapshot,
                       const struct root *root, struct err *err)
{
    struct root first = *root;
    char name[OBJECT_NAME_SIZE];
    bool older = false;
    uint64_t size;

    root_object_name(snapshot->name, 0, name);
    int r = is_older(repo, name, &older, err);
    if (r == 0 && older)
        r = store_remove(repo->store, name, err);
    if (r < 0 || (!older && snapshot->revisions[0].number == 0))
        return r;
    first.revision = 0;
    return root_publish(repo, &first, &size, err);
}

/* The archives that the run wrote are others by now: a root without that list needs what its
 * directories say. */
static int renew_root(struct repo *repo, const struct roster_snapshot *snapshot, struct err *err)
{
    struct root root = snapshot->root; /* borrowed but for its numbers */
    char name[OBJECT_NAME_SIZE];
    bool older = false;
    uint64_t size;

    root_object_name(snapshot->name, roster_revision(snapshot), name);
    int r = is_older(repo, name, &older, err);
    if (r == 0 && older && snapshot->damaged)
        return err_set(err, ERR_CORRUPT, "%s is damaged, and cannot be sealed anew", name);
    root.archive_count = 0;
    root.revision = roster_revision(snapshot) + 1;
    if (r == 0 && older)
        r = root_publish(repo, &root, &size, err);
    return r < 0 || snapshot->damaged ? r : renew_first(repo, snapshot, &root, err);
}

static int renew_roots(struct repo *repo, struct err *err)
{
    CLEANUP(roster_clear) struct roster roster = {0};
    int r = roster_load(repo, &roster, err);

    for (size_t i = 0; r == 0 && i < roster.count; i++)
        r = renew_root(repo, &roster.at[i], err);
    return r;
}

/* ---- notes ------------------------------------------------------------------------------- */

struct note_list {
    struct repo *repo;
    const char *prefix;
    struct note *at; /* as their names say them */
    size_t count, room;
};

static void note_list_clear(struct note_list *list)
{
    free(list->at);
}

static int list_note(void *context, const char *rest, uint64_t size, struct err *err)
{
    struct note_list *list = context;
    char object[OBJECT_NAME_SIZE];
    struct note note;

    (void)size;
    int length = snprintf(object, sizeof(object), "%s%s", list->prefix, rest);
    if (length >= (int)sizeof(object) || !note_parse_name(object, &note))
        return 0;
    if (list->count == list->room) {
        size_t room = list->room > 0 ? 2 * list->room : 64;
        void *grown = reallocarray(list->at, room, sizeof(*list->at));
        if (!grown)
            return err_set(err, ERR_NOMEM, "no memory for %zu notes", room);
        list->at = grown;
        list->room = room;
    }
    list->at[list->count++] = note;
    return 0;
}

/* By snapshot, the highest number first. */
static int by_number(const void *a, const void *b)
{
    const struct note *one = a, *other = b;
    int order = strcmp(one->snapshot, other->snapshot);

    return order != 0 ? order : (one->number < other->number) - (one->number > other->number);
}

static int load_notes(struct repo *repo, const char *prefix, struct note_list *out, struct err *err)
{
    *out = (struct note_list){.repo = repo, .prefix = prefix};
    int r = store_list(repo->store, prefix, list_note, out, err);

    if (r == 0 && out->count > 0)
        qsort(out->at, out->count, sizeof(*out->at), by_number);
    return r;
}

/* The same wherever it is made: of a hold and its release, and by who was interrupted. */
static void renew_id(const struct repo *repo, uint8_t id[NOTE_ID_SIZE])
{
    static const char what[] = "yester note sealed anew";
    uint8_t bytes[sizeof(what) + 4 + NOTE_ID_SIZE];
    uint8_t digest[DIGEST_SIZE];

    memcpy(bytes, what, sizeof(what));
    store_le32(bytes + sizeof(what), keyring_epoch(repo->keyring));
    memcpy(bytes + sizeof(what) + 4, id, NOTE_ID_SIZE);
    digest_bytes(keyring_id_key(repo->keyring), bytes, sizeof(bytes), digest);
    memcpy(id, digest, NOTE_ID_SIZE);
}

/* *out_older: the object is of an older epoch, and was read into *out. */
static int read_older(struct repo *repo, const struct note *named, struct note *out,
                      bool *out_older, struct err *err)
{
    char object[OBJECT_NAME_SIZE];

    note_object_name(named, object);
    int r = is_older(repo, object, out_older, err);
    return r == 0 && *out_older ? note_read(repo, object, out, err) : r;
}

static int remove_older(struct repo *repo, const struct note_list *list, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->count; i++) {
        char object[OBJECT_NAME_SIZE];
        bool older = false;

        note_object_name(&list->at[i], object);
        r = is_older(repo, object, &older, err);
        if (r == 0 && older)
            r = store_remove(repo->store, object, err);
    }
    return r;
}

static int renew_holds(struct repo *repo, const struct note_list *list, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->count; i++) {
        struct note note;
        bool older = false;

        r = read_older(repo, &list->at[i], &note, &older, err);
        if (r < 0 || !older)
            continue;
        renew_id(repo, note.id);
        r = note_publish(repo, &note, err);
        r = r == -ERR_EXISTS ? 0 : r; /* whoever was interrupted made it */
    }
    return r;
}

static bool is_same_snapshot(const struct note *a, const struct note *b)
{
    return strcmp(a->host, b->host) == 0 && a->sequence == b->sequence &&
           a->start_ns == b->start_ns;
}

/* The notes of one name, the highest number first: the first about each snapshot counts, and is
 * made again above all others if it is of an older epoch. */
static int renew_name(struct repo *repo, struct note *notes, size_t count, struct err *err)
{
    uint64_t next = notes[0].number + 1;

    for (size_t i = 0; i < count; i++) {
        char object[OBJECT_NAME_SIZE];
        bool older = false, counts = true;

        note_object_name(&notes[i], object);
        int r = is_older(repo, object, &older, err);
        if (r == 0)
            r = note_read(repo, object, &notes[i], err);
        if (r == -ERR_CORRUPT && !older)
            continue;
        if (r < 0)
            return r;
        for (size_t j = 0; j < i && counts; j++)
            counts = !is_same_snapshot(&notes[i], &notes[j]);
        if (!older || !counts)
            continue;
        struct note note = notes[i];
        note.number = next++;
        r = note_publish(repo, &note, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int renew_forgets(struct repo *repo, const struct note_list *list, struct err *err)
{
    size_t end = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->count; i = end) {
        for (end = i + 1;
             end < list->count && strcmp(list->at[end].snapshot, list->at[i].snapshot) == 0;)
            end++;
        r = renew_name(repo, &list->at[i], end - i, err);
    }
    return r;
}

/* Holds go before their releases: one that is left must not hold again. */
static int renew_notes(struct repo *repo, struct err *err)
{
    CLEANUP(note_list_clear) struct note_list releases = {0};
    CLEANUP(note_list_clear) struct note_list holds = {0};
    CLEANUP(note_list_clear) struct note_list forgets = {0};
    int r = load_notes(repo, "releases/", &releases, err);

    if (r == 0)
        r = load_notes(repo, "holds/", &holds, err);
    if (r == 0)
        r = load_notes(repo, "forgets/", &forgets, err);
    if (r == 0)
        r = renew_holds(repo, &releases, err);
    if (r == 0)
        r = renew_holds(repo, &holds, err);
    if (r == 0)
        r = renew_forgets(repo, &forgets, err);
    if (r == 0)
        r = remove_older(repo, &holds, err);
    if (r == 0)
        r = remove_older(repo, &releases, err);
    return r < 0 ? r : remove_older(repo, &forgets, err);
}

/* ---- remaps ------------------------------------------------------------------------------ */

static int find_older_remap(void *context, const char *rest, uint64_t size, struct err *err)
{
    struct census *census = context;

    return census->left->objects > 0 ? 0 : count_object(context, rest, size, err);
}

static void free_objects(struct remap_object **objects)
{
    free(*objects);
}

/* While both there are, the old one still leads to archives of older epochs. */
static int drop_superseded(struct repo *repo, struct err *err)
{
    CLEANUP(free_objects) struct remap_object *objects = NULL;
    char name[OBJECT_NAME_SIZE];
    size_t count = 0;
    int r = remap_refresh(repo, err);

    if (r == 0)
        r = remap_objects(repo, &objects, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (!objects[i].superseded)
            continue;
        repo_object_name(ARCHIVE_REMAP, &objects[i].id, name);
        r = store_remove(repo->store, name, err);
    }
    return r < 0 ? r : remap_refresh(repo, err);
}

static int renew_remaps(struct repo *repo, struct err *err)
{
    struct reseal_left left = {0};
    struct census census = {repo, "remap/", &left};
    struct writer_result made;
    int r = drop_superseded(repo, err);

    if (r == 0)
        r = store_list(repo->store, census.prefix, find_older_remap, &census, err);
    if (r < 0 || left.objects == 0)
        return r;
    r = remap_publish(repo, NULL, 0, NULL, NULL, &made, err);
    return r < 0 ? r : drop_superseded(repo, err);
}

int reseal_small(struct repo *repo, struct err *err)
{
    int r = renew_roots(repo, err);

    if (r == 0)
        r = renew_notes(repo, err);
    return r < 0 ? r : renew_remaps(repo, err);
}
