/*
 * s3_internal — what the files of s3 share.
 *
 * s3.c opens, lists and removes; s3_request.c sends and judges; s3_location.c makes addresses;
 * s3_region.c pins to regions; s3_read.c reads; s3_put.c writes, s3_parts.c what is large;
 * s3_create.c sees to it that nothing is overwritten.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/net/http.h"
#include "backup/store/store.h"

struct err;
struct pool;
struct s3_credentials;
struct s3_options;

enum {
    S3_URL_SIZE = 8192,
    S3_RANGE_STEP = 64 * 1024, /* reads are rounded out to this */
    S3_PART_SIZE = 8 * 1024 * 1024,
    S3_UPLOADERS = 4,
    S3_ID_SIZE = 33, /* 32 random digits */
    S3_ANSWER_MAX = 8 * 1024 * 1024,
};

/* What is known of `If-None-Match: *`. */
enum s3_refusal { S3_NOT_TRIED, S3_REFUSES, S3_OVERWRITES };

struct s3 {
    struct store store;
    struct http *http;
    struct s3_credentials *credentials;
    char *bucket;
    char *prefix; /* empty, or ends in '/' */
    char *base;   /* of addresses, up to the key */
    char *region;
    char *sigv4;

    pthread_mutex_t lock; /* guards what follows */
    enum s3_refusal refusal;
    bool is_tidy;           /* uploads of the dead were looked for */
    struct pool *uploaders; /* NULL: none needed yet */
};

/* One thing asked of the server. */
struct s3_call {
    const char *method;
    const char *name;  /* of an object; NULL: the bucket itself */
    const char *query; /* sorted and escaped; NULL: none */
    const void *body;
    size_t body_size;
    const char *headers[4]; /* beside those that every request has */
    bool may_fail_late;     /* a body that comes with 200 may be an error */
    bool *out_unsure;       /* set when an earlier attempt may have been carried out */
};

/* 0 for 2xx, else an error; `response` holds the last answer. */
int s3_call(struct s3 *s3, const struct s3_call *call, struct http_response *response,
            struct err *err);

/* "s3://b/p" into bucket, prefix, base; ERR_USAGE. */
int s3_locate(struct s3 *s3, const char *location, const struct s3_options *options,
              struct err *err);
/* ERR_USAGE when the bucket is elsewhere than the options allow. */
int s3_check_region(struct s3 *s3, const struct s3_options *options, struct err *err);
/* Appends `text`, escaped as in a query. */
int s3_escape(struct buf *out, const char *text, struct err *err);

int s3_open_object(struct store *store, const char *name, struct store_object **out,
                   struct err *err);
int s3_modified(struct store *store, const char *name, int64_t *out_ns, struct err *err);
int s3_read(struct store_object *object, uint64_t offset, void *out, size_t count, struct err *err);
void s3_close_object(struct store_object *object);

int s3_begin(struct store *store, struct store_put **out, struct err *err);
void s3_expect(struct store_put *put, const char *name);
int s3_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
             struct err *err);
int s3_commit(struct store_put *put, const char *name, struct err *err);
void s3_abort(struct store_put *put);

/* A small or middling object in one request; `id` is what tells it from another's. */
int s3_create(struct s3 *s3, const char *name, const char *id, const void *bytes, size_t size,
              struct err *err);
/* Before and after something is written by other means (in parts): whether the name is free, and
 * whether what is there now is ours. */
int s3_check_free(struct s3 *s3, const char *name, struct err *err);
int s3_is_ours(struct s3 *s3, const char *name, const char *id, bool *out, struct err *err);
int s3_make_id(char out[S3_ID_SIZE], struct err *err);

/* An upload in parts. */
struct s3_upload;
int s3_upload_begin(struct s3 *s3, const char *name, const char *id, struct s3_upload **out,
                    struct err *err);
/* Sends a part (from 0 on), in any order, by any thread. */
int s3_upload_part(struct s3_upload *upload, size_t number, const void *bytes, size_t size,
                   struct err *err);
/* Both free it. */
int s3_upload_complete(struct s3_upload *upload, struct err *err);
void s3_upload_abort(struct s3_upload *upload);
