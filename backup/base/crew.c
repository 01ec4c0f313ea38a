#include "backup/base/crew.h"

#include "backup/base/pool.h"
#include "backup/base/progress.h"

int crew_open(struct crew *crew, size_t threads, size_t depth, struct progress *progress,
              const char *what, struct err *err)
{
    struct pool *pool = pool_new(threads, depth);

    if (!pool)
        return err_set(err, ERR_NOMEM, "no memory, or no threads, %s", what);
    *crew = (struct crew){.pool = pool, .progress = progress};
    pthread_mutex_init(&crew->lock, NULL);
    return 0;
}

void crew_close(struct crew *crew)
{
    if (!crew->pool)
        return;
    pool_free(crew->pool);
    pthread_mutex_destroy(&crew->lock);
    crew->pool = NULL;
}

void crew_submit(struct crew *crew, void (*run)(void *argument), void *argument)
{
    pool_submit(crew->pool, run, argument);
}

bool crew_ended(struct crew *crew)
{
    pthread_mutex_lock(&crew->lock);
    bool failed = crew->failure.code != ERR_NONE;
    pthread_mutex_unlock(&crew->lock);
    return failed || progress_cancelled(crew->progress);
}

void crew_fail(struct crew *crew, const struct err *err)
{
    pthread_mutex_lock(&crew->lock);
    if (crew->failure.code == ERR_NONE)
        crew->failure = *err;
    pthread_mutex_unlock(&crew->lock);
}

int crew_settle(struct crew *crew, int result, struct err *err)
{
    pool_wait_idle(crew->pool);
    if (crew->failure.code != ERR_NONE) { /* nobody runs any more */
        *err = crew->failure;
        return -(int)err->code;
    }
    if (result == 0 && progress_cancelled(crew->progress))
        return err_set(err, ERR_CANCELLED, "interrupted");
    return result;
}
