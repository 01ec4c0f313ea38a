#include "fs/timeline.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/path.h"
#include "backup/base/spill.h"
#include "catalog/catalog.h"

/* ---- snapshots --------------------------------------------------------------------------- */

void timeline_clear(struct timeline *timeline)
{
    free(timeline->at);
    *timeline = (struct timeline){0};
}

static int load_shot(struct catalog *catalog, const struct snapshot_row *row,
                     struct timeline_shot *out, struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};
    int rc = catalog_root(catalog, row->name, &root, err);

    if (rc < 0)
        return err_context(err, "%s", row->name);
    *out = (struct timeline_shot){.start_ns = row->start_ns, .adhoc = row->adhoc};
    memcpy(out->name, row->name, sizeof(out->name));
    for (unsigned type = 1; type <= TYPES; type++) {
        if (!root.types[type].present)
            continue;
        out->types = (uint8_t)(out->types | 1U << type);
        out->directories[type] = root.types[type].directory;
    }
    return 0;
}

int timeline_load(struct catalog *catalog, const char *host, uint8_t types, struct timeline *out,
                  struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    CLEANUP(timeline_clear) struct timeline timeline = {0};
    int rc = catalog_snapshots(catalog, host, &rows, err);

    if (rc < 0)
        return rc;
    if (rows.count >= UINT32_MAX)
        return err_set(err, ERR_TOO_LARGE, "there are too many snapshots");
    timeline.at = calloc(rows.count + 1, sizeof(*timeline.at));
    if (!timeline.at)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < rows.count; i++) {
        if (types != 0 && (rows.at[i].types & types) == 0)
            continue;
        rc = load_shot(catalog, &rows.at[i], &timeline.at[timeline.count], err);
        if (rc == -ERR_NOT_FOUND)
            continue; /* forgotten meanwhile */
        if (rc < 0)
            return rc;
        timeline.count++;
    }
    *out = timeline;
    timeline = (struct timeline){0};
    return 0;
}

static bool tells_of(const struct timeline_shot *shot, enum snapshot_type type)
{
    return !shot->adhoc && (shot->types & 1U << type) != 0;
}

bool timeline_gap(const struct timeline *timeline, enum snapshot_type type, uint32_t after,
                  uint32_t before)
{
    for (uint32_t i = after + 1; i < before; i++)
        if (tells_of(&timeline->at[i], type))
            return true;
    return false;
}

bool timeline_newest(const struct timeline *timeline, enum snapshot_type type, uint32_t *out)
{
    for (size_t i = timeline->count; i-- > 0;) {
        if (!tells_of(&timeline->at[i], type))
            continue;
        *out = (uint32_t)i;
        return true;
    }
    return false;
}

/* ---- trails ------------------------------------------------------------------------------ */

void trail_clear(struct trail *trail)
{
    free(trail->at);
    *trail = (struct trail){0};
}

static bool same_record(const struct run *a, const struct run *b)
{
    bool nowhere = a->place.archive == NO_ARCHIVE;

    if (a->type != b->type || a->shared != b->shared || !place_equal(a->place, b->place))
        return false;
    return !nowhere || (a->directory.entries == b->directory.entries &&
                        place_equal(a->directory.place, b->directory.place));
}

/* The next run; it goes on with the one before where that is the same record. */
static int add_run(struct trail *trail, const struct run *run, struct err *err)
{
    struct run *last = trail->count > 0 ? &trail->at[trail->count - 1] : NULL;

    if (last && same_record(last, run) &&
        !timeline_gap(trail->timeline, trail->type, last->last, run->first)) {
        last->last = run->last;
        return 0;
    }
    if (trail->count == trail->room) {
        size_t room = trail->room > 0 ? trail->room * 2 : 16;
        struct run *at = reallocarray(trail->at, room, sizeof(*at));
        if (!at)
            return err_set(err, ERR_NOMEM, "out of memory");
        trail->at = at;
        trail->room = room;
    }
    trail->at[trail->count++] = *run;
    return 0;
}

int trail_start(const struct timeline *timeline, enum snapshot_type type, struct trail *out,
                struct err *err)
{
    CLEANUP(trail_clear) struct trail trail = {.timeline = timeline, .type = type};
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < timeline->count; i++) {
        const struct run run = {
            .first = i,
            .last = i,
            .place = {.archive = NO_ARCHIVE},
            .type = ENTRY_DIRECTORY,
            .directory = timeline->at[i].directories[type],
        };
        if (timeline->at[i].types & 1U << type)
            rc = add_run(&trail, &run, err);
    }
    if (rc < 0)
        return rc;
    *out = trail;
    trail = (struct trail){0};
    return 0;
}

/* What a name is in one directory; type 0: it is not there. */
static int find_child(struct blocks *blocks, const struct dirref *directory, const char *name,
                      size_t size, struct run *out, struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    int rc = tree_find(blocks, directory, name, size, &held, err);

    *out = (struct run){0};
    if (rc == -ERR_NOT_FOUND)
        return 0;
    if (rc < 0)
        return rc;
    out->type = held.entry.type;
    out->place = held.entry.place;
    out->shared = held.entry.shared;
    if (held.entry.type == ENTRY_DIRECTORY)
        out->directory = held.entry.directory;
    return 0;
}

/* What was found in each distinct directory. */
struct step {
    struct blocks *blocks;
    const char *name;
    size_t size;
    struct spillmap *known; /* place of a directory → number in `found` */
    struct run *found;
    size_t count;
};

static int look(struct step *step, const struct dirref *directory, struct run *out, struct err *err)
{
    uint64_t number = 0;
    uint64_t key = (uint64_t)directory->place.archive << 32 | directory->place.raw;

    if (directory->entries == 0) {
        *out = (struct run){0};
        return 0;
    }
    if (spillmap_get(step->known, key, 0, &number)) {
        *out = step->found[number];
        return 0;
    }
    int rc = find_child(step->blocks, directory, step->name, step->size, out, err);
    if (rc < 0)
        return rc;
    step->found[step->count] = *out;
    return spillmap_put(step->known, key, 0, step->count++, err);
}

static void step_clear(struct step *step)
{
    spillmap_free(step->known);
    free(step->found);
}

int trail_step(struct blocks *blocks, const struct trail *parent, const char *name, size_t size,
               struct trail *out, struct err *err)
{
    CLEANUP(step_clear) struct step step = {.blocks = blocks, .name = name, .size = size};
    CLEANUP(trail_clear)
    struct trail trail = {.timeline = parent->timeline, .type = parent->type};
    int rc = spillmap_new("/var/tmp", &step.known, err);

    step.found = calloc(parent->count + 1, sizeof(*step.found));
    if (rc == 0 && !step.found)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < parent->count; i++) {
        const struct run *from = &parent->at[i];
        struct run run = {0};
        if (from->type == ENTRY_DIRECTORY)
            rc = look(&step, &from->directory, &run, err);
        run.first = from->first;
        run.last = from->last;
        if (rc == 0 && run.type != 0)
            rc = add_run(&trail, &run, err);
    }
    if (rc < 0)
        return rc;
    *out = trail;
    trail = (struct trail){0};
    return 0;
}

int trail_follow(struct blocks *blocks, const struct timeline *timeline, enum snapshot_type type,
                 const char *path, struct trail *out, struct err *err)
{
    CLEANUP(trail_clear) struct trail trail = {0};
    const char *at = path, *end = path + strlen(path), *name;
    size_t size;
    int rc = trail_start(timeline, type, &trail, err);

    while (rc == 0 && path_next(&at, end, &name, &size)) {
        struct trail next = {0};
        rc = trail_step(blocks, &trail, name, size, &next, err);
        trail_clear(&trail);
        trail = next;
    }
    if (rc < 0)
        return rc;
    *out = trail;
    trail = (struct trail){0};
    return 0;
}
