/* Listings: pages of what a bucket has, and which of it is ours. */
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { PAGES_MAX = 1000000 };

/* ---- pages ------------------------------------------------------------------------------- */

static int list_page(struct s3 *s3, const char *whole, const struct s3_paging *paging,
                     struct s3_page *page, struct err *err)
{
    CLEANUP(buf_clear) struct buf query = {.limit = S3_URL_SIZE};
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_page before = *page;
    int r = paging->query(page, whole, &query, err);

    if (r == 0)
        r = buf_append(&query, "", 1, err);
    if (r < 0)
        return r;
    const struct s3_call call = {.method = "GET", .query = (const char *)query.data};
    r = s3_call(s3, &call, &response, err);
    if (r == 0)
        r = paging->take(paging->context, &response, page, err);
    if (r == 0 && page->truncated && strcmp(before.token, page->token) == 0 &&
        strcmp(before.version, page->version) == 0)
        r = err_set(err, ERR_REMOTE, "the server's listing does not go on");
    return r;
}

int s3_list_pages(struct s3 *s3, const char *whole, const struct s3_paging *paging, struct err *err)
{
    struct s3_page page = {.truncated = true};
    int r = 0;

    for (size_t pages = 0; r == 0 && page.truncated; pages++)
        r = pages < PAGES_MAX ? list_page(s3, whole, paging, &page, err)
                              : err_set(err, ERR_REMOTE, "the server's listing has no end");
    return r;
}

int s3_append_query(struct buf *out, const char *name, const char *value, struct err *err)
{
    int r = buf_append(out, name, strlen(name), err);

    return r < 0 ? r : s3_escape(out, value, err);
}

/* Sorted, as signatures want it. */
int s3_list_query(const struct s3_page *page, const char *whole, struct buf *out, struct err *err)
{
    int r = page->token[0] ? s3_append_query(out, "continuation-token=", page->token, err) : 0;

    if (r == 0 && page->token[0])
        r = buf_append(out, "&", 1, err);
    return r < 0 ? r : s3_append_query(out, "encoding-type=url&list-type=2&prefix=", whole, err);
}

/* ---- what lies below a prefix ------------------------------------------------------------ */

void s3_below_init(struct s3_below *below, const struct s3 *s3, const char *prefix)
{
    below->prefix = prefix;
    (void)snprintf(below->whole, sizeof(below->whole), "%s%s", s3->prefix, prefix);
    below->skip = strlen(below->whole);
}

const char *s3_below_name(const struct s3_below *below, const char *key)
{
    const char *rest = key + below->skip;
    char name[STORE_NAME_MAX + 1];

    if (strncmp(key, below->whole, below->skip) != 0 ||
        snprintf(name, sizeof(name), "%s%s", below->prefix, rest) >= (int)sizeof(name) ||
        !store_is_name(name))
        return NULL;
    return rest;
}

struct names {
    struct s3_below below;
    store_list_fn *each;
    void *context;
};

static int give(void *context, const struct s3_object_info *object, struct err *err)
{
    const struct names *names = context;
    const char *rest = s3_below_name(&names->below, object->key);

    return rest ? names->each(names->context, rest, object->size, err) : 0;
}

static int take(void *context, const struct http_response *response, struct s3_page *page,
                struct err *err)
{
    return s3_xml_list(&response->body, give, context, page, err);
}

int s3_list_objects(struct s3 *s3, const char *prefix, const struct s3_paging *paging,
                    s3_object_fn *each, struct err *err)
{
    char whole[S3_KEY_SIZE];

    if (s3->store.retention_ns > 0) {
        int r = s3_list_kept(s3, prefix, each, paging->context, err);
        if (r != -ERR_DENIED) /* who may not see versions sees the rest */
            return r;
    }
    (void)snprintf(whole, sizeof(whole), "%s%s", s3->prefix, prefix);
    return s3_list_pages(s3, whole, paging, err);
}

int s3_list(struct store *store, const char *prefix, store_list_fn *each, void *context,
            struct err *err)
{
    struct s3 *s3 = (struct s3 *)store;
    struct names names = {.each = each, .context = context};
    const struct s3_paging paging = {s3_list_query, take, &names};

    s3_below_init(&names.below, s3, prefix);
    return s3_list_objects(s3, prefix, &paging, give, err);
}
