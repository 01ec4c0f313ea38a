/*
 * s3_xml — what an S3 server's documents say.
 *
 * They come from outside: depth and lengths are bounded, a document type (and so entities of its
 * own) is refused, and elements that are not known are passed over.
 *
 * Ownership: results are plain values.
 * Threads:   any.
 * Errors:    ERR_REMOTE for what is no such document, and whatever the callback returns.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/store/store.h"

struct buf;
struct err;

enum {
    S3_TEXT_MAX = 2048,
    S3_CODE_SIZE = 64,
    S3_MESSAGE_SIZE = 160,
    S3_REGION_SIZE = 64,
    S3_CLASS_SIZE = 32
};

/* An <Error>; all empty where the body is none. */
struct s3_error {
    char code[S3_CODE_SIZE];
    char message[S3_MESSAGE_SIZE];
    char region[S3_REGION_SIZE];
    char class[S3_CLASS_SIZE]; /* in which a cold object is */
};

/* One page of a listing. */
struct s3_page {
    bool truncated;
    char token[S3_TEXT_MAX];   /* for the next one; of versions: the key where that begins */
    char version[S3_TEXT_MAX]; /* of versions: … and the version; may be empty */
};

/* A version of an object (class and time as below), or a mark that hides those before it; good
 * within the call. */
struct s3_version {
    const char *key, *id, *class, *when;
    uint64_t size;
    bool is_latest, is_marker;
};
typedef int s3_version_fn(void *context, const struct s3_version *version, struct err *err);

/* An upload, its id, and when it was begun (RFC 3339); all are good within the call. */
typedef int s3_upload_fn(void *context, const char *key, const char *id, const char *when,
                         struct err *err);

/* An object, its storage class (never empty) and when it was written (RFC 3339; empty: not told);
 * all are good within the call. */
struct s3_object_info {
    const char *key, *class, *when;
    uint64_t size;
};
typedef int s3_object_fn(void *context, const struct s3_object_info *object, struct err *err);

void s3_xml_error(const struct buf *body, struct s3_error *out);
/* The text of the first element of this name, at any depth; 1: there is one.  s3_xml_text(): there
 * has to be. */
int s3_xml_find(const struct buf *body, const char *element, char *out, size_t size,
                struct err *err);
int s3_xml_text(const struct buf *body, const char *element, char *out, size_t size,
                struct err *err);
/* ListObjectsV2; `each` gets whole keys. */
int s3_xml_list(const struct buf *body, s3_object_fn *each, void *context, struct s3_page *out,
                struct err *err);
/* ListObjectVersions: by key, and of a key the newest first. */
int s3_xml_versions(const struct buf *body, s3_version_fn *each, void *context, struct s3_page *out,
                    struct err *err);
/* ListMultipartUploads. */
int s3_xml_uploads(const struct buf *body, s3_upload_fn *each, void *context, struct err *err);
