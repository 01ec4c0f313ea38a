/*
 * together — a few calls at once, for those that do nothing but wait for a server.
 *
 * Ownership: the calls belong to the caller, and are done when together() returns.
 * Threads:   the first call is made in the caller's thread, each other one in its own; signals are
 * blocked in those.
 * Errors:    that of the first call, in their order, that failed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "backup/base/err.h"

enum { TOGETHER_MAX = 8 };

struct together_call {
    int (*run)(void *context, struct err *err);
    void *context;
    /* What came of it: */
    int result;
    struct err err;
};

/* Makes these calls, at most TOGETHER_MAX.  `at_once`: all of them, also when one fails; else one
 * after the other, in this order, and none after one that fails. */
int together(struct together_call *calls, size_t count, bool at_once, struct err *err);
