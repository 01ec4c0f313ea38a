/*
 * idtable — numbers for archive ids, so that a place is eight bytes.
 *
 * Ownership: entries live as long as the table; pointers to ids stay valid.
 * Threads:   any call from any thread; idtable_id() takes no lock.
 * Errors:    ERR_NOMEM; ERR_TOO_LARGE beyond 2^24 archives; ERR_CORRUPT for one id with two kinds.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct err;
struct idtable;

struct idtable *idtable_new(void); /* NULL: out of memory */
void idtable_free(struct idtable *table);

/* The number of `id`, a new one if it was not known. */
int idtable_number(struct idtable *table, const struct archive_id *id, enum archive_kind kind,
                   uint32_t *out, struct err *err);
/* NO_ARCHIVE where it is not known. */
uint32_t idtable_find(const struct idtable *table, const struct archive_id *id);
const struct archive_id *idtable_id(const struct idtable *table, uint32_t number);
enum archive_kind idtable_kind(const struct idtable *table, uint32_t number);
uint32_t idtable_count(const struct idtable *table);

/* Grows an array that is indexed by archive numbers, of *room elements so far (0: it is NULL), so
 * that `archive` is in it; what is new is zero.  `array` points to the pointer. */
int idtable_room(void *array, size_t *room, size_t element, uint32_t archive, struct err *err);
/* The digits that an archive's object is listed by; false: it is no archive's. */
bool idtable_parse(const char *digits, struct archive_id *out);
