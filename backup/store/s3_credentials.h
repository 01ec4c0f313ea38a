/*
 * s3_credentials — who asks: the keys that requests are signed with, as every S3 client finds them.
 *
 * In this order: the environment (AWS_ACCESS_KEY_ID …), the profile in the AWS credentials and
 * config files, a web identity's token, a container's address, the machine's metadata (IMDSv2).
 * Keys that expire are fetched again in time; keys that the server calls expired are looked for
 * once more, wherever they came from.
 *
 * Ownership: struct s3_keys is a plain value that holds secrets: keep it in secure memory.
 * Threads:   any call from any thread; one fetches, the others wait.
 * Errors:    ERR_DENIED when there are none, naming the places; ERR_REMOTE.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct progress;
struct s3_credentials;

enum { S3_KEY_ID_SIZE = 256, S3_SECRET_SIZE = 512, S3_TOKEN_SIZE = 16384 };

struct s3_keys {
    char id[S3_KEY_ID_SIZE];
    char secret[S3_SECRET_SIZE];
    char token[S3_TOKEN_SIZE]; /* empty: none goes with them */
    int64_t expires_ns;        /* 0: nobody said */
};

/* `profile` NULL: AWS_PROFILE, else "default"; `profile_first`: before the environment. */
int s3_credentials_new(const char *profile, bool profile_first, const char *region,
                       const char *ca_file, struct s3_credentials **out, struct err *err);
void s3_credentials_free(struct s3_credentials *credentials); /* NULL is allowed */
/* As http_follow(). */
void s3_credentials_follow(struct s3_credentials *credentials, struct progress *progress);
/* Before a fork. */
void s3_credentials_rest(struct s3_credentials *credentials);

int s3_credentials_get(struct s3_credentials *credentials, struct s3_keys *out, struct err *err);
/* The server refused these as expired: true when others are to be had. */
bool s3_credentials_renew(struct s3_credentials *credentials, const struct s3_keys *refused);

/* A setting of the profile ("region", "endpoint_url"); false where there is none. */
bool s3_profile_setting(const char *profile, const char *key, char *out, size_t size);
