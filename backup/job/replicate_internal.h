/* Internals of replicate: a run, and one object of it.  Included by replicate*.c only. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/place.h"
#include "backup/base/err.h"
#include "backup/job/replicate.h"

/* What an object is by its name. */
struct replica_class {
    const char *prefix;
    enum archive_kind kind; /* 0: not an archive */
};

/* Copies one object, checked; -ERR_NOT_FOUND: it is gone here.  -ERR_CORRUPT: it is damaged;
 * -ERR_BUSY: another host claims its name there, which is warned of. */
int replicate_object(const struct replicate_options *options, const struct replica_class *class,
                     const char *name, uint64_t size, struct err *err);

enum { REPLICA_HEADER_SIZE = 64 };
/* 1: this repository is there; 0: none; ERR_EXISTS: another one. */
int replica_look_at_header(const struct replicate_options *options, struct err *err);
