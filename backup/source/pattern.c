#include "backup/source/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/source/glob.h"

enum { FILE_MAX = 1024 * 1024 };

struct pattern {
    struct glob *glob;
    bool negated;
    bool only_dirs;
    bool name_only; /* no slash: matches at every depth */
    bool from_root; /* matches absolute paths */
};

struct patterns {
    size_t count;
    size_t capacity;
    struct pattern *items;
};

/* A path, and the name that it ends with. */
struct subject {
    const char *path;
    size_t path_size;
    const char *name;
    size_t name_size;
};

struct patterns *patterns_new(void)
{
    return calloc(1, sizeof(struct patterns));
}

void patterns_free(struct patterns *patterns)
{
    if (!patterns)
        return;
    for (size_t i = 0; i < patterns->count; i++)
        glob_free(patterns->items[i].glob);
    free(patterns->items);
    free(patterns);
}

void patterns_freep(struct patterns **patterns)
{
    patterns_free(*patterns);
}

bool patterns_is_empty(const struct patterns *patterns)
{
    return patterns->count == 0;
}

static int make_room(struct patterns *patterns, struct err *err)
{
    size_t capacity = patterns->capacity > 0 ? patterns->capacity * 2 : 16;

    if (patterns->count < patterns->capacity)
        return 0;
    struct pattern *items = reallocarray(patterns->items, capacity, sizeof(*items));
    if (!items)
        return err_set(err, ERR_NOMEM, "no memory for %zu patterns", capacity);
    patterns->items = items;
    patterns->capacity = capacity;
    return 0;
}

/* Takes the signs at both ends off; what is left is the glob. */
static int add(struct patterns *patterns, const char *text, size_t size, bool slash_is_root,
               struct err *err)
{
    struct pattern pattern = {.negated = size > 0 && text[0] == '!'};
    int r = make_room(patterns, err);
    if (r < 0)
        return r;

    text += pattern.negated;
    size -= pattern.negated;
    pattern.only_dirs = size > 0 && text[size - 1] == '/';
    size -= pattern.only_dirs;
    pattern.name_only = !memchr(text, '/', size);
    bool leading_slash = size > 0 && text[0] == '/';
    pattern.from_root = leading_slash && slash_is_root;

    r = glob_new(text + leading_slash, size - leading_slash, &pattern.glob, err);
    if (r == 0)
        patterns->items[patterns->count++] = pattern;
    return r;
}

/* Spaces at the end do not count, unless a backslash stands before them. */
static size_t trimmed_size(const char *line, size_t size)
{
    size_t kept = 0;

    for (size_t i = 0; i < size; i++) {
        if (line[i] == '\\' && i + 1 < size)
            i++;
        else if (line[i] == ' ')
            continue;
        kept = i + 1;
    }
    return kept;
}

int patterns_add_line(struct patterns *patterns, const char *line, size_t size, struct err *err)
{
    if (size > 0 && line[size - 1] == '\r')
        size--;
    if (size > 0 && line[0] == '#')
        return 0;
    size = trimmed_size(line, size);
    return size > 0 ? add(patterns, line, size, false, err) : 0;
}

int patterns_add_option(struct patterns *patterns, const char *text, struct err *err)
{
    return *text ? add(patterns, text, strlen(text), true, err) : 0;
}

int patterns_add_file(struct patterns *patterns, int dirfd, const char *name, struct err *err)
{
    static const char mark[] = "\xEF\xBB\xBF"; /* some editors begin UTF-8 files with it */
    CLEANUP(buf_clear) struct buf file = {.limit = FILE_MAX};
    int r = io_read_file(dirfd, name, FILE_MAX, &file, err);
    if (r < 0 || file.size == 0)
        return r;

    const char *at = (const char *)file.data;
    const char *end = at + file.size;
    if (file.size >= 3 && memcmp(at, mark, 3) == 0)
        at += 3;
    while (r == 0 && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        r = patterns_add_line(patterns, at, (size_t)(stop - at), err);
        at = newline ? newline + 1 : end;
    }
    return r;
}

static struct subject subject_of(const char *path, size_t size)
{
    const char *slash = size > 0 ? memrchr(path, '/', size) : NULL;
    const char *name = slash ? slash + 1 : path;

    return (struct subject){
        .path = path, .path_size = size, .name = name, .name_size = size - (size_t)(name - path)};
}

static bool is_match(const struct pattern *pattern, const struct subject *relative,
                     const char *absolute, size_t absolute_size)
{
    if (pattern->name_only)
        return glob_matches_name(pattern->glob, relative->name, relative->name_size);
    if (pattern->from_root)
        return absolute_size > 1 &&
               glob_matches_path(pattern->glob, absolute + 1, absolute_size - 1);
    return glob_matches_path(pattern->glob, relative->path, relative->path_size);
}

enum pattern_verdict patterns_match(const struct patterns *patterns, const char *relative,
                                    size_t relative_size, const char *absolute,
                                    size_t absolute_size, bool is_dir)
{
    struct subject subject = subject_of(relative, relative_size);

    for (size_t i = patterns->count; i > 0; i--) {
        const struct pattern *pattern = &patterns->items[i - 1];
        if (pattern->only_dirs && !is_dir)
            continue;
        if (is_match(pattern, &subject, absolute, absolute_size))
            return pattern->negated ? PATTERN_INCLUDED : PATTERN_EXCLUDED;
    }
    return PATTERN_NONE;
}
