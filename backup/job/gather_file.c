/* Files of a gather, and what is pushed into them. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/job/gather_internal.h"

static struct gather_run *open_run(struct gather_lane *lane)
{
    return &lane->part->runs[lane->part->run_count - 1];
}

/* The file's next run, in the part that the lane has. */
static int begin_run(struct gather_file *file, struct err *err)
{
    struct gather_file *whole = file->whole;
    struct gather_lane *lane = file->lane;
    int r = lane->part ? 0 : gather_part_new(file->gather, &lane->part, err);

    if (r < 0)
        return r;
    lane->file_start = lane->cut;
    lane->part->runs[lane->part->run_count++] =
        (struct gather_run){.file = whole,
                            .number = file->number,
                            .next = file->number + 1,
                            .first = lane->part->pieces.count};
    file->number++;
    pthread_mutex_lock(&whole->lock);
    whole->begun++;
    pthread_mutex_unlock(&whole->lock);
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

/* With a lane of its own, and a first run in it. */
static int begin_stream(struct gather_file *file, struct err *err)
{
    int r = gather_take_lane(file->gather, &file->lane, err);

    if (r == 0 && (r = begin_run(file, err)) < 0)
        gather_give_lane(file->gather, STEAL(file->lane));
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
    if (!name->path || !name->read)
        return err_set(err, ERR_NOMEM, "no memory for a file");
    name->read->unbroken = true;
    return 0;
}

int gather_file_new(struct gather *gather, const char *path,
                    const struct gather_attributes *attributes, struct gather_file **out,
                    struct err *err)
{
    struct gather_file *file = calloc(1, sizeof(*file));

    if (!file)
        return err_set(err, ERR_NOMEM, "no memory for a file");
    file->gather = gather;
    file->whole = file;
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
    r = begin_stream(file, err);
    if (r < 0) {
        gather_file_free(file);
        return r;
    }
    *out = file;
    return 0;
}

static uint64_t next_section(uint64_t number)
{
    return ((number >> SECTION_BITS) + 1) << SECTION_BITS;
}

/* Behind its sections the file goes on in a stream of its own. */
static int resume(struct gather_file *file, struct err *err)
{
    if (file->lane)
        return 0;
    file->number = next_section(file->number);
    file->cutting.begun = false;
    return begin_stream(file, err);
}

int gather_room(struct gather_file *file, void **out, size_t *out_size, struct err *err)
{
    int r = resume(file, err);

    if (r < 0)
        return r;
    *out = file->lane->part->buffer + file->lane->fill;
    *out_size = BUFFER_SIZE - file->lane->fill;
    return 0;
}

int gather_filled(struct gather_file *file, size_t size, struct err *err)
{
    struct gather_lane *lane = file->lane;

    assert(size <= BUFFER_SIZE - lane->fill);
    lane->fill += size;
    return lane->fill == BUFFER_SIZE ? turn_over(file, err) : 0;
}

int gather_push(struct gather_file *file, const void *bytes, size_t size, struct err *err)
{
    const uint8_t *at = bytes;
    int r = 0;

    while (r == 0 && size > 0) {
        size_t count = 0;
        void *room = NULL;
        r = gather_room(file, &room, &count, err);
        if (r < 0)
            return r;
        if (count > size)
            count = size;
        memcpy(room, at, count);
        at += count;
        size -= count;
        r = gather_filled(file, count, err);
    }
    return r;
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
    int r = resume(file, err);

    /* The stream's own end comes first. */
    if (r == 0)
        r = cut(file, true, err);
    return r < 0 ? r : push_twin(file, tail, tail_size, err);
}

void gather_mark(struct gather_file *file)
{
    pthread_mutex_lock(&file->lock);
    file->changed = true;
    pthread_mutex_unlock(&file->lock);
}

/* A run of the stream is its last; the lane is free for the next one.  What waits for the streams
 * behind it is not to lie in a lane: it is kept in memory. */
static int end_stream(struct gather_file *file, bool last, struct err *err)
{
    struct gather *gather = file->gather;
    struct gather_lane *lane = STEAL(file->lane);
    struct gather_part *part = lane->part;
    struct gather_run *run = open_run(lane);
    int r = 0;

    end_run(lane);
    run->last = last;
    run->next = next_section(run->number);
    if (!last || part->run_count == UNIT_FILES || lane->fill >= UNIT_SIZE)
        r = gather_send(gather, lane, err);
    gather_give_lane(gather, lane);
    return r;
}

int gather_section(struct gather_file *file, struct gather_file **out, struct err *err)
{
    struct gather_file *section = calloc(1, sizeof(*section));
    int r = section ? 0 : err_set(err, ERR_NOMEM, "no memory for a stream");

    assert(file->whole == file);
    if (r == 0 && file->lane && (r = cut(file, true, err)) == 0)
        r = end_stream(file, false, err);
    if (r == 0) {
        *section =
            (struct gather_file){.gather = file->gather,
                                 .whole = file,
                                 .number = file->number = next_section(file->number),
                                 .cutting = {.file = file->self.read, .page = file->cutting.page}};
        r = begin_stream(section, err);
    }
    if (r < 0) {
        free(section);
        return r;
    }
    *out = section;
    return 0;
}

/* A section is over, or all that has been pushed into the file. */
static int end_file(struct gather_file *file, struct err *err)
{
    bool is_whole = file->whole == file;
    int r = end_stream(file, is_whole, err);

    if (!is_whole)
        free(file);
    return r;
}

int gather_close(struct gather_file *file, struct err *err)
{
    struct err ignored;
    int r = resume(file, err);

    if (r == 0)
        r = cut(file, true, err);
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
    pthread_mutex_lock(&file->whole->lock);
    file->whole->dropped = true;
    pthread_mutex_unlock(&file->whole->lock);
    if (!lane) {
        gather_end(file);
        return;
    }
    /* What of it is in the lane's part need not be stored. */
    lane->part->pieces.count = open_run(lane)->first;
    lane->fill = lane->cut = lane->file_start;
    (void)end_file(file, &ignored);
}
