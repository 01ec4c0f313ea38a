/* Objects being written: parts in memory, which go out as they fill. */
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/pool.h"
#include "backup/store/s3_internal.h"

enum { WAITING_PARTS = 2 };

enum upload_state { UPLOAD_NONE, UPLOAD_BEGINNING, UPLOAD_BEGUN, UPLOAD_FAILED };

struct part {
    uint8_t *bytes; /* NULL: nothing written yet, or sent */
    size_t filled;
};

struct s3_put {
    struct store_put put;
    char name[STORE_NAME_MAX + 1]; /* empty: not known before the commit */
    struct s3_label label;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct part *parts;
    size_t count;
    uint64_t size;
    enum upload_state state;
    struct err refused; /* why it could not be begun */
    struct s3_upload *upload;
    size_t on_their_way;
    int r; /* of a part that could not be sent */
    struct err err;
};

/* A part on its way, for a thread of the pool. */
struct job {
    struct s3_put *put;
    size_t number;
    uint8_t *bytes;
    size_t size;
};

static struct s3 *s3_of(const struct s3_put *put)
{
    return (struct s3 *)put->put.store;
}

int s3_begin(struct store *store, struct store_put **out, struct err *err)
{
    struct s3_put *put = calloc(1, sizeof(*put));

    if (!put)
        return err_set(err, ERR_NOMEM, "no memory to write an object");
    int r = s3_make_id(put->label.id, err);
    if (r < 0) {
        free(put);
        return r;
    }
    put->put.store = store;
    pthread_mutex_init(&put->lock, NULL);
    pthread_cond_init(&put->changed, NULL);
    *out = &put->put;
    return 0;
}

/* What others may make as well goes up at once, or not at all. */
void s3_expect(struct store_put *base, const char *name)
{
    if (s3_is_random(name))
        strcpy(((struct s3_put *)base)->name, name); /* store.c has looked at its length */
}

static void free_put(struct s3_put *put)
{
    for (size_t i = 0; i < put->count; i++)
        free(put->parts[i].bytes);
    pthread_cond_destroy(&put->changed);
    pthread_mutex_destroy(&put->lock);
    free(put->parts);
    free(put);
}

static void wait_for_parts(struct s3_put *put)
{
    pthread_mutex_lock(&put->lock);
    while (put->on_their_way > 0 || put->state == UPLOAD_BEGINNING)
        pthread_cond_wait(&put->changed, &put->lock);
    pthread_mutex_unlock(&put->lock);
}

void s3_abort(struct store_put *base)
{
    struct s3_put *put = (struct s3_put *)base;

    wait_for_parts(put);
    if (put->upload)
        s3_upload_abort(put->upload);
    free_put(put);
}

static void abortp(struct s3_put **put)
{
    if (*put)
        s3_abort(&(*put)->put);
}

/* Under the lock: makes room for this part. */
static int have_part(struct s3_put *put, size_t number, struct err *err)
{
    if (number >= put->count) {
        struct part *more = realloc(put->parts, (number + 1) * sizeof(*more));
        if (!more)
            return err_set(err, ERR_NOMEM, "no memory to write an object");
        memset(more + put->count, 0, (number + 1 - put->count) * sizeof(*more));
        put->parts = more;
        put->count = number + 1;
    }
    if (!put->parts[number].bytes)
        put->parts[number].bytes = malloc(S3_PART_SIZE); /* untouched pages cost nothing */
    if (!put->parts[number].bytes)
        return err_set(err, ERR_NOMEM, "no memory to write an object");
    return 0;
}

/* The first that has a part to send begins the upload; others wait. */
static int begin_upload(struct s3_put *put, struct err *err)
{
    struct s3_upload *upload = NULL;

    pthread_mutex_lock(&put->lock);
    while (put->state == UPLOAD_BEGINNING)
        pthread_cond_wait(&put->changed, &put->lock);
    bool mine = put->state == UPLOAD_NONE;
    bool failed = put->state == UPLOAD_FAILED;
    if (mine)
        put->state = UPLOAD_BEGINNING;
    if (failed)
        *err = put->refused;
    pthread_mutex_unlock(&put->lock);
    if (failed)
        return -(int)err->code;
    if (!mine)
        return 0;

    put->label.stays_warm = put->put.stays_warm;
    int r = s3_upload_begin(s3_of(put), put->name, &put->label, &upload, err);
    pthread_mutex_lock(&put->lock);
    put->upload = upload;
    put->state = r < 0 ? UPLOAD_FAILED : UPLOAD_BEGUN;
    if (r < 0)
        put->refused = *err;
    pthread_cond_broadcast(&put->changed);
    pthread_mutex_unlock(&put->lock);
    return r;
}

static void send_part(void *argument)
{
    struct job *job = argument;
    struct s3_put *put = job->put;
    struct err err;
    int r = s3_upload_part(put->upload, job->number, job->bytes, job->size, &err);

    free(job->bytes);
    free(job);
    pthread_mutex_lock(&put->lock);
    if (r < 0 && put->r == 0) {
        put->r = r;
        put->err = err;
    }
    put->on_their_way--;
    pthread_cond_broadcast(&put->changed);
    pthread_mutex_unlock(&put->lock);
}

struct pool *s3_uploaders(struct s3 *s3)
{
    pthread_mutex_lock(&s3->lock);
    if (!s3->uploaders)
        s3->uploaders = pool_new(S3_UPLOADERS, WAITING_PARTS);
    struct pool *pool = s3->uploaders;
    pthread_mutex_unlock(&s3->lock);
    return pool;
}

/* Hands a part to the pool, and waits while that is full: so memory stays bounded. */
static int submit(struct s3_put *put, size_t number, struct err *err)
{
    struct pool *pool = s3_uploaders(s3_of(put));
    struct job *job = malloc(sizeof(*job));
    int r = begin_upload(put, err);

    if (r == 0 && (!pool || !job))
        r = err_set(err, ERR_NOMEM, "no memory to write an object");
    if (r < 0) {
        free(job);
        return r;
    }
    pthread_mutex_lock(&put->lock);
    *job = (struct job){put, number, STEAL(put->parts[number].bytes), put->parts[number].filled};
    put->on_their_way++;
    pthread_mutex_unlock(&put->lock);
    pool_submit(pool, send_part, job);
    return 0;
}

/* What went wrong with a part that was sent meanwhile. */
static int trouble(struct s3_put *put, struct err *err)
{
    pthread_mutex_lock(&put->lock);
    int r = put->r;
    if (r < 0)
        *err = put->err;
    pthread_mutex_unlock(&put->lock);
    return r;
}

static int write_part(struct s3_put *put, size_t number, size_t skip, const void *bytes,
                      size_t count, struct err *err)
{
    pthread_mutex_lock(&put->lock);
    int r = have_part(put, number, err);
    uint8_t *to = r == 0 ? put->parts[number].bytes : NULL;
    pthread_mutex_unlock(&put->lock);
    if (r < 0)
        return r;

    memcpy(to + skip, bytes, count);
    pthread_mutex_lock(&put->lock);
    put->parts[number].filled += count;
    bool full = put->parts[number].filled == S3_PART_SIZE;
    uint64_t end = (uint64_t)number * S3_PART_SIZE + skip + count;
    put->size = end > put->size ? end : put->size;
    pthread_mutex_unlock(&put->lock);
    return full && put->name[0] ? submit(put, number, err) : 0;
}

int s3_write(struct store_put *base, uint64_t offset, const void *bytes, size_t count,
             struct err *err)
{
    struct s3_put *put = (struct s3_put *)base;
    const uint8_t *from = bytes;
    int r = trouble(put, err);

    while (r == 0 && count > 0) {
        size_t number = (size_t)(offset / S3_PART_SIZE);
        size_t skip = (size_t)(offset % S3_PART_SIZE);
        size_t some = S3_PART_SIZE - skip < count ? S3_PART_SIZE - skip : count;
        r = write_part(put, number, skip, from, some, err);
        from += some;
        offset += some;
        count -= some;
    }
    return r;
}

/* Every part but the last has to be full. */
static int check_whole(const struct s3_put *put, struct err *err)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < put->count; i++)
        sum += put->parts[i].filled;
    if (sum == put->size)
        return 0;
    return err_set(err, ERR_CORRUPT, "%.90s: an object with a hole", put->name);
}

static int commit_parts(struct s3_put *put, struct err *err)
{
    int r = put->state == UPLOAD_NONE ? s3_check_free(s3_of(put), put->name, err) : 0;

    for (size_t i = 0; i < put->count && r == 0; i++)
        if (put->parts[i].bytes)
            r = submit(put, i, err);
    wait_for_parts(put);
    if (r == 0)
        r = trouble(put, err);
    return r < 0 ? r : s3_upload_complete(STEAL(put->upload), err);
}

/* All parts into the first one. */
static int join_parts(struct s3_put *put, struct err *err)
{
    size_t at = put->count > 0 ? put->parts[0].filled : 0;

    if (put->count <= 1)
        return 0;
    uint8_t *whole = realloc(put->parts[0].bytes, put->size);
    if (!whole)
        return err_set(err, ERR_NOMEM, "no memory to write an object");
    put->parts[0].bytes = whole;
    for (size_t i = 1; i < put->count; i++) {
        memcpy(whole + at, put->parts[i].bytes, put->parts[i].filled);
        at += put->parts[i].filled;
        free(STEAL(put->parts[i].bytes));
    }
    return 0;
}

/* By one request, however large it is: so the server's refusal, or a claim, stands between all that
 * make an object of this name.  A server may have a refusal for a PUT, and none for what ends an
 * upload in parts. */
static int commit_whole(struct s3_put *put, struct err *err)
{
    int r = join_parts(put, err);

    return r < 0 ? r
                 : s3_create(s3_of(put), put->name, &put->label,
                             put->count > 0 ? put->parts[0].bytes : NULL, put->size, err);
}

int s3_commit(struct store_put *base, const char *name, struct err *err)
{
    CLEANUP(abortp) struct s3_put *put = (struct s3_put *)base;
    int r = check_whole(put, err);

    wait_for_parts(put);
    if (r == 0 && put->state != UPLOAD_NONE && strcmp(put->name, name) != 0)
        r = err_set(err, ERR_USAGE, "%.90s was begun as %.90s", name, put->name);
    if (r < 0)
        return r;
    strcpy(put->name, name); /* store.c has looked at its length */
    put->label.stays_warm = put->put.stays_warm;
    bool whole = put->state == UPLOAD_NONE && (put->count <= 1 || !s3_is_random(name));
    return whole ? commit_whole(put, err) : commit_parts(put, err);
}
