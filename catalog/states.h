/*
 * states — what is known of each archive, by its number, for those who ask once a chunk.
 *
 * The archives table of the catalog in memory, a byte each.
 *
 * Ownership: states_free().
 * Threads:   any call from any thread; states_usable() takes no lock.
 * Errors:    ERR_NOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct states;

enum state_flag { STATE_PRESENT = 1, STATE_DAMAGED = 2, STATE_MARKED = 4 };

struct states *states_new(void); /* NULL: out of memory */
void states_free(struct states *states);

int states_set(struct states *states, uint32_t archive, uint8_t flags, struct err *err);
uint8_t states_get(const struct states *states, uint32_t archive); /* 0: never heard of it */
/* It is there, not damaged as far as is known, and under no mark. */
bool states_usable(const struct states *states, uint32_t archive);
/* Every archive as never heard of. */
void states_forget(struct states *states);
