/*
 * http — one client for all requests: connections kept, a bounded number at once, tried again.
 *
 * A request is made by the thread that asks for it; connections stay open between requests and are
 * shared by all threads.  Certificates are always verified.  http_send() repeats what may succeed
 * the next time, waiting longer and longer by chance (so that many clients do not come back all at
 * once), as long as the patience lasts; who has to judge answers itself, or to sign each attempt
 * with fresh credentials, goes through http_once() and http_wait().
 *
 *     CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = MOST}};
 *
 * Ownership: a request borrows all that it points to.  The response belongs to the caller.
 * Threads:   any call from any thread; http_free() comes last.  None is started.
 * Errors:    ERR_REMOTE for whatever went wrong on the way, ERR_TOO_LARGE for a body beyond its
 *            limit, ERR_CANCELLED.  A status is no error: the caller looks at it.  No text holds a
 *            header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/base/buf.h"

struct clock;
struct err;
struct http;
struct progress;

struct http_options {
    const char *ca_file;  /* PEM; NULL: the system's authorities */
    unsigned connections; /* requests at once */
    int64_t patience_ns;  /* after this, no other attempt is begun: since the first that failed, by
                             whatever request, after the last answer */
    struct clock *clock;  /* NULL: the system's */
};

struct http_request {
    const char *method;
    const char *url;
    const char *const *headers; /* "Name: value", NULL behind the last; or NULL */
    const void *body;
    size_t body_size;
    const char *sigv4; /* "aws:amz:REGION:s3"; NULL: not signed */
    const char *id;    /* with sigv4 */
    const char *secret;
    bool direct;      /* past any proxy */
    unsigned seconds; /* an attempt's most; 0: what the patience and the body need */
};

struct http_response {
    struct buf body; /* the caller sets its limit */
    struct buf headers;
    int status;
    bool transient; /* no answer, and another attempt may get one */
};

/* How often something was tried, and since when. */
struct http_retry {
    int64_t began_ns; /* 0: not yet */
    unsigned attempts;
};

int http_new(const struct http_options *options, struct http **out, struct err *err);
void http_free(struct http *http); /* NULL is allowed */
/* Closes the connections that are kept: before a fork, since two processes cannot share one. */
void http_rest(struct http *http);

/* From now on this one's cancellation (NULL: nobody's) ends all waiting: nothing is tried again,
 * and what is under way has half a second left. */
void http_follow(struct http *http, struct progress *progress);
/* What is asked from now on has the time anew that is left to tidy up when all is cancelled. */
void http_tidy(struct http *http);
bool http_is_cancelled(struct http *http);

/* One attempt; `response` may hold what an earlier one left. */
int http_once(struct http *http, const struct http_request *request, struct http_response *response,
              struct err *err);
/* Whether what came (r of http_once() and the response) is worth another attempt: no answer, or
 * one that says "later". */
bool http_is_transient(int r, const struct http_response *response);
/* Waits before the next attempt, as long as the server asks for (Retry-After) or chance says;
 * false when there is to be none. */
bool http_wait(struct http *http, struct http_retry *retry, const struct http_response *response);

/* Attempts until one is no more worth repeating; its result. */
int http_send(struct http *http, const struct http_request *request, struct http_response *response,
              struct err *err);

/* The value of a header; false where there is none, or one that does not fit. */
bool http_header(const struct http_response *response, const char *name, char *out, size_t size);
void http_response_clear(struct http_response *response);
