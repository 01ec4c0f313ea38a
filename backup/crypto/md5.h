/*
 * md5 — the checksum that S3 wants with what is to be locked (Content-MD5).  It protects nothing.
 *
 * Threads: any.
 * Errors:  ERR_SYSTEM when OpenSSL has no MD5.
 */
#pragma once

#include <stddef.h>

struct err;

enum { MD5_BASE64_SIZE = 25 };

/* In base64 and a NUL. */
int md5_base64(const void *bytes, size_t size, char out[MD5_BASE64_SIZE], struct err *err);
