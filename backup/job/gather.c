/* Files of a gather, and what is pushed into them. */
#include "backup/job/gather.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/archive/treewriter.h"
#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/base/sorter.h"
#include "backup/job/backup.h"
#include "backup/job/gather_internal.h"

struct progress *gather_progress(struct gather *gather)
{
    return gather->options.backup->progress;
}

bool gather_is_dry(const struct gather *gather)
{
    return !gather->options.treewriter;
}

int64_t gather_start_ns(const struct gather *gather)
{
    return gather->options.start_ns;
}

int gather_new(const struct gather_options *options, struct gather **out, struct err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *tmp = getenv("TMPDIR");
    struct gather *gather = calloc(1, sizeof(*gather));

    if (!gather)
        return err_set(err, ERR_NOMEM, "no memory to gather streams");
    gather->options = *options;
    gather->inbox_tail = &gather->inbox;
    gather->under_way_max = 2 * (cores > 0 ? (size_t)cores : 1) + 2;
    gather->record.limit = GATHER_RECORD_MAX;
    pthread_mutex_init(&gather->lock, NULL);
    pthread_cond_init(&gather->changed, NULL);
    int r = sorter_new(tmp && *tmp ? tmp : "/var/tmp", GATHER_SORT_MEMORY, &gather->sorter, err);
    if (r == 0)
        r = gather_collect_start(gather, err);
    if (r < 0) {
        gather_free(gather);
        return r;
    }
    *out = gather;
    return 0;
}

static void lane_free(struct gather_lane *lane)
{
    if (lane->part)
        gather_part_abandon(lane->part);
    free(lane);
}

void gather_free(struct gather *gather)
{
    if (!gather)
        return;
    while (gather->idle) {
        struct gather_lane *gone = gather->idle;
        gather->idle = gone->next;
        lane_free(gone);
    }
    gather_wait_stored(gather);
    gather_collect_end(gather);
    gather_free_spare(gather);
    sorter_free(gather->sorter);
    buf_clear(&gather->record);
    pthread_cond_destroy(&gather->changed);
    pthread_mutex_destroy(&gather->lock);
    free(gather);
}

/* A lane that nobody pushes into. */
static int take_lane(struct gather *gather, struct gather_lane **out, struct err *err)
{
    pthread_mutex_lock(&gather->lock);
    struct gather_lane *lane = gather->idle;
    if (lane)
        gather->idle = lane->next;
    pthread_mutex_unlock(&gather->lock);
    if (!lane && !(lane = calloc(1, sizeof(*lane))))
        return err_set(err, ERR_NOMEM, "no memory for a stream");
    *out = lane;
    return 0;
}

static void give_lane_back(struct gather *gather, struct gather_lane *lane)
{
    pthread_mutex_lock(&gather->lock);
    lane->next = gather->idle;
    gather->idle = lane;
    pthread_mutex_unlock(&gather->lock);
}

static struct gather_run *open_run(struct gather_lane *lane)
{
    return &lane->part->runs[lane->part->run_count - 1];
}

/* The file's next run, in the part that the lane has. */
static int begin_run(struct gather_file *file, struct err *err)
{
    struct gather_lane *lane = file->lane;
    int r = lane->part ? 0 : gather_part_new(file->gather, &lane->part, err);

    if (r < 0)
        return r;
    lane->file_start = lane->cut;
    lane->part->runs[lane->part->run_count++] = (struct gather_run){
        .file = file, .number = file->begun++, .first = lane->part->pieces.count};
    return 0;
}

static void end_run(struct gather_lane *lane)
{
    struct gather_run *run = open_run(lane);

    run->count = lane->part->pieces.count - run->first;
}

static int cut(struct gather_file *file, bool ended, struct err *err)
{
    struct gather_lane *lane = file->lane;

    return pieces_cut(&lane->part->pieces, &file->gather->options.units->chunker, &file->cutting,
                      lane->part->buffer, lane->fill, ended, &lane->cut, err);
}

/* The part is full: it goes, and what is not cut yet begins the next one. */
static int turn_over(struct gather_file *file, struct err *err)
{
    struct gather_lane *lane = file->lane;
    struct gather_part *next;

    int r = cut(file, false, err);
    if (r == 0)
        r = gather_part_new(file->gather, &next, err);
    if (r < 0)
        return r;
    end_run(lane);
    size_t left = lane->fill - lane->cut;
    memcpy(next->buffer, lane->part->buffer + lane->cut, left);
    r = gather_send(file->gather, lane, err);
    lane->part = next;
    lane->fill = left;
    lane->cut = 0;
    int begun = begin_run(file, err);
    return r < 0 ? r : begun;
}

int gather_push(struct gather_file *file, const void *bytes, size_t size, struct err *err)
{
    struct gather_lane *lane = file->lane;
    const uint8_t *at = bytes;
    int r = 0;

    while (r == 0 && size > 0) {
        size_t room = BUFFER_SIZE - lane->fill;
        size_t count = size < room ? size : room;
        memcpy(lane->part->buffer + lane->fill, at, count);
        lane->fill += count;
        at += count;
        size -= count;
        if (lane->fill == BUFFER_SIZE)
            r = turn_over(file, err);
    }
    return r;
}

static int take_attributes(struct gather_file *file, const struct gather_attributes *attributes,
                           struct err *err)
{
    const struct buf *xattrs = attributes->xattrs;

    file->entry = (struct entry){
        .type = ENTRY_FILE,
        .mode = attributes->mode & 07777,
        .uid = attributes->uid,
        .gid = attributes->gid,
        .mtime_s = attributes->mtime_s,
        .mtime_ns = attributes->mtime_ns,
        .ctime_s = attributes->mtime_s,
        .ctime_ns = attributes->mtime_ns,
        .links = 1,
    };
    file->xattrs.limit = INLINE_XATTRS_MAX;
    if (!xattrs || xattrs->size == 0)
        return 0;
    int r = buf_append(&file->xattrs, xattrs->data, xattrs->size, err);
    file->entry.xattrs = (struct content){.form = CONTENT_INLINE,
                                          .size = file->xattrs.size,
                                          .bytes = file->xattrs.data,
                                          .end = file->xattrs.data + file->xattrs.size};
    return r;
}

static int set_name(struct gather_name *name, const char *path, struct err *err)
{
    int r = gather_path_check(path, err);

    if (r < 0)
        return r;
    name->path = strdup(path);
    name->read = fileread_new(NULL, "", 0, NULL);
    return name->path && name->read ? 0 : err_set(err, ERR_NOMEM, "no memory for a file");
}

int gather_file_new(struct gather *gather, const char *path,
                    const struct gather_attributes *attributes, struct gather_file **out,
                    struct err *err)
{
    struct gather_file *file = calloc(1, sizeof(*file));

    if (!file)
        return err_set(err, ERR_NOMEM, "no memory for a file");
    file->gather = gather;
    pthread_mutex_init(&file->lock, NULL);
    int r = take_attributes(file, attributes, err);
    if (r == 0)
        r = set_name(&file->self, path, err);
    if (r < 0) {
        gather_file_free(file);
        return r;
    }
    *out = file;
    return 0;
}

int gather_open(struct gather *gather, const char *path, const struct gather_attributes *attributes,
                uint32_t page, struct gather_file **out, struct err *err)
{
    struct gather_file *file;
    int r = units_error(gather->options.units, err);

    assert(page <= GATHER_PAGE_MAX);
    if (r == 0)
        r = gather_file_new(gather, path, attributes, &file, err);
    if (r < 0)
        return r;
    file->cutting = (struct cutting){.file = file->self.read, .page = page};
    r = take_lane(gather, &file->lane, err);
    if (r == 0 && (r = begin_run(file, err)) < 0)
        give_lane_back(gather, file->lane);
    if (r < 0) {
        gather_file_free(file);
        return r;
    }
    *out = file;
    return 0;
}

/* Bytes that only the twin has: chunks of their own. */
static int push_twin(struct gather_file *file, const void *bytes, size_t size, struct err *err)
{
    const uint8_t *at = bytes;
    int r = 0;

    while (r == 0 && size > 0) {
        struct gather_lane *lane = file->lane;
        size_t count = size < CHUNK_WHOLE ? size : CHUNK_WHOLE;
        if (BUFFER_SIZE - lane->fill < count && (r = turn_over(file, err)) < 0)
            return r;
        memcpy(lane->part->buffer + lane->fill, at, count);
        lane->fill += count;
        file->twin_cutting.page = (uint32_t)count;
        r = pieces_cut(&lane->part->pieces, NULL, &file->twin_cutting, lane->part->buffer,
                       lane->fill, true, &lane->cut, err);
        at += count;
        size -= count;
    }
    return r;
}

int gather_twin(struct gather_file *file, const char *path, const void *head, size_t head_size,
                struct err *err)
{
    int r = set_name(&file->twin, path, err);

    if (r < 0)
        return r;
    file->self.read->twin = file->twin.read;
    file->twin_cutting = (struct cutting){.file = file->twin.read};
    return push_twin(file, head, head_size, err);
}

int gather_twin_tail(struct gather_file *file, const void *tail, size_t tail_size, struct err *err)
{
    /* The stream's own end comes first. */
    int r = cut(file, true, err);

    return r < 0 ? r : push_twin(file, tail, tail_size, err);
}

void gather_mark(struct gather_file *file)
{
    pthread_mutex_lock(&file->lock);
    file->changed = true;
    pthread_mutex_unlock(&file->lock);
}

/* The file's last run; the lane is free for the next one. */
static int end_file(struct gather_file *file, struct err *err)
{
    struct gather *gather = file->gather;
    struct gather_lane *lane = STEAL(file->lane);
    struct gather_part *part = lane->part;
    int r = 0;

    end_run(lane);
    open_run(lane)->last = true;
    if (part->run_count == UNIT_FILES || lane->fill >= UNIT_SIZE)
        r = gather_send(gather, lane, err);
    give_lane_back(gather, lane);
    return r;
}

int gather_close(struct gather_file *file, struct err *err)
{
    struct err ignored;
    int r = cut(file, true, err);

    if (r < 0) {
        gather_drop(file);
        return r;
    }
    r = units_error(file->gather->options.units, err);
    int ended = end_file(file, r < 0 ? &ignored : err);
    return r < 0 ? r : ended;
}

void gather_drop(struct gather_file *file)
{
    struct err ignored;

    if (!file)
        return;
    struct gather_lane *lane = file->lane;
    pthread_mutex_lock(&file->lock);
    file->dropped = true;
    pthread_mutex_unlock(&file->lock);
    /* What of it is in the lane's part need not be stored. */
    lane->part->pieces.count = open_run(lane)->first;
    lane->fill = lane->cut = lane->file_start;
    (void)end_file(file, &ignored);
}

/* What lies in lanes that nobody pushes into. */
static int flush_lanes(struct gather *gather, struct err *err)
{
    int r = 0;

    for (struct gather_lane *lane = gather->idle; r == 0 && lane; lane = lane->next)
        if (lane->part)
            r = gather_send(gather, lane, err);
    return r;
}

int gather_finish(struct gather *gather, struct root_type *out, struct err *err)
{
    int r = flush_lanes(gather, err);

    gather_wait_stored(gather);
    gather_collect_end(gather);
    if (r == 0)
        r = units_error(gather->options.units, err);
    if (r == 0 && progress_cancelled(gather_progress(gather)))
        r = err_set(err, ERR_CANCELLED, "interrupted");
    if (r == 0)
        r = sorter_finish(gather->sorter, err);
    if (r == 0)
        r = gather_tree(gather, out, err);
    out->unreadable += gather->unreadable;
    return r;
}
