/* What is there, and what needs it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/base/progress.h"
#include "backup/job/prune_internal.h"
#include "backup/job/runindex.h"
#include "backup/store/store.h"

enum { ORPHAN_GRACES = 4 }; /* what no root names is a running writer's until it is so old */

static void free_objects(struct remap_object **objects)
{
    free(*objects);
}

struct listing {
    struct prune *prune;
    enum archive_kind kind;
};

static int make_room(struct prune *prune, uint32_t archive, struct err *err)
{
    return idtable_room(&prune->objects, &prune->object_room, sizeof(*prune->objects), archive,
                        err);
}

struct prune_object *prune_object(struct prune *prune, uint32_t archive)
{
    static struct prune_object none;

    return archive < prune->object_room ? &prune->objects[archive] : &none;
}

static int note_there(struct prune *prune, const struct archive_id *id, enum archive_kind kind,
                      uint64_t size, struct err *err)
{
    uint32_t number;
    int r = idtable_number(prune->repo->ids, id, kind, &number, err);

    if (r == -ERR_CORRUPT) /* one id under two kinds: nothing that we made, and left alone */
        return 0;
    if (r == 0)
        r = make_room(prune, number, err);
    if (r < 0)
        return r;
    prune->objects[number].size = size;
    prune->objects[number].flags |= FLAG_THERE;
    return 0;
}

static int list_object(void *context, const char *name, uint64_t size, struct err *err)
{
    const struct listing *listing = context;
    struct archive_id id;

    if (!idtable_parse(name, &id))
        return 0;
    listing->prune->result->objects++;
    listing->prune->result->bytes += size;
    return note_there(listing->prune, &id, listing->kind, size, err);
}

static int list_archives(struct prune *prune, struct err *err)
{
    struct listing data = {prune, ARCHIVE_DATA}, meta = {prune, ARCHIVE_METADATA};
    struct listing index = {prune, ARCHIVE_INDEX}, remap = {prune, ARCHIVE_REMAP};
    const struct store_listing folders[] = {{"data/", list_object, &data},
                                            {"meta/", list_object, &meta},
                                            {"index/", list_object, &index},
                                            {"remap/", list_object, &remap}};
    int r = store_list_all(prune->repo->store, folders, sizeof(folders) / sizeof(folders[0]), err);

    for (size_t i = 0; r == 0 && i < prune->roster.count; i++) {
        const struct roster_snapshot *snapshot = &prune->roster.at[i];
        const struct roster_revision *last = &snapshot->revisions[snapshot->revision_count - 1];

        if (!snapshot->damaged)
            r = note_there(prune, &snapshot->root.id, ARCHIVE_ROOT, last->size, err);
    }
    return r;
}

/* ---- who names what ---------------------------------------------------------------------- */

static void flag(struct prune *prune, const struct archive_id *id, unsigned flags)
{
    uint32_t number = idtable_find(prune->repo->ids, id);

    if (number < prune->object_room)
        prune->objects[number].flags |= flags;
}

/* What the run of a snapshot wrote is no running writer's; and its index archives stay with it. */
static void note_roots(struct prune *prune)
{
    static const unsigned needed[] = {[PRUNE_KEPT] = FLAG_LIVE,
                                      [PRUNE_GRACED] = FLAG_GRACED | FLAG_RETURNS,
                                      [PRUNE_BARRED] = FLAG_GRACED,
                                      [PRUNE_EXPIRED] = 0};

    for (size_t i = 0; i < prune->roster.count; i++) {
        const struct root *root = &prune->roster.at[i].root;

        for (size_t j = 0; j < root->archive_count; j++) {
            const struct root_archive *written = &root->archives[j];
            unsigned index = written->kind == ARCHIVE_INDEX ? needed[prune->verdicts[i]] : 0;
            flag(prune, &written->id, FLAG_NAMED | index);
        }
    }
}

/* Each of them counts, until another one stands in for it. */
static int note_remaps(struct prune *prune, struct err *err)
{
    CLEANUP(free_objects) struct remap_object *remaps = NULL;
    size_t count = 0;
    int r = remap_objects(prune->repo, &remaps, &count, err);

    for (uint32_t i = 0; r == 0 && i < prune->object_room; i++)
        if (prune->objects[i].flags & FLAG_THERE &&
            idtable_kind(prune->repo->ids, i) == ARCHIVE_REMAP)
            prune->objects[i].flags |= FLAG_LIVE;
    for (size_t i = 0; r == 0 && i < count; i++) {
        uint32_t number = idtable_find(prune->repo->ids, &remaps[i].id);
        if (number >= prune->object_room || !remaps[i].superseded)
            continue;
        prune->objects[number].flags |= FLAG_NAMED;
        prune->objects[number].flags &= ~(unsigned)FLAG_LIVE;
    }
    return r;
}

static void note_needed(struct prune *prune, const struct liveness *live, unsigned flags)
{
    for (uint32_t i = 0; i < prune->object_room; i++)
        if (liveness_has(live, i))
            prune->objects[i].flags |= flags;
}

/* Those that are locked come last: what only they need would go. */
static int look_at_snapshots(struct prune *prune, struct err *err)
{
    int r = prune_need_all(prune, PRUNE_KEPT, prune->kept, err);

    if (r == 0)
        r = prune_need_all(prune, PRUNE_GRACED, prune->graced, err);
    note_needed(prune, prune->graced, FLAG_RETURNS);
    if (r == 0)
        r = prune_need_all(prune, PRUNE_BARRED, prune->graced, err);
    note_needed(prune, prune->graced, FLAG_GRACED);
    note_needed(prune, prune->kept, FLAG_LIVE);
    return r;
}

/* How old an object is that nothing names; what is not known is young. */
static int is_orphan(struct prune *prune, uint32_t archive, bool *out, struct err *err)
{
    char name[OBJECT_NAME_SIZE];
    int64_t made = INT64_MAX, age, least;

    *out = prune->options->at_once;
    if (*out)
        return 0;
    repo_object_name(idtable_kind(prune->repo->ids, archive), idtable_id(prune->repo->ids, archive),
                     name);
    int r = store_modified(prune->repo->store, name, &made, err);
    if (r < 0)
        return r == -ERR_NOT_FOUND ? 0 : r;
    *out = !__builtin_mul_overflow(prune->options->grace_ns, ORPHAN_GRACES, &least) &&
           !__builtin_sub_overflow(prune->options->now.time_ns, made, &age) && age >= least;
    return 0;
}

/* Takes records off the front of what has been decoded; *out_used: one of them is needed. */
static int take_records(struct prune *prune, struct buf *stream, unsigned flags,
                        unsigned *out_needed, struct err *err)
{
    const uint8_t *at = stream->data, *end = at + stream->size;
    int r = 0;

    while (r == 0 && at < end) {
        struct index_record record;
        size_t need = 0;

        r = index_record_parse(&at, end, &record, &need, err);
        if (r < 0 || need > 0)
            break;
        uint32_t number = idtable_find(prune->repo->ids, &record.id);
        struct prune_object *object = prune_object(prune, number);
        if (!(object->flags & FLAG_THERE))
            continue;
        object->flags |= flags;
        *out_needed |= object->flags & (FLAG_LIVE | FLAG_GRACED | FLAG_RETURNS);
    }
    stream->size = (size_t)(end - at);
    if (stream->size > 0)
        memmove(stream->data, at, stream->size);
    return r;
}

static int read_index(struct prune *prune, uint32_t archive, unsigned flags, unsigned *out_needed,
                      struct err *err)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    CLEANUP(buf_clear) struct buf stream = {.limit = 2 * (size_t)RUNINDEX_RECORD_MAX};
    int r = codec ? reader_open(prune->repo, ARCHIVE_INDEX, idtable_id(prune->repo->ids, archive),
                                NULL, &reader, err)
                  : err_set(err, ERR_NOMEM, "no memory to read an index");

    for (size_t i = 0; r == 0 && i < reader_blocks(reader); i++) {
        size_t size = reader_block(reader, i)->raw_size;

        r = buf_reserve(&stream, size, err);
        if (r == 0)
            r = reader_decode(reader, codec, i, stream.data + stream.size, err);
        if (r < 0)
            break;
        stream.size += size;
        r = take_records(prune, &stream, flags, out_needed, err);
    }
    return r;
}

/* An index archive lives as long as something that it names.  One that cannot be read is left for
 * verify to tell. */
static int look_into_index(struct prune *prune, uint32_t archive, struct err *err)
{
    struct prune_object *object = prune_object(prune, archive);
    bool published = object->flags & (FLAG_NAMED | FLAG_MARKED);
    unsigned needed = 0;
    int r = published ? 0 : is_orphan(prune, archive, &published, err);

    if (r == 0)
        r = read_index(prune, archive, published ? FLAG_NAMED : 0, &needed, err);
    if (r == -ERR_CORRUPT || r == -ERR_WRONG_KEY || r == -ERR_TOO_LARGE) {
        needed = FLAG_LIVE;
        r = 0;
    }
    object->flags |= needed;
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int look_into_indexes(struct prune *prune, struct err *err)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < prune->object_room; i++)
        if (prune->objects[i].flags & FLAG_THERE &&
            idtable_kind(prune->repo->ids, i) == ARCHIVE_INDEX &&
            !(prune->objects[i].flags & FLAG_LIVE))
            r = look_into_index(prune, i, err);
    return r;
}

/* ---- what follows ------------------------------------------------------------------------ */

static int decide_archive(struct prune *prune, uint32_t archive, struct err *err)
{
    struct prune_object *object = &prune->objects[archive];
    unsigned flags = object->flags;
    bool graced = flags & FLAG_GRACED, candidate = flags & FLAG_NAMED;
    int r = 0;

    if (flags & FLAG_LIVE)
        return 0;
    if (prune->options->at_once) {
        object->flags |= graced ? 0 : FLAG_DELETE;
    } else if (flags & FLAG_MARKED) {
        object->flags |= (flags & FLAG_MATURE) && !graced ? FLAG_DELETE : 0;
    } else {
        r = candidate ? 0 : is_orphan(prune, archive, &candidate, err);
        object->flags |= candidate ? FLAG_MARK : 0;
    }
    return r;
}

static void decide_roots(struct prune *prune)
{
    for (size_t i = 0; i < prune->roster.count; i++) {
        uint32_t number = idtable_find(prune->repo->ids, &prune->roster.at[i].root.id);
        struct prune_object *object = prune_object(prune, number);

        if (!(object->flags & FLAG_THERE))
            continue;
        if (prune->verdicts[i] == PRUNE_KEPT)
            object->flags |= FLAG_LIVE | FLAG_YOUNG; /* its mark goes, however old */
        else if (prune->verdicts[i] != PRUNE_EXPIRED && !(object->flags & FLAG_MARKED))
            object->flags |= FLAG_MARK;
    }
}

static int decide(struct prune *prune, struct err *err)
{
    int r = 0;

    decide_roots(prune);
    for (uint32_t i = 0; r == 0 && i < prune->object_room; i++)
        if (prune->objects[i].flags & FLAG_THERE &&
            idtable_kind(prune->repo->ids, i) != ARCHIVE_ROOT)
            r = decide_archive(prune, i, err);
    return r;
}

int prune_survey(struct prune *prune, struct err *err)
{
    int r = roster_load(prune->repo, &prune->roster, err);

    if (r == 0)
        r = prune_check_known(prune, &prune->roster, err);
    if (r == 0)
        r = list_archives(prune, err);
    if (r == 0)
        r = prune_look_at_marks(prune, err);
    if (r == 0)
        r = prune_choose_stale(prune, err);
    if (r == 0)
        r = prune_judge(prune, err);
    if (r == 0)
        r = look_at_snapshots(prune, err);
    if (r < 0)
        return r;
    note_roots(prune);
    r = note_remaps(prune, err);
    if (r == 0)
        r = look_into_indexes(prune, err);
    return r < 0 ? r : decide(prune, err);
}
