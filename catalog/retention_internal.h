/*
 * retention_internal — what deciding (retention.c) and the rules of one type (retention_rules.c)
 * share.
 */
#pragma once

#include "catalog/catalog.h"
#include "catalog/retention.h"

enum { SEVERAL = 0 }; /* among types: snapshots that have more than one */

/* One host while it is decided about. */
struct decision {
    const struct retention_rules *rules;
    const struct retention_scope *scope;
    struct retention_moment *moments; /* oldest first */
    size_t count;
    struct retention_verdict *out; /* by the index of the row */
};

/* The snapshots of one kind within it: of a type, adhoc or not. */
struct series {
    const struct decision *decision;
    unsigned type; /* or SEVERAL */
    bool adhoc;
};

bool retention_has_type(const struct snapshot_row *row, unsigned type);
bool retention_is_complete(const struct snapshot_row *row, unsigned type);
bool retention_has_tag(const struct snapshot_row *row, const char *tag);

/* One more reason, "files: …". */
__attribute__((format(printf, 3, 4))) void retention_say(struct retention_verdict *verdict,
                                                         unsigned type, const char *format, ...);
/* … to keep it; nothing where it is not asked about. */
__attribute__((format(printf, 3, 4))) void retention_keep(struct retention_verdict *verdict,
                                                          unsigned type, const char *format, ...);

enum { SPAN_TEXT_SIZE = 24 };
/* "7 d", "36 h" */
const char *retention_span(int64_t ns, char out[SPAN_TEXT_SIZE]);

/* retention_rules.c: what the rule of its type keeps of a series. */
void retention_apply(const struct series *series);
