#include "backup/net/libcurl.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdarg.h>

#include "backup/base/err.h"
#include "backup/base/library.h"

/* Macros that look at the types of arguments. */
#undef curl_easy_getinfo
#undef curl_easy_setopt

#define FUNCTIONS(X)                                                                        \
    X(CURLcode, curl_global_init, (long flags), (flags))                                    \
    X(CURL *, curl_easy_init, (void), ())                                                   \
    X(CURLcode, curl_easy_perform, (CURL * easy), (easy))                                   \
    X(void, curl_easy_reset, (CURL * easy), (easy))                                         \
    X(void, curl_easy_cleanup, (CURL * easy), (easy))                                       \
    X(const char *, curl_easy_strerror, (CURLcode code), (code))                            \
    X(struct curl_slist *, curl_slist_append, (struct curl_slist * list, const char *text), \
      (list, text))

/* Those that LIBRARY_FORWARD cannot make. */
#define OTHERS(X)                                                                \
    X(void, curl_slist_free_all, (struct curl_slist * list), (list))             \
    X(CURLcode, curl_easy_setopt, (CURL * easy, CURLoption option, ...), (none)) \
    X(CURLcode, curl_easy_getinfo, (CURL * easy, CURLINFO info, ...), (none))

static struct {
    FUNCTIONS(LIBRARY_FIELD)
    OTHERS(LIBRARY_FIELD)
} at;

static const struct library_function functions[] = {FUNCTIONS(LIBRARY_FUNCTION)
                                                        OTHERS(LIBRARY_FUNCTION)};

static struct library library = {
    .file = LIBCURL_FILE,
    .purpose = "buckets and notifications",
    .package = "libcurl4 on Debian",
    .functions = functions,
    .count = sizeof(functions) / sizeof(functions[0]),
    .lock = PTHREAD_MUTEX_INITIALIZER,
};

static pthread_once_t started = PTHREAD_ONCE_INIT;
static CURLcode start_code;

static void start(void)
{
    start_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int libcurl_load(struct err *err)
{
    int r = library_load(&library, err);

    if (r < 0)
        return r;
    pthread_once(&started, start);
    return start_code == CURLE_OK
               ? 0
               : err_set(err, ERR_SYSTEM, "libcurl: %s", curl_easy_strerror(start_code));
}

FUNCTIONS(LIBRARY_FORWARD)

/* A list that nothing was put into is there before the library is. */
void curl_slist_free_all(struct curl_slist *list)
{
    if (list)
        at.curl_slist_free_all(list);
}

/* An option's number says what its argument is. */
CURLcode curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
    CURLcode code;
    va_list arguments;

    va_start(arguments, option);
    if (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB)
        code = at.curl_easy_setopt(easy, option, va_arg(arguments, curl_off_t));
    else if (option >= CURLOPTTYPE_OBJECTPOINT)
        code = at.curl_easy_setopt(easy, option, va_arg(arguments, void *));
    else
        code = at.curl_easy_setopt(easy, option, va_arg(arguments, long));
    va_end(arguments);
    return code;
}

/* All is told through a pointer. */
CURLcode curl_easy_getinfo(CURL *easy, CURLINFO info, ...)
{
    va_list arguments;

    va_start(arguments, info);
    CURLcode code = at.curl_easy_getinfo(easy, info, va_arg(arguments, void *));
    va_end(arguments);
    return code;
}
