#include "backup/base/together.h"

#include <assert.h>

#include "backup/base/pool.h"

static void make(void *argument)
{
    struct together_call *call = argument;

    call->result = call->run(call->context, &call->err);
}

/* Without threads it takes longer, and that is all. */
static void make_all(struct together_call *calls, size_t count)
{
    struct pool *pool = count > 1 ? pool_new(count - 1, count - 1) : NULL;

    for (size_t i = 1; i < count && pool; i++)
        pool_submit(pool, make, &calls[i]);
    make(&calls[0]);
    for (size_t i = 1; i < count && !pool; i++)
        make(&calls[i]);
    pool_free(pool);
}

int together(struct together_call *calls, size_t count, bool at_once, struct err *err)
{
    int r = 0;

    assert(count <= TOGETHER_MAX);
    for (size_t i = 0; i < count; i++)
        calls[i].result = 0;
    if (at_once && count > 0)
        make_all(calls, count);
    for (size_t i = 0; i < count && r == 0; i++) {
        if (!at_once)
            make(&calls[i]);
        r = calls[i].result;
        if (r < 0)
            *err = calls[i].err;
    }
    return r;
}
