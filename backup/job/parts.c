#include "backup/job/parts.h"

#include <stdlib.h>
#include <string.h>

#include "backup/job/units_internal.h"

/* The pieces of a part that was stored before the one in front of it. */
struct part {
    struct part *next;
    uint64_t number, follower;
    size_t count;
    struct piece pieces[];
};

void parts_clear(struct parts *parts)
{
    while (parts->stash) {
        struct part *gone = parts->stash;
        parts->stash = gone->next;
        free(gone);
    }
    parts->turn = 0;
}

static int keep(struct parts *parts, uint64_t number, uint64_t next, const struct piece *pieces,
                size_t count, struct err *err)
{
    size_t size = count * sizeof(pieces[0]);
    struct part *part = malloc(sizeof(*part) + size);

    if (!part)
        return err_set(err, ERR_NOMEM, "no memory for a part of a file");
    *part = (struct part){.next = parts->stash, .number = number, .follower = next, .count = count};
    if (size > 0)
        memcpy(part->pieces, pieces, size);
    parts->stash = part;
    return 0;
}

/* The part whose turn it is, if it waits already. */
static struct part *take_next(struct parts *parts)
{
    for (struct part **at = &parts->stash; *at; at = &(*at)->next)
        if ((*at)->number == parts->turn) {
            struct part *part = *at;
            *at = part->next;
            return part;
        }
    return NULL;
}

int parts_fold(struct parts *parts, struct worker *worker, uint64_t number, uint64_t next,
               const struct piece *pieces, size_t count, struct err *err)
{
    struct part *part;

    if (number != parts->turn)
        return keep(parts, number, next, pieces, count, err);
    int r = pieces_fold(worker, pieces, count, err);
    parts->turn = next;
    while (r == 0 && (part = take_next(parts))) {
        r = pieces_fold(worker, part->pieces, part->count, err);
        parts->turn = part->follower;
        free(part);
    }
    return r;
}
