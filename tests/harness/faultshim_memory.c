/* malloc, calloc and realloc that fail: for FAULT_CALLS=memory only, and not under a sanitizer. */
#include "tests/harness/faultshim.h"

#include <errno.h>
#include <stdlib.h>

/* glibc's own, by the names that stay when others are put in front. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static bool is_refused(void)
{
    struct fate fate = fault_begin(FAULT_MEMORY, "malloc", "");

    if (fate.error)
        errno = ENOMEM;
    return fate.error != 0;
}

EXPORT void *malloc(size_t size)
{
    return is_refused() ? NULL : __libc_malloc(size);
}

EXPORT void *calloc(size_t count, size_t size)
{
    return is_refused() ? NULL : __libc_calloc(count, size);
}

EXPORT void *realloc(void *old, size_t size)
{
    return is_refused() ? NULL : __libc_realloc(old, size);
}
