/*
 * manyreads — many small files read by one call.
 *
 * On a cold disk one file after the other costs a request, an interrupt and a sleep each.  Handed
 * to the kernel together (io_uring), what lies side by side becomes one request, and one sleep does
 * for all (docs/decisions/workers.md).
 *
 * It promises nothing: what it could not read, for whatever reason, is read by pread(), which says
 * why.  So there are no errors here, and nothing is lost where the kernel refuses (containers
 * mostly do).
 *
 * Ownership: the descriptors and the memory are the caller's.
 * Threads:   one at a time.
 * Errors:    none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct manyreads;

struct manyreads_one {
    int fd;
    void *bytes;
    uint32_t size; /* from the beginning of the file */
    bool done;     /* all of it is there */
};

/* For up to `most` at once.  NULL: the kernel refuses, or there is no memory. */
struct manyreads *manyreads_new(unsigned most);
void manyreads_free(struct manyreads *many); /* NULL is allowed */
/* Reads all, and says of each whether it is done; nothing is under way afterwards. */
void manyreads_run(struct manyreads *many, struct manyreads_one *reads, size_t count);
