#include "tools/entries.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "backup/archive/entry.h"
#include "backup/base/path.h"
#include "tools/output.h"

const char *entries_mode(const struct entry *entry, char out[ENTRIES_MODE_SIZE])
{
    static const char kinds[] = "?-dlcbps";
    static const char letters[] = "rwxrwxrwx";

    out[0] = entry->type < sizeof(kinds) - 1 ? kinds[entry->type] : '?';
    for (unsigned i = 0; i < 9; i++)
        out[i + 1] = entry->mode & (0400u >> i) ? letters[i] : '-';
    if (entry->mode & S_ISUID)
        out[3] = entry->mode & 0100 ? 's' : 'S';
    if (entry->mode & S_ISGID)
        out[6] = entry->mode & 0010 ? 's' : 'S';
    if (entry->mode & S_ISVTX)
        out[9] = entry->mode & 0001 ? 't' : 'T';
    out[10] = '\0';
    return out;
}

const char *entries_time(const struct entry *entry, char out[CLOCK_TEXT_SIZE])
{
    if (entry->mtime_s > INT64_MAX / NS_PER_SECOND - 1 ||
        entry->mtime_s < INT64_MIN / NS_PER_SECOND + 1)
        (void)snprintf(out, CLOCK_TEXT_SIZE, "@%lld", (long long)entry->mtime_s);
    else
        clock_format_local(entry->mtime_s * NS_PER_SECOND, out);
    return out;
}

const char *entries_kind(unsigned type)
{
    static const char *const kinds[] = {"?",       "file",     "directory", "symlink",
                                        "chardev", "blockdev", "fifo",      "socket"};

    return type < sizeof(kinds) / sizeof(kinds[0]) ? kinds[type] : kinds[0];
}

void entries_json(struct json_object *object, const struct entry *entry)
{
    json_object_object_add(object, "kind", json_object_new_string(entries_kind(entry->type)));
    json_object_object_add(object, "mode", json_object_new_int((int)entry->mode));
    json_object_object_add(object, "uid", json_object_new_int64(entry->uid));
    json_object_object_add(object, "gid", json_object_new_int64(entry->gid));
    json_object_object_add(object, "size", output_json_number(entry->size));
    json_object_object_add(object, "links", output_json_number(entry->links));
    json_object_object_add(object, "mtime", json_object_new_int64(entry->mtime_s));
    json_object_object_add(object, "mtime_ns", json_object_new_int64(entry->mtime_ns));
    if (entry->type == ENTRY_SYMLINK)
        json_object_object_add(object, "target",
                               output_json_text(entry->target, entry->target_size));
}

void entries_print(const char *bytes, size_t size)
{
    size_t room = 4 * size + 1;
    char *text = malloc(room);

    if (!text)
        return;
    path_printable(bytes, size, text, room);
    fputs(text, stdout);
    free(text);
}
