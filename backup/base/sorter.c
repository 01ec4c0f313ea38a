#include "backup/base/sorter.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/sorter_internal.h"

enum {
    LIMIT_MIN = 4096,
    WRITE_STEP = 64 * 1024,
    RECORD_SHARE = 4,                         /* a record takes this part of the limit at most */
    INDEX_COST = (int)(3 * sizeof(uint32_t)), /* an offset, its alignment, the copy of qsort_r() */
};

/*
 * Records grow from the front of `memory` and their offsets from its back; room is
 * counted for the copy of the offsets that the C library's merge sort makes elsewhere.
 */
struct sorter {
    char *dir;
    size_t limit;
    uint8_t *memory; /* a mapping of `limit` bytes; NULL while merging */
    size_t used;
    size_t count;
    size_t next; /* the record to lend next, when nothing was spilled */
    bool finished;
    int fd; /* -1 until something is spilled */
    uint64_t file_size;
    struct run *runs;
    size_t run_count;
    struct merge *merge;
};

/* The offsets in ascending order lie at the very end. */
static uint32_t *offsets(const struct sorter *sorter)
{
    size_t end = sorter->limit / sizeof(uint32_t);

    return (uint32_t *)(void *)sorter->memory + (end - sorter->count);
}

int sorter_new(const char *dir, size_t memory_limit, struct sorter **out, struct err *err)
{
    CLEANUP(sorter_freep) struct sorter *sorter = calloc(1, sizeof(*sorter));

    assert(memory_limit >= LIMIT_MIN && memory_limit <= UINT32_MAX);
    if (!sorter)
        return err_set(err, ERR_NOMEM, "no memory for a sorter");
    sorter->fd = -1;
    sorter->limit = memory_limit;
    sorter->dir = strdup(dir);
    void *memory =
        mmap(NULL, memory_limit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED)
        sorter->memory = memory;
    if (!sorter->dir || !sorter->memory)
        return err_set(err, ERR_NOMEM, "no memory for %zu bytes", memory_limit);
    *out = STEAL(sorter);
    return 0;
}

static void release_memory(struct sorter *sorter)
{
    if (sorter->memory)
        (void)munmap(sorter->memory, sorter->limit);
    sorter->memory = NULL;
}

void sorter_free(struct sorter *sorter)
{
    if (!sorter)
        return;
    release_memory(sorter);
    merge_free(sorter->merge);
    closep(&sorter->fd);
    free(sorter->runs);
    free(sorter->dir);
    free(sorter);
}

void sorter_freep(struct sorter **sorter)
{
    sorter_free(*sorter);
}

static int compare_offsets(const void *a, const void *b, void *memory)
{
    const uint8_t *records = memory;

    return compare_records(records + *(const uint32_t *)a, records + *(const uint32_t *)b);
}

static void sort_memory(struct sorter *sorter)
{
    if (sorter->count > 1)
        qsort_r(offsets(sorter), sorter->count, sizeof(uint32_t), compare_offsets, sorter->memory);
}

static const uint8_t *record_at(const struct sorter *sorter, size_t index, size_t *out_size)
{
    const uint8_t *record = sorter->memory + offsets(sorter)[index];

    *out_size = RECORD_HEADER + (size_t)load_le32(record);
    return record;
}

/* Appends to the file by way of a buffer, which holds `*filled` bytes. */
static int append(struct sorter *sorter, uint8_t *buffer, size_t *filled, const uint8_t *bytes,
                  size_t size, struct err *err)
{
    while (size > 0) {
        size_t room = WRITE_STEP - *filled;
        size_t part = size < room ? size : room;
        memcpy(buffer + *filled, bytes, part);
        *filled += part;
        bytes += part;
        size -= part;
        if (*filled < WRITE_STEP)
            break;
        int r = io_pwrite_full(sorter->fd, buffer, WRITE_STEP, sorter->file_size, err);
        if (r < 0)
            return r;
        sorter->file_size += WRITE_STEP;
        *filled = 0;
    }
    return 0;
}

static int write_records(struct sorter *sorter, struct err *err)
{
    uint8_t buffer[WRITE_STEP];
    size_t filled = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < sorter->count; i++) {
        size_t size;
        const uint8_t *record = record_at(sorter, i, &size);
        r = append(sorter, buffer, &filled, record, size, err);
    }
    if (r == 0)
        r = io_pwrite_full(sorter->fd, buffer, filled, sorter->file_size, err);
    if (r == 0)
        sorter->file_size += filled;
    return r < 0 ? err_context(err, "temporary file in %s", sorter->dir) : 0;
}

static int spill(struct sorter *sorter, struct err *err)
{
    struct run *runs = realloc(sorter->runs, (sorter->run_count + 1) * sizeof(*runs));
    int r = 0;

    if (!runs)
        return err_set(err, ERR_NOMEM, "no memory for a run");
    sorter->runs = runs;
    if (sorter->fd < 0)
        r = io_open_temporary(sorter->dir, &sorter->fd, err);
    if (r < 0)
        return r;

    uint64_t start = sorter->file_size;
    sort_memory(sorter);
    r = write_records(sorter, err);
    if (r < 0)
        return r;
    runs[sorter->run_count++] = (struct run){.start = start, .end = sorter->file_size};
    sorter->used = sorter->count = 0;
    return 0;
}

int sorter_add(struct sorter *sorter, const void *bytes, size_t size, struct err *err)
{
    assert(!sorter->finished);
    if (size > sorter->limit / RECORD_SHARE - RECORD_HEADER - INDEX_COST)
        return err_set(err, ERR_TOO_LARGE, "a record of %zu bytes", size);

    size_t room = sorter->limit - sorter->used - sorter->count * INDEX_COST;
    if (size + RECORD_HEADER + INDEX_COST > room) {
        int r = spill(sorter, err);
        if (r < 0)
            return r;
    }
    sorter->count++;
    *offsets(sorter) = (uint32_t)sorter->used;
    store_le32(sorter->memory + sorter->used, (uint32_t)size);
    if (size > 0)
        memcpy(sorter->memory + sorter->used + RECORD_HEADER, bytes, size);
    sorter->used += RECORD_HEADER + size;
    return 0;
}

int sorter_finish(struct sorter *sorter, struct err *err)
{
    assert(!sorter->finished);
    sorter->finished = true;
    if (sorter->run_count == 0) {
        sort_memory(sorter);
        return 0;
    }
    int r = sorter->count > 0 ? spill(sorter, err) : 0;
    release_memory(sorter);
    if (r < 0)
        return r;
    return merge_new(sorter->fd, sorter->runs, sorter->run_count, sorter->limit, &sorter->merge,
                     err);
}

int sorter_next(struct sorter *sorter, const uint8_t **out_bytes, size_t *out_size, struct err *err)
{
    const uint8_t *record = NULL;
    size_t size = RECORD_HEADER;
    int r = 0;

    assert(sorter->finished);
    if (sorter->merge)
        r = merge_next(sorter->merge, &record, err);
    else if (sorter->next < sorter->count)
        record = record_at(sorter, sorter->next++, &size);
    if (r < 0)
        return r;
    *out_size = record ? load_le32(record) : 0;
    *out_bytes = record ? record + RECORD_HEADER : NULL;
    return 0;
}
