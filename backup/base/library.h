/*
 * library — a library of the system's, loaded when it is first needed.
 *
 * libcurl and libpq bring some thirty others with them: to load and relocate those takes longer
 * than most short commands, which need neither (docs/decisions/libraries.md).  So the program is
 * not linked with them.  One file has the functions of such a library under their own names, and
 * each hands its call on to the one that was loaded (backup/net/libcurl.c): whoever calls them
 * includes the library's header as ever.
 *
 *     static struct {
 *         FUNCTIONS(LIBRARY_FIELD)
 *     } at;
 *     static const struct library_function functions[] = {FUNCTIONS(LIBRARY_FUNCTION)};
 *     FUNCTIONS(LIBRARY_FORWARD)
 *
 * Ownership: nothing is ever unloaded.
 * Threads:   any; who comes while another one loads waits for it.
 * Errors:    ERR_SYSTEM: the library, or a function in it, is not there.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct err;

struct library_function {
    const char *name;
    void *pointer; /* to the pointer that is to lead there */
};

struct library {
    const char *file;    /* such as "libcurl.so.4" */
    const char *purpose; /* "buckets and notifications" */
    const char *package; /* who has it: "libcurl4 on Debian" */
    const struct library_function *functions;
    size_t count;

    pthread_mutex_t lock; /* held while it is loaded; guards what follows, and the pointers */
    bool loaded;
};

/* Until this has succeeded once, none of the functions may be called. */
int library_load(struct library *library, struct err *err);

/* What is made of a list FUNCTIONS(X) of X(type, name, parameters, arguments); `at` has the
 * pointers. */
#define LIBRARY_FIELD(type, name, parameters, arguments) type(*name) parameters;
#define LIBRARY_FUNCTION(type, name, parameters, arguments) {#name, &at.name},
#define LIBRARY_FORWARD(type, name, parameters, arguments) \
    type name parameters                                   \
    {                                                      \
        return at.name arguments;                          \
    }
