/* Where a bucket is: only in a region that the settings allow. */
#include <stdio.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/s3.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

static int allow(const struct s3 *s3, const struct s3_options *options, const char *region,
                 const char *who, struct err *err)
{
    for (size_t i = 0; i < options->allowed_count; i++)
        if (strcmp(options->allowed[i], region) == 0)
            return 0;
    return err_set(err, ERR_USAGE,
                   "%.120s is in region %.60s by %s, which \"regions\" in [s3] does not name",
                   s3->store.location, region, who);
}

/* Whether the server would rather not say: it does not know the question, or not us. */
static bool is_silent(int r, const struct http_response *response)
{
    return r < 0 && r != -ERR_NO_REPOSITORY &&
           (response->status == 501 || (response->status >= 300 && response->status < 500));
}

/* HEAD of a bucket names its region on AWS, whether or not it is refused. */
static int ask_head(struct s3 *s3, char *out, size_t size, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "HEAD"};
    int r = s3_call(s3, &call, &response, err);

    if (http_header(&response, "x-amz-bucket-region", out, size))
        return 0;
    out[0] = '\0';
    return is_silent(r, &response) ? 0 : r;
}

/* Whose signature is for another region is told the right one in the refusal. */
static void find_in_refusal(const struct http_response *response, char *out, size_t size)
{
    struct s3_error error;

    s3_xml_error(&response->body, &error);
    (void)snprintf(out, size, "%s", error.region);
}

/* The first region of AWS has no name there, and the second an older one. */
static int ask_location(struct s3 *s3, bool is_aws, char *out, size_t size, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "GET", .query = "location="};
    int r = s3_call(s3, &call, &response, err);

    if (r == 0)
        r = s3_xml_text(&response.body, "LocationConstraint", out, size, err);
    else if (is_silent(r, &response)) {
        find_in_refusal(&response, out, size);
        return 0;
    }
    if (r == 0 && is_aws && !out[0])
        (void)snprintf(out, size, "us-east-1");
    else if (r == 0 && is_aws && strcmp(out, "EU") == 0)
        (void)snprintf(out, size, "eu-west-1");
    return r;
}

int s3_check_region(struct s3 *s3, const struct s3_options *options, struct err *err)
{
    char region[S3_REGION_SIZE] = "";

    if (options->allowed_count == 0)
        return 0;
    int r = allow(s3, options, s3->region, "the settings", err);
    if (r == 0)
        r = ask_head(s3, region, sizeof(region), err);
    if (r == 0 && !region[0])
        r = ask_location(s3, !options->endpoint, region, sizeof(region), err);
    if (r < 0)
        return r;
    if (region[0])
        return allow(s3, options, region, "the server's word", err);
    log_debug("%s: the server does not say where the bucket is", s3->store.location);
    return 0;
}
