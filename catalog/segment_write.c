#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backup/archive/idtable.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/random.h"
#include "catalog/segment_internal.h"
#include "catalog/states.h"

enum { STREAM_SIZE = 64 * 1024 };

/* One section of the file, written from its beginning on. */
struct stream {
    uint64_t at; /* where the buffer goes */
    size_t used;
    uint8_t bytes[STREAM_SIZE];
};

struct segment_writer {
    const struct segment_home *home;
    int fd;
    char name[SEGMENT_NAME_SIZE];
    uint64_t capacity;
    const uint32_t *numbers; /* ascending, of the archives; the caller's */
    struct segment_layout layout;
    uint8_t archives_digest[DIGEST_SIZE];
    uint64_t filter_block; /* that is being filled */
    uint8_t block[FILTER_BLOCK_SIZE];
    struct stream filter, prefixes, records;
};

static int stream_flush(int fd, struct stream *stream, struct err *err)
{
    int r = io_pwrite_full(fd, stream->bytes, stream->used, stream->at, err);

    if (r < 0)
        return err_context(err, "chunk index");
    stream->at += stream->used;
    stream->used = 0;
    return 0;
}

static int stream_put(int fd, struct stream *stream, const void *bytes, size_t count,
                      struct err *err)
{
    int r = 0;

    if (stream->used + count > STREAM_SIZE)
        r = stream_flush(fd, stream, err);
    if (r < 0)
        return r;
    memcpy(stream->bytes + stream->used, bytes, count);
    stream->used += count;
    return 0;
}

static uint64_t align(uint64_t offset)
{
    return (offset + SECTION_ALIGN - 1) / SECTION_ALIGN * SECTION_ALIGN;
}

/* A new file, or one in memory. */
static int create(struct segment_writer *writer, struct err *err)
{
    uint64_t number;
    int r = random_bytes(&number, sizeof(number), err);

    if (r < 0)
        return r;
    if (writer->home->dirfd < 0) {
        writer->fd = memfd_create("segment", MFD_CLOEXEC);
        return writer->fd < 0 ? err_sys(err, "chunk index in memory") : 0;
    }
    snprintf(writer->name, sizeof(writer->name), "segment-%016llx", (unsigned long long)number);
    r = io_openat(writer->home->dirfd, writer->name, O_RDWR | O_CREAT | O_EXCL, 0600, &writer->fd,
                  err);
    if (r < 0) {
        writer->name[0] = '\0'; /* not ours to remove */
        return err_context(err, "chunk index");
    }
    return 0;
}

static int write_archives(struct segment_writer *writer, struct err *err)
{
    struct digest_stream digest;
    struct stream *stream = &writer->prefixes; /* not in use yet */
    int r = 0;

    digest_stream_start(&digest, writer->home->key);
    *stream = (struct stream){.at = HEADER_SIZE};
    for (size_t i = 0; r == 0 && i < writer->layout.archives; i++) {
        const struct archive_id *id = idtable_id(writer->home->ids, writer->numbers[i]);
        digest_stream_add(&digest, id->bytes, sizeof(id->bytes));
        r = stream_put(writer->fd, stream, id->bytes, sizeof(id->bytes), err);
    }
    digest_stream_finish(&digest, writer->archives_digest, DIGEST_SIZE);
    if (r == 0)
        r = stream_flush(writer->fd, stream, err);
    return r;
}

int segment_writer_new(const struct segment_home *home, const uint32_t *numbers, size_t archives,
                       uint64_t capacity, struct segment_writer **out, struct err *err)
{
    CLEANUP(segment_writer_abortp) struct segment_writer *writer = calloc(1, sizeof(*writer));

    if (!writer)
        return err_set(err, ERR_NOMEM, "out of memory");
    writer->fd = -1;
    writer->home = home;
    writer->numbers = numbers;
    writer->capacity = capacity;
    writer->layout.archives = archives;
    if (capacity > SEGMENT_ENTRIES_MAX || archives > SEGMENT_ARCHIVES_MAX)
        return err_set(err, ERR_TOO_LARGE, "chunk index: too many chunks");
    int r = create(writer, err);
    if (r == 0)
        r = write_archives(writer, err);
    if (r < 0)
        return r;
    writer->layout.filter_blocks = capacity / FILTER_BLOCK_SIZE + 1;
    writer->layout.filter_at = align(HEADER_SIZE + archives * ARCHIVE_ID_SIZE);
    writer->layout.prefixes_at =
        align(writer->layout.filter_at + writer->layout.filter_blocks * FILTER_BLOCK_SIZE);
    writer->layout.records_at = align(writer->layout.prefixes_at + capacity * PREFIX_SIZE);
    writer->filter = (struct stream){.at = writer->layout.filter_at};
    writer->prefixes = (struct stream){.at = writer->layout.prefixes_at};
    writer->records = (struct stream){.at = writer->layout.records_at};
    *out = STEAL(writer);
    return 0;
}

/* Writes filter blocks until `number` is the one being filled: prefixes ascend, so it never goes
 * back. */
static int filter_go_to(struct segment_writer *writer, uint64_t number, struct err *err)
{
    while (writer->filter_block < number) {
        int r = stream_put(writer->fd, &writer->filter, writer->block, sizeof(writer->block), err);
        if (r < 0)
            return r;
        memset(writer->block, 0, sizeof(writer->block));
        writer->filter_block++;
    }
    return 0;
}

/* The index of an archive in this segment; it is there. */
static uint32_t index_of(const struct segment_writer *writer, uint32_t number)
{
    size_t low = 0, high = writer->layout.archives;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (writer->numbers[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    assert(low < writer->layout.archives && writer->numbers[low] == number);
    return (uint32_t)low;
}

int segment_writer_add(struct segment_writer *writer, const struct chunk_entry *entry,
                       struct err *err)
{
    uint64_t prefix = id_prefix(entry->id);
    uint8_t key[PREFIX_SIZE], record[RECORD_SIZE];

    if (writer->layout.entries >= writer->capacity)
        return err_set(err, ERR_TOO_LARGE, "chunk index: too many chunks");
    int r = filter_go_to(writer, scale(prefix, writer->layout.filter_blocks), err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < FILTER_BITS; i++) {
        unsigned bit = filter_bit(entry->id, i);
        writer->block[bit / 8] = (uint8_t)(writer->block[bit / 8] | 1U << (bit % 8));
    }
    store_le64(key, prefix);
    memcpy(record, entry->id + PREFIX_SIZE, 24);
    store_le32(record + 24, index_of(writer, entry->place.archive));
    store_le32(record + 28, entry->place.raw);
    store_le32(record + 32, entry->length);
    store_le32(record + 36, record_check(writer->home->key, entry->id, record));
    r = stream_put(writer->fd, &writer->prefixes, key, sizeof(key), err);
    if (r == 0)
        r = stream_put(writer->fd, &writer->records, record, sizeof(record), err);
    if (r == 0)
        writer->layout.entries++;
    return r;
}

/* The header comes last: a file that was not finished has none. */
static int write_header(struct segment_writer *writer, struct err *err)
{
    struct segment_layout *layout = &writer->layout;
    uint8_t header[HEADER_SIZE] = {0};

    layout->size = layout->records_at + layout->entries * RECORD_SIZE;
    memcpy(header, SEGMENT_MAGIC, 8);
    store_le32(header + 8, SEGMENT_VERSION);
    store_le32(header + 12, (uint32_t)layout->archives);
    store_le64(header + 16, layout->entries);
    store_le64(header + 24, layout->filter_blocks);
    store_le64(header + 32, layout->filter_at);
    store_le64(header + 40, layout->prefixes_at);
    store_le64(header + 48, layout->records_at);
    store_le64(header + 56, layout->size);
    memcpy(header + 64, writer->archives_digest, DIGEST_SIZE);
    digest_bytes(writer->home->key, header, HEADER_DIGEST_AT, header + HEADER_DIGEST_AT);
    int r = io_truncate(writer->fd, layout->size, err);
    if (r == 0)
        r = io_pwrite_full(writer->fd, header, sizeof(header), 0, err);
    return r < 0 ? err_context(err, "chunk index") : 0;
}

int segment_writer_commit(struct segment_writer *writer, struct segment **out, struct err *err)
{
    CLEANUP(segment_writer_abortp) struct segment_writer *mine = writer;
    int r = filter_go_to(mine, mine->layout.filter_blocks, err);

    if (r == 0)
        r = stream_flush(mine->fd, &mine->filter, err);
    if (r == 0)
        r = stream_flush(mine->fd, &mine->prefixes, err);
    if (r == 0)
        r = stream_flush(mine->fd, &mine->records, err);
    if (r == 0)
        r = write_header(mine, err);
    if (r == 0 && mine->home->dirfd >= 0)
        r = io_fsync(mine->fd, "chunk index", err);
    if (r == 0 && mine->home->dirfd >= 0)
        r = io_fsync_dir_at(mine->home->dirfd, ".", err);
    if (r == 0)
        r = segment_map(mine->home, mine->fd, mine->name, out, err);
    if (r == 0)
        mine->name[0] = '\0'; /* it stays */
    return r;
}

void segment_writer_abort(struct segment_writer *writer)
{
    if (!writer)
        return;
    closep(&writer->fd);
    if (writer->name[0])
        unlinkat(writer->home->dirfd, writer->name, 0);
    free(writer);
}

void segment_writer_abortp(struct segment_writer **writer)
{
    segment_writer_abort(*writer);
}
