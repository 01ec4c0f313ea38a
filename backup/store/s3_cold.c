/* Storage classes: which one, what can be read, how what cannot comes back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/store/cold.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { HEADER_SIZE = 1024, DOCUMENT_SIZE = 320 };

/* All but these stays where it can be read: so a snapshot can be looked at without a thaw. */
static const char data_prefix[] = "data/";

int s3_set_class(struct s3 *s3, const char *data_class, struct err *err)
{
    if (!data_class)
        return 0;
    if (!cold_is_class(data_class))
        return err_set(err, ERR_USAGE, "s3 storage_class: there is no \"%.40s\"", data_class);
    if (asprintf(&s3->data_class, "x-amz-storage-class: %s", data_class) >= 0)
        return 0;
    s3->data_class = NULL;
    return err_set(err, ERR_NOMEM, "no memory for a location");
}

const char *s3_class_header(const struct s3 *s3, const char *name, const struct s3_label *label)
{
    bool is_data = strncmp(name, data_prefix, sizeof(data_prefix) - 1) == 0;

    return is_data && !label->stays_warm ? s3->data_class : NULL;
}

/* ---- listing ----------------------------------------------------------------------------- */

struct listing {
    struct s3_below below;
    int64_t now_ns; /* by the server, else by this machine */
    cold_list_fn *each;
    void *context;
};

static int give(void *context, const struct s3_object_info *object, struct err *err)
{
    const struct listing *listing = context;
    struct cold_listed listed = {.size = object->size,
                                 .class = object->class,
                                 .age_ns = -1,
                                 .name = s3_below_name(&listing->below, object->key)};
    int64_t when;
    struct err ignored;

    if (!listed.name)
        return 0;
    if (clock_parse_time(object->when, &when, &ignored) == 0)
        listed.age_ns = listing->now_ns > when ? listing->now_ns - when : 0;
    return listing->each(listing->context, &listed, err);
}

static int take(void *context, const struct http_response *response, struct s3_page *page,
                struct err *err)
{
    struct listing *listing = context;
    struct clock *clock = clock_system();

    if (!s3_date(response, "date", &listing->now_ns))
        listing->now_ns = clock->now_ns(clock);
    return s3_xml_list(&response->body, give, listing, page, err);
}

static int list(struct store *store, const char *prefix, cold_list_fn *each, void *context,
                struct err *err)
{
    struct s3 *s3 = (struct s3 *)store;
    struct clock *clock = clock_system();
    struct listing listing = {.now_ns = clock->now_ns(clock), .each = each, .context = context};
    const struct s3_paging paging = {s3_list_query, take, &listing};

    s3_below_init(&listing.below, s3, prefix);
    return s3_list_objects(s3, prefix, &paging, give, err);
}

/* ---- one object -------------------------------------------------------------------------- */

static void copy_class(const struct http_response *response, char out[COLD_CLASS_SIZE])
{
    if (!http_header(response, "x-amz-storage-class", out, COLD_CLASS_SIZE))
        strcpy(out, "STANDARD");
}

/* A class of such a name freezes nothing on servers that only know classes: so one byte is tried.
 */
static int try_reading(struct s3 *s3, const char *name, const char *version, enum cold_state *out,
                       struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_RANGE_STEP}};
    const struct s3_call call = {
        .method = "GET", .name = name, .query = version, .headers = {"Range: bytes=0-0"}};
    int r = s3_call(s3, &call, &response, err);

    *out = r == -ERR_COLD ? COLD_FROZEN : COLD_READY;
    /* More than was asked for, or nothing to give: it can be read. */
    return r == -ERR_COLD || r == -ERR_TOO_LARGE || response.status == 416 ? 0 : r;
}

/* x-amz-restore: ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT" */
static int look(struct store *store, const char *name, struct cold_object *out, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_RANGE_STEP}};
    struct s3 *s3 = (struct s3 *)store;
    char text[200], query[S3_VERSION_QUERY_SIZE];
    int r = s3_which_version(s3, name, query, err);

    if (r < 0)
        return r;
    const char *version = query[0] ? query : NULL;
    const struct s3_call call = {.method = "HEAD", .name = name, .query = version};
    r = s3_call(s3, &call, &response, err);
    if (r < 0)
        return r;
    copy_class(&response, out->class);
    if (http_header(&response, "x-amz-restore", text, sizeof(text)))
        out->state = strstr(text, "ongoing-request=\"true\"") ? COLD_THAWING : COLD_THAWED;
    else if (cold_freezes(out->class) ||
             http_header(&response, "x-amz-archive-status", text, sizeof(text)))
        return try_reading(s3, name, version, &out->state, err);
    else
        out->state = COLD_READY;
    return 0;
}

/* What has come back into INTELLIGENT_TIERING stays: days would be refused. */
static void make_request(const struct cold_object *object, enum cold_tier tier, unsigned days,
                         char out[DOCUMENT_SIZE])
{
    static const char *const words[COLD_TIERS] = {
        [COLD_STANDARD] = "Standard", [COLD_EXPEDITED] = "Expedited", [COLD_BULK] = "Bulk"};
    char lasting[48] = "";

    if (cold_freezes(object->class))
        (void)snprintf(lasting, sizeof(lasting), "<Days>%u</Days>", days);
    (void)snprintf(out, DOCUMENT_SIZE,
                   "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">%s"
                   "<GlacierJobParameters><Tier>%s</Tier></GlacierJobParameters></RestoreRequest>",
                   lasting, words[tier]);
}

static int thaw(struct store *store, const char *name, const struct cold_object *object,
                enum cold_tier tier, unsigned days, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_RANGE_STEP}};
    struct s3 *s3 = (struct s3 *)store;
    char document[DOCUMENT_SIZE], version[S3_VERSION_QUERY_SIZE];
    char query[S3_VERSION_QUERY_SIZE + 16];
    struct s3_call call = {.method = "POST", .name = name, .query = query, .body = document};
    int r = s3_which_version(s3, name, version, err);

    if (r < 0)
        return r;
    (void)snprintf(query, sizeof(query), "restore=%s%s", version[0] ? "&" : "", version);
    make_request(object, tier, days, document);
    call.body_size = strlen(document);
    r = s3_call(s3, &call, &response, err);
    /* 409: it is on its way.  In no cold class any more: it is there. */
    if (response.status == 409 || r == -ERR_COLD)
        return 0;
    return r;
}

/* A copy onto itself changes nothing but the class; the server puts it there whole, or not.  As a
 * new version it is to be locked for no less than the old one (Ceph takes over the lock of that).
 */
static int move(struct store *store, const char *name, const char *class, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_RANGE_STEP}};
    struct s3 *s3 = (struct s3 *)store;
    struct s3_lock_headers lock;
    char source[HEADER_SIZE], into[80];
    struct s3_call call = {
        .method = "PUT",
        .name = name,
        .headers = {source, "x-amz-metadata-directive: COPY", into},
        .may_fail_late = true,
    };

    (void)snprintf(source, sizeof(source), "x-amz-copy-source: /%s/%s%s", s3->bucket, s3->prefix,
                   name);
    (void)snprintf(into, sizeof(into), "x-amz-storage-class: %.40s", class);
    int r = s3_add_retention(s3, &lock, &call, err);
    return r < 0 ? r : s3_call(s3, &call, &response, err);
}

const struct cold_ops s3_cold_ops = {.list = list, .look = look, .thaw = thaw, .move = move};
