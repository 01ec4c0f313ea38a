#include "backup/store/s3_xml.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/err.h"

enum { DEEPEST = 12, SIZE_DIGITS = 19 };

/* An element that ended: its name, what stood in it, and how deep it was (the root is 1). */
typedef int end_fn(void *context, const char *name, const char *text, unsigned depth,
                   struct err *err);

struct parse {
    XML_Parser parser;
    end_fn *end;
    void *context;
    unsigned depth;
    char text[S3_TEXT_MAX];
    size_t size;
    int r;
    struct err *err;
};

static void stop(struct parse *parse, int r)
{
    parse->r = r;
    XML_StopParser(parse->parser, XML_FALSE);
}

static void XMLCALL started(void *context, const char *name, const char **attributes)
{
    struct parse *parse = context;

    (void)name;
    (void)attributes;
    parse->size = 0;
    if (++parse->depth > DEEPEST)
        stop(parse, err_set(parse->err, ERR_REMOTE, "the server's answer is too deep"));
}

static void XMLCALL characters(void *context, const char *text, int count)
{
    struct parse *parse = context;
    size_t size = (size_t)count;

    if (size < sizeof(parse->text) - parse->size) {
        memcpy(parse->text + parse->size, text, size);
        parse->size += size;
    } else {
        stop(parse, err_set(parse->err, ERR_REMOTE, "a text in the server's answer is too long"));
    }
}

static void XMLCALL ended(void *context, const char *name)
{
    struct parse *parse = context;

    parse->text[parse->size] = '\0';
    if (parse->r == 0) {
        int r = parse->end(parse->context, name, parse->text, parse->depth, parse->err);
        if (r != 0)
            stop(parse, r);
    }
    parse->depth--;
    parse->size = 0;
}

static void XMLCALL has_doctype(void *context, const char *name, const char *system,
                                const char *public, int internal)
{
    struct parse *parse = context;

    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    stop(parse, err_set(parse->err, ERR_REMOTE, "the server's answer is no S3 document"));
}

static int read_document(const struct buf *body, end_fn *end, void *context, struct err *err)
{
    struct parse parse = {.end = end, .context = context, .err = err};

    parse.parser = XML_ParserCreate(NULL);
    if (!parse.parser)
        return err_set(err, ERR_NOMEM, "no memory for the server's answer");
    XML_SetUserData(parse.parser, &parse);
    XML_SetElementHandler(parse.parser, started, ended);
    XML_SetCharacterDataHandler(parse.parser, characters);
    XML_SetStartDoctypeDeclHandler(parse.parser, has_doctype);
    enum XML_Status status = XML_STATUS_ERROR;
    if (body->size > 0 && body->size < INT32_MAX)
        status = XML_Parse(parse.parser, (const char *)body->data, (int)body->size, XML_TRUE);
    XML_ParserFree(parse.parser);
    if (parse.r == 0 && status != XML_STATUS_OK)
        return err_set(err, ERR_REMOTE, "the server's answer is no S3 document, or is cut off");
    return parse.r;
}

/* Always terminated; what is too long is cut off. */
static void copy_text(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text);
}

static int end_of_error(void *context, const char *name, const char *text, unsigned depth,
                        struct err *err)
{
    struct s3_error *error = context;

    (void)err;
    if (depth == 1 && strcmp(name, "Error") != 0 && strcmp(name, "ErrorResponse") != 0)
        *error = (struct s3_error){0};
    else if (strcmp(name, "Code") == 0)
        copy_text(error->code, sizeof(error->code), text);
    else if (strcmp(name, "Message") == 0)
        copy_text(error->message, sizeof(error->message), text);
    else if (strcmp(name, "Region") == 0)
        copy_text(error->region, sizeof(error->region), text);
    else if (strcmp(name, "StorageClass") == 0)
        copy_text(error->class, sizeof(error->class), text);
    return 0;
}

void s3_xml_error(const struct buf *body, struct s3_error *out)
{
    struct err ignored;

    *out = (struct s3_error){0};
    if (read_document(body, end_of_error, out, &ignored) < 0)
        *out = (struct s3_error){0};
}

struct wanted {
    const char *element;
    char *out;
    size_t size;
    bool found;
};

static int end_of_wanted(void *context, const char *name, const char *text, unsigned depth,
                         struct err *err)
{
    struct wanted *wanted = context;

    (void)depth;
    if (wanted->found || strcmp(name, wanted->element) != 0)
        return 0;
    if (strlen(text) >= wanted->size)
        return err_set(err, ERR_REMOTE, "%s in the server's answer is too long", name);
    strcpy(wanted->out, text);
    wanted->found = true;
    return 0;
}

int s3_xml_find(const struct buf *body, const char *element, char *out, size_t size,
                struct err *err)
{
    struct wanted wanted = {.element = element, .out = out, .size = size};
    int r = read_document(body, end_of_wanted, &wanted, err);

    return r < 0 ? r : wanted.found;
}

int s3_xml_text(const struct buf *body, const char *element, char *out, size_t size,
                struct err *err)
{
    int r = s3_xml_find(body, element, out, size, err);

    if (r == 0)
        return err_set(err, ERR_REMOTE, "there is no %s in the server's answer", element);
    return r < 0 ? r : 0;
}

struct entries {
    s3_object_fn *each;
    s3_upload_fn *each_upload;
    s3_version_fn *each_version;
    void *context;
    struct s3_page *page;
    bool is_list, has_key, has_size, is_latest;
    char key[S3_TEXT_MAX], id[S3_TEXT_MAX], when[64], class[S3_CLASS_SIZE];
    uint64_t size;
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; names of ours hold no '%', so those that did are not ours either way. */
static void decode_percent(char *text)
{
    char *to = text;

    for (const char *at = text; *at; at++) {
        int high = *at == '%' ? hex_digit(at[1]) : -1;
        int low = high >= 0 ? hex_digit(at[2]) : -1;
        *to++ = low > 0 || (low == 0 && high > 0) ? (char)(high * 16 + low) : *at;
        at += low > 0 || (low == 0 && high > 0) ? 2 : 0;
    }
    *to = '\0';
}

static int parse_size(const char *text, uint64_t *out, struct err *err)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > SIZE_DIGITS || text[digits] != '\0' ||
        (digits == SIZE_DIGITS && strcmp(text, "9223372036854775807") > 0))
        return err_set(err, ERR_REMOTE, "a size in the server's listing is no number");
    *out = strtoull(text, NULL, 10);
    return 0;
}

static int take_field(struct entries *entries, const char *name, const char *text, struct err *err)
{
    if (strcmp(name, "Key") == 0) {
        copy_text(entries->key, sizeof(entries->key), text);
        decode_percent(entries->key);
        entries->has_key = true;
    } else if (strcmp(name, "Size") == 0) {
        entries->has_size = true;
        return parse_size(text, &entries->size, err);
    } else if (strcmp(name, "UploadId") == 0 || strcmp(name, "VersionId") == 0) {
        copy_text(entries->id, sizeof(entries->id), text);
    } else if (strcmp(name, "Initiated") == 0 || strcmp(name, "LastModified") == 0) {
        copy_text(entries->when, sizeof(entries->when), text);
    } else if (strcmp(name, "IsLatest") == 0) {
        entries->is_latest = strcmp(text, "true") == 0;
    } else if (strcmp(name, "StorageClass") == 0) {
        copy_text(entries->class, sizeof(entries->class), text);
    }
    return 0;
}

/* A server without classes says nothing, or "STANDARD". */
static const char *class_of(const struct entries *entries)
{
    return entries->class[0] ? entries->class : "STANDARD";
}

static int end_of_contents(struct entries *entries, struct err *err)
{
    const struct s3_object_info object = {
        .key = entries->key,
        .class = class_of(entries),
        .when = entries->when,
        .size = entries->size,
    };
    bool whole = entries->has_key && entries->has_size;
    int r =
        whole ? entries->each(entries->context, &object, err)
              : err_set(err, ERR_REMOTE, "the server's listing has an object without name or size");

    entries->has_key = entries->has_size = false;
    entries->class[0] = entries->when[0] = '\0';
    return r;
}

static int end_of_list(void *context, const char *name, const char *text, unsigned depth,
                       struct err *err)
{
    struct entries *entries = context;

    if (depth == 3)
        return take_field(entries, name, text, err);
    if (depth == 1)
        entries->is_list = strcmp(name, "ListBucketResult") == 0;
    else if (strcmp(name, "Contents") == 0 && depth == 2)
        return end_of_contents(entries, err);
    else if (strcmp(name, "IsTruncated") == 0)
        entries->page->truncated = strcmp(text, "true") == 0;
    else if (strcmp(name, "NextContinuationToken") == 0)
        copy_text(entries->page->token, sizeof(entries->page->token), text);
    return 0;
}

static int read_list(const struct buf *body, end_fn *end, struct entries *entries, struct err *err)
{
    struct s3_page *out = entries->page;

    *out = (struct s3_page){0};
    int r = read_document(body, end, entries, err);
    if (r == 0 && !entries->is_list)
        r = err_set(err, ERR_REMOTE, "the server's answer is no listing");
    if (r == 0 && out->truncated && out->token[0] == '\0')
        r = err_set(err, ERR_REMOTE, "the server's listing goes on, and does not say where");
    return r;
}

int s3_xml_list(const struct buf *body, s3_object_fn *each, void *context, struct s3_page *out,
                struct err *err)
{
    struct entries entries = {.each = each, .context = context, .page = out};

    return read_list(body, end_of_list, &entries, err);
}

static int end_of_upload(void *context, const char *name, const char *text, unsigned depth,
                         struct err *err)
{
    struct entries *entries = context;

    if (depth == 3)
        return take_field(entries, name, text, err);
    if (depth != 2 || strcmp(name, "Upload") != 0)
        return 0;
    return entries->each_upload(entries->context, entries->key, entries->id, entries->when, err);
}

int s3_xml_uploads(const struct buf *body, s3_upload_fn *each, void *context, struct err *err)
{
    struct entries entries = {.each_upload = each, .context = context};

    return read_document(body, end_of_upload, &entries, err);
}

static int end_of_version(struct entries *entries, bool is_marker, struct err *err)
{
    const struct s3_version version = {.key = entries->key,
                                       .id = entries->id,
                                       .class = class_of(entries),
                                       .when = entries->when,
                                       .size = entries->has_size ? entries->size : 0,
                                       .is_latest = entries->is_latest,
                                       .is_marker = is_marker};
    bool whole = entries->has_key && entries->id[0] && (is_marker || entries->has_size);
    int r = whole ? entries->each_version(entries->context, &version, err)
                  : err_set(err, ERR_REMOTE,
                            "the server's listing has a version without name, id "
                            "or size");

    entries->has_key = entries->has_size = entries->is_latest = false;
    entries->id[0] = entries->class[0] = entries->when[0] = '\0';
    return r;
}

static int end_of_versions(void *context, const char *name, const char *text, unsigned depth,
                           struct err *err)
{
    struct entries *entries = context;
    bool is_marker = strcmp(name, "DeleteMarker") == 0;

    if (depth == 3)
        return take_field(entries, name, text, err);
    if (depth == 1)
        entries->is_list = strcmp(name, "ListVersionsResult") == 0;
    else if (depth == 2 && (is_marker || strcmp(name, "Version") == 0))
        return end_of_version(entries, is_marker, err);
    else if (strcmp(name, "IsTruncated") == 0)
        entries->page->truncated = strcmp(text, "true") == 0;
    else if (strcmp(name, "NextVersionIdMarker") == 0)
        copy_text(entries->page->version, sizeof(entries->page->version), text);
    else if (strcmp(name, "NextKeyMarker") == 0) {
        copy_text(entries->page->token, sizeof(entries->page->token), text);
        decode_percent(entries->page->token);
    }
    return 0;
}

int s3_xml_versions(const struct buf *body, s3_version_fn *each, void *context, struct s3_page *out,
                    struct err *err)
{
    struct entries entries = {.each_version = each, .context = context, .page = out};

    return read_list(body, end_of_versions, &entries, err);
}
