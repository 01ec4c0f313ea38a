#include "backup/store/s3_credentials.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/memory.h"
#include "backup/net/http.h"
#include "backup/store/s3_credentials_internal.h"

/* Keys are fetched again so long before they expire. */
static const int64_t early_ns = 300 * NS_PER_SECOND;
static const int64_t patience_ns = 10 * NS_PER_SECOND;

struct s3_credentials {
    struct s3_sources sources;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t fetched;
    bool fetching;
    bool known;
    struct s3_keys *keys;
};

const char *s3_variable(const char *name)
{
    const char *text = getenv(name);

    return text && text[0] ? text : NULL;
}

bool s3_copy(char *out, size_t size, const char *text)
{
    size_t length = strnlen(text, size);
    bool fits = length < size;

    memcpy(out, text, fits ? length : size - 1);
    out[fits ? length : size - 1] = '\0';
    return fits;
}

int s3_credentials_new(const char *profile, bool profile_first, const char *region,
                       const char *ca_file, struct s3_credentials **out, struct err *err)
{
    const struct http_options options = {
        .ca_file = ca_file, .connections = 1, .patience_ns = patience_ns};
    struct s3_credentials *credentials = calloc(1, sizeof(*credentials));

    if (!credentials)
        return err_set(err, ERR_NOMEM, "no memory for credentials");
    pthread_mutex_init(&credentials->lock, NULL);
    pthread_cond_init(&credentials->fetched, NULL);
    credentials->keys = secure_alloc(sizeof(*credentials->keys));
    credentials->sources.profile = profile ? strdup(profile) : NULL;
    credentials->sources.profile_first = profile_first;
    credentials->sources.region = strdup(region);
    int r = http_new(&options, &credentials->sources.http, err);
    if (r == 0 && (!credentials->keys || !credentials->sources.region ||
                   (profile && !credentials->sources.profile)))
        r = err_set(err, ERR_NOMEM, "no memory for credentials");
    if (r < 0)
        s3_credentials_free(credentials);
    else
        *out = credentials;
    return r;
}

void s3_credentials_free(struct s3_credentials *credentials)
{
    if (!credentials)
        return;
    http_free(credentials->sources.http);
    secure_free(credentials->keys);
    free(credentials->sources.profile);
    free(credentials->sources.region);
    pthread_cond_destroy(&credentials->fetched);
    pthread_mutex_destroy(&credentials->lock);
    free(credentials);
}

void s3_credentials_rest(struct s3_credentials *credentials)
{
    http_rest(credentials->sources.http);
}

void s3_credentials_follow(struct s3_credentials *credentials, struct progress *progress)
{
    http_follow(credentials->sources.http, progress);
}

static int from_environment(const struct s3_sources *sources, struct s3_keys *out, struct err *err)
{
    const char *id = s3_variable("AWS_ACCESS_KEY_ID");
    const char *secret = s3_variable("AWS_SECRET_ACCESS_KEY");
    const char *token = s3_variable("AWS_SESSION_TOKEN");

    if (!id || !secret || sources->profile_first)
        return 0;
    if (!s3_copy(out->id, sizeof(out->id), id) ||
        !s3_copy(out->secret, sizeof(out->secret), secret) ||
        !s3_copy(out->token, sizeof(out->token), token ? token : ""))
        return err_set(err, ERR_USAGE, "AWS_ACCESS_KEY_ID and its kin are longer than keys are");
    return 1;
}

static int load(const struct s3_sources *sources, struct s3_keys *out, struct err *err)
{
    static int (*const from[])(const struct s3_sources *, struct s3_keys *, struct err *) = {
        from_environment, s3_keys_from_profile, s3_keys_from_web_identity, s3_keys_from_container,
        s3_keys_from_machine};

    for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
        *out = (struct s3_keys){0};
        int r = from[i](sources, out, err);
        if (r != 0)
            return r < 0 ? err_context(err, "S3 credentials") : 0;
    }
    return err_set(err, ERR_DENIED,
                   "no S3 credentials: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor a "
                   "profile in ~/.aws, nor a web identity, container or machine that has a role");
}

static bool is_fresh(const struct s3_credentials *credentials)
{
    struct clock *clock = clock_system();
    int64_t expires = credentials->keys->expires_ns;

    return credentials->known && (expires == 0 || clock->now_ns(clock) < expires - early_ns);
}

/* Alone; the lock is not held meanwhile. */
static int fetch(struct s3_credentials *credentials, struct err *err)
{
    CLEANUP(secure_freep) struct s3_keys *keys = secure_alloc(sizeof(*keys));
    int r;

    credentials->fetching = true;
    pthread_mutex_unlock(&credentials->lock);
    r = keys ? load(&credentials->sources, keys, err)
             : err_set(err, ERR_NOMEM, "no memory for credentials");
    pthread_mutex_lock(&credentials->lock);
    credentials->fetching = false;
    if (r == 0) {
        *credentials->keys = *keys;
        credentials->known = true;
    }
    pthread_cond_broadcast(&credentials->fetched);
    return r;
}

int s3_credentials_get(struct s3_credentials *credentials, struct s3_keys *out, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&credentials->lock);
    while (credentials->fetching)
        pthread_cond_wait(&credentials->fetched, &credentials->lock);
    if (!is_fresh(credentials))
        r = fetch(credentials, err);
    /* Keys that could not be renewed early may still be good. */
    if (r < 0 && credentials->known)
        r = 0;
    if (r == 0)
        *out = *credentials->keys;
    pthread_mutex_unlock(&credentials->lock);
    return r;
}

static bool are_same(const struct s3_keys *a, const struct s3_keys *b)
{
    return strcmp(a->id, b->id) == 0 && strcmp(a->secret, b->secret) == 0 &&
           strcmp(a->token, b->token) == 0;
}

bool s3_credentials_renew(struct s3_credentials *credentials, const struct s3_keys *refused)
{
    struct err ignored;

    pthread_mutex_lock(&credentials->lock);
    while (credentials->fetching)
        pthread_cond_wait(&credentials->fetched, &credentials->lock);
    if (credentials->known && are_same(credentials->keys, refused))
        (void)fetch(credentials, &ignored);
    bool renewed = credentials->known && !are_same(credentials->keys, refused);
    pthread_mutex_unlock(&credentials->lock);
    return renewed;
}
