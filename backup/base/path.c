#include "backup/base/path.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { ESCAPE_SIZE = 4 }; /* \ooo */

static bool is_dots(const char *name, size_t size)
{
    return size == 2 && name[0] == '.' && name[1] == '.';
}

static bool is_dot(const char *name, size_t size)
{
    return size == 1 && name[0] == '.';
}

bool path_next(const char **at, const char *end, const char **out_name, size_t *out_size)
{
    const char *name = *at;

    while (name < end && *name == '/')
        name++;
    if (name == end) {
        *at = end;
        return false;
    }
    const char *slash = memchr(name, '/', (size_t)(end - name));
    *at = slash ? slash : end;
    *out_name = name;
    *out_size = (size_t)(*at - name);
    return true;
}

bool path_is_name(const char *name, size_t size)
{
    return size > 0 && !is_dot(name, size) && !is_dots(name, size) && !memchr(name, '/', size) &&
           !memchr(name, '\0', size);
}

static int append_component(struct buf *out, const char *name, size_t size, struct err *err)
{
    int r = buf_append(out, "/", 1, err);

    return r < 0 ? r : buf_append(out, name, size, err);
}

static int append_components(const char *path, size_t size, struct buf *out, struct err *err)
{
    const char *at = path;
    const char *end = path + size;
    const char *name;
    size_t length;

    while (path_next(&at, end, &name, &length)) {
        if (is_dot(name, length))
            continue;
        if (!path_is_name(name, length))
            return err_set(err, ERR_USAGE, "a path here may not hold '..' or a NUL byte");
        int r = append_component(out, name, length, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int path_clean(const char *path, size_t size, struct buf *out, struct err *err)
{
    size_t before = out->size;
    int r = 0;

    if (size == 0 || path[0] != '/')
        return err_set(err, ERR_USAGE, "the path is not absolute");
    r = append_components(path, size, out, err);
    if (r == 0 && out->size == before)
        r = buf_append(out, "/", 1, err);
    if (r < 0)
        out->size = before;
    return r;
}

static void freep(char **text)
{
    free(*text);
}

int path_absolute(const char *path, size_t size, struct buf *out, struct err *err)
{
    size_t before = out->size;

    if (size == 0)
        return err_set(err, ERR_USAGE, "the path is empty");
    if (path[0] == '/')
        return path_clean(path, size, out, err);

    CLEANUP(freep) char *here = getcwd(NULL, 0);
    if (!here)
        return err_sys(err, "current directory");
    int r = append_components(here, strlen(here), out, err);
    if (r == 0)
        r = append_components(path, size, out, err);
    if (r == 0 && out->size == before)
        r = buf_append(out, "/", 1, err);
    if (r < 0)
        out->size = before;
    return r;
}

int path_join(struct buf *path, const char *name, size_t size, struct err *err)
{
    bool is_root = path->size == 1 && path->data[0] == '/';

    assert(path->size > 0 && path->data[0] == '/');
    if (!path_is_name(name, size))
        return err_set(err, ERR_USAGE, "not the name of a file");
    int r = buf_reserve(path, size + 1, err);
    if (r < 0)
        return r;
    return is_root ? buf_append(path, name, size, err) : append_component(path, name, size, err);
}

void path_pop(struct buf *path)
{
    assert(path->size > 0 && path->data[0] == '/');
    const uint8_t *slash = memrchr(path->data, '/', path->size);
    size_t size = (size_t)(slash - path->data);

    path->size = size > 0 ? size : 1;
}

struct utf8_form {
    uint8_t first_min, first_max;   /* of the first byte */
    uint8_t second_min, second_max; /* narrower than 80..BF where overlong or no character */
    uint8_t length;
};

/* Table 3-7 of the Unicode standard. */
static const struct utf8_form utf8_forms[] = {
    {0x20, 0x7E, 0x00, 0x00, 1}, /* no control characters */
    {0xC2, 0xC2, 0xA0, 0xBF, 2}, /* nor those of U+0080 to U+009F */
    {0xC3, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
    {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
    {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
};

static bool continues_form(const struct utf8_form *form, const uint8_t *bytes)
{
    if (form->length > 1 && (bytes[1] < form->second_min || bytes[1] > form->second_max))
        return false;
    for (size_t i = 2; i < form->length; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xBF)
            return false;
    return true;
}

/* The length of the printable character that `bytes` starts with, or 0. */
static size_t printable_length(const uint8_t *bytes, size_t left)
{
    for (size_t i = 0; i < sizeof(utf8_forms) / sizeof(utf8_forms[0]); i++) {
        const struct utf8_form *form = &utf8_forms[i];
        if (bytes[0] >= form->first_min && bytes[0] <= form->first_max)
            return left >= form->length && continues_form(form, bytes) ? form->length : 0;
    }
    return 0;
}

static void escape(uint8_t byte, char out[ESCAPE_SIZE])
{
    out[0] = '\\';
    out[1] = (char)('0' + (byte >> 6));
    out[2] = (char)('0' + (byte >> 3 & 7));
    out[3] = (char)('0' + (byte & 7));
}

size_t path_printable(const char *bytes, size_t size, char *out, size_t out_size)
{
    size_t used = 0;

    for (size_t i = 0; i < size;) {
        const uint8_t *at = (const uint8_t *)bytes + i;
        size_t length = printable_length(at, size - i);
        size_t needed = length > 0 ? length : ESCAPE_SIZE;
        if (needed >= out_size - used)
            break;
        if (length > 0)
            memcpy(out + used, at, length);
        else
            escape(*at, out + used);
        used += needed;
        i += length > 0 ? length : 1;
    }
    out[used] = '\0';
    return used;
}
