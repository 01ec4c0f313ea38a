/*
 * extract — recovery to disk: stored trees written below a directory, safely, completely, and again
 * where it stopped.
 *
 * Everything is done relative to directory descriptors, so that neither a planted symlink nor a
 * directory that is swapped while it runs leads outside the target.  A file comes into place whole,
 * by its own name; its times come last, so that what an interrupted run left behind is recognised
 * and written again.
 *
 * Ownership: borrows blocks and roots.
 * Threads:   called by one; runs its own workers.
 * Errors:    target errors (cannot write …) are gathered: each reported through `trouble`, the rest
 * goes on, and the result says so; damage in the repository likewise (ERR_CORRUPT in the end), and
 * what the repository refuses to give.  Once it is away, the rest is not tried (ERR_REMOTE).  A
 * wrong target directory fails at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct blocks;
struct err;
struct progress;
struct selection;
struct thaw;

/* In the target while a restore is under way. */
#define EXTRACT_MARKER ".yester-restore"

enum extract_overwrite { OVERWRITE_IF_CHANGED, OVERWRITE_ALWAYS, OVERWRITE_NEVER };

struct extract_options {
    const char *target; /* directory, made if absent; with dry_run NULL: one that is not there */
    const char *const
        *paths; /* PATH arguments as written ("config/…", "/…"); none: everything of `types` */
    size_t path_count;
    const char
        *content_path; /* of SNAP:PATH: its content goes straight into the target; else NULL */
    uint8_t types;     /* bits; 0: files and config */
    enum extract_overwrite overwrite;
    bool delete_extra; /* --delete */
    bool dry_run, verify;
    bool no_special, no_setuid;
    bool in_place; /* with OVERWRITE_ALWAYS: a file that is there stays the same file, and only what
                      differs in it is written.  An interruption leaves it half of each. */
    const char *const *includes, *const *excludes; /* gitignore-style */
    size_t include_count, exclude_count;
    const char *const *keep; /* on "/": files that are left as they are, and listed */
    size_t keep_count;
    void (*trouble)(void *context, const char *path,
                    const struct err *err); /* one file could not be restored */
    void (*note)(void *context,
                 const char *text); /* one line for the user: kept, deleted, would write … */
    int (*after_config)(void *context, struct err *err); /* config comes first, and then, when all
                                                            of it is in place, this; else NULL */
    /* Learns which archives the content that is to be written lies in; and then, before anything is
     * written, `ready` is called.  NULL: nobody wants to know. */
    struct thaw *thaw;
    int (*ready)(void *context, struct err *err);
    void *context;
    struct progress *progress;
};

struct extract_result {
    uint64_t files, directories, others, bytes; /* written; in place: what differed */
    uint64_t unchanged;                         /* were there already */
    uint64_t deleted, kept;
    uint64_t failed, damaged;
    uint64_t unread; /* not had from the repository, which says nothing about what it has */
    uint64_t room_needed, room_free; /* dry run */
    uint64_t verified;
};

/* Returns 0 only when everything that was asked for is there. */
int extract_run(struct blocks *blocks, const struct selection *selection,
                const struct extract_options *options, struct extract_result *out, struct err *err);
