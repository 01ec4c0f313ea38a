/*
 * retain — rules as people write them, and forgetting what they let go.
 *
 * A rule is words: "within=30d daily=14 weekly=90d tag=release forever"; a number counts, one with
 * h, d, w or y is a time.
 *
 * Ownership: retention_rules_clear() releases rules.
 * Threads:   one.
 * Errors:    ERR_USAGE for words that say nothing; those of the catalog.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/retention.h"

struct app;
struct err;
struct session;
struct snapshot_row;

/* One word into a rule. */
int retain_word(struct retention_rule *rule, const char *word, struct err *err);

/* Of the settings; `types` 0: for every type. */
int retain_rules_set(struct app *app, uint8_t types, struct retention_rules *out, struct err *err);
/* Of --keep-…; *out_given: there was one. */
int retain_rules_given(struct app *app, uint8_t types, struct retention_rules *out, bool *out_given,
                       struct err *err);
/* What --retention DAYS asks for. */
int retain_rules_days(const char *days, uint8_t types, struct retention_rules *out,
                      struct err *err);

struct retain_result {
    size_t kept, forgotten;
};
/* Decides and forgets.  Tells about those that go, where `how` says so also about all others. */
enum retain_how { RETAIN_FORGET = 0, RETAIN_DRY = 1, RETAIN_EXPLAIN = 2, RETAIN_SILENT = 4 };
int retain_run(struct app *app, struct session *session, const struct retention_rules *rules,
               const struct retention_scope *scope, unsigned how, struct retain_result *out,
               struct err *err);
/* These alone; looks afterwards whether another host has forgotten what they relied on as the
 * last, and then takes them back. */
int retain_forget(struct app *app, struct session *session, const struct snapshot_row *rows,
                  size_t count, const bool *drop, const char *reason, struct err *err);
