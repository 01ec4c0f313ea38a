/* Which answers are worth another attempt, how long to wait for it, and what ends the waiting. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/base/random.h"
#include "backup/net/http.h"
#include "backup/net/http_internal.h"

/* A wait grows from the first to the last of these; a server may ask for no more than the third. */
static const int64_t first_wait_ns = NS_PER_SECOND / 10;
static const int64_t last_wait_ns = 20 * NS_PER_SECOND;
static const int64_t longest_asked_ns = 120 * NS_PER_SECOND;
/* What is under way when all is cancelled may still be answered for so long; that is also the time
 * to tidy up in. */
static const int64_t left_ns = NS_PER_SECOND / 2;
static const int64_t look_ns =
    NS_PER_SECOND / 20; /* who waits looks so often whether he still has to */

void http_follow(struct http *http, struct progress *progress)
{
    atomic_store(&http->last_ns, 0);
    atomic_store(&http->progress, progress);
}

void http_tidy(struct http *http)
{
    atomic_store(&http->last_ns, 0);
}

bool http_is_cancelled(struct http *http)
{
    int64_t none = 0;

    if (!progress_cancelled(atomic_load(&http->progress)))
        return false;
    if (atomic_load(&http->last_ns) == 0) /* who sees it first */
        atomic_compare_exchange_strong(&http->last_ns, &none, clock_monotonic_ns() + left_ns);
    return true;
}

bool http_has_to_end(struct http *http)
{
    return http_is_cancelled(http) && clock_monotonic_ns() >= atomic_load(&http->last_ns);
}

bool http_is_transient(int r, const struct http_response *response)
{
    int status = response->status;

    if (r < 0)
        return response->transient;
    return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

/* Seconds only: dates would need the server's clock. */
static int64_t asked_ns(const struct http_response *response)
{
    char text[32];
    uint32_t seconds;

    if (!http_header(response, "retry-after", text, sizeof(text)) ||
        sscanf(text, "%9" SCNu32, &seconds) != 1)
        return 0;
    int64_t asked = seconds * NS_PER_SECOND;
    return asked < longest_asked_ns ? asked : longest_asked_ns;
}

static int64_t chance_ns(unsigned attempts)
{
    int64_t most = attempts < 8 ? first_wait_ns << attempts : last_wait_ns;
    uint64_t chance = 0;
    struct err ignored;

    if (most > last_wait_ns)
        most = last_wait_ns;
    if (random_bytes(&chance, sizeof(chance), &ignored) < 0)
        return most;
    return (int64_t)(chance % (uint64_t)most);
}

/* False when it was cancelled meanwhile. */
static bool rest(struct http *http, int64_t wait_ns)
{
    bool heeds = atomic_load(&http->progress) != NULL;

    while (wait_ns > 0 && !http_is_cancelled(http)) {
        int64_t step = heeds && wait_ns > look_ns ? look_ns : wait_ns;
        http->clock->sleep_ns(http->clock, step);
        wait_ns -= step;
    }
    return !http_is_cancelled(http);
}

void http_note_answer(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    http->failing_ns = 0;
    pthread_mutex_unlock(&http->lock);
}

/* Since when the server has been away: many requests that fail one after the other are no reason to
 * be patient with each of them.  Who asks again after a long time begins anew. */
static int64_t failing_since(struct http *http, int64_t now)
{
    pthread_mutex_lock(&http->lock);
    if (http->failing_ns == 0 || now - http->failed_ns > http->patience_ns)
        http->failing_ns = now;
    http->failed_ns = now;
    int64_t since = http->failing_ns;
    pthread_mutex_unlock(&http->lock);
    return since;
}

bool http_is_away(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    bool away = http->failing_ns != 0 && http->failed_ns - http->failing_ns > http->patience_ns;
    pthread_mutex_unlock(&http->lock);
    return away;
}

bool http_wait(struct http *http, struct http_retry *retry, const struct http_response *response)
{
    int64_t now = http->clock->now_ns(http->clock);
    int64_t wait = chance_ns(retry->attempts);
    int64_t asked = asked_ns(response);

    if (asked > 0)
        wait = asked + wait / 8;
    if (retry->began_ns == 0)
        retry->began_ns = now;
    retry->attempts++;
    int64_t since = failing_since(http, now);
    int64_t began = since < retry->began_ns ? since : retry->began_ns;
    return now - began + wait <= http->patience_ns && rest(http, wait);
}

int http_send(struct http *http, const struct http_request *request, struct http_response *response,
              struct err *err)
{
    struct http_retry retry = {0};
    int r;

    do
        r = http_once(http, request, response, err);
    while (http_is_transient(r, response) && http_wait(http, &retry, response));
    return http_is_transient(r, response) && http_is_cancelled(http)
               ? err_set(err, ERR_CANCELLED, "interrupted")
               : r;
}
