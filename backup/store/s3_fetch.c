/* Keys that are asked for over the network: web identity, container, machine. */
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/net/http.h"
#include "backup/store/s3_credentials_internal.h"
#include "backup/store/s3_xml.h"

enum {
    BODY_MAX = 64 * 1024,
    URL_SIZE = 2048,
    HEADER_SIZE = 4096,
    MACHINE_SECONDS = 2, /* if AWS_METADATA_SERVICE_TIMEOUT says nothing else */
    MACHINE_SECONDS_MAX = 300,
};

static void wipe(struct buf *text)
{
    if (text->data)
        explicit_bzero(text->data, text->size);
    buf_clear(text);
}

static void response_wipe(struct http_response *response)
{
    wipe(&response->body);
    buf_clear(&response->headers);
}

static void put_json(struct json_object **json)
{
    json_object_put(*json);
}

static int parse_expiry(const char *text, int64_t *out, struct err *err)
{
    return text[0] ? clock_parse_time(text, out, err) : 0;
}

static bool json_text(struct json_object *json, const char *key, char *out, size_t size)
{
    struct json_object *value;

    if (!json_object_object_get_ex(json, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return false;
    return s3_copy(out, size, json_object_get_string(value));
}

/* What containers and machines answer with. */
static int take_json(struct http_response *response, struct s3_keys *out, struct err *err)
{
    CLEANUP(put_json) struct json_object *json = NULL;
    char expires[64] = "";

    if (buf_append(&response->body, "", 1, err) < 0)
        return err_set(err, ERR_REMOTE, "the answer is too long");
    json = json_tokener_parse((const char *)response->body.data);
    if (!json_object_is_type(json, json_type_object) ||
        !json_text(json, "AccessKeyId", out->id, sizeof(out->id)) ||
        !json_text(json, "SecretAccessKey", out->secret, sizeof(out->secret)) ||
        !json_text(json, "Token", out->token, sizeof(out->token)))
        return err_set(err, ERR_REMOTE, "the answer holds no keys");
    (void)json_text(json, "Expiration", expires, sizeof(expires));
    int r = parse_expiry(expires, &out->expires_ns, err);
    return r < 0 ? r : 1;
}

static int ask(const struct s3_sources *sources, const struct http_request *request,
               struct http_response *response, struct err *err)
{
    int r = http_send(sources->http, request, response, err);

    if (r == 0 && response->status != 200)
        r = err_set(err, ERR_REMOTE, "the answer was HTTP %d", response->status);
    return r;
}

static int read_token(const char *path, struct buf *out, struct err *err)
{
    int r = io_read_file(AT_FDCWD, path, S3_TOKEN_SIZE, out, err);

    while (r == 0 && out->size > 0 && strchr(" \r\n", out->data[out->size - 1]))
        out->size--;
    if (r == 0)
        r = buf_append(out, "", 1, err);
    return r < 0 ? err_context(err, "%.120s", path) : 0;
}

/* NAME=VALUE of a form, with '&' in front unless it is the first. */
static int add_field(struct buf *form, const char *name, const char *value, struct err *err)
{
    static const char digits[] = "0123456789ABCDEF";
    int r = form->size > 0 ? buf_append(form, "&", 1, err) : 0;

    if (r == 0)
        r = buf_append(form, name, strlen(name), err);
    if (r == 0)
        r = buf_append(form, "=", 1, err);
    for (; *value && r == 0; value++) {
        unsigned char c = (unsigned char)*value;
        char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     strchr("-._~", c) != NULL;
        r = plain ? buf_append(form, value, 1, err) : buf_append(form, escaped, 3, err);
    }
    return r;
}

static int take_sts(const struct http_response *response, struct s3_keys *out, struct err *err)
{
    const struct buf *body = &response->body;
    char expires[64];
    int r = s3_xml_text(body, "AccessKeyId", out->id, sizeof(out->id), err);

    if (r == 0)
        r = s3_xml_text(body, "SecretAccessKey", out->secret, sizeof(out->secret), err);
    if (r == 0)
        r = s3_xml_text(body, "SessionToken", out->token, sizeof(out->token), err);
    if (r == 0)
        r = s3_xml_text(body, "Expiration", expires, sizeof(expires), err);
    if (r == 0)
        r = parse_expiry(expires, &out->expires_ns, err);
    return r < 0 ? r : 1;
}

static int assume_role(const struct s3_sources *sources, const char *role, const char *token_file,
                       struct s3_keys *out, struct err *err)
{
    CLEANUP(wipe) struct buf form = {.limit = BODY_MAX};
    CLEANUP(wipe) struct buf token = {.limit = S3_TOKEN_SIZE + 1};
    CLEANUP(response_wipe) struct http_response response = {.body = {.limit = BODY_MAX}};
    const char *endpoint = s3_variable("AWS_ENDPOINT_URL_STS");
    const char *session = s3_variable("AWS_ROLE_SESSION_NAME");
    char url[URL_SIZE];
    int r = read_token(token_file, &token, err);

    (void)snprintf(url, sizeof(url), endpoint ? "%s/" : "https://sts.%s.amazonaws.com/",
                   endpoint ? endpoint : sources->region);
    if (r == 0)
        r = add_field(&form, "Action", "AssumeRoleWithWebIdentity", err);
    if (r == 0)
        r = add_field(&form, "Version", "2011-06-15", err);
    if (r == 0)
        r = add_field(&form, "RoleArn", role, err);
    if (r == 0)
        r = add_field(&form, "RoleSessionName", session ? session : "yester", err);
    if (r == 0)
        r = add_field(&form, "WebIdentityToken", (const char *)token.data, err);
    if (r < 0)
        return r;
    const struct http_request request = {
        .method = "POST", .url = url, .body = form.data, .body_size = form.size};
    r = ask(sources, &request, &response, err);
    return r < 0 ? r : take_sts(&response, out, err);
}

int s3_keys_from_web_identity(const struct s3_sources *sources, struct s3_keys *out,
                              struct err *err)
{
    const char *profile = sources->profile;
    const char *file = s3_variable("AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *role = s3_variable("AWS_ROLE_ARN");
    char profile_file[URL_SIZE], profile_role[URL_SIZE];

    if ((!file || !role) &&
        s3_profile_setting(profile, "web_identity_token_file", profile_file, URL_SIZE) &&
        s3_profile_setting(profile, "role_arn", profile_role, URL_SIZE)) {
        file = profile_file;
        role = profile_role;
    }
    if (!file || !role)
        return 0;
    int r = assume_role(sources, role, file, out, err);
    return r < 0 ? err_context(err, "web identity") : r;
}

/* "Authorization: …" from the file or the variable that a container was given; else empty. */
static int authorization(char *out, size_t size, struct err *err)
{
    CLEANUP(wipe) struct buf text = {.limit = S3_TOKEN_SIZE + 1};
    const char *file = s3_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = s3_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    int r = file ? read_token(file, &text, err) : 0;

    out[0] = '\0';
    if (r < 0 || (!file && !token))
        return r;
    if (snprintf(out, size, "Authorization: %s", file ? (const char *)text.data : token) >=
        (int)size)
        return err_set(err, ERR_USAGE, "the token is longer than tokens are");
    return 0;
}

int s3_keys_from_container(const struct s3_sources *sources, struct s3_keys *out, struct err *err)
{
    CLEANUP(response_wipe) struct http_response response = {.body = {.limit = BODY_MAX}};
    const char *relative = s3_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = s3_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    char url[URL_SIZE], header[HEADER_SIZE];
    const char *headers[] = {header, NULL};
    const struct http_request request = {
        .method = "GET", .url = url, .headers = headers, .direct = true};

    if (!relative && !full)
        return 0;
    (void)snprintf(url, sizeof(url), "%s%s", relative ? "http://169.254.170.2" : full,
                   relative ? relative : "");
    int r = authorization(header, sizeof(header), err);
    if (r == 0 && !header[0])
        headers[0] = NULL;
    if (r == 0)
        r = ask(sources, &request, &response, err);
    if (r == 0)
        r = take_json(&response, out, err);
    explicit_bzero(header, sizeof(header));
    return r < 0 ? err_context(err, "container") : r;
}

/* Where a machine says what it is; false where it must not be asked. */
static bool machine_address(char *out, size_t size)
{
    const char *off = s3_variable("AWS_EC2_METADATA_DISABLED");
    const char *endpoint = s3_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");

    (void)snprintf(out, size, "%s/latest", endpoint ? endpoint : "http://169.254.169.254");
    return !off || strcasecmp(off, "true") != 0;
}

static int machine_patience(unsigned *out_seconds, struct err *err)
{
    const char *text = s3_variable("AWS_METADATA_SERVICE_TIMEOUT");
    char *end = NULL;

    *out_seconds = MACHINE_SECONDS;
    if (!text)
        return 0;
    unsigned long value = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
    if (!end || *end != '\0' || value < 1 || value > MACHINE_SECONDS_MAX)
        return err_set(
            err, ERR_USAGE,
            "AWS_METADATA_SERVICE_TIMEOUT is \"%.40s\"; it has to be seconds from 1 to %d", text,
            MACHINE_SECONDS_MAX);
    *out_seconds = (unsigned)value;
    return 0;
}

struct machine {
    const struct s3_sources *sources;
    unsigned seconds; /* that each answer may take */
};

/* One question; the answer is terminated. */
static int ask_machine(const struct machine *machine, const char *method, const char *url,
                       const char *header, struct http_response *response, struct err *err)
{
    const char *headers[] = {header, NULL};
    const struct http_request request = {.method = method,
                                         .url = url,
                                         .headers = headers,
                                         .direct = true,
                                         .seconds = machine->seconds};
    int r = http_once(machine->sources->http, &request, response, err);

    if (r == 0 && response->status != 200)
        r = err_set(err, ERR_REMOTE, "the answer was HTTP %d", response->status);
    return r < 0 ? r : buf_append(&response->body, "", 1, err);
}

/* No machine that answers is no error: then there is simply no such source. */
int s3_keys_from_machine(const struct s3_sources *sources, struct s3_keys *out, struct err *err)
{
    CLEANUP(response_wipe) struct http_response response = {.body = {.limit = BODY_MAX}};
    char base[URL_SIZE / 2], url[URL_SIZE], token[HEADER_SIZE];
    struct machine machine = {.sources = sources};
    int size;

    if (!machine_address(base, sizeof(base)))
        return 0;
    (void)snprintf(url, sizeof(url), "%s/api/token", base);
    int r = machine_patience(&machine.seconds, err);
    if (r < 0)
        return r;
    if (ask_machine(&machine, "PUT", url, "X-aws-ec2-metadata-token-ttl-seconds: 21600", &response,
                    err) < 0)
        return 0;
    size = snprintf(token, sizeof(token), "X-aws-ec2-metadata-token: %s",
                    (const char *)response.body.data);
    (void)snprintf(url, sizeof(url), "%s/meta-data/iam/security-credentials/", base);
    if (size >= (int)sizeof(token) || ask_machine(&machine, "GET", url, token, &response, err) < 0)
        return 0;

    char *role = (char *)response.body.data;
    role[strcspn(role, "\r\n")] = '\0';
    size = snprintf(url, sizeof(url), "%s/meta-data/iam/security-credentials/%s", base, role);
    if (size >= (int)sizeof(url))
        return 0;
    r = ask_machine(&machine, "GET", url, token, &response, err);
    response.body.size -= r == 0;
    if (r == 0)
        r = take_json(&response, out, err);
    return r < 0 ? err_context(err, "machine's role") : r;
}
