#include "backup/store/cold.h"

#include <stddef.h>
#include <string.h>

#include "backup/base/err.h"
#include "backup/store/store.h"

/* From warm to cold; delays as AWS documents them, by enum cold_tier. */
static const struct class
{
    const char *name;
    bool freezes;
    const char *delays[COLD_TIERS];
} classes[] = {
    {"STANDARD", false, {NULL}},
    {"REDUCED_REDUNDANCY", false, {NULL}},
    {"STANDARD_IA", false, {NULL}},
    {"ONEZONE_IA", false, {NULL}},
    /* Its archive tiers, where somebody switched them on: the object says whether it is there. */
    {"INTELLIGENT_TIERING",
     false,
     {[COLD_STANDARD] = "3 to 12 hours",
      [COLD_EXPEDITED] = "1 to 5 minutes",
      [COLD_BULK] = "5 to 48 hours"}},
    {"GLACIER_IR", false, {NULL}},
    {"GLACIER",
     true,
     {[COLD_STANDARD] = "3 to 5 hours",
      [COLD_EXPEDITED] = "1 to 5 minutes",
      [COLD_BULK] = "5 to 12 hours"}},
    {"DEEP_ARCHIVE", true, {[COLD_STANDARD] = "up to 12 hours", [COLD_BULK] = "up to 48 hours"}},
};

static const char *const tiers[COLD_TIERS] = {
    [COLD_STANDARD] = "standard", [COLD_EXPEDITED] = "expedited", [COLD_BULK] = "bulk"};

static const struct class *find_class(const char *name)
{
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strcmp(classes[i].name, name) == 0)
            return &classes[i];
    return NULL;
}

bool cold_is_class(const char *word)
{
    return find_class(word) != NULL;
}

bool cold_freezes(const char *name)
{
    const struct class *found = find_class(name);

    return found && found->freezes;
}

bool cold_is_warmer(const char *class, const char *than)
{
    const struct class *a = find_class(class), *b = find_class(than);

    return a && b && a < b;
}

bool cold_may_be_frozen(const char *name)
{
    const struct class *found = find_class(name);

    return found && found->delays[COLD_STANDARD];
}

int cold_parse_tier(const char *word, enum cold_tier *out, struct err *err)
{
    for (int i = 0; i < COLD_TIERS; i++) {
        if (strcmp(word, tiers[i]) != 0)
            continue;
        *out = (enum cold_tier)i;
        return 0;
    }
    return err_set(err, ERR_USAGE, "\"%.40s\" is neither standard, expedited nor bulk", word);
}

const char *cold_tier_name(enum cold_tier tier)
{
    return tiers[tier];
}

const char *cold_delay(const char *name, enum cold_tier tier)
{
    const struct class *found = find_class(name);

    return found ? found->delays[tier] : NULL;
}

bool cold_is_possible(const struct store *store)
{
    return store->ops->cold != NULL;
}

int cold_list(struct store *store, const char *prefix, cold_list_fn *each, void *context,
              struct err *err)
{
    return cold_is_possible(store) ? store->ops->cold->list(store, prefix, each, context, err) : 0;
}

int cold_look(struct store *store, const char *name, struct cold_object *out, struct err *err)
{
    struct cold_object found = {.state = COLD_READY, .class = "STANDARD"};
    int r = cold_is_possible(store) ? store->ops->cold->look(store, name, &found, err) : 0;

    if (r == 0)
        *out = found;
    return r;
}

int cold_thaw(struct store *store, const char *name, const struct cold_object *object,
              enum cold_tier tier, unsigned days, struct err *err)
{
    if (!cold_is_possible(store) || object->state == COLD_READY)
        return 0;
    if (!cold_delay(object->class, tier))
        return err_set(err, ERR_USAGE, "%.80s: %.30s does not come back by --thaw=%s", name,
                       object->class, tiers[tier]);
    return store->ops->cold->thaw(store, name, object, tier, days, err);
}

int cold_move(struct store *store, const char *name, const char *class, struct err *err)
{
    if (!cold_is_possible(store))
        return err_set(err, ERR_USAGE, "%.150s has no storage classes", store->location);
    return store->ops->cold->move(store, name, class, err);
}
