#include "backup/base/memory.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Stands before the secret, in the same pages. */
struct header {
    alignas(64) size_t size; /* of the mapping */
};

void *secure_alloc(size_t size)
{
    if (size > SIZE_MAX - sizeof(struct header))
        return NULL;
    size_t total = size + sizeof(struct header);
    struct header *header =
        mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (header == MAP_FAILED)
        return NULL;

    /* A user's limit on locked memory may be small, and swap may be encrypted: go on without. */
    (void)mlock(header, total);
    (void)madvise(header, total, MADV_DONTDUMP);
    header->size = total;
    return header + 1;
}

void secure_free(void *secret)
{
    if (!secret)
        return;
    struct header *header = (struct header *)secret - 1;
    size_t total = header->size;

    explicit_bzero(header, total);
    (void)munmap(header, total);
}

void secure_freep(void *variable)
{
    void *secret;

    memcpy(&secret, variable, sizeof(secret));
    secure_free(secret);
}

void process_harden(void)
{
    struct rlimit none = {0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
