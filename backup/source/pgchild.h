/*
 * pgchild — PostgreSQL's client programs (pg_dump, pg_dumpall, pg_restore) as children.
 *
 * Server, database and password go to the child in its environment.
 *
 * Ownership: borrows everything.
 * Threads:   any.
 * Errors:    ERR_NOT_FOUND for a program that is not installed; ERR_REMOTE with the last line that
 * it wrote to stderr; those of `take`, which end the child; ERR_CANCELLED.
 */
#pragma once

#include <stddef.h>

struct err;
struct pg_server;
struct progress;

struct pgchild {
    const struct pg_server *server;
    const char *database;      /* NULL: none */
    const char *const *argv;   /* ends with NULL; no secrets */
    int input;                 /* a descriptor that the child inherits as number 3; -1: none */
    struct progress *progress; /* may be NULL: is asked whether to stop */
    /* What the child writes to stdout; NULL: it is let go. */
    int (*take)(void *context, const void *bytes, size_t size, struct err *err);
    void *context;
};

enum { PGCHILD_INPUT = 3 };
/* The name by which the child opens its input. */
#define PGCHILD_INPUT_NAME "/dev/fd/3"

/* An input that is in memory only.  Programs that open it by name read it from the start, but
 * several of them share one descriptor's position. */
int pgchild_input(const void *bytes, size_t size, int *out_fd, struct err *err);

int pgchild_run(const struct pgchild *child, struct err *err);
