/* The marks that there are, and how old they are. */
#include <stdlib.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/err.h"
#include "backup/job/prune_internal.h"
#include "backup/store/store.h"

enum { STALE_DAYS = 90 }; /* marks of what is gone */

static int add_stale(struct prune *prune, const struct archive_id *id, struct err *err)
{
    if (prune->stale_count == prune->stale_room) {
        size_t room = prune->stale_room > 0 ? 2 * prune->stale_room : 64;
        void *grown = reallocarray(prune->stale, room, sizeof(*prune->stale));
        if (!grown)
            return err_set(err, ERR_NOMEM, "no memory for %zu marks", room);
        prune->stale = grown;
        prune->stale_room = room;
    }
    prune->stale[prune->stale_count++] = (struct stale_mark){.id = *id};
    return 0;
}

static int list_mark(void *context, const char *name, uint64_t size, struct err *err)
{
    struct prune *prune = context;
    struct archive_id id;

    (void)size;
    if (!idtable_parse(name, &id))
        return 0;
    struct prune_object *object = prune_object(prune, idtable_find(prune->repo->ids, &id));
    if (!(object->flags & FLAG_THERE))
        return add_stale(prune, &id, err);
    object->flags |= FLAG_MARKED;
    return 0;
}

/* Not more than all evidence says: of a clock without leaps, else of the wall's and the repository
 * together. */
static int64_t age_of(const struct prune *prune, const struct mark *mark)
{
    const struct prune_options *options = prune->options;
    int64_t age = marks_age(mark, &options->now), wall;

    if (!mark->sound || age >= 0)
        return mark->sound ? age : 0;
    if (__builtin_sub_overflow(options->now.time_ns, mark->made.time_ns, &wall) || wall < 0)
        return 0;
    int64_t believed = options->believed(options->context, mark->made.time_ns);
    return believed < wall ? believed : wall;
}

/* Not less than any clock says. */
static bool is_young(const struct prune *prune, const struct mark *mark, int64_t grace)
{
    int64_t age = marks_age(mark, &prune->options->now), wall;

    if (age < 0 &&
        __builtin_sub_overflow(prune->options->now.time_ns, mark->made.time_ns, &wall) == 0)
        age = wall;
    return mark->sound && age >= 0 && age < grace / 2;
}

static void note_wait(struct prune *prune, int64_t left)
{
    if (prune->result->next_ns < 0 || left < prune->result->next_ns)
        prune->result->next_ns = left;
}

/* A pruner with a longer grace has been promised that nobody deletes before. */
static void judge_mark(struct prune *prune, struct prune_object *object, const struct mark *mark)
{
    int64_t grace = prune->options->grace_ns, least = grace;

    grace = mark->sound && mark->grace_ns > grace ? mark->grace_ns : grace;
    least = mark->sound && mark->grace_ns < least ? mark->grace_ns : least;
    int64_t age = age_of(prune, mark);
    if (is_young(prune, mark, least))
        object->flags |= FLAG_YOUNG;
    if (mark->sound && age >= grace)
        object->flags |= FLAG_MATURE;
    else
        note_wait(prune, grace - age);
}

static bool is_marked(const struct prune *prune, size_t archive)
{
    return prune->objects[archive].flags & FLAG_MARKED;
}

static int read_mark(struct prune *prune, size_t archive, struct err *err)
{
    struct prune_object *object = &prune->objects[archive];
    struct mark mark;
    int r = marks_read(prune->repo, idtable_id(prune->repo->ids, (uint32_t)archive), &mark, err);

    if (r == -ERR_NOT_FOUND) {
        object->flags &= ~(unsigned)FLAG_MARKED;
        return 0;
    }
    if (r < 0)
        return r;
    pthread_mutex_lock(&prune->lock);
    judge_mark(prune, object, &mark);
    pthread_mutex_unlock(&prune->lock);
    return 0;
}

int prune_look_at_marks(struct prune *prune, struct err *err)
{
    int r = store_list(prune->repo->store, "marks/", list_mark, prune, err);

    prune->result->next_ns = -1;
    return r < 0 ? r : prune_each(prune, prune->object_room, is_marked, read_mark, err);
}

static bool is_any(const struct prune *prune, size_t at)
{
    (void)prune;
    (void)at;
    return true;
}

static int read_stale(struct prune *prune, size_t at, struct err *err)
{
    const int64_t most = STALE_DAYS * INT64_C(86400) * 1000000000;
    struct stale_mark *stale = &prune->stale[at];
    struct mark mark;
    int r = marks_read(prune->repo, &stale->id, &mark, err);

    if (r < 0)
        return r == -ERR_NOT_FOUND ? 0 : r;
    pthread_mutex_lock(&prune->lock);
    stale->goes = prune->options->at_once || (mark.sound && age_of(prune, &mark) > most);
    pthread_mutex_unlock(&prune->lock);
    return 0;
}

/* Of marks whose archive is gone only those stay that a writer may still have to see. */
int prune_choose_stale(struct prune *prune, struct err *err)
{
    return prune_each(prune, prune->stale_count, is_any, read_stale, err);
}
