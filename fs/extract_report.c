#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

void extract_trouble(struct extract *x, const struct dir *dir, const char *name, size_t size,
                     enum side side, const struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = EXTRACT_PATH_MAX};
    bool damage = err->code != ERR_COLD && (side == SIDE_REPOSITORY || err->code == ERR_CORRUPT);
    int none = 0;
    struct err other;

    if (err->code == ERR_CANCELLED)
        return;
    extract_add(x, damage ? &x->result.damaged : &x->result.failed, 1);
    if (x->pass == PASS_COUNT && !x->options->dry_run)
        return; /* what is only counted will be met again */
    if (err->code == ERR_COLD)
        atomic_compare_exchange_strong(&x->stop, &none, -ERR_COLD);
    if (!damage && ends_all(err))
        atomic_compare_exchange_strong(&x->stop, &none, -ERR_SYSTEM);
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
