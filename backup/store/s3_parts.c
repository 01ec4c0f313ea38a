/* Uploads in parts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { PARTS_MAX = 10000, ETAG_SIZE = 128 };

/* An upload that nobody has ended for so long belongs to a process that died. */
static const int64_t dead_ns = 3 * 24 * 3600 * NS_PER_SECOND;

struct etag {
    char text[ETAG_SIZE]; /* empty: not sent yet */
};

struct s3_upload {
    struct s3 *s3;
    char name[STORE_NAME_MAX + 1];
    char put_id[S3_ID_SIZE];
    char query[S3_TEXT_MAX * 3 + 16]; /* "uploadId=…", escaped */

    pthread_mutex_t lock; /* guards what follows */
    struct etag *etags;
    size_t count;
};

static void upload_free(struct s3_upload *upload)
{
    pthread_mutex_destroy(&upload->lock);
    free(upload->etags);
    free(upload);
}

static void upload_freep(struct s3_upload **upload)
{
    if (*upload)
        upload_free(*upload);
}

static int set_query(struct s3_upload *upload, const char *upload_id, struct err *err)
{
    CLEANUP(buf_clear) struct buf escaped = {.limit = sizeof(upload->query) - 16};
    int r = s3_escape(&escaped, upload_id, err);

    if (r == 0)
        (void)snprintf(upload->query, sizeof(upload->query), "uploadId=%.*s", (int)escaped.size,
                       (const char *)escaped.data);
    return r;
}

static int abort_upload(struct s3 *s3, const char *name, const char *query, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "DELETE", .name = name, .query = query};

    return s3_call(s3, &call, &response, err);
}

/* One upload of the listing: ours, and begun long ago? */
static int abort_dead(void *context, const char *key, const char *id, const char *when,
                      struct err *err)
{
    struct s3 *s3 = context;
    struct clock *clock = clock_system();
    struct s3_upload upload;
    size_t skip = strlen(s3->prefix);
    int64_t begun;

    if (strncmp(key, s3->prefix, skip) != 0 || !store_is_name(key + skip) ||
        clock_parse_time(when, &begun, err) < 0 || clock->now_ns(clock) - begun < dead_ns)
        return 0;
    if (set_query(&upload, id, err) == 0 && abort_upload(s3, key + skip, upload.query, err) == 0)
        log_debug("s3: removed the parts of an upload that was given up: %s", key);
    return 0;
}

/* Once; who may not list uploads, leaves it to those who may. */
static void tidy(struct s3 *s3)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    CLEANUP(buf_clear) struct buf query = {.limit = S3_URL_SIZE};
    struct err ignored;

    pthread_mutex_lock(&s3->lock);
    bool was_tidy = s3->is_tidy;
    s3->is_tidy = true;
    pthread_mutex_unlock(&s3->lock);
    if (was_tidy || buf_append(&query, "prefix=", 7, &ignored) < 0 ||
        s3_escape(&query, s3->prefix, &ignored) < 0 ||
        buf_append(&query, "&uploads=", sizeof("&uploads="), &ignored) < 0)
        return;
    const struct s3_call call = {.method = "GET", .query = (const char *)query.data};
    if (s3_call(s3, &call, &response, &ignored) == 0)
        (void)s3_xml_uploads(&response.body, abort_dead, s3, &ignored);
}

int s3_upload_begin(struct s3 *s3, const char *name, const struct s3_label *label,
                    struct s3_upload **out, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    CLEANUP(upload_freep) struct s3_upload *upload = calloc(1, sizeof(*upload));
    struct s3_lock_headers lock;
    char id_header[64];
    char upload_id[S3_TEXT_MAX];
    struct s3_call call = {.method = "POST",
                           .name = name,
                           .query = "uploads=",
                           .may_fail_late = true,
                           .headers = {id_header, s3_class_header(s3, name, label)}};

    if (!upload)
        return err_set(err, ERR_NOMEM, "no memory for an upload");
    tidy(s3);
    pthread_mutex_init(&upload->lock, NULL);
    upload->s3 = s3;
    strcpy(upload->name, name);
    strcpy(upload->put_id, label->id);
    (void)snprintf(id_header, sizeof(id_header), "x-amz-meta-yester-put: %s", label->id);
    int r = s3_add_retention(s3, &lock, &call, err);
    if (r == 0)
        r = s3_call(s3, &call, &response, err);
    if (r == 0)
        r = s3_xml_text(&response.body, "UploadId", upload_id, sizeof(upload_id), err);
    if (r == 0)
        r = set_query(upload, upload_id, err);
    if (r < 0)
        return r;
    *out = STEAL(upload);
    return 0;
}

static int keep_etag(struct s3_upload *upload, size_t number, const char *text, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&upload->lock);
    if (number >= upload->count) {
        struct etag *more = realloc(upload->etags, (number + 1) * sizeof(*more));
        if (more) {
            memset(more + upload->count, 0, (number + 1 - upload->count) * sizeof(*more));
            upload->etags = more;
            upload->count = number + 1;
        } else {
            r = err_set(err, ERR_NOMEM, "no memory for an upload");
        }
    }
    if (r == 0)
        strcpy(upload->etags[number].text, text);
    pthread_mutex_unlock(&upload->lock);
    return r;
}

/* An etag goes into a document of ours. */
static bool is_plain_etag(const char *text)
{
    return text[0] && !strpbrk(text, "<>&");
}

int s3_upload_part(struct s3_upload *upload, size_t number, const void *bytes, size_t size,
                   struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    struct s3_lock_headers lock;
    char query[sizeof(upload->query) + 32];
    char etag[ETAG_SIZE] = "";
    struct s3_call call = {
        .method = "PUT", .name = upload->name, .query = query, .body = bytes, .body_size = size};

    if (number >= PARTS_MAX)
        return err_set(err, ERR_TOO_LARGE, "%.90s: more than %d parts", upload->name, PARTS_MAX);
    (void)snprintf(query, sizeof(query), "partNumber=%zu&%s", number + 1, upload->query);
    int r = s3_add_checksum(upload->s3, &lock, &call, err);
    if (r == 0)
        r = s3_call(upload->s3, &call, &response, err);
    if (r < 0)
        return r;
    if (!http_header(&response, "etag", etag, sizeof(etag)) || !is_plain_etag(etag))
        return err_set(err, ERR_REMOTE, "%.90s: the server gives a part no etag", upload->name);
    return keep_etag(upload, number, etag, err);
}

static int make_document(const struct s3_upload *upload, struct buf *out, struct err *err)
{
    static const char begin[] = "<CompleteMultipartUpload "
                                "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    static const char end[] = "</CompleteMultipartUpload>";
    char part[ETAG_SIZE + 80];
    int r = buf_append(out, begin, sizeof(begin) - 1, err);

    for (size_t i = 0; r == 0 && i < upload->count; i++) {
        int size =
            snprintf(part, sizeof(part), "<Part><PartNumber>%zu</PartNumber><ETag>%s</ETag></Part>",
                     i + 1, upload->etags[i].text);
        r = upload->etags[i].text[0]
                ? buf_append(out, part, (size_t)size, err)
                : err_set(err, ERR_REMOTE, "%.90s: part %zu is missing", upload->name, i + 1);
    }
    return r < 0 ? r : buf_append(out, end, sizeof(end) - 1, err);
}

static int ask_to_complete(struct s3_upload *upload, const struct buf *document, bool guarded,
                           int *out_status, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "POST",
                                 .name = upload->name,
                                 .query = upload->query,
                                 .body = document->data,
                                 .body_size = document->size,
                                 .headers = {guarded ? s3_only_new : NULL},
                                 .may_fail_late = true};
    int r = s3_call(upload->s3, &call, &response, err);

    *out_status = response.status;
    return r;
}

/* A server that has it for a PUT may not for this. */
static bool is_guarded(struct s3 *s3)
{
    bool overwrites = s3_refusal_of(s3) == S3_OVERWRITES;

    pthread_mutex_lock(&s3->lock);
    bool guarded = !overwrites && !s3->completes_blindly;
    pthread_mutex_unlock(&s3->lock);
    return guarded;
}

static int complete(struct s3_upload *upload, struct err *err)
{
    CLEANUP(buf_clear) struct buf document = {.limit = PARTS_MAX * (size_t)(ETAG_SIZE + 80)};
    struct s3 *s3 = upload->s3;
    struct err ignored;
    bool ours = false, guarded = is_guarded(s3);
    int status, r = make_document(upload, &document, err);

    if (r < 0)
        return r;
    r = ask_to_complete(upload, &document, guarded, &status, err);
    if (r < 0 && guarded && status == 501) {
        pthread_mutex_lock(&s3->lock);
        s3->completes_blindly = true;
        pthread_mutex_unlock(&s3->lock);
        r = ask_to_complete(upload, &document, false, &status, err);
    }
    /* "No such upload", and that it is there already, is also what the second asking for what was
     * done at the first gets. */
    if (r < 0 && s3_is_ours(s3, upload->name, upload->put_id, &ours, &ignored) == 0 && ours)
        r = 0;
    return r < 0 ? r : s3_ensure_retention(s3, upload->name, err);
}

int s3_upload_complete(struct s3_upload *upload, struct err *err)
{
    CLEANUP(upload_freep) struct s3_upload *ending = upload;
    struct err ignored;
    int r = complete(upload, err);

    if (r < 0)
        (void)abort_upload(upload->s3, upload->name, upload->query, &ignored);
    return r;
}

void s3_upload_abort(struct s3_upload *upload)
{
    struct err ignored;

    (void)abort_upload(upload->s3, upload->name, upload->query, &ignored);
    upload_free(upload);
}
