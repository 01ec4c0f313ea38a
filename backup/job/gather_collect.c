/* The collector: the one thread that writes lists of extents and fills the sorter. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/treewriter.h"
#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/base/sorter.h"
#include "backup/job/backup.h"
#include "backup/job/gather_internal.h"

static void name_clear(struct gather_name *name)
{
    free(name->path);
    fileread_free(name->read);
    contentwriter_free(name->content);
}

void gather_file_free(struct gather_file *file)
{
    if (!file)
        return;
    name_clear(&file->self);
    name_clear(&file->twin);
    parts_clear(&file->parts);
    buf_clear(&file->xattrs);
    pthread_mutex_destroy(&file->lock);
    free(file);
}

static void item_free(struct gather_item *item)
{
    buf_clear(&item->record);
    free(item->extents);
    free(item->path);
    free(item->text);
    free(item);
}

static int add_extents(struct gather *gather, struct gather_name *name,
                       const struct extent *extents, size_t count, struct err *err)
{
    int r = 0;

    if (!gather->options.treewriter)
        return 0;
    if (!name->content)
        r = contentwriter_new(gather->options.treewriter, &name->content, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = contentwriter_add(name->content, &extents[i], err);
    return r;
}

static int take_record(struct gather *gather, const struct buf *record, struct err *err)
{
    return sorter_add(gather->sorter, record->data, record->size, err);
}

/* One name of a file that is whole. */
static int take_name(struct gather *gather, struct gather_file *file, struct gather_name *name,
                     struct err *err)
{
    struct fileread *read = name->read;
    struct entry entry = file->entry;

    entry.flags = file->changed ? ENTRY_CHANGED : 0;
    entry.size = read->content_size;
    if (entry.size > 0)
        digest_stream_finish(&read->digest, entry.digest, ENTRY_DIGEST_SIZE);
    int r = add_extents(gather, name, read->extents, read->extent_count, err);
    if (r == 0 && name->content)
        r = contentwriter_finish(name->content, &entry.content, err);
    /* A dry run has no content: what counts is its size. */
    entry.content.size = entry.size;
    gather->record.size = 0;
    if (r == 0)
        r = gather_record_encode(name->path, &entry, &gather->record, err);
    return r < 0 ? r : take_record(gather, &gather->record, err);
}

static int take_file(struct gather *gather, struct gather_file *file, struct err *err)
{
    int r = file->dropped ? 0 : take_name(gather, file, &file->self, err);

    if (r == 0 && !file->dropped && file->twin.path)
        r = take_name(gather, file, &file->twin, err);
    progress_add(gather_progress(gather), file->dropped ? 0 : 1, 0);
    return r;
}

static int take_item(struct gather *gather, struct gather_item *item, struct err *err)
{
    const struct backup_options *backup = gather->options.backup;
    struct gather_name *name;

    switch (item->kind) {
    case ITEM_PORTION:
        name = item->twin ? &item->file->twin : &item->file->self;
        return add_extents(gather, name, item->extents, item->extent_count, err);
    case ITEM_FILE:
        return take_file(gather, item->file, err);
    case ITEM_RECORD:
        return take_record(gather, &item->record, err);
    case ITEM_TROUBLE:
        gather->unreadable++;
        backup->trouble(backup->context, item->path, &item->failure);
        return 0;
    case ITEM_NOTE:
        backup->note(backup->context, item->path, item->text);
        return 0;
    }
    return 0;
}

/* The next item; NULL when there will be none. */
static struct gather_item *next_item(struct gather *gather)
{
    pthread_mutex_lock(&gather->lock);
    while (!gather->inbox && !gather->closing)
        pthread_cond_wait(&gather->changed, &gather->lock);
    struct gather_item *item = gather->inbox;
    if (item) {
        if (!(gather->inbox = item->next))
            gather->inbox_tail = &gather->inbox;
        gather->inbox_count--;
        pthread_cond_broadcast(&gather->changed);
    }
    pthread_mutex_unlock(&gather->lock);
    return item;
}

static void *collect(void *argument)
{
    struct gather *gather = argument;
    struct gather_item *item;
    int r = 0;

    while ((item = next_item(gather))) {
        struct units *units = gather->options.units;
        bool tells = item->kind == ITEM_TROUBLE || item->kind == ITEM_NOTE;
        struct err err;

        r = r < 0 ? r : units_error(units, &err);
        if ((r == 0 || tells) && take_item(gather, item, &err) < 0) {
            units_fail(units, &err);
            r = -(int)err.code;
        }
        if (item->kind == ITEM_FILE)
            gather_file_free(item->file);
        item_free(item);
    }
    return NULL;
}

/* Signals are for the main thread. */
int gather_collect_start(struct gather *gather, struct err *err)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&gather->collector, NULL, collect, gather);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return err_set(err, ERR_SYSTEM, "cannot start a thread: %s", strerror(failed));
    gather->collecting = true;
    return 0;
}

void gather_collect_end(struct gather *gather)
{
    if (!gather->collecting)
        return;
    pthread_mutex_lock(&gather->lock);
    gather->closing = true;
    pthread_cond_broadcast(&gather->changed);
    pthread_mutex_unlock(&gather->lock);
    pthread_join(gather->collector, NULL);
    gather->collecting = false;
}

static int tell(struct gather *gather, enum gather_item_kind kind, const char *path,
                const char *text, const struct err *failure, struct err *err)
{
    struct gather_item *item = calloc(1, sizeof(*item));
    char *copy = strdup(path), *words = strdup(text);

    if (!item || !copy || !words) {
        free(item);
        free(copy);
        free(words);
        return err_set(err, ERR_NOMEM, "no memory for a message");
    }
    item->kind = kind;
    item->path = copy;
    item->text = words;
    if (failure)
        item->failure = *failure;
    gather_wait_room(gather);
    gather_tell(gather, item);
    return 0;
}

int gather_trouble(struct gather *gather, const char *path, const struct err *failure,
                   struct err *err)
{
    return tell(gather, ITEM_TROUBLE, path, "", failure, err);
}

int gather_note(struct gather *gather, const char *path, const char *text, struct err *err)
{
    return tell(gather, ITEM_NOTE, path, text, NULL, err);
}
