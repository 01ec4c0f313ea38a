/*
 * s3 — a store in a bucket: s3://BUCKET[/PREFIX].
 *
 * An object's key is PREFIX/NAME.  Objects are created with `If-None-Match: *` where the server
 * honours it (found out once, by trying), else by looking first and by claims (docs/format.md).
 * Large ones go up in parts while they are written.  Reads ask for ranges rounded out to 64 KiB:
 * exact lengths would tell the server where chunks begin.  Whatever may have happened without an
 * answer is looked at before it is repeated.
 *
 * With a retention, each object but those that are there to be removed is put under the bucket's
 * object lock; removing one then means all of its versions (docs/decisions/lock.md).
 *
 * Ownership, threads: as store.h says.
 * Errors:    as store.h says, naming bucket and key, with the server's code and what to do.
 * ERR_NO_REPOSITORY where the bucket does not exist; ERR_USAGE from s3_store_open() where its
 * region is not allowed, by the options or by the server's own word.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct store;

enum s3_style { S3_STYLE_AUTO, S3_STYLE_PATH, S3_STYLE_HOST };

struct s3_options {
    const char *endpoint; /* NULL: AWS, by region */
    const char *region;   /* NULL: the profile's, else us-east-1 */
    const char *profile;  /* NULL: AWS_PROFILE, else "default" */
    bool profile_first;   /* the profile's keys, whatever the environment has */
    const char *ca_file;  /* NULL: the system's authorities */
    /* Regions that a bucket may be in; 0: in any. */
    const char *const *allowed;
    size_t allowed_count;
    const char *data_class; /* storage class of what is put below data/; NULL: the bucket's own */
    enum s3_style style;    /* auto: path with an endpoint, else host */
    unsigned connections;
    int64_t patience_ns;  /* how long a request is tried again */
    int64_t retention_ns; /* how long what is put is locked; 0: not at all */
    bool compliance;      /* … and nobody at all can shorten it */
};

bool s3_is_location(const char *location);
int s3_store_open(const char *location, const struct s3_options *options, struct store **out,
                  struct err *err);
