/*
 * compacting — what a pruner does with sparse archives, for tests of who meets it.
 */
#pragma once

#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/move.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/root.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/job/runindex.h"
#include "backup/store/store.h"
#include "tests/harness/temprepo.h"

struct compacting {
    struct repo *repo;
    bool but_first; /* the first block of each archive is not moved */
    bool marks;     /* the old archives get one */
    bool index;     /* the new archives stand in an index archive */
};

static inline void compacting_mark(struct repo *repo, const struct archive_id *id)
{
    char name[128] = "marks/";
    uint8_t bytes[64] = "YSTRMARK";
    struct err err;

    hex_encode(id->bytes, sizeof(id->bytes), name + 6);
    assert_int_equal(store_create(repo->store, name, bytes, sizeof(bytes), &err), 0);
}

static inline int compacting_done(void *context, const struct writer_result *archive,
                                  const void *index, size_t size, struct err *err)
{
    return runindex_add(context, archive, index, size, NULL, err);
}

static inline void compacting_move(const struct compacting *how, struct mover *mover,
                                   const struct root_archive *archive)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    uint8_t live[1024];
    struct err err;

    memset(live, 0xFF, sizeof(live));
    live[0] = how->but_first ? 0xFE : 0xFF;
    assert_int_equal(
        reader_open(how->repo, (enum archive_kind)archive->kind, &archive->id, NULL, &reader, &err),
        0);
    assert_int_equal(mover_add(mover, reader, live, &err), 0);
}

static inline void compacting_remove(const struct compacting *how,
                                     const struct root_archive *archive)
{
    char name[OBJECT_NAME_SIZE];
    struct err err;

    if (how->marks)
        compacting_mark(how->repo, &archive->id);
    repo_object_name((enum archive_kind)archive->kind, &archive->id, name);
    assert_int_equal(store_remove(how->repo->store, name, &err), 0);
}

/* What the run that made a root wrote of that kind is moved, and the old archives are deleted. */
static inline void compact(const struct compacting *how, const struct root *root,
                           enum archive_kind kind)
{
    struct runindex *index;
    struct mover *mover;
    size_t count;
    struct err err;

    assert_int_equal(runindex_new(how->repo, NULL, &index, &err), 0);
    assert_int_equal(mover_new(how->repo, kind, compacting_done, index, &mover, &err), 0);
    for (size_t i = 0; i < root->archive_count; i++)
        if (root->archives[i].kind == kind)
            compacting_move(how, mover, &root->archives[i]);
    assert_int_equal(mover_finish(mover, &err), 0);
    const struct remap_entry *entries = mover_entries(mover, &count);
    if (how->index)
        assert_int_equal(runindex_finish(index, &err), 0);
    assert_int_equal(remap_publish(how->repo, entries, count, NULL, NULL, NULL, &err), 0);
    mover_free(mover);
    runindex_free(index);
    for (size_t i = 0; i < root->archive_count; i++)
        if (root->archives[i].kind == kind)
            compacting_remove(how, &root->archives[i]);
}
