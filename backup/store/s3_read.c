#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/store/s3_internal.h"

/* The last bytes come with the first request: an archive begins to be read at its end. */
struct s3_object {
    struct store_object object;
    char name[STORE_NAME_MAX + 1];
    char version[S3_VERSION_QUERY_SIZE]; /* empty: the newest */
    uint64_t tail_offset;
    struct buf tail;
};

/* What of an object came. */
struct range {
    uint64_t first, end, size;
};

static void free_object(struct s3_object *object)
{
    buf_clear(&object->tail);
    free(object);
}

static void free_objectp(struct s3_object **object)
{
    if (*object)
        free_object(*object);
}

void s3_close_object(struct store_object *object)
{
    free_object((struct s3_object *)object);
}

/* "bytes 0-65535/1234567", or all of it with a plain 200. */
static int read_range(const struct http_response *response, struct range *out, struct err *err)
{
    char text[80];
    uint64_t last;

    if (response->status == 200) {
        *out = (struct range){.end = response->body.size, .size = response->body.size};
        return 0;
    }
    if (!http_header(response, "content-range", text, sizeof(text)) ||
        sscanf(text, "bytes %19" SCNu64 "-%19" SCNu64 "/%19" SCNu64, &out->first, &last,
               &out->size) != 3 ||
        last < out->first || last >= out->size || last - out->first + 1 != response->body.size)
        return err_set(err, ERR_REMOTE, "the server's answer to a range is none");
    out->end = last + 1;
    return 0;
}

/* ERR_TOO_LARGE: more came than there is room for. */
static int ask(struct s3 *s3, const struct s3_object *object, const char *range,
               struct http_response *response, struct range *out, struct err *err)
{
    const struct s3_call call = {.method = "GET",
                                 .name = object->name,
                                 .query = object->version[0] ? object->version : NULL,
                                 .headers = {range}};
    int r = s3_call(s3, &call, response, err);

    return r < 0 ? r : read_range(response, out, err);
}

static int get(struct s3 *s3, const struct s3_object *object, const char *range,
               struct http_response *response, struct range *out, struct err *err)
{
    int r = ask(s3, object, range, response, out, err);

    if (r == -ERR_TOO_LARGE)
        r = err_set(err, ERR_REMOTE, "the server sends more than the range that it was asked for");
    return r;
}

/* The bytes [first, end). */
static int get_between(struct s3 *s3, const struct s3_object *object, uint64_t first, uint64_t end,
                       struct http_response *response, struct range *out, struct err *err)
{
    char header[80];

    (void)snprintf(header, sizeof(header), "Range: bytes=%" PRIu64 "-%" PRIu64, first, end - 1);
    return get(s3, object, header, response, out, err);
}

static int ask_size(struct s3 *s3, const struct s3_object *object, uint64_t *out, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_RANGE_STEP}};
    const struct s3_call call = {.method = "HEAD",
                                 .name = object->name,
                                 .query = object->version[0] ? object->version : NULL};
    char text[32];

    int r = s3_call(s3, &call, &response, err);
    if (r == 0 && (!http_header(&response, "content-length", text, sizeof(text)) ||
                   sscanf(text, "%19" SCNu64, out) != 1))
        r = err_set(err, ERR_REMOTE, "the server does not say how large the object is");
    return r;
}

/* The last bytes of an object whose size is known. */
static int get_from(struct s3 *s3, const struct s3_object *object, uint64_t size,
                    struct http_response *response, struct range *out, struct err *err)
{
    uint64_t first = size > S3_RANGE_STEP ? size - S3_RANGE_STEP : 0;

    http_response_clear(response);
    *response = (struct http_response){.body = {.limit = S3_RANGE_STEP}};
    int r = get_between(s3, object, first, size, response, out, err);
    if (r == 0 && (out->first != first || out->end != size || out->size != size))
        r = err_set(err, ERR_REMOTE, "the server's answer to a range is another one");
    return r;
}

/* What comes ends where the object does.  There are servers that take "the last N bytes" for the
 * first ones: they are asked for the size. */
static int get_tail(struct s3 *s3, const struct s3_object *object, struct http_response *response,
                    struct range *out, struct err *err)
{
    uint64_t size = 0;
    char header[48];

    (void)snprintf(header, sizeof(header), "Range: bytes=-%d", S3_RANGE_STEP);
    int r = ask(s3, object, header, response, out, err);
    if (r != -ERR_TOO_LARGE && (r < 0 || out->end == out->size))
        return r;
    r = ask_size(s3, object, &size, err);
    if (r == 0 && size == 0)
        r = err_set(err, ERR_REMOTE, "the server's answer to a range is another one");
    return r < 0 ? r : get_from(s3, object, size, response, out, err);
}

static int load_tail(struct s3 *s3, struct s3_object *object, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_RANGE_STEP}};
    struct range range = {0};

    int r = get_tail(s3, object, &response, &range, err);
    if (r < 0 && response.status == 416)
        return 0; /* empty */
    if (r < 0)
        return r;
    object->object.size = range.size;
    object->tail_offset = range.first;
    object->tail = response.body;
    response.body = (struct buf){0};
    return 0;
}

int s3_open_object(struct store *store, const char *name, struct store_object **out,
                   struct err *err)
{
    CLEANUP(free_objectp) struct s3_object *object = calloc(1, sizeof(*object));
    struct s3 *s3 = (struct s3 *)store;
    struct err why;

    if (!object)
        return err_set(err, ERR_NOMEM, "no memory to open an object");
    object->object.store = store;
    strcpy(object->name, name); /* store.c has looked at its length */
    int r = s3_which_version(s3, name, object->version, err);
    if (r == 0)
        r = load_tail(s3, object, err);
    if (r == -ERR_NOT_FOUND && s3_find_hidden(s3, name, object->version, &why) == 0)
        r = load_tail(s3, object, err);
    if (r < 0)
        return err_context(err, "%.90s", name);
    *out = &STEAL(object)->object;
    return 0;
}

bool s3_date(const struct http_response *response, const char *header, int64_t *out_ns)
{
    struct tm tm = {0};
    char text[80];

    if (!http_header(response, header, text, sizeof(text)) ||
        !strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        return false;
    *out_ns = (int64_t)timegm(&tm) * NS_PER_SECOND;
    return true;
}

int s3_reopen_object(struct store *store, const char *name, uint64_t size,
                     struct store_object **out, struct err *err)
{
    if (s3_is_retained((struct s3 *)store, name)) /* which version counts has to be asked */
        return s3_open_object(store, name, out, err);
    struct s3_object *object = calloc(1, sizeof(*object));
    if (!object)
        return err_set(err, ERR_NOMEM, "no memory to open an object");
    object->object.store = store;
    object->object.size = object->tail_offset = size;
    strcpy(object->name, name);
    *out = &object->object;
    return 0;
}

/* A server that does not say is as one that does not know. */
int s3_modified(struct store *store, const char *name, int64_t *out_ns, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_RANGE_STEP}};
    const struct s3_call call = {.method = "HEAD", .name = name};
    int r = s3_call((struct s3 *)store, &call, &response, err);

    if (r < 0)
        return err_context(err, "%.90s", name);
    (void)s3_date(&response, "last-modified", out_ns);
    return 0;
}

/* The bytes [first, end), which are whole steps, into a body that is there for them. */
static int fetch_steps(struct s3_object *object, uint64_t first, uint64_t end,
                       struct http_response *response, struct err *err)
{
    struct range range;
    int r =
        get_between((struct s3 *)object->object.store, object, first, end, response, &range, err);

    if (r == 0 && (range.first != first || range.end != end || range.size != object->object.size))
        r = err_set(err, ERR_CORRUPT, "the object is not as long as it was");
    return r;
}

static int fetch(struct s3_object *object, uint64_t offset, void *out, size_t count,
                 struct err *err)
{
    const uint64_t mask = S3_RANGE_STEP - 1;
    uint64_t size = object->object.size;
    uint64_t first = offset & ~mask;
    uint64_t end = (offset + count + mask) & ~mask;

    end = end < size ? end : size;
    if (first == offset && end == offset + count && count >= S3_RANGE_STEP) {
        struct http_response response = {.body = buf_borrow(out, count)};
        int r = fetch_steps(object, first, end, &response, err);
        buf_clear(&response.headers);
        return r;
    }
    CLEANUP(http_response_clear)
    struct http_response response = {.body = {.limit = (size_t)(end - first)}};
    if (response.body.limit < S3_RANGE_STEP)
        response.body.limit = S3_RANGE_STEP; /* for what an error says */
    int r = buf_reserve(&response.body, (size_t)(end - first), err);
    if (r == 0)
        r = fetch_steps(object, first, end, &response, err);
    if (r == 0)
        memcpy(out, response.body.data + (offset - first), count);
    return r;
}

int s3_read(struct store_object *base, uint64_t offset, void *out, size_t count, struct err *err)
{
    struct s3_object *object = (struct s3_object *)base;
    int r = 0;

    if (count > base->size || offset > base->size - count)
        r = err_set(err, ERR_CORRUPT, "the object ends early");
    else if (count > 0 && offset >= object->tail_offset)
        memcpy(out, object->tail.data + (offset - object->tail_offset), count);
    else if (count > 0)
        r = fetch(object, offset, out, count, err);
    return r < 0 ? err_context(err, "%.90s", object->name) : 0;
}
