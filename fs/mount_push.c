#include <stdlib.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "fs/mount_internal.h"

/*
 * Small files are put into the kernel's page cache before they are asked for.  Who reads a tree
 * file by file (tar, grep -r, cp -r) waits for two changes of process for each of them, which takes
 * longer than all that is done meanwhile.
 *
 * What was listed lately is kept in a ring, a directory's files side by side.  After the second
 * read in one directory the files behind it are pushed; in a row of such directories after the
 * first.  The reader stays a few files ahead of what is pushed: a file that he is waiting for just
 * now is locked.
 *
 * That lock is also why a thread of its own does this: it may have to wait for an answer that only
 * another thread can give, and none of them ever waits for it.
 */
enum {
    RING = 8192, /* files; a power of two, as the next */
    INDEX = 32768,
    LISTINGS = 256, /* directories whose reads are counted */
    FILE_MAX = 64 * 1024,
    LEAD = 2, /* files that the reader asks for himself meanwhile */
    WINDOW_FILES = 512,
    WINDOW_BYTES = 8 * 1024 * 1024,
    READS_FIRST = 2, /* in one directory, before anything is pushed */
    ROW = 3,         /* directories, after which one read is enough */
};
#define ROW_NS (NS_PER_SECOND / 2)

struct known {
    uint64_t id;
    uint64_t listing; /* a running number; 0: none */
    uint64_t size;
    bool over; /* asked for, or pushed */
};

struct reads {
    uint64_t listing;
    unsigned count;
};

struct push {
    struct mount *mount;
    uint8_t bytes[FILE_MAX]; /* the thread's */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool stop;
    struct known ring[RING];
    size_t next;                 /* position in the ring, ever growing */
    uint32_t index[INDEX];       /* by id: a position in the ring, and 1; 0: none */
    uint64_t directory, listing; /* that was listed last, and its number */
    struct reads reads[LISTINGS];
    unsigned row; /* directories of late that were read on */
    int64_t row_ns;
    uint64_t wanted_listing; /* what to push; 0: nothing */
    size_t wanted_from;      /* a position in the ring */
};

static size_t index_of(uint64_t id)
{
    return (size_t)(id * UINT64_C(0x9E3779B97F4A7C15) >> 40) % INDEX;
}

struct push *push_new(struct mount *mount)
{
    struct push *push = calloc(1, sizeof(*push));

    if (!push)
        return NULL;
    push->mount = mount;
    pthread_mutex_init(&push->lock, NULL);
    pthread_cond_init(&push->changed, NULL);
    return push;
}

void push_free(struct push *push)
{
    if (!push)
        return;
    pthread_cond_destroy(&push->changed);
    pthread_mutex_destroy(&push->lock);
    free(push);
}

/* ---- what is known of readers ------------------------------------------------------------ */

/* A directory that is listed again, or another one, is a listing of its own. */
static void begin_listing(struct push *push, uint64_t directory)
{
    push->listing++;
    push->directory = directory;
}

void push_listing(struct push *push, uint64_t directory)
{
    pthread_mutex_lock(&push->lock);
    begin_listing(push, directory);
    pthread_mutex_unlock(&push->lock);
}

void push_listed(struct push *push, uint64_t directory, uint64_t id, uint64_t size)
{
    pthread_mutex_lock(&push->lock);
    if (push->directory != directory)
        begin_listing(push, directory);
    size_t position = push->next++ % RING;
    push->ring[position] = (struct known){.id = id, .listing = push->listing, .size = size};
    push->index[index_of(id)] = (uint32_t)position + 1;
    pthread_mutex_unlock(&push->lock);
}

/* Whether whoever reads now goes through one directory after the other. */
static bool in_a_row(struct push *push)
{
    if (clock_monotonic_ns() - push->row_ns > ROW_NS)
        push->row = 0;
    return push->row >= ROW;
}

static void want(struct push *push, uint64_t listing, size_t from)
{
    push->wanted_listing = listing;
    push->wanted_from = from;
    pthread_cond_signal(&push->changed);
}

void push_shown(struct push *push, uint64_t directory, size_t count)
{
    pthread_mutex_lock(&push->lock);
    if (count > 0 && count < RING && push->directory == directory && in_a_row(push))
        want(push, push->listing, push->next - count);
    pthread_mutex_unlock(&push->lock);
}

/* How many reads there were in a listing, with this one. */
static unsigned count_read(struct push *push, uint64_t listing)
{
    struct reads *reads = &push->reads[listing % LISTINGS];

    if (reads->listing != listing)
        *reads = (struct reads){.listing = listing};
    return ++reads->count;
}

/* Whether the reader of a file will go on with its neighbours. */
static bool goes_on(struct push *push, uint64_t listing)
{
    unsigned count = count_read(push, listing);
    bool row = in_a_row(push);

    if (count < READS_FIRST && !row)
        return false;
    if (count == (row ? 1 : READS_FIRST)) {
        push->row++;
        push->row_ns = clock_monotonic_ns();
    }
    return true;
}

void push_asked(struct push *push, uint64_t id)
{
    pthread_mutex_lock(&push->lock);
    uint32_t found = push->index[index_of(id)];
    struct known *known = found > 0 ? &push->ring[found - 1] : NULL;
    if (known && known->id == id && known->listing > 0) {
        known->over = true;
        if (goes_on(push, known->listing))
            want(push, known->listing, found - 1 + LEAD);
    }
    pthread_mutex_unlock(&push->lock);
}

/* ---- the thread -------------------------------------------------------------------------- */

/* Whether content is decoded already, in one piece. */
static bool is_at_hand(struct mount *mount, const struct content *content)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    CLEANUP(slice_clear) struct slice slice = {0};
    struct extent extent;
    struct err ignored;
    uint64_t start;

    return content_open(&cursor, mount->blocks, content, 0, &ignored) == 0 &&
           content_next(&cursor, &extent, &start, &ignored) > 0 && !extent_is_hole(&extent) &&
           extent.length == content->size && blocks_peek(mount->blocks, extent.place, &slice) > 0 &&
           slice.size >= content->size;
}

/* The content in push->bytes; false: it is not to be had, or not at once. */
static bool fetch(struct push *push, const struct known *file)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct mount *mount = push->mount;
    const struct content *content = &held.entry.content;
    struct err ignored; /* who reads it will meet it again */

    if (mount_entry(mount, file->id, &held, &ignored) < 0 || held.entry.type != ENTRY_FILE ||
        held.entry.size != file->size)
        return false;
    /* Nobody has asked for it yet: that is not worth a request to a server. */
    if (repo_is_remote(mount->repo) && !is_at_hand(mount, content))
        return false;
    return content_read(mount->blocks, content, 0, push->bytes, (size_t)file->size, &ignored) == 0;
}

static void push_file(struct push *push, const struct known *file)
{
    struct fuse_bufvec content = FUSE_BUFVEC_INIT((size_t)file->size);

    if (!fetch(push, file))
        return;
    content.buf[0].mem = push->bytes;
    /* A file that the kernel has forgotten is no error. */
    if (fuse_lowlevel_notify_store(push->mount->session, file->id, 0, &content, 0) == 0)
        atomic_fetch_add_explicit(&push->mount->counters.pushed, 1, memory_order_relaxed);
}

/* The next file of what is wanted before `end`, marked as done; false: nothing is left.  Under the
 * lock. */
static bool take(struct push *push, uint64_t listing, size_t *position, size_t end,
                 struct known *out)
{
    while (*position < end) {
        struct known *known = &push->ring[(*position)++ % RING];
        if (known->listing != listing)
            return false;
        if (known->over || known->size == 0 || known->size > FILE_MAX)
            continue;
        known->over = true;
        *out = *known;
        return true;
    }
    return false;
}

/* Pushes what is wanted, until it is through or something else is wanted.  Under the lock, which it
 * leaves for each file. */
static void push_window(struct push *push)
{
    uint64_t listing = push->wanted_listing, bytes = 0;
    size_t position = push->wanted_from, end = position + RING - LEAD, files = 0;
    struct known file;

    push->wanted_listing = 0;
    while (!push->stop && push->wanted_listing == 0 && files < WINDOW_FILES &&
           bytes < WINDOW_BYTES && take(push, listing, &position, end, &file)) {
        pthread_mutex_unlock(&push->lock);
        push_file(push, &file);
        files++;
        bytes += file.size;
        pthread_mutex_lock(&push->lock);
    }
}

static void *run(void *argument)
{
    struct push *push = argument;

    pthread_mutex_lock(&push->lock);
    while (!push->stop) {
        if (push->wanted_listing == 0)
            pthread_cond_wait(&push->changed, &push->lock);
        else
            push_window(push);
    }
    pthread_mutex_unlock(&push->lock);
    return NULL;
}

int push_start(struct push *push, pthread_t *out)
{
    return pthread_create(out, NULL, run, push);
}

void push_stop(struct push *push)
{
    pthread_mutex_lock(&push->lock);
    push->stop = true;
    pthread_cond_signal(&push->changed);
    pthread_mutex_unlock(&push->lock);
}
