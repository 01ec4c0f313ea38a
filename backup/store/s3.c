#include "backup/store/s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/pool.h"
#include "backup/store/s3_credentials.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

static const char default_region[] = "us-east-1";

static int remove_object(struct store *store, const char *name, struct err *err);
static int room(struct store *store, uint64_t *out_free, struct err *err);
static void close_store(struct store *store);
static void follow(struct store *store, struct progress *progress);
static void rest(struct store *store);

static const struct store_ops ops = {
    .close = close_store,
    .list = s3_list,
    .open = s3_open_object,
    .read = s3_read,
    .close_object = s3_close_object,
    .begin = s3_begin,
    .expect = s3_expect,
    .write = s3_write,
    .commit = s3_commit,
    .abort = s3_abort,
    .remove = remove_object,
    .room = room,
    .modified = s3_modified,
    .retained = s3_retained,
    .retain = s3_retain,
    .follow = follow,
    .cold = &s3_cold_ops,
    .rest = rest,
    .reopen = s3_reopen_object,
};

static void close_store(struct store *store)
{
    struct s3 *s3 = (struct s3 *)store;

    pool_free(s3->uploaders);
    s3_hidden_clear(s3);
    http_free(s3->http);
    s3_credentials_free(s3->credentials);
    pthread_cond_destroy(&s3->probed);
    pthread_mutex_destroy(&s3->lock);
    free(s3->bucket);
    free(s3->prefix);
    free(s3->base);
    free(s3->region);
    free(s3->sigv4);
    free(s3->data_class);
    free(s3->store.location);
    free(s3);
}

static void rest(struct store *store)
{
    struct s3 *s3 = (struct s3 *)store;

    http_rest(s3->http);
    s3_credentials_rest(s3->credentials);
}

static void follow(struct store *store, struct progress *progress)
{
    struct s3 *s3 = (struct s3 *)store;

    http_follow(s3->http, progress);
    s3_credentials_follow(s3->credentials, progress);
}

static void close_storep(struct s3 **s3)
{
    if (*s3)
        close_store(&(*s3)->store);
}

static int find_region(struct s3 *s3, const struct s3_options *options, struct err *err)
{
    char own[S3_REGION_SIZE];
    const char *region = options->region;

    if (!region)
        region =
            s3_profile_setting(options->profile, "region", own, sizeof(own)) ? own : default_region;
    for (const char *at = region; *at; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '-' ||
              *at == '_' || (*at >= '0' && *at <= '9')))
            return err_set(err, ERR_USAGE, "\"%.60s\" is no region", region);
    s3->region = strdup(region);
    if (!s3->region || asprintf(&s3->sigv4, "aws:amz:%s:s3", region) < 0) {
        s3->sigv4 = NULL;
        return err_set(err, ERR_NOMEM, "no memory for a location");
    }
    return 0;
}

int s3_store_open(const char *location, const struct s3_options *options, struct store **out,
                  struct err *err)
{
    CLEANUP(close_storep) struct s3 *s3 = calloc(1, sizeof(*s3));
    const struct http_options http = {.ca_file = options->ca_file,
                                      .connections = options->connections,
                                      .patience_ns = options->patience_ns};

    if (!s3)
        return err_set(err, ERR_NOMEM, "no memory for a store");
    pthread_mutex_init(&s3->lock, NULL);
    pthread_cond_init(&s3->probed, NULL);
    s3->store.ops = &ops;
    s3->store.is_remote = true;
    s3->store.retention_ns = options->retention_ns;
    s3->compliance = options->compliance;
    s3->store.location = strdup(location);
    int r = s3->store.location ? find_region(s3, options, err)
                               : err_set(err, ERR_NOMEM, "no memory for a location");
    if (r == 0)
        r = s3_locate(s3, location, options, err);
    if (r == 0)
        r = s3_set_class(s3, options->data_class, err);
    if (r == 0)
        r = s3_credentials_new(options->profile, options->profile_first, s3->region,
                               options->ca_file, &s3->credentials, err);
    if (r == 0)
        r = http_new(&http, &s3->http, err);
    if (r == 0)
        r = s3_check_region(s3, options, err);
    if (r < 0)
        return r;
    *out = &STEAL(s3)->store;
    return 0;
}

static int remove_object(struct store *store, const char *name, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "DELETE", .name = name};
    struct s3 *s3 = (struct s3 *)store;
    bool by_versions = false;
    int r = 0;

    /* Who does not lock, and only takes his claims away, need not ask. */
    if (s3->store.retention_ns > 0 || !s3_is_passing(name))
        r = s3_has_lock(s3, &by_versions, err);
    if (r == 0 && by_versions)
        r = s3_remove_versions(s3, name, err);
    /* Who may only write takes his own claims away as far as he can. */
    bool hides = r == -ERR_DENIED && by_versions && strncmp(name, "claims/", 7) == 0;
    return hides || (r == 0 && !by_versions) ? s3_call(s3, &call, &response, err) : r;
}

static int room(struct store *store, uint64_t *out_free, struct err *err)
{
    (void)store;
    (void)err;
    *out_free = UINT64_MAX;
    return 0;
}
