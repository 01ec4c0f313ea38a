#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/base/memory.h"
#include "backup/crypto/sha256.h"
#include "backup/store/s3_credentials.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { HEADERS_MAX = 5 + S3_HEADERS_MAX, HASH_HEADER_SIZE = 96, RENEWALS_MAX = 3 };

/* A call on its way. */
struct sending {
    struct s3 *s3;
    const struct s3_call *call;
    struct http_response *response;
    struct s3_keys *keys;
    char *token_header;
    char hash_header[HASH_HEADER_SIZE];
    char *url;
    struct s3_error error;
    unsigned renewals;
    bool is_given_up; /* cancelled while it would have been tried again */
};

/* Codes of answers that mean "once more", whatever their status. */
static const char *const again_codes[] = {"RequestTimeout",
                                          "SlowDown",
                                          "InternalError",
                                          "ServiceUnavailable",
                                          "OperationAborted",
                                          "ConditionalRequestConflict",
                                          "IncompleteBody",
                                          "BadDigest",
                                          "XAmzContentSHA256Mismatch",
                                          "Throttling",
                                          "ThrottlingException",
                                          "RequestLimitExceeded",
                                          NULL};
/* … and what no waiting helps, whatever the status. */
static const char *const final_codes[] = {"GlacierExpeditedRetrievalNotAvailable", NULL};
static const char *const expired_codes[] = {"ExpiredToken",       "ExpiredTokenException",
                                            "InvalidToken",       "TokenRefreshRequired",
                                            "InvalidAccessKeyId", NULL};

/* What to do about it, by code. */
static const struct {
    const char *code, *hint;
} hints[] = {
    {"AccessDenied", "do the credentials' rights cover this? see docs/s3.md"},
    {"SignatureDoesNotMatch", "is the secret key right, and the region?"},
    {"InvalidAccessKeyId", "is AWS_ACCESS_KEY_ID right, and of this endpoint?"},
    {"RequestTimeTooSkewed", "the clock of this machine is wrong"},
    {"AuthorizationHeaderMalformed", "is the region right?"},
    {"PermanentRedirect", "the bucket is in another region, or needs another endpoint"},
    {"TemporaryRedirect", "the bucket is in another region, or is very new"},
    {"IllegalLocationConstraintException", "the bucket is in another region"},
    {"NoSuchBucket", "make the bucket first"},
    {"ExpiredToken", "the session has ended: renew the credentials"},
    {"InvalidStorageClass", "the server does not have that storage_class"},
    {"GlacierExpeditedRetrievalNotAvailable", "no room for haste now: --thaw=standard"},
};

static bool is_one_of(const char *code, const char *const *codes)
{
    for (; *codes; codes++)
        if (strcmp(code, *codes) == 0)
            return true;
    return false;
}

static const char *hint_for(const char *code)
{
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        if (strcmp(code, hints[i].code) == 0)
            return hints[i].hint;
    return NULL;
}

static enum err_code code_of(const struct sending *sending)
{
    const char *code = sending->error.code;
    int status = sending->response->status;

    if (strcmp(code, "NoSuchBucket") == 0)
        return ERR_NO_REPOSITORY;
    if (strcmp(code, "QuotaExceeded") == 0 || status == 507)
        return ERR_SYSTEM;
    if (strcmp(code, "InvalidObjectState") == 0 || strcmp(code, "ObjectNotInActiveTierError") == 0)
        return ERR_COLD;
    if (status == 404)
        return ERR_NOT_FOUND;
    if (status == 412)
        return ERR_EXISTS;
    return status == 401 || status == 403 ? ERR_DENIED : ERR_REMOTE;
}

/* "s3://bucket/key: Code: message (what to do)". */
static int tell(const struct sending *sending, struct err *err)
{
    const struct s3 *s3 = sending->s3;
    const struct s3_error *error = &sending->error;
    const char *name = sending->call->name ? sending->call->name : "";
    const char *hint = hint_for(error->code);
    enum err_code code = code_of(sending);
    char number[16];
    char advice[96] = "";

    if (code == ERR_SYSTEM) {
        err_set(err, ERR_SYSTEM, "repository %.150s is full (%s)", s3->store.location, error->code);
        err->cause = ENOSPC;
        return -ERR_SYSTEM;
    }
    if (code == ERR_COLD) /* whoever reads puts the object's name in front */
        return err_set(err, code, "in cold storage (%s): `yester restore --thaw` asks for it",
                       error->class[0] ? error->class : "archived");
    (void)snprintf(number, sizeof(number), "HTTP %d", sending->response->status);
    if (hint)
        (void)snprintf(advice, sizeof(advice), " (%s)", hint);
    if (error->region[0] && strcmp(error->region, s3->region) != 0)
        (void)snprintf(advice, sizeof(advice), " (the bucket's region is %.40s)", error->region);
    /* What to do says more than the server's words, where there is no room for both. */
    const char *message = advice[0] ? "" : error->message;
    return err_set(err, code, "s3://%.40s/%.40s%.80s: %s%s%.60s%s", s3->bucket, s3->prefix, name,
                   error->code[0] ? error->code : number, message[0] ? ": " : "", message, advice);
}

static void sending_clear(struct sending *sending)
{
    secure_free(sending->keys);
    if (sending->token_header)
        secure_free(sending->token_header);
    free(sending->url);
}

static int prepare(struct sending *sending, struct err *err)
{
    const struct s3 *s3 = sending->s3;
    const struct s3_call *call = sending->call;
    char hash[SHA256_HEX_SIZE];
    int r = sha256_hex(call->body, call->body_size, hash, err);

    if (r < 0)
        return r;
    (void)snprintf(sending->hash_header, sizeof(sending->hash_header), "x-amz-content-sha256: %s",
                   hash);
    sending->keys = secure_alloc(sizeof(*sending->keys));
    sending->token_header = secure_alloc(S3_TOKEN_SIZE + 32);
    if (asprintf(&sending->url, "%s%s%s%s%s", s3->base, call->name ? s3->prefix : "",
                 call->name ? call->name : "", call->query ? "?" : "",
                 call->query ? call->query : "") < 0)
        sending->url = NULL;
    if (!sending->keys || !sending->token_header || !sending->url)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    return 0;
}

static int attempt(struct sending *sending, struct err *err)
{
    const struct s3_call *call = sending->call;
    const char *headers[HEADERS_MAX] = {sending->hash_header};
    size_t count = 1;
    int r = s3_credentials_get(sending->s3->credentials, sending->keys, err);

    sending->error = (struct s3_error){0};
    sending->response->status = 0;
    sending->response->transient = false;
    if (r < 0)
        return r;
    (void)snprintf(sending->token_header, S3_TOKEN_SIZE + 32, "x-amz-security-token: %s",
                   sending->keys->token);
    if (sending->keys->token[0])
        headers[count++] = sending->token_header;
    if (call->body)
        headers[count++] = "Content-Type: application/octet-stream";
    for (size_t i = 0; i < sizeof(call->headers) / sizeof(call->headers[0]); i++)
        if (call->headers[i])
            headers[count++] = call->headers[i];

    const struct http_request request = {
        .method = call->method,
        .url = sending->url,
        .headers = headers,
        .body = call->body,
        .body_size = call->body_size,
        .sigv4 = sending->s3->sigv4,
        .id = sending->keys->id,
        .secret = sending->keys->secret,
    };
    return http_once(sending->s3->http, &request, sending->response, err);
}

/* An error within a body that came with 200 counts as the failure that it is. */
static void look_at_answer(struct sending *sending)
{
    struct http_response *response = sending->response;
    bool is_good = response->status >= 200 && response->status < 300;

    if (is_good && !sending->call->may_fail_late)
        return;
    s3_xml_error(&response->body, &sending->error);
    if (is_good && sending->error.code[0])
        response->status = is_one_of(sending->error.code, again_codes) ? 500 : 400;
    if (!is_good && !sending->error.region[0])
        (void)http_header(response, "x-amz-bucket-region", sending->error.region,
                          sizeof(sending->error.region));
}

static bool is_worth_repeating(struct sending *sending, int r, struct http_retry *retry)
{
    const struct http_response *response = sending->response;

    if (r == 0 && response->status < 300)
        return false;
    if (r == 0 && is_one_of(sending->error.code, expired_codes))
        return sending->renewals++ < RENEWALS_MAX &&
               s3_credentials_renew(sending->s3->credentials, sending->keys);
    if (r == 0 && is_one_of(sending->error.code, final_codes))
        return false;
    if (!http_is_transient(r, response) && !(r == 0 && is_one_of(sending->error.code, again_codes)))
        return false;
    /* Without an answer, or with an odd one, it may have been carried out. */
    if (sending->call->out_unsure && (r < 0 || response->status >= 500))
        *sending->call->out_unsure = true;
    log_debug("s3: %s %s: attempt %u failed (%s)", sending->call->method,
              sending->call->name ? sending->call->name : "bucket", retry->attempts + 1,
              r < 0 ? "no answer" : sending->error.code);
    if (http_wait(sending->s3->http, retry, response))
        return true;
    sending->is_given_up = http_is_cancelled(sending->s3->http);
    return false;
}

int s3_call(struct s3 *s3, const struct s3_call *call, struct http_response *response,
            struct err *err)
{
    CLEANUP(sending_clear)
    struct sending sending = {.s3 = s3, .call = call, .response = response};
    struct http_retry retry = {0};
    int r = prepare(&sending, err);

    if (r < 0)
        return r;
    do {
        r = attempt(&sending, err);
        if (r == 0)
            look_at_answer(&sending);
    } while (is_worth_repeating(&sending, r, &retry));
    if (r == 0 && response->status < 300)
        return 0;
    if (sending.is_given_up || r == -ERR_CANCELLED)
        return err_set(err, ERR_CANCELLED, "interrupted");
    if (r == 0)
        return tell(&sending, err);
    if (retry.attempts > 1)
        return err_context(err, "s3://%.60s: after %u attempts", s3->bucket, retry.attempts);
    return err_context(err, "s3://%.60s", s3->bucket);
}
