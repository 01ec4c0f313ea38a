#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/path.h"
#include "backup/base/progress.h"
#include "fs/extract_internal.h"

void extract_add(struct extract *x, uint64_t *counter, uint64_t count)
{
    pthread_mutex_lock(&x->lock);
    *counter += count;
    pthread_mutex_unlock(&x->lock);
}

bool extract_stopped(struct extract *x)
{
    if (progress_cancelled(x->options->progress)) {
        int none = 0;
        atomic_compare_exchange_strong(&x->stop, &none, -ERR_CANCELLED);
    }
    return atomic_load_explicit(&x->stop, memory_order_relaxed) != 0;
}

/* The path as the source had it, terminated. */
static int display_path(const struct extract *x, const struct dir *dir, const char *name,
                        size_t size, struct buf *out, struct err *err)
{
    size_t prefix = strlen(x->display), start = out->size;
    int r = buf_append(out, x->display, prefix, err);

    if (r == 0 && (prefix == 0 || x->display[prefix - 1] != '/'))
        r = buf_append(out, "/", 1, err);
    if (r == 0)
        r = dir_path(dir, name, size, out, err);
    if (r == 0 && out->size - start > 1 && out->data[out->size - 1] == '/')
        out->size--; /* the target itself */
    return r < 0 ? r : buf_append(out, "", 1, err);
}

/* Nothing more can be written, or read: to go on would only name every file that is left. */
static bool ends_all(const struct err *err)
{
    return err->cause == ENOSPC || err->cause == EDQUOT || err->cause == EROFS;
}

/* Whether an error on the way from the repository says nothing about what is stored there. */
static bool is_withheld(const struct err *err)
{
    return err->code == ERR_COLD || err->code == ERR_REMOTE || err->code == ERR_DENIED ||
           err->code == ERR_NOMEM || (err->code == ERR_SYSTEM && err->cause != EIO);
}

static uint64_t *counter_of(struct extract *x, enum side side, const struct err *err)
{
    if (err->code == ERR_CORRUPT || (side == SIDE_REPOSITORY && !is_withheld(err)))
        return &x->result.damaged;
    return side == SIDE_REPOSITORY || err->code == ERR_REMOTE ? &x->result.unread
                                                              : &x->result.failed;
}

/* That one object gets no answer may be that object's fault, and the others are to be had still. */
static bool is_away(struct extract *x)
{
    struct repo_seen seen;
    struct err ignored;

    return !extract_stopped(x) && repo_probe(blocks_repo(x->blocks)->store, &seen, &ignored) < 0;
}

/* Some failures are those of all that is left, too. */
static void end_early(struct extract *x, bool damage, const struct err *err)
{
    bool away = err->code == ERR_REMOTE && is_away(x);
    int none = 0;

    if (away) {
        pthread_mutex_lock(&x->lock);
        x->away = *err;
        pthread_mutex_unlock(&x->lock);
    }
    if (away || err->code == ERR_COLD)
        atomic_compare_exchange_strong(&x->stop, &none, -(int)err->code);
    else if (!damage && ends_all(err))
        atomic_compare_exchange_strong(&x->stop, &none, -ERR_SYSTEM);
}

void extract_trouble(struct extract *x, const struct dir *dir, const char *name, size_t size,
                     enum side side, const struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = EXTRACT_PATH_MAX};
    uint64_t *counter = counter_of(x, side, err);
    struct err other;

    if (err->code == ERR_CANCELLED)
        return;
    extract_add(x, counter, 1);
    bool again = x->pass == PASS_COUNT && !x->options->dry_run;
    if (!again || err->code == ERR_REMOTE)
        end_early(x, counter == &x->result.damaged, err);
    if (again)
        return; /* what is only counted will be met again */
    if (x->options->progress)
        atomic_fetch_add(&x->options->progress->errors, 1);
    if (!x->options->trouble)
        return;
    bool named = display_path(x, dir, name, size, &path, &other) == 0;
    pthread_mutex_lock(&x->talk);
    x->options->trouble(x->options->context, named ? (const char *)path.data : "?", err);
    pthread_mutex_unlock(&x->talk);
}

static void say(struct extract *x, const char *text)
{
    if (!x->options->note)
        return;
    pthread_mutex_lock(&x->talk);
    x->options->note(x->options->context, text);
    pthread_mutex_unlock(&x->talk);
}

void extract_note(struct extract *x, const struct dir *dir, const char *name, size_t size,
                  const char *format, ...)
{
    CLEANUP(buf_clear) struct buf line = {.limit = EXTRACT_PATH_MAX};
    char what[128];
    va_list args;
    struct err err;

    va_start(args, format);
    int length = vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    if (length < 0 || !x->options->note)
        return;
    int r = buf_append(&line, what, strlen(what), &err);
    if (r == 0)
        r = buf_append(&line, " ", 1, &err);
    if (r == 0)
        r = display_path(x, dir, name, size, &line, &err);
    if (r == 0)
        say(x, (const char *)line.data);
}

void extract_remark(struct extract *x, enum remark remark, const char *text)
{
    pthread_mutex_lock(&x->lock);
    bool said = x->said[remark];
    x->said[remark] = true;
    pthread_mutex_unlock(&x->lock);
    if (!said)
        say(x, text);
}
