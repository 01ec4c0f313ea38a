#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/s3.h"
#include "backup/store/s3_internal.h"

enum { BUCKET_MIN = 3, BUCKET_MAX = 63, PREFIX_MAX = 512 };

static const char scheme[] = "s3://";

bool s3_is_location(const char *location)
{
    return strncmp(location, scheme, sizeof(scheme) - 1) == 0;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

int s3_escape(struct buf *out, const char *text, struct err *err)
{
    static const char digits[] = "0123456789ABCDEF";
    int r = 0;

    for (; *text && r == 0; text++) {
        unsigned char c = (unsigned char)*text;
        char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        r = is_plain(*text) || c == '~' ? buf_append(out, text, 1, err)
                                        : buf_append(out, escaped, sizeof(escaped), err);
    }
    return r;
}

/* A prefix goes into addresses and signatures as it is, so it has only what needs no escaping. */
static int check_prefix(const char *prefix, struct err *err)
{
    size_t size = strlen(prefix);
    bool good = size <= PREFIX_MAX && !strstr(prefix, "//") && prefix[0] != '/';

    for (const char *at = prefix; *at; at += strcspn(at, "/"), at += *at == '/')
        good = good && at[0] != '.';
    for (size_t i = 0; i < size; i++)
        good = good && (is_plain(prefix[i]) || prefix[i] == '/');
    if (good)
        return 0;
    return err_set(err, ERR_USAGE, "\"%.100s\" is no prefix: letters, digits, '.', '_', '-', '/'",
                   prefix);
}

static int check_bucket(const char *bucket, struct err *err)
{
    size_t size = strlen(bucket);
    bool good = size >= BUCKET_MIN && size <= BUCKET_MAX && bucket[0] != '.' && bucket[0] != '-';

    for (size_t i = 0; i < size; i++)
        good = good && is_plain(bucket[i]);
    if (good)
        return 0;
    return err_set(err, ERR_USAGE,
                   "\"%.100s\" is no name of a bucket: 3 to 63 letters, digits, '.', '_', '-'",
                   bucket);
}

static int split(struct s3 *s3, const char *location, struct err *err)
{
    const char *at = location + sizeof(scheme) - 1;
    size_t size = strcspn(at, "/");
    const char *prefix = at[size] ? at + size + 1 : "";
    size_t prefix_size = strlen(prefix);

    while (prefix_size > 0 && prefix[prefix_size - 1] == '/')
        prefix_size--;
    s3->bucket = strndup(at, size);
    if (!s3->bucket ||
        asprintf(&s3->prefix, "%.*s%s", (int)prefix_size, prefix, prefix_size > 0 ? "/" : "") < 0) {
        s3->prefix = NULL;
        return err_set(err, ERR_NOMEM, "no memory for a location");
    }
    int r = check_bucket(s3->bucket, err);
    if (r == 0)
        r = check_prefix(s3->prefix, err);
    return r;
}

static int make_base(struct s3 *s3, const char *endpoint, enum s3_style style, struct err *err)
{
    const char *host = strstr(endpoint, "://");
    size_t size = strlen(endpoint);

    if (strncmp(endpoint, "https://", 8) != 0 && strncmp(endpoint, "http://", 7) != 0)
        return err_set(err, ERR_USAGE, "\"%.100s\" is no endpoint: https://HOST[:PORT]", endpoint);
    host += 3;
    while (size > 0 && endpoint[size - 1] == '/')
        size--;
    if (endpoint + size <= host || memchr(host, '@', size - (size_t)(host - endpoint)))
        return err_set(err, ERR_USAGE, "\"%.20s…\" is no endpoint: https://HOST[:PORT]", endpoint);
    int r = style == S3_STYLE_HOST
                ? asprintf(&s3->base, "%.*s%s.%.*s/", (int)(host - endpoint), endpoint, s3->bucket,
                           (int)(endpoint + size - host), host)
                : asprintf(&s3->base, "%.*s/%s/", (int)size, endpoint, s3->bucket);
    if (r >= 0)
        return 0;
    s3->base = NULL;
    return err_set(err, ERR_NOMEM, "no memory for a location");
}

int s3_locate(struct s3 *s3, const char *location, const struct s3_options *options,
              struct err *err)
{
    enum s3_style style = options->style;
    char aws[128];
    const char *endpoint = options->endpoint ? options->endpoint : aws;
    int r = split(s3, location, err);

    if (r < 0)
        return r;
    (void)snprintf(aws, sizeof(aws), "https://s3.%s.amazonaws.com%s", s3->region,
                   strncmp(s3->region, "cn-", 3) == 0 ? ".cn" : "");
    /* A certificate for *.s3.… does not cover a bucket with a dot. */
    if (style == S3_STYLE_AUTO)
        style = options->endpoint || strchr(s3->bucket, '.') ? S3_STYLE_PATH : S3_STYLE_HOST;
    return make_base(s3, endpoint, style, err);
}
