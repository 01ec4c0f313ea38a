#include "catalog/segment.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "backup/archive/idtable.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "catalog/segment_internal.h"
#include "catalog/states.h"

static int odd(const char *name, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "chunk index %s: %s", name, what);
}

/* Whether a section of `count` times `size` bytes lies within [at, end); counts are bounded. */
static bool section_fits(uint64_t at, uint64_t count, uint64_t size, uint64_t end)
{
    return at <= end && count <= (end - at) / size;
}

static bool layout_is_sound(const struct segment_layout *layout, uint64_t file_size)
{
    return layout->entries <= SEGMENT_ENTRIES_MAX && layout->archives <= SEGMENT_ARCHIVES_MAX &&
           layout->filter_blocks >= 1 && layout->size == file_size &&
           section_fits(HEADER_SIZE, layout->archives, ARCHIVE_ID_SIZE, layout->filter_at) &&
           section_fits(layout->filter_at, layout->filter_blocks, FILTER_BLOCK_SIZE,
                        layout->prefixes_at) &&
           section_fits(layout->prefixes_at, layout->entries, PREFIX_SIZE, layout->records_at) &&
           section_fits(layout->records_at, layout->entries, RECORD_SIZE, layout->size) &&
           layout->prefixes_at % PREFIX_SIZE == 0;
}

static int read_header(struct segment *segment, uint64_t file_size, struct err *err)
{
    const uint8_t *header = segment->map;
    struct segment_layout *layout = &segment->layout;
    uint8_t digest[DIGEST_SIZE];

    digest_bytes(segment->key, header, HEADER_DIGEST_AT, digest);
    if (memcmp(header, SEGMENT_MAGIC, 8) != 0 || load_le32(header + 8) != SEGMENT_VERSION ||
        memcmp(digest, header + HEADER_DIGEST_AT, sizeof(digest)) != 0)
        return odd(segment->name, "bad header", err);
    layout->archives = load_le32(header + 12);
    layout->entries = load_le64(header + 16);
    layout->filter_blocks = load_le64(header + 24);
    layout->filter_at = load_le64(header + 32);
    layout->prefixes_at = load_le64(header + 40);
    layout->records_at = load_le64(header + 48);
    layout->size = load_le64(header + 56);
    if (!layout_is_sound(layout, file_size))
        return odd(segment->name, "its size is not what its header says", err);
    digest_bytes(segment->key, header + HEADER_SIZE, layout->archives * ARCHIVE_ID_SIZE, digest);
    if (memcmp(digest, header + 64, sizeof(digest)) != 0)
        return odd(segment->name, "bad table of archives", err);
    return 0;
}

static int read_archives(struct segment *segment, struct idtable *ids, struct err *err)
{
    const uint8_t *at = segment->map + HEADER_SIZE;
    size_t count = segment->layout.archives;

    segment->numbers = calloc(count > 0 ? count : 1, sizeof(*segment->numbers));
    if (!segment->numbers)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        struct archive_id id;
        memcpy(id.bytes, at + i * ARCHIVE_ID_SIZE, ARCHIVE_ID_SIZE);
        int r = idtable_number(ids, &id, ARCHIVE_DATA, &segment->numbers[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

int segment_map(const struct segment_home *home, int fd, const char *name, struct segment **out,
                struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = calloc(1, sizeof(*segment));
    struct stat st;

    if (!segment)
        return err_set(err, ERR_NOMEM, "out of memory");
    segment->key = home->key;
    snprintf(segment->name, sizeof(segment->name), "%s", name);
    if (fstat(fd, &st) < 0)
        return err_sys(err, "chunk index %s", name);
    if (!S_ISREG(st.st_mode) || st.st_size < HEADER_SIZE)
        return odd(name, "too short", err);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return err_sys(err, "map chunk index %s", name);
    segment->map = map;
    segment->layout.size = (uint64_t)st.st_size; /* until the header is read: for close */
    (void)madvise(map, (size_t)st.st_size, MADV_RANDOM);
    int r = read_header(segment, (uint64_t)st.st_size, err);
    segment->layout.size = (uint64_t)st.st_size;
    if (r == 0)
        r = read_archives(segment, home->ids, err);
    if (r < 0)
        return r;
    *out = STEAL(segment);
    return 0;
}

int segment_open(const struct segment_home *home, const char *name, struct segment **out,
                 struct err *err)
{
    CLEANUP(closep) int fd = -1;
    int r = io_openat(home->dirfd, name, O_RDONLY | O_NOFOLLOW, 0, &fd, err);

    return r < 0 ? r : segment_map(home, fd, name, out, err);
}

void segment_close(struct segment *segment)
{
    if (!segment)
        return;
    if (segment->map)
        munmap((void *)(uintptr_t)segment->map, segment->layout.size);
    free(segment->numbers);
    free(segment);
}

void segment_closep(struct segment **segment)
{
    segment_close(*segment);
}

const char *segment_name(const struct segment *segment)
{
    return segment->name;
}

uint64_t segment_count(const struct segment *segment)
{
    return segment->layout.entries;
}

size_t segment_archives(const struct segment *segment, const uint32_t **out)
{
    *out = segment->numbers;
    return segment->layout.archives;
}

size_t segment_hot_size(const struct segment *segment)
{
    return segment->layout.records_at - segment->layout.filter_at;
}

void segment_hold(const struct segment *segment)
{
    uint64_t from = segment->layout.filter_at / SECTION_ALIGN * SECTION_ALIGN;

    (void)madvise((void *)(uintptr_t)(segment->map + from), segment->layout.records_at - from,
                  MADV_WILLNEED);
}

void segment_read_ahead(const struct segment *segment)
{
    (void)madvise((void *)(uintptr_t)segment->map, segment->layout.size, MADV_SEQUENTIAL);
}

bool segment_rotten(const struct segment *segment)
{
    return atomic_load(&segment->rotten);
}

static uint64_t prefix_at(const struct segment *segment, uint64_t index)
{
    return load_le64(segment->map + segment->layout.prefixes_at + index * PREFIX_SIZE);
}

static bool filter_has(const struct segment *segment, const uint8_t id[32], uint64_t prefix)
{
    uint64_t number = scale(prefix, segment->layout.filter_blocks);
    const uint8_t *block = segment->map + segment->layout.filter_at + number * FILTER_BLOCK_SIZE;

    for (unsigned i = 0; i < FILTER_BITS; i++) {
        unsigned bit = filter_bit(id, i);
        if (!(block[bit / 8] & (1U << (bit % 8))))
            return false;
    }
    return true;
}

/* Ids are evenly spread, so a guess and two corrections end within a few entries of the place. */
static uint64_t guess(const struct segment *segment, uint64_t prefix)
{
    uint64_t count = segment->layout.entries;
    uint64_t at = scale(prefix, count);

    for (int i = 0; i < 2; i++) {
        uint64_t found = prefix_at(segment, at);
        uint64_t step = scale(prefix > found ? prefix - found : found - prefix, count);
        if (prefix > found)
            at = step < count - at ? at + step : count - 1;
        else
            at -= step < at ? step : at;
    }
    return at;
}

/* Doubles the steps away from the guess until the place lies within [*low, *high]: whatever the ids
 * are, and also if they are not in order, this ends soon. */
static void bracket(const struct segment *segment, uint64_t prefix, uint64_t *low, uint64_t *high)
{
    uint64_t count = segment->layout.entries, step = 16;
    uint64_t at = guess(segment, prefix);

    *low = *high = at;
    if (prefix_at(segment, at) >= prefix) {
        while (*low > 0 && prefix_at(segment, *low - 1) >= prefix) {
            *high = *low - 1;
            *low -= step < *low ? step : *low;
            step *= 2;
        }
        return;
    }
    while (*high < count && prefix_at(segment, *high) < prefix) {
        *low = *high + 1;
        *high = step < count - *high ? *high + step : count;
        step *= 2;
    }
}

/* The first entry whose prefix is not less. */
static uint64_t lower_bound(const struct segment *segment, uint64_t prefix)
{
    uint64_t low, high;

    bracket(segment, prefix, &low, &high);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (prefix_at(segment, middle) < prefix)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Reads a record whose check is right. */
static bool read_record(const struct segment *segment, uint64_t index, struct chunk_entry *out)
{
    const uint8_t *record = segment->map + segment->layout.records_at + index * RECORD_SIZE;
    uint64_t prefix = htobe64(prefix_at(segment, index));
    uint32_t archive = load_le32(record + 24);

    memcpy(out->id, &prefix, PREFIX_SIZE);
    memcpy(out->id + PREFIX_SIZE, record, 24);
    if (archive >= segment->layout.archives ||
        load_le32(record + 36) != record_check(segment->key, out->id, record))
        return false;
    out->place.archive = segment->numbers[archive];
    out->place.raw = load_le32(record + 28);
    out->length = load_le32(record + 32);
    return true;
}

bool segment_entry(const struct segment *segment, uint64_t index, struct chunk_entry *out)
{
    return read_record(segment, index, out);
}

bool segment_find(struct segment *segment, const struct states *states, const uint8_t id[32],
                  uint32_t length, struct place *out)
{
    uint64_t prefix = id_prefix(id), count = segment->layout.entries;

    if (count == 0 || !filter_has(segment, id, prefix))
        return false;
    uint64_t at = lower_bound(segment, prefix);
    for (; at < count && prefix_at(segment, at) == prefix; at++) {
        const uint8_t *record = segment->map + segment->layout.records_at + at * RECORD_SIZE;
        struct chunk_entry entry;
        if (memcmp(record, id + PREFIX_SIZE, 24) != 0)
            continue;
        if (!read_record(segment, at, &entry)) {
            atomic_store(&segment->rotten, true);
            continue;
        }
        if (entry.length == length && states_usable(states, entry.place.archive)) {
            *out = entry.place;
            return true;
        }
    }
    return false;
}
