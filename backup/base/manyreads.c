#include "backup/base/manyreads.h"

#include <assert.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/io.h"

/* The kernel's rings, as io_uring(7) has them. */
struct manyreads {
    int fd;
    unsigned most;
    void *rings, *entries; /* what is mapped */
    size_t rings_size, entries_size;
    unsigned *head, *tail, *mask, *order; /* what is handed to the kernel … */
    unsigned *done_head, *done_tail, *done_mask;
    const struct io_uring_cqe *done; /* … and what comes back */
};

void manyreads_free(struct manyreads *many)
{
    if (!many)
        return;
    if (many->entries != MAP_FAILED)
        (void)munmap(many->entries, many->entries_size);
    if (many->rings != MAP_FAILED)
        (void)munmap(many->rings, many->rings_size);
    closep(&many->fd);
    free(many);
}

static void freep(struct manyreads **many)
{
    manyreads_free(*many);
}

static void *map(int fd, size_t size, off_t what)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);
}

/* Both rings in one piece: kernels since 5.4. */
static bool map_rings(struct manyreads *many, const struct io_uring_params *set)
{
    size_t to_do = set->sq_off.array + set->sq_entries * sizeof(unsigned);
    size_t done = set->cq_off.cqes + set->cq_entries * sizeof(struct io_uring_cqe);

    many->rings_size = to_do > done ? to_do : done;
    many->entries_size = set->sq_entries * sizeof(struct io_uring_sqe);
    many->rings = map(many->fd, many->rings_size, IORING_OFF_SQ_RING);
    many->entries = map(many->fd, many->entries_size, IORING_OFF_SQES);
    if (many->rings == MAP_FAILED || many->entries == MAP_FAILED)
        return false;
    char *base = many->rings;
    many->head = (unsigned *)(void *)(base + set->sq_off.head);
    many->tail = (unsigned *)(void *)(base + set->sq_off.tail);
    many->mask = (unsigned *)(void *)(base + set->sq_off.ring_mask);
    many->order = (unsigned *)(void *)(base + set->sq_off.array);
    many->done_head = (unsigned *)(void *)(base + set->cq_off.head);
    many->done_tail = (unsigned *)(void *)(base + set->cq_off.tail);
    many->done_mask = (unsigned *)(void *)(base + set->cq_off.ring_mask);
    many->done = (const struct io_uring_cqe *)(const void *)(base + set->cq_off.cqes);
    return true;
}

struct manyreads *manyreads_new(unsigned most)
{
    CLEANUP(freep) struct manyreads *many = calloc(1, sizeof(*many));
    struct io_uring_params set = {0};

    if (!many)
        return NULL;
    many->rings = many->entries = MAP_FAILED;
    many->most = most;
    many->fd = (int)syscall(SYS_io_uring_setup, most, &set);
    if (many->fd < 0 || !(set.features & IORING_FEAT_SINGLE_MMAP) || !map_rings(many, &set))
        return NULL;
    return STEAL(many);
}

static void put(struct manyreads *many, unsigned at, const struct manyreads_one *read,
                size_t number)
{
    unsigned slot = at & *many->mask;
    struct io_uring_sqe *entry = (struct io_uring_sqe *)many->entries + slot;

    memset(entry, 0, sizeof(*entry));
    entry->opcode = IORING_OP_READ;
    entry->fd = read->fd;
    entry->addr = (uintptr_t)read->bytes;
    entry->len = read->size;
    entry->user_data = number;
    many->order[slot] = slot;
}

/* Takes what has come back; returns how many. */
static unsigned take(struct manyreads *many, struct manyreads_one *reads, size_t count)
{
    unsigned from = *many->done_head;
    unsigned to = __atomic_load_n(many->done_tail, __ATOMIC_ACQUIRE);

    for (unsigned at = from; at != to; at++) {
        const struct io_uring_cqe *one = &many->done[at & *many->done_mask];
        assert(one->user_data < count);
        reads[one->user_data].done =
            one->res >= 0 && (uint32_t)one->res == reads[one->user_data].size;
    }
    (void)count;
    __atomic_store_n(many->done_head, to, __ATOMIC_RELEASE);
    return to - from;
}

/* Hands them over and waits; how many the kernel has taken: all, unless it refuses. */
static unsigned hand_over(struct manyreads *many, unsigned start, unsigned count)
{
    unsigned taken = 0;
    long r;

    __atomic_store_n(many->tail, start + count, __ATOMIC_RELEASE);
    do {
        r = syscall(SYS_io_uring_enter, many->fd, count - taken, count, IORING_ENTER_GETEVENTS,
                    NULL, 0UL);
        taken = __atomic_load_n(many->head, __ATOMIC_ACQUIRE) - start;
    } while (taken < count && (r > 0 || (r < 0 && errno == EINTR)));
    __atomic_store_n(many->tail, start + taken, __ATOMIC_RELEASE);
    return taken;
}

void manyreads_run(struct manyreads *many, struct manyreads_one *reads, size_t count)
{
    unsigned start = *many->tail;

    assert(count <= many->most);
    for (size_t i = 0; i < count; i++) {
        reads[i].done = false;
        put(many, start + (unsigned)i, &reads[i], i);
    }
    unsigned left = hand_over(many, start, (unsigned)count);
    /* To the last: until then the kernel writes where the caller's next bytes would be. */
    while (left -= take(many, reads, count), left > 0)
        if (syscall(SYS_io_uring_enter, many->fd, 0U, left, IORING_ENTER_GETEVENTS, NULL, 0UL) <
                0 &&
            errno != EINTR)
            (void)sched_yield();
}
