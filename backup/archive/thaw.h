/*
 * thaw — which of the archives that are needed lie in cold storage, and how they come back.
 *
 *     thaw_new(repo, &thaw, err);
 *     thaw_list(thaw, &any, err)        … any: something of the repository may be cold
 *     thaw_need(thaw, archive, err)     … for each archive that will be read
 *     thaw_look(thaw, NULL, &sum, err)  … asks the store about those of them that may be cold
 *     thaw_ask(thaw, COLD_STANDARD, 7, NULL, &asked, err)
 *
 * Ownership: borrows the repo.
 * Threads:   one calls; runs its own, since a bucket answers many questions as fast as one.
 * Errors:    store errors; ERR_CANCELLED.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"
#include "backup/store/cold.h"

struct blocks;
struct content;
struct err;
struct progress;
struct repo;
struct thaw;

enum { THAW_CLASSES_MAX = 8 };

struct thaw_amount {
    uint64_t archives, bytes;
};

/* What of the needed archives cannot be read without a thaw; those that never were cold are in
 * none of these. */
struct thaw_sum {
    struct thaw_amount frozen, thawing, thawed;
    struct thaw_class {
        char name[COLD_CLASS_SIZE];
        struct thaw_amount amount; /* frozen or thawing */
    } classes[THAW_CLASSES_MAX];
    size_t class_count;
};

int thaw_new(struct repo *repo, struct thaw **out, struct err *err);
void thaw_free(struct thaw *thaw); /* NULL is allowed */
void thaw_freep(struct thaw **thaw);

int thaw_list(struct thaw *thaw, bool *out_any, struct err *err);
int thaw_need(struct thaw *thaw, uint32_t archive, struct err *err);
/* All archives that a content lies in by now. */
int thaw_need_content(struct thaw *thaw, struct blocks *blocks, const struct content *content,
                      struct err *err);
/* What was found to be readable is not asked for again.  `progress` may be NULL. */
int thaw_look(struct thaw *thaw, struct progress *progress, struct thaw_sum *out, struct err *err);
/* Of all that the last look found frozen; *out_asked also after a failure. */
int thaw_ask(struct thaw *thaw, enum cold_tier tier, unsigned days, struct progress *progress,
             struct thaw_amount *out_asked, struct err *err);
