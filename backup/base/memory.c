#include "backup/base/memory.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Stands before the secret, in the same pages. */
struct header {
    alignas(64) size_t size; /* of the mapping */
    struct header *next, *before;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows, and the links */
static struct header *all;

static void protect(struct header *header, size_t size)
{
    /* A user's limit on locked memory may be small, and swap may be encrypted: go on without. */
    (void)mlock(header, size);
    (void)madvise(header, size, MADV_DONTDUMP);
}

static void enlist(struct header *header)
{
    pthread_mutex_lock(&lock);
    header->next = all;
    if (all)
        all->before = header;
    all = header;
    pthread_mutex_unlock(&lock);
}

static void strike_off(struct header *header)
{
    pthread_mutex_lock(&lock);
    *(header->before ? &header->before->next : &all) = header->next;
    if (header->next)
        header->next->before = header->before;
    pthread_mutex_unlock(&lock);
}

void *secure_alloc(size_t size)
{
    if (size > SIZE_MAX - sizeof(struct header))
        return NULL;
    size_t total = size + sizeof(struct header);
    struct header *header =
        mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (header == MAP_FAILED)
        return NULL;

    protect(header, total);
    header->size = total;
    enlist(header);
    return header + 1;
}

void secure_free(void *secret)
{
    if (!secret)
        return;
    struct header *header = (struct header *)secret - 1;
    size_t total = header->size;

    strike_off(header);
    explicit_bzero(header, total);
    (void)munmap(header, total);
}

void secure_freep(void *variable)
{
    void *secret;

    memcpy(&secret, variable, sizeof(secret));
    secure_free(secret);
}

void secure_after_fork(void)
{
    pthread_mutex_lock(&lock);
    for (struct header *header = all; header; header = header->next)
        protect(header, header->size);
    pthread_mutex_unlock(&lock);
}

void process_harden(void)
{
    struct rlimit none = {0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
