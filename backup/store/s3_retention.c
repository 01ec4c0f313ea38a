/* Object lock: what is put, stays (docs/decisions/lock.md). */
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/crypto/md5.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { DOCUMENT_SIZE = 256 };

/* What is there to be removed. */
static const char *const passing[] = {"marks/", "claims/", "tails/", "tmp/"};

bool s3_is_passing(const char *name)
{
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
        if (strncmp(name, passing[i], strlen(passing[i])) == 0)
            return true;
    return false;
}

bool s3_is_retained(const struct s3 *s3, const char *name)
{
    return s3->store.retention_ns > 0 && !s3_is_passing(name);
}

/* ---- the bucket -------------------------------------------------------------------------- */

/* What servers say that have no object lock, or not in this bucket. */
static bool means_off(const struct http_response *response)
{
    static const char *const codes[] = {"InvalidRequest", "MalformedXML", "NotImplemented",
                                        "ObjectLockConfigurationNotFoundError"};
    struct s3_error error = {0};

    if (response->status == 404 || response->status == 405 || response->status == 501)
        return true;
    s3_xml_error(&response->body, &error);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (response->status == 400 && strcmp(error.code, codes[i]) == 0)
            return true;
    return false;
}

/* A server that does not know the question lists the bucket instead, or says that it is none. */
static int ask(struct s3 *s3, enum s3_bucket_lock *out, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "GET", .query = "object-lock="};
    char enabled[S3_CODE_SIZE] = "";
    int r = s3_call(s3, &call, &response, err);

    *out = S3_LOCK_OFF;
    if (r == -ERR_DENIED)
        *out = S3_LOCK_SECRET;
    if (r == -ERR_DENIED)
        return 0;
    if (r < 0)
        return r == -ERR_NO_REPOSITORY || r == -ERR_CANCELLED || !means_off(&response) ? r : 0;
    r = s3_xml_find(&response.body, "ObjectLockEnabled", enabled, sizeof(enabled), err);
    if (r == 1 && strcmp(enabled, "Enabled") == 0)
        *out = S3_LOCK_ON;
    return r < 0 ? r : 0;
}

static int find_lock(struct s3 *s3, enum s3_bucket_lock *out, struct err *err)
{
    pthread_mutex_lock(&s3->lock);
    *out = s3->bucket_lock;
    pthread_mutex_unlock(&s3->lock);
    if (*out != S3_LOCK_NOT_ASKED)
        return 0;
    int r = ask(s3, out, err);
    if (r < 0)
        return r;
    log_debug("s3://%s: object lock is %s", s3->bucket,
              *out == S3_LOCK_ON    ? "on"
              : *out == S3_LOCK_OFF ? "off"
                                    : "not to be asked for");
    pthread_mutex_lock(&s3->lock);
    s3->bucket_lock = *out;
    pthread_mutex_unlock(&s3->lock);
    return 0;
}

int s3_has_lock(struct s3 *s3, bool *out, struct err *err)
{
    enum s3_bucket_lock found;
    int r = find_lock(s3, &found, err);

    if (r == 0)
        *out = found == S3_LOCK_ON || (found == S3_LOCK_SECRET && s3->store.retention_ns > 0);
    return r;
}

int s3_check_retention(struct s3 *s3, const char *name, struct err *err)
{
    enum s3_bucket_lock found;

    if (!s3_is_retained(s3, name))
        return 0;
    int r = find_lock(s3, &found, err);

    if (r == 0 && found == S3_LOCK_OFF)
        return err_set(err, ERR_USAGE,
                       "s3://%.63s has no object lock, which \"lock\" wants: make a bucket with it "
                       "(docs/s3.md), or take \"lock\" out",
                       s3->bucket);
    return r;
}

/* ---- what goes along with an object ------------------------------------------------------ */

/* Whole seconds, rounded up. */
static void format_until(int64_t ns, char out[CLOCK_TEXT_SIZE])
{
    int64_t seconds = ns / NS_PER_SECOND + (ns % NS_PER_SECOND > 0);

    clock_format_rfc3339_utc(seconds * NS_PER_SECOND, out);
}

static const char strict[] = "COMPLIANCE", lenient[] = "GOVERNANCE";

static const char *mode_of(const struct s3 *s3)
{
    return s3->compliance ? strict : lenient;
}

static int64_t period_of(const struct s3 *s3)
{
    return s3->store.retention_ns + store_retention_spare(&s3->store);
}

int s3_add_retention(struct s3 *s3, struct s3_lock_headers *texts, struct s3_call *call,
                     struct err *err)
{
    struct clock *clock = clock_system();
    char until[CLOCK_TEXT_SIZE];

    if (!s3_is_retained(s3, call->name))
        return 0;
    int r = s3_check_retention(s3, call->name, err);
    if (r < 0)
        return r;
    format_until(clock->now_ns(clock) + period_of(s3), until);
    (void)snprintf(texts->mode, sizeof(texts->mode), "x-amz-object-lock-mode: %s", mode_of(s3));
    (void)snprintf(texts->until, sizeof(texts->until), "x-amz-object-lock-retain-until-date: %s",
                   until);
    s3_add_header(call, texts->mode);
    s3_add_header(call, texts->until);
    return 0;
}

int s3_add_checksum(const struct s3 *s3, struct s3_lock_headers *texts, struct s3_call *call,
                    struct err *err)
{
    char md5[MD5_BASE64_SIZE];

    if (!s3_is_retained(s3, call->name))
        return 0;
    int r = md5_base64(call->body, call->body_size, md5, err);
    if (r < 0)
        return r;
    (void)snprintf(texts->checksum, sizeof(texts->checksum), "Content-MD5: %s", md5);
    s3_add_header(call, texts->checksum);
    return 0;
}

/* ---- what is there ----------------------------------------------------------------------- */

struct lock_state {
    int64_t until_ns;
    bool is_strict; /* in compliance mode */
    bool is_held;   /* for as long as the administrator likes, whatever the date */
};

static int look(struct s3 *s3, const char *name, const char *version, struct lock_state *out,
                struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_RANGE_STEP}};
    const struct s3_call call = {.method = "HEAD", .name = name, .query = version};
    char text[CLOCK_TEXT_SIZE * 2];
    int64_t until = 0;
    int r = s3_call(s3, &call, &response, err);

    if (r < 0)
        return r;
    if (http_header(&response, "x-amz-object-lock-retain-until-date", text, sizeof(text)))
        r = clock_parse_time(text, &until, err);
    if (r < 0)
        return r;
    out->until_ns = until;
    out->is_held = http_header(&response, "x-amz-object-lock-legal-hold", text, sizeof(text)) &&
                   strcmp(text, "ON") == 0;
    out->is_strict = http_header(&response, "x-amz-object-lock-mode", text, sizeof(text)) &&
                     strcmp(text, strict) == 0;
    return 0;
}

int s3_version_retained(struct s3 *s3, const char *name, const char *version, int64_t *out_ns,
                        struct err *err)
{
    struct lock_state state;
    int r = look(s3, name, version, &state, err);

    if (r == 0)
        *out_ns = state.is_held ? INT64_MAX : state.until_ns;
    return r;
}

int s3_retained(struct store *store, const char *name, int64_t *out_ns, struct err *err)
{
    struct s3 *s3 = (struct s3 *)store;
    struct clock *clock = clock_system();
    char query[S3_VERSION_QUERY_SIZE];
    enum s3_bucket_lock found;
    int64_t until = 0, now = clock->now_ns(clock);
    int r = find_lock(s3, &found, err);

    if (r < 0 || found == S3_LOCK_OFF) /* who may not ask the bucket asks the object */
        return r;
    r = s3_which_version(s3, name, query, err);
    if (r == 0)
        r = s3_version_retained(s3, name, query[0] ? query : NULL, &until, err);
    if (r == -ERR_NOT_FOUND) { /* hidden, or gone */
        r = s3_first_version(s3, name, query, err);
        if (r == 0)
            r = s3_version_retained(s3, name, query, &until, err);
    }
    /* Any version that is locked keeps the object from being removed. */
    if (r == 0 && until <= now && found == S3_LOCK_ON)
        r = s3_longest_retained(s3, name, &until, err);
    if (r == 0)
        *out_ns = until > now ? until : 0;
    return r;
}

static int put_retention(struct s3 *s3, const char *name, const char *version, const char *mode,
                         int64_t until_ns, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    char body[DOCUMENT_SIZE], query[S3_VERSION_QUERY_SIZE + 16], until[CLOCK_TEXT_SIZE];
    struct s3_lock_headers texts;
    struct s3_call call = {.method = "PUT", .name = name, .query = query, .body = body};

    format_until(until_ns, until);
    (void)snprintf(query, sizeof(query), "retention=%s%s", version ? "&" : "",
                   version ? version : "");
    call.body_size =
        (size_t)snprintf(body, sizeof(body),
                         "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                         "<Mode>%s</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>",
                         mode, until);
    int r = s3_add_checksum(s3, &texts, &call, err);
    return r < 0 ? r : s3_call(s3, &call, &response, err);
}

/* Some servers (Ceph 16) pass over the date that an upload in parts is begun with. */
int s3_ensure_retention(struct s3 *s3, const char *name, struct err *err)
{
    struct clock *clock = clock_system();
    int64_t now = clock->now_ns(clock);
    struct lock_state state;

    if (!s3_is_retained(s3, name))
        return 0;
    int r = look(s3, name, NULL, &state, err);
    if (r < 0 || state.until_ns >= now + s3->store.retention_ns)
        return r;
    return put_retention(s3, name, NULL, mode_of(s3), now + period_of(s3), err);
}

/* A server refuses what would make it less, and to change the mode in either direction (for that
 * it wants the right to bypass): then it is locked for longer in the mode that it has.  A legal
 * hold is no date: it may be lifted tomorrow. */
static int retain_version(struct s3 *s3, const char *name, const char *version, int64_t until_ns,
                          struct err *err)
{
    struct lock_state state;
    struct err ignored;
    int r = put_retention(s3, name, version, mode_of(s3), until_ns, err);

    if (r != -ERR_DENIED || look(s3, name, version, &state, &ignored) < 0)
        return r;
    if (state.until_ns >= until_ns)
        return 0;
    if (state.until_ns == 0 || state.is_strict == s3->compliance)
        return r;
    return put_retention(s3, name, version, state.is_strict ? strict : lenient, until_ns, err);
}

int s3_retain(struct store *store, const char *name, int64_t until_ns, struct err *err)
{
    struct s3 *s3 = (struct s3 *)store;
    char query[S3_VERSION_QUERY_SIZE];

    if (!s3_is_retained(s3, name))
        return err_set(err, ERR_USAGE, "%.120s is not locked by the settings", name);
    int r = s3_which_version(s3, name, query, err);
    if (r == 0)
        r = retain_version(s3, name, query[0] ? query : NULL, until_ns, err);
    if (r != -ERR_NOT_FOUND)
        return r;
    /* What is hidden is locked where it lies. */
    r = s3_first_version(s3, name, query, err);
    return r < 0 ? r : retain_version(s3, name, query, until_ns, err);
}
