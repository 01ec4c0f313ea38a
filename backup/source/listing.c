#include "backup/source/listing.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/sorter.h"

enum { DENTS_SIZE = 64 * 1024, SORT_MEMORY = 8 * 1024 * 1024 };

struct listing {
    struct buf names;    /* one after the other: a byte for its type, the name, NUL */
    const char **sorted; /* into names, once all are there */
    size_t count, next;
    struct sorter *sorter; /* instead, when there are too many */
    struct buf current;    /* the sorter's name, terminated */
    uint64_t markers;
};

struct names_reader {
    struct listing *listing;
    const char *const *markers;
    size_t marker_count;
};

static int compare_names(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;

    return strcmp(*left, *right);
}

/* Too many names for memory: hands those that there are to a sorter. */
static int spill_names(struct listing *listing, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    int r = sorter_new(tmp && *tmp ? tmp : "/tmp", SORT_MEMORY, &listing->sorter, err);

    for (size_t at = 0; r == 0 && at < listing->names.size;) {
        const char *name = (const char *)listing->names.data + at + 1;
        size_t size = strlen(name);

        r = sorter_add(listing->sorter, name, size, err);
        at += size + 2;
    }
    buf_clear(&listing->names);
    return r;
}

static void note_marker(struct names_reader *reader, const char *name)
{
    for (size_t i = 0; i < reader->marker_count; i++)
        if (strcmp(name, reader->markers[i]) == 0)
            reader->listing->markers |= UINT64_C(1) << i;
}

static int take_name(struct names_reader *reader, const struct dirent64 *dent, struct err *err)
{
    struct listing *listing = reader->listing;
    const char *name = dent->d_name;
    size_t size = strlen(name);
    int r;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    note_marker(reader, name);
    if (!listing->sorter && listing->names.size + size + 2 > LISTING_MEMORY &&
        (r = spill_names(listing, err)) < 0)
        return r;
    if (listing->sorter)
        return sorter_add(listing->sorter, name, size, err);
    listing->count++;
    r = buf_append(&listing->names, &dent->d_type, 1, err);
    return r < 0 ? r : buf_append(&listing->names, name, size + 1, err);
}

/* What getdents64(2) gives has the same layout as glibc's struct dirent64. */
static int read_names(struct names_reader *reader, int fd, struct err *err)
{
    _Alignas(struct dirent64) char dents[DENTS_SIZE];

    for (;;) {
        long got = syscall(SYS_getdents64, fd, dents, sizeof(dents));
        if (got < 0) {
            err_sys(err, "cannot read directory");
            return LISTING_UNREADABLE;
        }
        if (got == 0)
            return 0;
        for (long at = 0; at < got;) {
            const struct dirent64 *dent = (const struct dirent64 *)(dents + at);
            int r = take_name(reader, dent, err);
            if (r < 0)
                return r;
            at += dent->d_reclen;
        }
    }
}

static int sort_names(struct listing *listing, struct err *err)
{
    if (listing->sorter)
        return sorter_finish(listing->sorter, err);
    listing->sorted = malloc((listing->count + 1) * sizeof(*listing->sorted));
    if (!listing->sorted)
        return err_set(err, ERR_NOMEM, "no memory for %zu names", listing->count);

    for (size_t i = 0, at = 1; i < listing->count; i++) {
        listing->sorted[i] = (const char *)listing->names.data + at;
        at += strlen(listing->sorted[i]) + 2;
    }
    qsort(listing->sorted, listing->count, sizeof(*listing->sorted), compare_names);
    return 0;
}

int listing_new(int fd, const char *const *markers, size_t count, struct listing **out,
                struct err *err)
{
    struct listing *listing = calloc(1, sizeof(*listing));
    if (!listing)
        return err_set(err, ERR_NOMEM, "no memory for a directory's names");
    listing->names.limit = LISTING_MEMORY;
    listing->current.limit = 4096;

    struct names_reader reader = {listing, markers, count};
    int r = read_names(&reader, fd, err);
    if (r == 0)
        r = sort_names(listing, err);
    if (r != 0) {
        listing_free(listing);
        return r;
    }
    *out = listing;
    return 0;
}

uint64_t listing_markers(const struct listing *listing)
{
    return listing->markers;
}

/* A directory that changes while it is read may give a name twice. */
static bool is_given(const struct listing *listing, const uint8_t *name, size_t size)
{
    return listing->current.size == size + 1 && memcmp(listing->current.data, name, size) == 0;
}

static const char *next_in_memory(struct listing *listing)
{
    while (listing->next + 1 < listing->count &&
           strcmp(listing->sorted[listing->next], listing->sorted[listing->next + 1]) == 0)
        listing->next++;
    return listing->next < listing->count ? listing->sorted[listing->next++] : NULL;
}

int listing_next(struct listing *listing, const char **out_name, struct err *err)
{
    const uint8_t *bytes = NULL;
    size_t size = 0;
    int r;

    *out_name = NULL;
    if (!listing->sorter) {
        *out_name = next_in_memory(listing);
        return 0;
    }
    do
        r = sorter_next(listing->sorter, &bytes, &size, err);
    while (r == 0 && bytes && is_given(listing, bytes, size));
    if (r < 0 || !bytes)
        return r;
    listing->current.size = 0;
    if ((r = buf_append(&listing->current, bytes, size, err)) < 0 ||
        (r = buf_append(&listing->current, "", 1, err)) < 0)
        return r;
    *out_name = (const char *)listing->current.data;
    return 0;
}

size_t listing_position(const struct listing *listing)
{
    return listing->next;
}

const char *listing_directory(const struct listing *listing, size_t *position)
{
    if (listing->sorter)
        return NULL;
    if (*position < listing->next) /* what was given already is not ahead any more */
        *position = listing->next;
    while (*position < listing->count) {
        const char *name = listing->sorted[(*position)++];
        if ((unsigned char)name[-1] == DT_DIR)
            return name;
    }
    return NULL;
}

void listing_free(struct listing *listing)
{
    if (!listing)
        return;
    sorter_free(listing->sorter);
    buf_clear(&listing->names);
    buf_clear(&listing->current);
    free(listing->sorted);
    free(listing);
}
