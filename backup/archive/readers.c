#include "backup/archive/readers.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/base/err.h"

enum { CHAINS = 1024 };

struct opened {
    uint32_t archive;
    size_t users;
    bool gone;             /* not kept when nobody uses it any more */
    struct reader *reader; /* NULL while it is being opened */
    struct opened *chained;
    struct opened *newer, *older; /* among the idle; when users is 0 */
};

struct readers {
    struct repo *repo; /* these are fixed when it is made */
    size_t memory_limit, count_limit;

    pthread_mutex_t lock; /* guards what follows, and the opened it leads to */
    pthread_cond_t settled;
    size_t memory, count; /* of what is open */
    struct opened *newest, *oldest;
    struct opened *chains[CHAINS];
};

struct readers *readers_new(struct repo *repo, size_t memory, size_t count)
{
    struct readers *readers = calloc(1, sizeof(*readers));

    if (!readers)
        return NULL;
    readers->repo = repo;
    readers->memory_limit = memory;
    readers->count_limit = count;
    pthread_mutex_init(&readers->lock, NULL);
    pthread_cond_init(&readers->settled, NULL);
    return readers;
}

/* Closes a list (chained) of what is in no table any more. */
static void close_all(struct opened *list)
{
    while (list) {
        struct opened *next = list->chained;
        reader_close(list->reader);
        free(list);
        list = next;
    }
}

void readers_free(struct readers *readers)
{
    if (!readers)
        return;
    for (size_t i = 0; i < CHAINS; i++)
        close_all(readers->chains[i]);
    pthread_cond_destroy(&readers->settled);
    pthread_mutex_destroy(&readers->lock);
    free(readers);
}

/* Where the pointer to that archive is, or would be. */
static struct opened **chain_of(struct readers *readers, uint32_t archive)
{
    struct opened **at = &readers->chains[archive % CHAINS];

    while (*at && (*at)->archive != archive)
        at = &(*at)->chained;
    return at;
}

static void idle_push(struct readers *readers, struct opened *opened)
{
    opened->newer = NULL;
    opened->older = readers->newest;
    *(readers->newest ? &readers->newest->newer : &readers->oldest) = opened;
    readers->newest = opened;
}

static void idle_remove(struct readers *readers, struct opened *opened)
{
    *(opened->newer ? &opened->newer->older : &readers->newest) = opened->older;
    *(opened->older ? &opened->older->newer : &readers->oldest) = opened->newer;
}

static const struct reader *use(struct readers *readers, struct opened *opened)
{
    if (opened->users++ == 0)
        idle_remove(readers, opened);
    return opened->reader;
}

static void take_out(struct readers *readers, struct opened *opened)
{
    *chain_of(readers, opened->archive) = opened->chained;
    readers->memory -= reader_memory(opened->reader);
    readers->count--;
    opened->chained = NULL;
}

/* Takes idle ones out until the bounds are kept; the caller closes the list, unlocked. */
static struct opened *evict(struct readers *readers)
{
    struct opened *evicted = NULL;

    while (readers->oldest &&
           (readers->memory > readers->memory_limit || readers->count > readers->count_limit)) {
        struct opened *opened = readers->oldest;
        idle_remove(readers, opened);
        take_out(readers, opened);
        opened->chained = evicted;
        evicted = opened;
    }
    return evicted;
}

/* The open reader; else NULL, and *out_mine is what the caller is to open (NULL: no memory). Waits
 * while another thread opens it. */
static const struct reader *find_or_claim(struct readers *readers, uint32_t archive,
                                          struct opened **out_mine)
{
    struct opened **at = chain_of(readers, archive);

    while (*at && !(*at)->reader) {
        pthread_cond_wait(&readers->settled, &readers->lock);
        at = chain_of(readers, archive);
    }
    if (*at)
        return use(readers, *at);
    *out_mine = calloc(1, sizeof(**out_mine));
    if (*out_mine) {
        **out_mine = (struct opened){.archive = archive, .users = 1};
        *at = *out_mine;
    }
    return NULL;
}

/* What was opened becomes shared, or (NULL) nothing is left behind. */
static void settle(struct readers *readers, struct opened *mine, struct reader *reader)
{
    struct opened *done = NULL;

    pthread_mutex_lock(&readers->lock);
    if (reader) {
        mine->reader = reader;
        readers->memory += reader_memory(reader);
        readers->count++;
        done = evict(readers);
    } else {
        *chain_of(readers, mine->archive) = mine->chained;
        mine->chained = NULL;
        done = mine;
    }
    pthread_cond_broadcast(&readers->settled);
    pthread_mutex_unlock(&readers->lock);
    close_all(done);
}

int readers_acquire(struct readers *readers, uint32_t archive, const struct reader **out,
                    struct err *err)
{
    struct idtable *ids = readers->repo->ids;
    struct opened *mine = NULL;
    struct reader *reader = NULL;

    assert(archive < idtable_count(ids));
    pthread_mutex_lock(&readers->lock);
    const struct reader *found = find_or_claim(readers, archive, &mine);
    pthread_mutex_unlock(&readers->lock);
    if (found) {
        *out = found;
        return 0;
    }
    if (!mine)
        return err_set(err, ERR_NOMEM, "no memory to open an archive");
    int r = reader_open(readers->repo, idtable_kind(ids, archive), idtable_id(ids, archive), NULL,
                        &reader, err);
    settle(readers, mine, r < 0 ? NULL : reader);
    if (r < 0)
        return r;
    *out = reader;
    return 0;
}

const struct reader *readers_peek(struct readers *readers, uint32_t archive)
{
    const struct reader *reader = NULL;

    pthread_mutex_lock(&readers->lock);
    struct opened *opened = *chain_of(readers, archive);
    if (opened && opened->reader)
        reader = use(readers, opened);
    pthread_mutex_unlock(&readers->lock);
    return reader;
}

void readers_release(struct readers *readers, uint32_t archive)
{
    struct opened *evicted = NULL;

    pthread_mutex_lock(&readers->lock);
    struct opened *opened = *chain_of(readers, archive);
    assert(opened && opened->users > 0);
    opened->users--;
    if (opened->users == 0 && opened->gone) {
        take_out(readers, opened);
        evicted = opened;
    } else if (opened->users == 0) {
        idle_push(readers, opened);
        evicted = evict(readers);
    }
    pthread_mutex_unlock(&readers->lock);
    close_all(evicted);
}

void readers_gone(struct readers *readers, uint32_t archive)
{
    pthread_mutex_lock(&readers->lock);
    struct opened *opened = *chain_of(readers, archive);
    assert(opened && opened->users > 0);
    opened->gone = true;
    pthread_mutex_unlock(&readers->lock);
}
