#include "backup/archive/blocks_internal.h"

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/readers.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/err.h"

static int locate_in(struct blocks *blocks, struct place place, struct located *out,
                     struct err *err)
{
    struct located found = {.archive = place.archive, .raw = place.raw};
    int r = readers_acquire(blocks->readers, place.archive, &found.reader, err);

    if (r < 0)
        return r;
    r = reader_find(found.reader, place.raw, &found.number, err);
    if (r < 0) {
        readers_release(blocks->readers, place.archive);
        return r;
    }
    *out = found;
    return 0;
}

static bool is_gone(const struct blocks_gone *gone, uint32_t archive)
{
    for (size_t i = 0; gone && i < gone->count; i++)
        if (gone->archives[i] == archive)
            return true;
    return false;
}

static int locate_unless_gone(struct blocks *blocks, struct place place,
                              const struct blocks_gone *gone, struct located *out, struct err *err)
{
    char name[OBJECT_NAME_SIZE];

    if (!is_gone(gone, place.archive))
        return locate_in(blocks, place, out, err);
    repo_object_name(idtable_kind(blocks->repo->ids, place.archive),
                     idtable_id(blocks->repo->ids, place.archive), name);
    return err_set(err, ERR_NOT_FOUND, "%s is not there any more", name);
}

/* Where it was moved, as far as is known; else where it was.  *out_gone: its archive is not there.
 */
static int locate_once(struct blocks *blocks, struct place place, const struct blocks_gone *gone,
                       struct located *out, bool *out_gone, struct err *err)
{
    struct remap_found found[REMAP_FOUND_MAX];
    struct err why = {0}, own;
    int count = remap_find(blocks->repo, place, found, &why);

    *out_gone = false;
    for (int i = 0; i < count; i++)
        if (locate_unless_gone(blocks, found[i].place, gone, out, &why) == 0)
            return 0;
    int r = locate_unless_gone(blocks, place, gone, out, &own);
    if (r == 0)
        return 0;
    *out_gone = r == -ERR_NOT_FOUND;
    /* What is wrong where it was moved to says more than that it is not where it was. */
    *err = *out_gone && why.code != ERR_NONE ? why : own;
    return -(int)err->code;
}

int blocks_locate(struct blocks *blocks, struct place place, const struct blocks_gone *gone,
                  struct located *out, struct err *err)
{
    uint64_t seen = remap_generation(blocks->repo);
    struct err why;
    bool lost;
    int r = locate_once(blocks, place, gone, out, &lost, err);

    if (r == 0 || !lost)
        return r;
    int news = remap_look_again(blocks->repo, place.archive, seen, &why);
    if (news == 1)
        return locate_once(blocks, place, gone, out, &lost, err);
    if (news < 0 && r == -ERR_NOT_FOUND) { /* it may have been moved, and nobody can say where */
        *err = why;
        return news;
    }
    return r;
}

static bool locate_in_open(struct blocks *blocks, struct place place, struct located *out)
{
    struct located found = {.archive = place.archive, .raw = place.raw};
    struct err err;

    found.reader = readers_peek(blocks->readers, place.archive);
    if (!found.reader)
        return false;
    if (reader_find(found.reader, place.raw, &found.number, &err) < 0) {
        readers_release(blocks->readers, place.archive);
        return false;
    }
    *out = found;
    return true;
}

bool blocks_locate_open(struct blocks *blocks, struct place place, struct located *out)
{
    struct remap_found found[REMAP_FOUND_MAX];
    struct err err;
    int count = remap_find(blocks->repo, place, found, &err);

    for (int i = 0; i < count; i++)
        if (locate_in_open(blocks, found[i].place, out))
            return true;
    return locate_in_open(blocks, place, out);
}

/* As far as the block reaches. */
static uint64_t left_in_block(const struct located *located)
{
    const struct block_info *block = reader_block(located->reader, located->number);

    return block->raw_size - (located->raw - block->raw);
}

int blocks_where(struct blocks *blocks, struct place place, uint64_t length, struct place *out,
                 uint64_t *out_length, struct err *err)
{
    struct located located;

    *out = place;
    *out_length = length;
    if (!remap_has(blocks->repo, place.archive))
        return 0;
    int r = blocks_locate(blocks, place, NULL, &located, err);
    if (r < 0)
        return r;
    *out = (struct place){located.archive, located.raw};
    if (left_in_block(&located) < length)
        *out_length = left_in_block(&located);
    readers_release(blocks->readers, located.archive);
    return 0;
}

/* The first of the places that it may have been moved to which is there, in an archive that
 * suits. */
static bool locate_moved(struct blocks *blocks, struct place place,
                         bool (*suits)(void *context, uint32_t archive), void *context,
                         struct located *out)
{
    struct remap_found found[REMAP_FOUND_MAX];
    struct err err;
    int count = remap_find(blocks->repo, place, found, &err);

    for (int i = 0; i < count; i++)
        if (suits(context, found[i].place.archive) &&
            locate_in(blocks, found[i].place, out, &err) == 0)
            return true;
    return false;
}

bool blocks_moved(struct blocks *blocks, struct place place, uint64_t length,
                  bool (*suits)(void *context, uint32_t archive),
                  void (*found)(void *context, uint32_t archive), void *context)
{
    struct located located;
    uint64_t raw = place.raw, end = raw + length;

    for (uint64_t left; raw < end; raw += left) {
        struct place at = {place.archive, (uint32_t)raw};
        if (raw > UINT32_MAX || !locate_moved(blocks, at, suits, context, &located))
            return false;
        left = left_in_block(&located);
        found(context, located.archive);
        readers_release(blocks->readers, located.archive);
    }
    return true;
}
