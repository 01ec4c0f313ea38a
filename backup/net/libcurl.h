/*
 * libcurl — the functions of libcurl, loaded when the first client is made.
 *
 * <curl/curl.h> declares them; backup/base/library.h says why.
 *
 * Threads:   any.
 * Errors:    ERR_SYSTEM: it is not installed, or does not come up.
 */
#pragma once

struct err;

/* Comes before all others of libcurl's, once or more often. */
int libcurl_load(struct err *err);
