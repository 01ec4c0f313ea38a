#include "fs/history.h"

#include <stdlib.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "fs/diff.h"
#include "fs/timeline.h"

void versions_clear(struct versions *versions)
{
    free(versions->at);
    *versions = (struct versions){0};
}

static int add_version(struct versions *versions, const struct version *version, struct err *err)
{
    if (versions->count == versions->room) {
        size_t room = versions->room > 0 ? versions->room * 2 : 16;
        struct version *at = reallocarray(versions->at, room, sizeof(*at));
        if (!at)
            return err_set(err, ERR_NOMEM, "out of memory");
        versions->at = at;
        versions->room = room;
    }
    versions->at[versions->count++] = *version;
    return 0;
}

/* The first difference is enough. */
static int stop(void *context, const struct diff_item *item, struct err *err)
{
    (void)context;
    (void)item;
    (void)err;
    return 1;
}

static int changes_between(struct blocks *blocks, const struct entry *before,
                           const struct entry *after, unsigned *out, struct err *err)
{
    int rc = diff_entries(blocks, before, after, out, err);

    if (rc < 0 || before->type != ENTRY_DIRECTORY || after->type != ENTRY_DIRECTORY)
        return rc;
    rc = diff_trees(blocks, &before->directory, &after->directory, false, stop, NULL, err);
    if (rc > 0)
        *out |= DIFF_PART_CONTENT;
    return rc < 0 ? rc : 0;
}

/* What the walk over the runs has in hand. */
struct walk {
    struct blocks *blocks;
    const struct trail *trail;
    struct versions versions;
    struct held_entry before; /* the record of the version before */
};

static void walk_clear(struct walk *walk)
{
    versions_clear(&walk->versions);
    held_entry_clear(&walk->before);
}

/* Goes on with the last version, or begins one. */
static int take_run(struct walk *walk, const struct run *run, struct held_entry *held,
                    struct err *err)
{
    struct versions *versions = &walk->versions;
    struct version *last = versions->count > 0 ? &versions->at[versions->count - 1] : NULL;
    struct version next = {.first = run->first,
                           .last = run->last,
                           .place = run->place,
                           .shared = run->shared,
                           .type = run->type};

    next.again =
        last && timeline_gap(walk->trail->timeline, walk->trail->type, last->last, run->first);
    if (last && !next.again) {
        int rc =
            changes_between(walk->blocks, &walk->before.entry, &held->entry, &next.changes, err);
        if (rc < 0)
            return rc;
        if (next.changes == 0) {
            last->last = run->last;
            return 0;
        }
    }
    int rc = add_version(versions, &next, err);
    if (rc < 0)
        return rc;
    held_entry_clear(&walk->before);
    walk->before = *held;
    *held = (struct held_entry){0};
    return 0;
}

int history_versions(struct blocks *blocks, const struct trail *trail, struct versions *out,
                     struct err *err)
{
    CLEANUP(walk_clear) struct walk walk = {.blocks = blocks, .trail = trail};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < trail->count; i++) {
        CLEANUP(held_entry_clear) struct held_entry held = {0};
        rc = tree_at(blocks, trail->at[i].place, trail->at[i].shared, &held, err);
        if (rc == 0)
            rc = take_run(&walk, &trail->at[i], &held, err);
    }
    if (rc < 0)
        return rc;
    *out = walk.versions;
    walk.versions = (struct versions){0};
    return 0;
}
