/*
 * note — a sealed word about a snapshot: forgotten, not forgotten after all, held, released.
 *
 * Notes are only ever added: a store with write-once objects is enough, several hosts need no lock,
 * and who holds the storage but no key can neither make one nor take one back unseen.  What counts
 * is in docs/format.md, "Notes".
 *
 * Ownership: plain values.
 * Threads:   any.
 * Errors:    ERR_CORRUPT, naming the object; ERR_EXISTS when the number of a forget is taken.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/repo.h"
#include "backup/archive/root.h"

struct buf;
struct err;

enum note_kind { NOTE_FORGET = 1, NOTE_UNFORGET = 2, NOTE_HOLD = 3, NOTE_RELEASE = 4 };

enum { NOTE_ID_SIZE = 16, NOTE_REASON_SIZE = 256, NOTE_NUMBER_MAX = 99999999 };

struct note {
    enum note_kind kind;
    char snapshot[SNAPSHOT_NAME_SIZE];
    char host[HOST_NAME_MAX_SIZE + 1]; /* the snapshot's; with the next two it says which one */
    uint64_t sequence;
    int64_t start_ns;
    uint64_t number;          /* of forgets and unforgets of this name: the highest counts */
    uint8_t id[NOTE_ID_SIZE]; /* of a hold, and of the hold that is released */
    int64_t made_ns;
    char by[HOST_NAME_MAX_SIZE + 1]; /* the host that made the note */
    char reason[NOTE_REASON_SIZE];   /* may be empty */
};

/* "forgets/NAME.NUMBER", "holds/NAME.ID", "releases/NAME.ID" */
void note_object_name(const struct note *note, char out[OBJECT_NAME_SIZE]);
/* What an object's name says: kind (NOTE_FORGET also for an unforget), snapshot, number or id.
 * False: no name of a note. */
bool note_parse_name(const char *object, struct note *out);

int note_encode(const struct note *note, struct buf *out, struct err *err);
int note_decode(const void *bytes, size_t size, struct note *out, struct err *err);

int note_publish(struct repo *repo, const struct note *note, struct err *err);
int note_read(struct repo *repo, const char *object, struct note *out, struct err *err);
