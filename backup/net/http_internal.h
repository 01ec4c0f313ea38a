/*
 * http_internal — what the files of http share.
 *
 * http.c makes attempts; http_handle.c keeps what they are made with; http_retry.c says whether
 * there is another, and waits for it.
 */
#pragma once

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock;
struct progress;

enum { SOCKETS_MAX = 8 };

/* What attempts are made with, one at a time: libcurl's handle, and the connections that it keeps.
 */
struct handle {
    CURL *easy;
    curl_socket_t sockets[SOCKETS_MAX];
    size_t count;
};

struct http {
    char *ca_file;
    struct clock *clock;
    int64_t patience_ns;
    size_t connections;
    _Atomic(struct progress *) progress; /* whose cancellation ends all; NULL: nobody's */
    _Atomic int64_t last_ns;             /* when an attempt has to end; 0: nobody has cancelled */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t given; /* a handle came back */
    struct handle **idle; /* the one used last is at the end: its connection is the freshest */
    size_t idle_count;
    size_t used;
    int64_t failing_ns; /* since when no attempt got an answer that is one; 0: the last one did */
    int64_t failed_ns;  /* when the last of those ended */
};

/* Waits while all are in use; NULL: out of memory. */
struct handle *handle_take(struct http *http);
void handle_give(struct http *http, struct handle *handle); /* NULL: what was taken is nothing */
void handle_free(struct handle *handle);
/* Tells the server at once what has come so far. */
void handle_acknowledge(const struct handle *handle);

/* An answer came that says something else than "later". */
void http_note_answer(struct http *http);
/* Whether no attempt has got one for longer than there is patience. */
bool http_is_away(struct http *http);
/* Whether all was cancelled, and the time that attempts had left is over. */
bool http_has_to_end(struct http *http);
