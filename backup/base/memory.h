/*
 * memory — secrets in memory that is neither swapped nor dumped.
 *
 * Keys and passphrases live in pages of their own, locked where the system allows it, left out of
 * core dumps, and overwritten before they are given back.
 *
 *     CLEANUP(secure_freep) struct keys *keys = secure_alloc(sizeof(*keys));
 *
 * Ownership: the caller frees with secure_free().  Each allocation takes at least one page.
 * Threads:   any.
 */
#pragma once

#include <stddef.h>

/* Zeroed, aligned for any type.  NULL: no memory. */
void *secure_alloc(size_t size);

/* Overwrites and releases; NULL does nothing. */
void secure_free(void *secret);

/* For CLEANUP(): `variable` is the address of a pointer from secure_alloc(). */
void secure_freep(void *variable);

/* In a child that goes on using its parent's secrets: locks are not inherited.  Fork while no other
 * thread allocates. */
void secure_after_fork(void);

/* No core dumps of this process, and no ptrace by others of its user; best effort. */
void process_harden(void);
