/* The index items of a large directory, without its leaves. */
#include "backup/archive/tree.h"

#include "backup/archive/tree_internal.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

/* Where it stands on the way down. */
struct step {
    struct slice slice;
    struct node node;
    struct place place;
    size_t at;
};

struct way {
    struct step steps[TREE_LEVELS_MAX];
    size_t depth;
};

static void way_clear(struct way *way)
{
    while (way->depth > 0)
        slice_clear(&way->steps[--way->depth].slice);
}

static int go_down(struct blocks *blocks, struct way *way, struct place place, int level,
                   struct err *err)
{
    struct step *step = &way->steps[way->depth];

    *step = (struct step){.place = place};
    int r = tree_node(blocks, place, level, &step->slice, &step->node, err);
    if (r == 0)
        way->depth++;
    return r;
}

int tree_index_items(struct blocks *blocks, const struct dirref *directory, tree_item_fn *each,
                     void *context, struct err *err)
{
    CLEANUP(way_clear) struct way way = {0};
    struct branch branch;
    int r = directory->entries > 0 ? go_down(blocks, &way, directory->place, ANY_LEVEL, err) : 0;

    while (r == 0 && way.depth > 0) {
        struct step *step = &way.steps[way.depth - 1];

        /* Below level 1 there are leaves only. */
        if (step->node.level < 2 || step->at == step->node.count) {
            slice_clear(&step->slice);
            way.depth--;
            continue;
        }
        if (!node_branch(&step->node, step->slice.block, step->at++, &branch))
            return tree_damaged(blocks, step->place, "bad index", err);
        r = each(context, branch.place, err);
        if (r == 0 && step->node.level > 2)
            r = go_down(blocks, &way, branch.place, step->node.level - 1, err);
    }
    return r;
}
