/* Versions of objects, in buckets that have them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { BATCH = 256, ROUNDS_MAX = 1000 };

/* ---- listing ----------------------------------------------------------------------------- */

/* Sorted, as signatures want it. */
static int make_query(const struct s3_page *page, const char *whole, struct buf *out,
                      struct err *err)
{
    int r = s3_append_query(out, "encoding-type=", "url", err);

    if (r == 0 && page->token[0])
        r = s3_append_query(out, "&key-marker=", page->token, err);
    if (r == 0)
        r = s3_append_query(out, "&prefix=", whole, err);
    if (r == 0 && page->version[0])
        r = s3_append_query(out, "&version-id-marker=", page->version, err);
    return r < 0 ? r : s3_append_query(out, "&versions=", "", err);
}

struct versions {
    s3_version_fn *each;
    void *context;
};

static int take_page(void *context, const struct http_response *response, struct s3_page *page,
                     struct err *err)
{
    const struct versions *versions = context;

    return s3_xml_versions(&response->body, versions->each, versions->context, page, err);
}

int s3_list_versions(struct s3 *s3, const char *prefix, s3_version_fn *each, void *context,
                     struct err *err)
{
    struct versions versions = {each, context};
    const struct s3_paging paging = {make_query, take_page, &versions};
    char whole[S3_KEY_SIZE];

    (void)snprintf(whole, sizeof(whole), "%s%s", s3->prefix, prefix);
    return s3_list_pages(s3, whole, &paging, err);
}

/* ---- those of one object ----------------------------------------------------------------- */

int s3_version_query(const char *version, char out[S3_VERSION_QUERY_SIZE], struct err *err)
{
    CLEANUP(buf_clear) struct buf escaped = {.limit = S3_VERSION_QUERY_SIZE - 16};
    int r = s3_escape(&escaped, version, err);

    if (r == 0)
        (void)snprintf(out, S3_VERSION_QUERY_SIZE, "versionId=%.*s", (int)escaped.size,
                       (const char *)escaped.data);
    return r;
}

/* Queries of versions of one key, the newest first. */
struct found {
    char key[S3_KEY_SIZE];
    bool also_markers;
    size_t most, count;
    char (*queries)[S3_VERSION_QUERY_SIZE]; /* when `most` is 1: the last one met */
};

/* 1 ends the listing: of this key there is no more, or it is enough. */
static int take_version(void *context, const struct s3_version *version, struct err *err)
{
    struct found *found = context;

    if (strcmp(version->key, found->key) != 0)
        return 1;
    if (version->is_marker && !found->also_markers)
        return 0;
    if (found->count == found->most && found->most > 1)
        return 1;
    int r = s3_version_query(version->id, found->queries[found->count % found->most], err);
    found->count += found->count < found->most;
    return r;
}

static int find_versions(struct s3 *s3, const char *name, struct found *found, struct err *err)
{
    (void)snprintf(found->key, sizeof(found->key), "%s%s", s3->prefix, name);
    int r = s3_list_versions(s3, name, take_version, found, err);
    return r == 1 ? 0 : r;
}

int s3_first_version(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE],
                     struct err *err)
{
    struct found found = {.most = 1, .queries = (char(*)[S3_VERSION_QUERY_SIZE])out};
    int r = find_versions(s3, name, &found, err);

    if (r == 0 && found.count == 0)
        return err_set(err, ERR_NOT_FOUND, "%.120s has no version", name);
    return r;
}

struct longest {
    struct s3 *s3;
    const char *name;
    char key[S3_KEY_SIZE];
    int64_t until_ns;
};

static int take_longest(void *context, const struct s3_version *version, struct err *err)
{
    struct longest *longest = context;
    char query[S3_VERSION_QUERY_SIZE];
    int64_t until = 0;

    if (strcmp(version->key, longest->key) != 0)
        return 1;
    if (version->is_marker)
        return 0;
    int r = s3_version_query(version->id, query, err);
    if (r == 0)
        r = s3_version_retained(longest->s3, longest->name, query, &until, err);
    longest->until_ns = until > longest->until_ns ? until : longest->until_ns;
    return r == -ERR_NOT_FOUND ? 0 : r; /* removed meanwhile */
}

int s3_longest_retained(struct s3 *s3, const char *name, int64_t *out_ns, struct err *err)
{
    struct longest longest = {.s3 = s3, .name = name};

    (void)snprintf(longest.key, sizeof(longest.key), "%s%s", s3->prefix, name);
    int r = s3_list_versions(s3, name, take_longest, &longest, err);
    if (r < 0)
        return r == -ERR_DENIED ? 0 : r; /* removing is refused as well */
    *out_ns = longest.until_ns;
    return 0;
}

/* ---- removing ---------------------------------------------------------------------------- */

static int remove_version(struct s3 *s3, const char *name, const char *query, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "DELETE", .name = name, .query = query};
    struct clock *clock = clock_system();
    char text[CLOCK_TEXT_SIZE];
    struct err ignored;
    int64_t until = 0;
    int r = s3_call(s3, &call, &response, err);

    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r != -ERR_DENIED || s3_version_retained(s3, name, query, &until, &ignored) < 0 ||
        until <= clock->now_ns(clock))
        return r;
    if (until == INT64_MAX)
        return err_set(err, ERR_DENIED, "%.120s is under a legal hold", name);
    clock_format_local(until, text);
    return err_set(err, ERR_DENIED, "%.120s is locked until %s", name, text);
}

static void free_queries(char (**queries)[S3_VERSION_QUERY_SIZE])
{
    free(*queries);
}

/* The oldest of them first, so that nothing that was hidden appears again. */
static int remove_batch(struct s3 *s3, const char *name, size_t *out_count, struct err *err)
{
    CLEANUP(free_queries)
    char(*queries)[S3_VERSION_QUERY_SIZE] = calloc(BATCH, sizeof(*queries));
    struct found found = {.also_markers = true, .most = BATCH, .queries = queries};

    if (!queries)
        return err_set(err, ERR_NOMEM, "no memory for the versions of an object");
    int r = find_versions(s3, name, &found, err);
    for (size_t i = found.count; r == 0 && i > 0; i--)
        r = remove_version(s3, name, queries[i - 1], err);
    if (r == 0 && found.count == 0) /* whether it may be, is the server's to say */
        r = remove_version(s3, name, "versionId=null", err);
    *out_count = found.count;
    return r;
}

int s3_remove_versions(struct s3 *s3, const char *name, struct err *err)
{
    size_t count = BATCH;
    int r = 0;

    for (unsigned i = 0; r == 0 && count == BATCH && i < ROUNDS_MAX; i++)
        r = remove_batch(s3, name, &count, err);
    return r;
}
