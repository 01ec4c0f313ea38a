/* Versions of objects, in buckets that have them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { PAGES_MAX = 1000000, KEY_SIZE = 2048, BATCH = 256, ROUNDS_MAX = 1000 };

/* ---- listing ----------------------------------------------------------------------------- */

static int append(struct buf *out, const char *name, const char *value, struct err *err)
{
    int r = buf_append(out, name, strlen(name), err);

    return r < 0 ? r : s3_escape(out, value, err);
}

/* Sorted, as signatures want it. */
static int make_query(const struct s3_page *page, const char *prefix, struct buf *out,
                      struct err *err)
{
    int r = append(out, "encoding-type=", "url", err);

    if (r == 0 && page->token[0])
        r = append(out, "&key-marker=", page->token, err);
    if (r == 0)
        r = append(out, "&prefix=", prefix, err);
    if (r == 0 && page->version[0])
        r = append(out, "&version-id-marker=", page->version, err);
    if (r == 0)
        r = append(out, "&versions=", "", err);
    return r < 0 ? r : buf_append(out, "", 1, err);
}

static int list_page(struct s3 *s3, const char *prefix, s3_version_fn *each, void *context,
                     struct s3_page *page, struct err *err)
{
    CLEANUP(buf_clear) struct buf query = {.limit = S3_URL_SIZE};
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    struct s3_page before = *page;
    int r = make_query(page, prefix, &query, err);

    if (r < 0)
        return r;
    const struct s3_call call = {.method = "GET", .query = (const char *)query.data};
    r = s3_call(s3, &call, &response, err);
    if (r == 0)
        r = s3_xml_versions(&response.body, each, context, page, err);
    if (r == 0 && page->truncated && strcmp(before.token, page->token) == 0 &&
        strcmp(before.version, page->version) == 0)
        r = err_set(err, ERR_REMOTE, "the server's listing does not go on");
    return r;
}

int s3_list_versions(struct s3 *s3, const char *prefix, s3_version_fn *each, void *context,
                     struct err *err)
{
    struct s3_page page = {.truncated = true};
    char whole[KEY_SIZE];
    int r = 0;

    (void)snprintf(whole, sizeof(whole), "%s%s", s3->prefix, prefix);
    for (size_t pages = 0; r == 0 && page.truncated; pages++)
        r = pages < PAGES_MAX ? list_page(s3, whole, each, context, &page, err)
                              : err_set(err, ERR_REMOTE, "the server's listing has no end");
    return r;
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
    char key[KEY_SIZE];
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
    char key[KEY_SIZE];
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

static int hide(struct s3 *s3, const char *name, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "DELETE", .name = name};

    return s3_call(s3, &call, &response, err);
}

int s3_remove_versions(struct s3 *s3, const char *name, struct err *err)
{
    size_t count = BATCH;
    int r = 0;

    for (unsigned i = 0; r == 0 && count == BATCH && i < ROUNDS_MAX; i++)
        r = remove_batch(s3, name, &count, err);
    /* Who may only write takes his own claims away as far as he can. */
    if (r == -ERR_DENIED && strncmp(name, "claims/", 7) == 0)
        r = hide(s3, name, err);
    return r;
}
