/*
 * cold — objects in storage classes that cannot be read at once, and how they come back.
 *
 * An S3 object has a storage class; in GLACIER and DEEP_ARCHIVE (and in the archive tiers of
 * INTELLIGENT_TIERING) it is listed, but a read is refused (ERR_COLD) until it has been thawed:
 * asked for, and some hours later there for some days.  What a driver can do of this is in struct
 * cold_ops; a store without it (a directory) has nothing that is cold.
 *
 * Ownership: plain values.
 * Threads:   any call from any thread.
 * Errors:    as store.h says; ERR_USAGE for a class or a tier that there is not.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct store;

enum { COLD_CLASS_SIZE = 32, COLD_DAYS_MAX = 365 };

/* How much haste there is. */
enum cold_tier { COLD_STANDARD, COLD_EXPEDITED, COLD_BULK, COLD_TIERS };

enum cold_state {
    COLD_READY,   /* it can be read, and always could */
    COLD_FROZEN,  /* it cannot, and nobody has asked for it */
    COLD_THAWING, /* it was asked for */
    COLD_THAWED,  /* it can be read for a while */
};

struct cold_object {
    enum cold_state state;
    char class[COLD_CLASS_SIZE];
};

struct cold_listed {
    const char *name; /* behind the prefix */
    uint64_t size;
    const char *class;
    int64_t age_ns; /* since it was written, by the store's own clock; -1: not known */
};

/* Non-zero ends the listing with that result. */
typedef int cold_list_fn(void *context, const struct cold_listed *object, struct err *err);

struct cold_ops {
    int (*list)(struct store *store, const char *prefix, cold_list_fn *each, void *context,
                struct err *err);
    int (*look)(struct store *store, const char *name, struct cold_object *out, struct err *err);
    int (*thaw)(struct store *store, const char *name, const struct cold_object *object,
                enum cold_tier tier, unsigned days, struct err *err);
    int (*move)(struct store *store, const char *name, const char *class, struct err *err);
};

/* Whether there is such a class. */
bool cold_is_class(const char *word);
/* Whether what is put into it cannot be read at once. */
bool cold_freezes(const char *class);
/* Whether `class` comes before `than` in the order of how cold they are. */
bool cold_is_warmer(const char *class, const char *than);
/* Whether an object listed in it may be frozen. */
bool cold_may_be_frozen(const char *class);
/* "expedited", "standard", "bulk"; ERR_USAGE. */
int cold_parse_tier(const char *word, enum cold_tier *out, struct err *err);
const char *cold_tier_name(enum cold_tier tier);
/* How long it usually takes, as AWS says; NULL: this class does not come back that way. */
const char *cold_delay(const char *class, enum cold_tier tier);

/* Whether anything there can be cold. */
bool cold_is_possible(const struct store *store);
/* As store_list(), with classes; nothing where nothing can be cold. */
int cold_list(struct store *store, const char *prefix, cold_list_fn *each, void *context,
              struct err *err);
int cold_look(struct store *store, const char *name, struct cold_object *out, struct err *err);
/* Asks for an object that cold_look() found frozen, for so many days.  One that was asked for
 * already is fine. */
int cold_thaw(struct store *store, const char *name, const struct cold_object *object,
              enum cold_tier tier, unsigned days, struct err *err);
/* Puts an object that can be read into another class; its content stays as it is all the while. */
int cold_move(struct store *store, const char *name, const char *class, struct err *err);
