#include "tools/paths.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/archive/root.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/path.h"
#include "tools/console.h"

enum { PATH_LIMIT = 1024 * 1024 };

static void freep(char **text)
{
    free(*text);
}

/* Where the path's last name begins; its end without slashes goes to *size. */
static size_t last_name(const char *text, size_t *size)
{
    size_t start;

    while (*size > 1 && text[*size - 1] == '/')
        --*size;
    for (start = *size; start > 0 && text[start - 1] != '/'; start--)
        ;
    return start;
}

static int add_clean(struct strings *paths, const char *text, size_t size, struct err *err)
{
    CLEANUP(buf_clear) struct buf clean = {.limit = PATH_LIMIT};
    int r = path_absolute(text, size, &clean, err);

    return r < 0 ? r : strings_add(paths, (const char *)clean.data, clean.size, err);
}

/* The parent as it really is, and the name below it.  *out is NULL where nobody can say. */
static int resolve(const char *text, size_t size, char **out, struct err *err)
{
    size_t start = last_name(text, &size);
    const char *name = text + start;
    size_t name_size = size - start;
    bool whole = name_size == 0 || !path_is_name(name, name_size);
    CLEANUP(freep)
    char *parent = strndup(start > 0 || whole ? text : ".", whole ? size : start > 0 ? start : 1);

    *out = NULL;
    if (!parent)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    CLEANUP(freep) char *real = realpath(parent, NULL);
    if (!real)
        return 0;
    if (whole)
        *out = STEAL(real);
    else if (asprintf(out, "%s/%.*s", strcmp(real, "/") == 0 ? "" : real, (int)name_size, name) < 0)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    return 0;
}

static int add_link_target(struct strings *paths, const char *path, struct err *err)
{
    struct stat link, there;

    if (lstat(path, &link) < 0 || !S_ISLNK(link.st_mode))
        return 0;
    if (stat(path, &there) < 0 || !S_ISDIR(there.st_mode))
        return 0;
    CLEANUP(freep) char *real = realpath(path, NULL);
    if (!real)
        return 0;
    console_say("%s is a link to %s; both are read", path, real);
    return strings_add(paths, real, strlen(real), err);
}

int paths_add(struct strings *paths, const char *text, size_t size, struct err *err)
{
    CLEANUP(freep) char *path = NULL;

    if (size == 0)
        return err_set(err, ERR_USAGE, "an empty PATH names nothing");
    int r = resolve(text, size, &path, err);
    if (r < 0)
        return r;
    if (!path) {
        r = add_clean(paths, text, size, err);
        return r < 0 ? err_context(err, "%.100s", text) : 0;
    }
    r = strings_add(paths, path, strlen(path), err);
    return r < 0 ? r : add_link_target(paths, path, err);
}

int paths_add_from(struct strings *paths, const char *file, int zero, struct err *err)
{
    FILE *stream = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t got;
    int r = 0;

    if (!stream)
        return err_sys(err, "--files-from %.100s", file);
    while (r == 0 && (got = getdelim(&line, &room, zero ? '\0' : '\n', stream)) > 0) {
        size_t size = (size_t)got - (line[got - 1] == (zero ? '\0' : '\n'));

        if (size == 0)
            continue;
        if (memchr(line, '\0', size))
            r = err_set(err, ERR_USAGE, "--files-from %.100s: a NUL byte; does it need --from0?",
                        file);
        else
            r = paths_add(paths, line, size, err);
    }
    if (r == 0 && ferror(stream))
        r = err_sys(err, "--files-from %.100s", file);
    free(line);
    if (stream != stdin)
        (void)fclose(stream);
    return r;
}
