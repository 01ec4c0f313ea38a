#include "backup/net/http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/net/http_internal.h"
#include "backup/net/libcurl.h"

enum {
    MOST_CONNECTIONS = 256,
    HEADERS_MAX = 64 * 1024,
    CONNECT_SECONDS = 15,
    SLOW_BYTES = 512, /* a second; slower than this for SLOW_SECONDS is no transfer */
    SLOW_SECONDS = 30,
    AWAY_SECONDS = 5,
    MS_PER_SECOND = 1000,
};

/* What the callbacks of one attempt share. */
struct attempt {
    struct http *http;
    struct handle *handle;
    struct http_response *response;
    struct err *err;
    int r;            /* of a callback that failed */
    bool has_headers; /* all of them: an empty line came */
};

static void free_list(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

int http_new(const struct http_options *options, struct http **out, struct err *err)
{
    struct http *http;
    int r = libcurl_load(err);

    if (r < 0)
        return r;
    http = calloc(1, sizeof(*http));
    if (!http)
        return err_set(err, ERR_NOMEM, "no memory for a client");
    pthread_mutex_init(&http->lock, NULL);
    pthread_cond_init(&http->given, NULL);
    http->clock = options->clock ? options->clock : clock_system();
    http->patience_ns = options->patience_ns;
    http->connections = options->connections < 1                  ? 1
                        : options->connections > MOST_CONNECTIONS ? MOST_CONNECTIONS
                                                                  : options->connections;
    http->idle = calloc(http->connections, sizeof(*http->idle));
    http->ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
    if (!http->idle || (options->ca_file && !http->ca_file)) {
        http_free(http);
        return err_set(err, ERR_NOMEM, "no memory for a client");
    }
    *out = http;
    return 0;
}

void http_free(struct http *http)
{
    if (!http)
        return;
    for (size_t i = 0; i < http->idle_count; i++)
        handle_free(http->idle[i]);
    pthread_cond_destroy(&http->given);
    pthread_mutex_destroy(&http->lock);
    free(http->idle);
    free(http->ca_file);
    free(http);
}

void http_rest(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    while (http->idle_count > 0)
        handle_free(http->idle[--http->idle_count]);
    pthread_mutex_unlock(&http->lock);
}

void http_response_clear(struct http_response *response)
{
    buf_clear(&response->body);
    buf_clear(&response->headers);
    response->status = 0;
    response->transient = false;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *context)
{
    struct attempt *attempt = context;

    attempt->r = buf_append(&attempt->response->body, bytes, size * count, attempt->err);
    return attempt->r < 0 ? 0 : size * count;
}

/* Each answer (100, then 200) begins with its own line: only the last one's headers count. */
static size_t take_header(char *bytes, size_t size, size_t count, void *context)
{
    struct attempt *attempt = context;
    struct buf *headers = &attempt->response->headers;

    if (size * count > 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        headers->size = 0;
        attempt->has_headers = false;
    }
    if (bytes[0] == '\r' || bytes[0] == '\n') {
        attempt->has_headers = true;
        handle_acknowledge(attempt->handle);
    }
    attempt->r = buf_append(headers, bytes, size * count, attempt->err);
    return attempt->r < 0 ? 0 : size * count;
}

/* libcurl asks about once a second, and whenever something moves. */
static int ends_now(void *context, curl_off_t down, curl_off_t had, curl_off_t up, curl_off_t sent)
{
    const struct attempt *attempt = context;

    (void)down, (void)had, (void)up, (void)sent;
    return http_has_to_end(attempt->http);
}

static int make_list(const struct http_request *request, struct curl_slist **out, struct err *err)
{
    for (size_t i = 0; request->headers && request->headers[i]; i++) {
        struct curl_slist *longer = curl_slist_append(*out, request->headers[i]);
        if (!longer)
            return err_set(err, ERR_NOMEM, "no memory for a request");
        *out = longer;
    }
    return 0;
}

/* An attempt at a server that says nothing does not take longer than there is patience; when that
 * is over, it only shows whether the server is back. */
static long at_most(struct http *http, long seconds)
{
    long patience = (long)((http->patience_ns + NS_PER_SECOND - 1) / NS_PER_SECOND);

    if (http_is_away(http))
        seconds = AWAY_SECONDS;
    return patience > 0 && patience < seconds ? patience : seconds; /* 0: one attempt */
}

/* An attempt may take as long as its body needs on a slow line. */
static long timeout_ms(const struct http *http, const struct http_request *request)
{
    int64_t patience = http->patience_ns / (NS_PER_SECOND / MS_PER_SECOND);
    int64_t body = (int64_t)(request->body_size / 16); /* 16 KB a second */
    int64_t least = (CONNECT_SECONDS + SLOW_SECONDS) * MS_PER_SECOND;
    int64_t sum = (patience > least ? patience : least) + body;

    if (request->seconds > 0)
        return (long)request->seconds * MS_PER_SECOND;
    return sum < INT32_MAX ? (long)sum : INT32_MAX;
}

static void set_method(CURL *easy, const struct http_request *request)
{
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(request->method, "GET") == 0) {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    } else if (strcmp(request->method, "DELETE") == 0) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    } else {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    }
}

static void set_options(struct http *http, CURL *easy, const struct http_request *request,
                        struct curl_slist *headers, struct attempt *attempt)
{
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, at_most(http, CONNECT_SECONDS));
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, at_most(http, SLOW_SECONDS));
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms(http, request));
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "yester/" YESTER_VERSION);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, attempt);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, attempt);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, ends_now);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, attempt);
    if (http->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
    if (request->direct)
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    if (request->sigv4) {
        curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, request->sigv4);
        curl_easy_setopt(easy, CURLOPT_USERNAME, request->id);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, request->secret);
    }
    set_method(easy, request);
}

/* What does not change by waiting. */
static bool is_final(CURLcode code)
{
    switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_BAD_FUNCTION_ARGUMENT:
        return true;
    default:
        return false;
    }
}

static int tell(CURLcode code, const struct attempt *attempt, const char *details, struct err *err)
{
    bool is_certificate =
        code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;

    if (code == CURLE_WRITE_ERROR && attempt->r < 0)
        return attempt->r; /* the callback has told */
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return err_set(err, ERR_CANCELLED, "interrupted");
    attempt->response->transient = !is_final(code);
    return err_set(err, ERR_REMOTE, "%s%s", details[0] ? details : curl_easy_strerror(code),
                   is_certificate ? " (AWS_CA_BUNDLE or ca_file names the authority)" : "");
}

static int perform(struct http *http, struct handle *handle, const struct http_request *request,
                   struct http_response *response, struct err *err)
{
    CLEANUP(free_list) struct curl_slist *headers = NULL;
    struct attempt attempt = {.http = http, .handle = handle, .response = response, .err = err};
    char details[CURL_ERROR_SIZE] = "";
    long status = 0;
    int r = make_list(request, &headers, err);

    if (r < 0)
        return r;
    set_options(http, handle->easy, request, headers, &attempt);
    curl_easy_setopt(handle->easy, CURLOPT_ERRORBUFFER, details);
    CURLcode code = curl_easy_perform(handle->easy);
    curl_easy_setopt(handle->easy, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK)
        return tell(code, &attempt, details, err);
    /* A connection that ends among the headers is a whole answer for libcurl. */
    if (!attempt.has_headers) {
        response->transient = true;
        return err_set(err, ERR_REMOTE, "the server's answer is cut off");
    }
    curl_easy_getinfo(handle->easy, CURLINFO_RESPONSE_CODE, &status);
    response->status = (int)status;
    return 0;
}

static int make_attempt(struct http *http, const struct http_request *request,
                        struct http_response *response, struct err *err)
{
    struct handle *handle = handle_take(http);
    int r = handle ? perform(http, handle, request, response, err)
                   : err_set(err, ERR_NOMEM, "no memory for a request");

    handle_give(http, handle);
    return r;
}

int http_once(struct http *http, const struct http_request *request, struct http_response *response,
              struct err *err)
{

    response->body.size = response->headers.size = 0;
    response->headers.limit = HEADERS_MAX;
    response->status = 0;
    response->transient = false;
    if (http_has_to_end(http))
        return err_set(err, ERR_CANCELLED, "interrupted");
    int r = make_attempt(http, request, response, err);
    if (r == 0 && !http_is_transient(r, response))
        http_note_answer(http);
    return r;
}

bool http_header(const struct http_response *response, const char *name, char *out, size_t size)
{
    const char *at = (const char *)response->headers.data;
    const char *end = at ? at + response->headers.size : NULL;
    size_t length = strlen(name);

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *value = at + length + 1;
        if (!stop)
            return false;
        if (value <= stop && strncasecmp(at, name, length) == 0 && at[length] == ':') {
            value += strspn(value, " \t");
            size_t count = value < stop ? strcspn(value, "\r\n") : 0;
            if (count >= size)
                return false;
            memcpy(out, value, count);
            out[count] = '\0';
            return true;
        }
        at = stop + 1;
    }
    return false;
}
