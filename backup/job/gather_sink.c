/* A gather as the sink of a source (backup/source/sink.h). */
#include <unistd.h>

#include "backup/base/clock.h"
#include "backup/job/gather.h"
#include "backup/source/sink.h"

static struct gather_attributes attributes_of(const struct gather *gather, uint32_t mode)
{
    int64_t now = gather_start_ns(gather);

    return (struct gather_attributes){
        .mode = mode,
        .uid = geteuid(),
        .gid = getegid(),
        .mtime_s = now / NS_PER_SECOND,
        .mtime_ns = (uint32_t)(now % NS_PER_SECOND),
    };
}

static int sink_open(void *context, const char *path, uint32_t mode, struct sink_file **out,
                     struct err *err)
{
    const struct gather_attributes attributes = attributes_of(context, mode);

    return gather_open(context, path, &attributes, GATHER_BY_CONTENT, (struct gather_file **)out,
                       err);
}

static int sink_twin(struct sink_file *file, const char *path, const void *head, size_t size,
                     struct err *err)
{
    return gather_twin((struct gather_file *)file, path, head, size, err);
}

static int sink_push(struct sink_file *file, const void *bytes, size_t size, struct err *err)
{
    return gather_push((struct gather_file *)file, bytes, size, err);
}

static int sink_section(struct sink_file *file, struct sink_file **out, struct err *err)
{
    return gather_section((struct gather_file *)file, (struct gather_file **)out, err);
}

static int sink_tail(struct sink_file *file, const void *bytes, size_t size, struct err *err)
{
    return gather_twin_tail((struct gather_file *)file, bytes, size, err);
}

static int sink_close(struct sink_file *file, struct err *err)
{
    return gather_close((struct gather_file *)file, err);
}

static void sink_drop(struct sink_file *file)
{
    gather_drop((struct gather_file *)file);
}

static int sink_directory(void *context, const char *path, uint32_t mode, struct err *err)
{
    const struct gather_attributes attributes = attributes_of(context, mode);

    return gather_directory(context, path, &attributes, err);
}

static int sink_trouble(void *context, const char *path, const struct err *failure, struct err *err)
{
    return gather_trouble(context, path, failure, err);
}

static int sink_note(void *context, const char *path, const char *text, struct err *err)
{
    return gather_note(context, path, text, err);
}

void gather_sink(struct gather *gather, struct sink *out)
{
    *out = (struct sink){
        .context = gather,
        .dry = gather_is_dry(gather),
        .start_ns = gather_start_ns(gather),
        .progress = gather_progress(gather),
        .open = sink_open,
        .twin = sink_twin,
        .push = sink_push,
        .section = sink_section,
        .tail = sink_tail,
        .close = sink_close,
        .drop = sink_drop,
        .directory = sink_directory,
        .trouble = sink_trouble,
        .note = sink_note,
    };
}
