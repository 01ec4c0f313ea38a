#include "backup/job/roster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/note.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/crew.h"
#include "backup/base/err.h"
#include "backup/store/store.h"

enum { READERS = 16 };

/* Notes of snapshots that there are, as their names say them. */
struct notes {
    struct note *at;
    size_t count, room;
};

struct listing {
    struct roster *roster;
    struct notes *notes;
    const char *prefix;
    size_t room; /* of the roster */
};

static void notes_clear(struct notes *notes)
{
    free(notes->at);
}

void roster_clear(struct roster *roster)
{
    for (size_t i = 0; i < roster->count; i++) {
        free(roster->at[i].revisions);
        root_clear(&roster->at[i].root);
    }
    free(roster->at);
    *roster = (struct roster){0};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct roster_snapshot *)a)->name,
                  ((const struct roster_snapshot *)b)->name);
}

const struct roster_snapshot *roster_find(const struct roster *roster, const char *name)
{
    struct roster_snapshot key;

    (void)snprintf(key.name, sizeof(key.name), "%s", name);
    return roster->count == 0
               ? NULL
               : bsearch(&key, roster->at, roster->count, sizeof(*roster->at), by_name);
}

/* ---- names ------------------------------------------------------------------------------- */

static int add_revision(struct roster_snapshot *snapshot, uint64_t number, uint64_t size,
                        struct err *err)
{
    size_t count = snapshot->revision_count, at = count;
    struct roster_revision *grown =
        reallocarray(snapshot->revisions, count + 1, sizeof(*snapshot->revisions));

    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for %zu revisions", count + 1);
    snapshot->revisions = grown;
    for (; at > 0 && grown[at - 1].number > number; at--)
        grown[at] = grown[at - 1];
    grown[at] = (struct roster_revision){number, size};
    snapshot->revision_count++;
    return 0;
}

/* Stores list in no order, but mostly the revisions of one snapshot together. */
static struct roster_snapshot *find_listed(struct roster *roster, const char *name)
{
    for (size_t i = roster->count; i > 0; i--)
        if (strcmp(roster->at[i - 1].name, name) == 0)
            return &roster->at[i - 1];
    return NULL;
}

/* "NAME/REVISION" */
static int note_root(void *context, const char *rest, uint64_t size, struct err *err)
{
    struct listing *listing = context;
    struct roster *roster = listing->roster;
    char name[SNAPSHOT_NAME_SIZE], again[OBJECT_NAME_SIZE];
    uint64_t revision;

    if (sscanf(rest, "%15[0-9_]/%8" SCNu64, name, &revision) != 2)
        return 0;
    (void)snprintf(again, sizeof(again), "%s/%08" PRIu64, name, revision);
    if (strcmp(again, rest) != 0)
        return 0; /* not the repository's */
    struct roster_snapshot *known = find_listed(roster, name);
    if (known)
        return add_revision(known, revision, size, err);
    if (roster->count == listing->room) {
        size_t room = listing->room > 0 ? 2 * listing->room : 64;
        void *grown = reallocarray(roster->at, room, sizeof(*roster->at));
        if (!grown)
            return err_set(err, ERR_NOMEM, "no memory for %zu snapshots", room);
        roster->at = grown;
        listing->room = room;
    }
    struct roster_snapshot *one = &roster->at[roster->count++];
    *one = (struct roster_snapshot){0};
    strcpy(one->name, name);
    return add_revision(one, revision, size, err);
}

static int note_note(void *context, const char *rest, uint64_t size, struct err *err)
{
    struct listing *listing = context;
    struct notes *notes = listing->notes;
    char object[OBJECT_NAME_SIZE];
    struct note note;

    (void)size;
    int length = snprintf(object, sizeof(object), "%s%s", listing->prefix, rest);
    if (length >= (int)sizeof(object) || !note_parse_name(object, &note) ||
        !roster_find(listing->roster, note.snapshot))
        return 0;
    if (notes->count == notes->room) {
        size_t room = notes->room > 0 ? 2 * notes->room : 64;
        void *grown = reallocarray(notes->at, room, sizeof(*notes->at));
        if (!grown)
            return err_set(err, ERR_NOMEM, "no memory for %zu notes", room);
        notes->at = grown;
        notes->room = room;
    }
    notes->at[notes->count++] = note;
    return 0;
}

/* By snapshot; forgets before holds, releases after them, the highest number first. */
static int by_snapshot(const void *a, const void *b)
{
    const struct note *one = a, *other = b;
    int order = strcmp(one->snapshot, other->snapshot);

    if (order == 0)
        order = (one->kind > other->kind) - (one->kind < other->kind);
    return order != 0 ? order : (one->number < other->number) - (one->number > other->number);
}

/* ---- what counts ------------------------------------------------------------------------- */

static bool is_about(const struct note *note, const struct roster_snapshot *snapshot)
{
    const struct root *root = &snapshot->root;

    return snapshot->damaged ||
           (strcmp(note->host, root->host) == 0 && note->sequence == root->sequence &&
            note->start_ns == root->start_ns);
}

/* 1: it opens; 0: it is damaged or gone. */
static int read_note(struct repo *repo, const struct note *named, struct note *out, struct err *err)
{
    char object[OBJECT_NAME_SIZE];

    note_object_name(named, object);
    int r = note_read(repo, object, out, err);
    if (r == -ERR_CORRUPT || r == -ERR_WRONG_KEY || r == -ERR_NOT_FOUND)
        return 0;
    return r < 0 ? r : 1;
}

/* Of the numbers of this name, highest first, the first that is about this snapshot; one that does
 * not open says "not forgotten". */
static int find_forgotten(struct repo *repo, const struct note *notes, size_t count,
                          struct roster_snapshot *snapshot, struct err *err)
{
    for (size_t i = 0; i < count && notes[i].kind == NOTE_FORGET; i++) {
        struct note note;
        int r = read_note(repo, &notes[i], &note, err);

        if (r <= 0)
            return r;
        if (!is_about(&note, snapshot))
            continue;
        snapshot->forgotten = note.kind == NOTE_FORGET;
        snapshot->forgotten_ns = note.made_ns;
        return 0;
    }
    return 0;
}

/* 1: there is a release of it that opens. */
static int is_released(struct repo *repo, const struct note *notes, size_t count,
                       const struct note *hold, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        struct note note;

        if (notes[i].kind != NOTE_RELEASE || memcmp(notes[i].id, hold->id, NOTE_ID_SIZE) != 0)
            continue;
        int r = read_note(repo, &notes[i], &note, err);
        if (r != 0)
            return r;
    }
    return 0;
}

static int find_holds(struct repo *repo, const struct note *notes, size_t count,
                      struct roster_snapshot *snapshot, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < count && r >= 0 && !snapshot->held; i++) {
        struct note note;

        if (notes[i].kind != NOTE_HOLD)
            continue;
        r = read_note(repo, &notes[i], &note, err);
        if (r < 0 || (r == 1 && !is_about(&note, snapshot)))
            continue;
        r = is_released(repo, notes, count, &notes[i], err);
        snapshot->held = r == 0;
    }
    return r < 0 ? r : 0;
}

static int read_root(struct repo *repo, struct roster_snapshot *snapshot, struct err *err)
{
    int r = root_read(repo, snapshot->name, roster_revision(snapshot), &snapshot->root, err);

    snapshot->damaged =
        r == -ERR_CORRUPT || r == -ERR_WRONG_KEY || (r == -ERR_SYSTEM && err->cause == EIO);
    return snapshot->damaged ? 0 : r;
}

/* A snapshot, and the notes of its name. */
struct reading {
    struct repo *repo;
    struct roster_snapshot *snapshot;
    const struct note *notes;
    size_t count;
    struct crew *crew;
};

/* Removed since it was listed, or another revision took its place: what counts is listed anew. */
static int interpret(const struct reading *reading, struct err *err)
{
    struct roster_snapshot *snapshot = reading->snapshot;
    int r = read_root(reading->repo, snapshot, err);

    if (r == 0 && reading->count > 0)
        r = find_forgotten(reading->repo, reading->notes, reading->count, snapshot, err);
    if (r == 0 && reading->count > 0)
        r = find_holds(reading->repo, reading->notes, reading->count, snapshot, err);
    return r;
}

static void run_reading(void *argument)
{
    const struct reading *reading = argument;
    struct err err;

    if (!crew_ended(reading->crew) && interpret(reading, &err) < 0)
        crew_fail(reading->crew, &err);
}

/* Of a remote store many are read at once. */
static int run_readings(struct repo *repo, struct reading *readings, size_t count, struct err *err)
{
    struct crew crew = {0};
    int r = 0;

    if (!repo_is_remote(repo)) {
        for (size_t i = 0; r == 0 && i < count; i++)
            r = interpret(&readings[i], err);
        return r;
    }
    r = crew_open(&crew, count < READERS ? count : READERS, READERS, NULL, "to read snapshots",
                  err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        readings[i].crew = &crew;
        crew_submit(&crew, run_reading, &readings[i]);
    }
    r = crew_settle(&crew, r, err);
    crew_close(&crew);
    return r;
}

static int interpret_all(struct repo *repo, struct roster *roster, const struct notes *notes,
                         struct err *err)
{
    struct reading *readings = calloc(roster->count + 1, sizeof(*readings));
    size_t at = 0;

    if (!readings)
        return err_set(err, ERR_NOMEM, "no memory for %zu snapshots", roster->count);
    for (size_t i = 0; i < roster->count; i++) {
        struct reading *reading = &readings[i];

        *reading = (struct reading){.repo = repo,
                                    .snapshot = &roster->at[i],
                                    .notes = at < notes->count ? &notes->at[at] : NULL};
        while (at < notes->count && strcmp(notes->at[at].snapshot, reading->snapshot->name) == 0) {
            reading->count++;
            at++;
        }
    }
    int r = roster->count > 0 ? run_readings(repo, readings, roster->count, err) : 0;
    free(readings);
    return r;
}

static int load(struct repo *repo, struct roster *out, struct err *err)
{
    static const char *const prefixes[] = {"forgets/", "holds/", "releases/"};
    enum { PREFIXES = sizeof(prefixes) / sizeof(prefixes[0]) };
    CLEANUP(notes_clear) struct notes notes = {0};
    struct listing listing = {.roster = out, .notes = &notes}, folders[PREFIXES];
    struct store_listing stores[PREFIXES];
    int r = store_list(repo->store, "snapshots/", note_root, &listing, err);

    if (r == 0 && out->count > 0)
        qsort(out->at, out->count, sizeof(*out->at), by_name);
    for (size_t i = 0; i < PREFIXES; i++) {
        folders[i] = listing;
        folders[i].prefix = prefixes[i];
        stores[i] = (struct store_listing){prefixes[i], note_note, &folders[i]};
    }
    if (r == 0)
        r = store_list_all(repo->store, stores, PREFIXES, err);
    if (r == 0 && notes.count > 0)
        qsort(notes.at, notes.count, sizeof(*notes.at), by_snapshot);
    return r < 0 ? r : interpret_all(repo, out, &notes, err);
}

int roster_load(struct repo *repo, struct roster *out, struct err *err)
{
    enum { TRIES = 8 };
    int r = -ERR_NOT_FOUND;

    for (int i = 0; r == -ERR_NOT_FOUND && i < TRIES; i++) {
        roster_clear(out);
        r = load(repo, out, err);
    }
    if (r < 0)
        roster_clear(out);
    return r;
}
