/* What is put at once: small files, directories, symlinks. */
#include <stdlib.h>
#include <string.h>

#include "backup/job/gather_internal.h"

int gather_put(struct gather *gather, const char *path, const struct gather_attributes *attributes,
               const void *bytes, size_t size, struct err *err)
{
    struct gather_file *file;

    int r = gather_open(gather, path, attributes, GATHER_BY_CONTENT, &file, err);
    if (r < 0)
        return r;
    r = gather_push(file, bytes, size, err);
    if (r < 0) {
        gather_drop(file);
        return r;
    }
    return gather_close(file, err);
}

static int put_record(struct gather *gather, const char *path,
                      const struct gather_attributes *attributes, enum entry_type type,
                      const char *target, struct err *err)
{
    struct gather_file *file;

    int r = gather_file_new(gather, path, attributes, &file, err);
    if (r < 0)
        return r;
    struct gather_item *item = calloc(1, sizeof(*item));
    gather_wait_room(gather);
    file->entry.type = type;
    file->entry.target = target;
    file->entry.target_size = target ? strlen(target) : 0;
    file->entry.directory.place.archive = NO_ARCHIVE;
    if (item) {
        item->kind = ITEM_RECORD;
        item->record.limit = GATHER_RECORD_MAX;
        r = gather_record_encode(path, &file->entry, &item->record, err);
    } else {
        r = err_set(err, ERR_NOMEM, "no memory for an entry");
    }
    if (r == 0)
        gather_tell(gather, item);
    else
        free(item);
    gather_file_free(file);
    return r;
}

int gather_directory(struct gather *gather, const char *path,
                     const struct gather_attributes *attributes, struct err *err)
{
    return put_record(gather, path, attributes, ENTRY_DIRECTORY, NULL, err);
}

int gather_symlink(struct gather *gather, const char *path,
                   const struct gather_attributes *attributes, const char *target, struct err *err)
{
    size_t size = strlen(target);

    if (size == 0 || size > ENTRY_TARGET_MAX)
        return err_set(err, ERR_USAGE, "a symbolic link to %zu bytes", size);
    return put_record(gather, path, attributes, ENTRY_SYMLINK, target, err);
}
