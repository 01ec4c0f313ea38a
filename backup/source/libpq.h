/*
 * libpq — the functions of libpq, loaded when the first connection is made.
 *
 * <libpq-fe.h> declares them; backup/base/library.h says why.
 *
 * Threads:   any.
 * Errors:    ERR_SYSTEM: it is not installed.
 */
#pragma once

struct err;

/* Comes before all others of libpq's, but for those that free: they take NULL at any time. */
int libpq_load(struct err *err);
