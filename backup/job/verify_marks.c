/* verify_marks — what is known of each archive, and what is told of it. */
#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/progress.h"
#include "backup/job/verify_internal.h"

bool verify_is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND ||
           (err->code == ERR_SYSTEM && err->cause == EIO);
}

bool verify_stopped(struct verify *verify)
{
    return progress_cancelled(verify->options->progress);
}

/* With the lock held. */
static int make_room(struct verify *verify, uint32_t archive, struct err *err)
{
    return idtable_room(&verify->marks, &verify->mark_count, sizeof(*verify->marks), archive, err);
}

int verify_mark(struct verify *verify, uint32_t archive, uint8_t mark, struct err *err)
{
    pthread_mutex_lock(&verify->lock);
    int r = make_room(verify, archive, err);
    if (r == 0)
        verify->marks[archive] |= mark;
    pthread_mutex_unlock(&verify->lock);
    return r;
}

uint8_t verify_marks(struct verify *verify, uint32_t archive)
{
    pthread_mutex_lock(&verify->lock);
    uint8_t marks = archive < verify->mark_count ? verify->marks[archive] : 0;
    pthread_mutex_unlock(&verify->lock);
    return marks;
}

void verify_damaged(struct verify *verify, uint32_t archive, const struct err *why)
{
    const struct archive_id *id = idtable_id(verify->repo->ids, archive);
    char object[OBJECT_NAME_SIZE];
    struct err err;

    repo_object_name(idtable_kind(verify->repo->ids, archive), id, object);
    pthread_mutex_lock(&verify->lock);
    bool told = archive < verify->mark_count && (verify->marks[archive] & MARK_BAD);
    if (!told && make_room(verify, archive, &err) < 0)
        verify->failure = err;
    if (!told && archive < verify->mark_count) {
        verify->marks[archive] |= MARK_BAD;
        verify->result->damaged_archives++;
        verify->options->damaged(verify->options->context, object, archive, why);
    }
    pthread_mutex_unlock(&verify->lock);
}

void verify_cold(struct verify *verify, uint32_t archive)
{
    struct err err;

    pthread_mutex_lock(&verify->lock);
    if (make_room(verify, archive, &err) < 0) {
        verify->failure = err;
    } else if (!(verify->marks[archive] & MARK_COLD)) {
        verify->marks[archive] |= MARK_COLD;
        verify->result->cold_archives++;
    }
    pthread_mutex_unlock(&verify->lock);
}

void verify_whole(struct verify *verify, uint32_t archive)
{
    pthread_mutex_lock(&verify->lock);
    bool bad = archive < verify->mark_count && (verify->marks[archive] & MARK_BAD);
    if (!bad && verify->options->whole)
        verify->options->whole(verify->options->context, archive);
    pthread_mutex_unlock(&verify->lock);
}
