/*
 * s3_internal — what the files of s3 share.
 *
 * s3.c opens and removes; s3_list.c lists; s3_request.c sends and judges; s3_location.c makes
 * addresses; s3_region.c pins to regions; s3_read.c reads; s3_put.c writes, s3_parts.c what is
 * large; s3_create.c sees to it that nothing is overwritten; s3_retention.c that nothing is
 * removed; s3_versions.c knows versions, s3_hidden.c which of them counts; s3_cold.c knows of
 * storage classes.
 */
#pragma once

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/net/http.h"
#include "backup/store/nametable.h"
#include "backup/store/s3_xml.h"
#include "backup/store/store.h"

struct buf;
struct err;
struct cold_ops;
struct pool;
struct s3_credentials;
struct s3_options;
struct s3_page;

enum {
    S3_URL_SIZE = 8192,
    S3_KEY_SIZE = 2048,
    S3_RANGE_STEP = 64 * 1024, /* reads are rounded out to this */
    S3_PART_SIZE = 8 * 1024 * 1024,
    S3_UPLOADERS = 4,
    S3_ID_SIZE = 33, /* 32 random digits */
    S3_HEADERS_MAX = 8,
    S3_HEADER_SIZE = 96,
    S3_LISTED_MAX = 32,
    S3_LISTED_SIZE = 64,
    S3_ANSWER_MAX = 8 * 1024 * 1024,
};

/* Whether a bucket has object lock. */
enum s3_bucket_lock { S3_LOCK_NOT_ASKED, S3_LOCK_ON, S3_LOCK_OFF, S3_LOCK_SECRET };

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
    bool compliance;  /* of store.retention_ns */
    char *data_class; /* the header that puts data into a storage class; NULL: none */

    pthread_mutex_t lock; /* guards what follows */
    enum s3_refusal refusal;
    bool is_probing; /* somebody finds that out */
    pthread_cond_t probed;
    enum s3_bucket_lock bucket_lock;
    struct nametable
        hidden; /* objects of which another version than the newest counts: its query */
    char listed[S3_LISTED_MAX][S3_LISTED_SIZE]; /* below these all versions were seen */
    size_t listed_count;
    bool has_warned;        /* of such an object */
    bool is_tidy;           /* uploads of the dead were looked for */
    bool completes_blindly; /* If-None-Match was refused for an upload in parts */
    struct pool *uploaders; /* NULL: none needed yet */
};

/* What is said of a new object beside its bytes. */
struct s3_label {
    char id[S3_ID_SIZE]; /* tells it from another's */
    bool stays_warm;
};

/* One thing asked of the server. */
struct s3_call {
    const char *method;
    const char *name;  /* of an object; NULL: the bucket itself */
    const char *query; /* sorted and escaped; NULL: none */
    const void *body;
    size_t body_size;
    const char *headers[S3_HEADERS_MAX]; /* beside those that every request has */
    bool may_fail_late;                  /* a body that comes with 200 may be an error */
    bool *out_unsure;                    /* set when an earlier attempt may have been carried out */
};

static inline void s3_add_header(struct s3_call *call, const char *header)
{
    size_t count = 0;

    while (count < S3_HEADERS_MAX && call->headers[count])
        count++;
    assert(count < S3_HEADERS_MAX);
    call->headers[count] = header;
}

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

/* How each page of a listing is asked for, and read: `take` says in *page how it goes on. */
struct s3_paging {
    int (*query)(const struct s3_page *page, const char *whole, struct buf *out, struct err *err);
    int (*take)(void *context, const struct http_response *response, struct s3_page *page,
                struct err *err);
    void *context;
};
/* All pages of the keys that begin with `whole`. */
int s3_list_pages(struct s3 *s3, const char *whole, const struct s3_paging *paging,
                  struct err *err);
/* The `query` of ListObjectsV2; and what it is made of. */
int s3_list_query(const struct s3_page *page, const char *whole, struct buf *out, struct err *err);
int s3_append_query(struct buf *out, const char *name, const char *value, struct err *err);

/* What lies below a prefix of the repository. */
struct s3_below {
    const char *prefix;
    size_t skip;             /* to the end of that in a key */
    char whole[S3_KEY_SIZE]; /* with the repository's own */
};
void s3_below_init(struct s3_below *below, const struct s3 *s3, const char *prefix);
/* A key's name behind the prefix; NULL: it is not ours, since somebody else may use the bucket as
 * well. */
const char *s3_below_name(const struct s3_below *below, const char *key);
int s3_list(struct store *store, const char *prefix, store_list_fn *each, void *context,
            struct err *err);
/* All below a prefix: with a retention by versions, each object in the one that counts; else, and
 * for who may not see versions, by pages.  `each` has the context of the paging. */
int s3_list_objects(struct s3 *s3, const char *prefix, const struct s3_paging *paging,
                    s3_object_fn *each, struct err *err);
/* "Sun, 06 Nov 1994 08:49:37 GMT" of such a header. */
bool s3_date(const struct http_response *response, const char *header, int64_t *out_ns);

/* What puts a new object of that name into a storage class; NULL: nothing. */
const char *s3_class_header(const struct s3 *s3, const char *name, const struct s3_label *label);
int s3_set_class(struct s3 *s3, const char *data_class, struct err *err);
extern const struct cold_ops s3_cold_ops;

int s3_open_object(struct store *store, const char *name, struct store_object **out,
                   struct err *err);
int s3_reopen_object(struct store *store, const char *name, uint64_t size,
                     struct store_object **out, struct err *err);
int s3_modified(struct store *store, const char *name, int64_t *out_ns, struct err *err);
int s3_read(struct store_object *object, uint64_t offset, void *out, size_t count, struct err *err);
void s3_close_object(struct store_object *object);

int s3_begin(struct store *store, struct store_put **out, struct err *err);
void s3_expect(struct store_put *put, const char *name);
int s3_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
             struct err *err);
int s3_commit(struct store_put *put, const char *name, struct err *err);
void s3_abort(struct store_put *put);

struct pool *s3_uploaders(struct s3 *s3); /* NULL: no memory, or no threads */

/* Whether nobody else makes an object of that name. */
bool s3_is_random(const char *name);
enum s3_refusal s3_refusal_of(struct s3 *s3);
extern const char s3_only_new[]; /* the header */
/* An object in one request. */
int s3_create(struct s3 *s3, const char *name, const struct s3_label *label, const void *bytes,
              size_t size, struct err *err);
/* Before and after something is written by other means (in parts): whether the name is free, and
 * whether what is there now is ours. */
int s3_check_free(struct s3 *s3, const char *name, struct err *err);
int s3_is_ours(struct s3 *s3, const char *name, const char *id, bool *out, struct err *err);
int s3_make_id(char out[S3_ID_SIZE], struct err *err);

/* The headers under which an object is put so that it stays: none where it need not. */
struct s3_lock_headers {
    char mode[S3_HEADER_SIZE], until[S3_HEADER_SIZE], checksum[S3_HEADER_SIZE];
};
/* Whether objects of this name are there to be removed; whether they are locked. */
bool s3_is_passing(const char *name);
bool s3_is_retained(const struct s3 *s3, const char *name);
/* ERR_USAGE where they are to be, and the bucket cannot. */
int s3_check_retention(struct s3 *s3, const char *name, struct err *err);
/* Adds to a call's headers; `texts` has to last as long as the call. */
int s3_add_retention(struct s3 *s3, struct s3_lock_headers *texts, struct s3_call *call,
                     struct err *err);
/* … the checksum of its body, without which servers take nothing that is to be locked. */
int s3_add_checksum(const struct s3 *s3, struct s3_lock_headers *texts, struct s3_call *call,
                    struct err *err);
/* After something was put by other means than one PUT. */
int s3_ensure_retention(struct s3 *s3, const char *name, struct err *err);
/* Whether the bucket has object lock, and so versions; asked once. */
int s3_has_lock(struct s3 *s3, bool *out, struct err *err);
int s3_retained(struct store *store, const char *name, int64_t *out_ns, struct err *err);
int s3_retain(struct store *store, const char *name, int64_t until_ns, struct err *err);
/* How long a version is locked; `version` NULL: the newest. */
int s3_version_retained(struct s3 *s3, const char *name, const char *version, int64_t *out_ns,
                        struct err *err);

/* "versionId=…", escaped. */
enum { S3_VERSION_QUERY_SIZE = 1024 };
int s3_version_query(const char *version, char out[S3_VERSION_QUERY_SIZE], struct err *err);
/* How long the version is locked that is so for longest. */
int s3_longest_retained(struct s3 *s3, const char *name, int64_t *out_ns, struct err *err);
/* The query of the first version of an object; ERR_NOT_FOUND when there is none. */
int s3_first_version(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE],
                     struct err *err);
/* All below a prefix, by key, of a key the newest first. */
int s3_list_versions(struct s3 *s3, const char *prefix, s3_version_fn *each, void *context,
                     struct err *err);
/* With a retention: objects whose newest version is not the one that counts. */
void s3_hidden_clear(struct s3 *s3);
/* The query of the version that does; empty: the newest.  Asks where no listing has told. */
int s3_which_version(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE],
                     struct err *err);
/* The same for one that seems not to be there; ERR_NOT_FOUND: it is not. */
int s3_find_hidden(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE],
                   struct err *err);
/* All below a prefix, hidden ones included, each in the version that counts. */
int s3_list_kept(struct s3 *s3, const char *prefix, s3_object_fn *each, void *context,
                 struct err *err);
int s3_remove_versions(struct s3 *s3, const char *name, struct err *err);

/* An upload in parts. */
struct s3_upload;
int s3_upload_begin(struct s3 *s3, const char *name, const struct s3_label *label,
                    struct s3_upload **out, struct err *err);
/* Sends a part (from 0 on), in any order, by any thread. */
int s3_upload_part(struct s3_upload *upload, size_t number, const void *bytes, size_t size,
                   struct err *err);
/* Both free it. */
int s3_upload_complete(struct s3_upload *upload, struct err *err);
void s3_upload_abort(struct s3_upload *upload);
