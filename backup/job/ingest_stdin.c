#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/path.h"
#include "backup/job/fileread.h"
#include "backup/job/ingest_internal.h"
#include "backup/job/units.h"

/* What standard input does not have: an owner, a mode, a time. */
static struct entry made_up(enum entry_type type, const char *name, size_t size)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (struct entry){
        .type = type,
        .flags = type == ENTRY_DIRECTORY ? ENTRY_PARTIAL : 0,
        .name = name,
        .name_size = size,
        .mode = type == ENTRY_DIRECTORY ? 0755 : 0600,
        .uid = geteuid(),
        .gid = getegid(),
        .mtime_s = now.tv_sec,
        .mtime_ns = (uint32_t)now.tv_nsec,
        .ctime_s = now.tv_sec,
        .ctime_ns = (uint32_t)now.tv_nsec,
        .links = 1,
    };
}

static int enter(struct ingest *ingest, const char *name, size_t size, struct err *err)
{
    struct entry entry = made_up(ENTRY_DIRECTORY, name, size);
    struct slot *slot;

    int r = ingest_wait(ingest, ingest->frame, &entry, &slot, err);
    if (r < 0)
        return r;
    ingest->frame = ingest_frame_new(ingest, ingest->frame, slot, NULL, err);
    return ingest->frame ? 0 : -(int)err->code;
}

static int read_input(struct ingest *ingest, const char *name, size_t size, struct err *err)
{
    struct entry entry = made_up(ENTRY_FILE, name, size);
    struct slot *slot;

    int r = ingest_wait(ingest, ingest->frame, &entry, &slot, err);
    return r < 0 ? r : ingest_submit(ingest, slot, NULL, err);
}

int ingest_stdin(struct ingest *ingest, struct err *err)
{
    const char *path = ingest->options.source->stdin_name;
    const char *at = path, *end = path + strlen(path), *name, *next;
    size_t size, next_size;

    int r = strings_add(&ingest->out->sources, path, strlen(path), err);
    if (r == 0)
        ingest->frame = ingest_frame_new(ingest, NULL, NULL, NULL, err);
    if (!ingest->frame || !path_next(&at, end, &name, &size))
        return r < 0           ? r
               : ingest->frame ? err_set(err, ERR_USAGE, "standard input needs a name")
                               : -(int)err->code;
    while (r == 0 && path_next(&at, end, &next, &next_size)) {
        r = enter(ingest, name, size, err);
        name = next;
        size = next_size;
    }
    if (r == 0)
        r = read_input(ingest, name, size, err);
    while (r == 0 && ingest->frame) {
        struct frame *left = ingest->frame;
        ingest->frame = left->parent;
        left->ended = true;
        r = ingest_advance(ingest, left, err);
    }
    return r < 0 ? r : ingest_drain(ingest, true, err);
}
