#include "backup/source/pathset.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"

/* By components: '/' comes before every other byte. */
static int compare(const char *a, const char *b)
{
    const unsigned char *left = (const unsigned char *)a, *right = (const unsigned char *)b;

    while (*left && *left == *right)
        left++, right++;
    int l = *left == '/' ? 1 : *left * 2;
    int r = *right == '/' ? 1 : *right * 2;
    return l - r;
}

static int compare_pointers(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;

    return compare(*left, *right);
}

/* Whether `path` is `top` or lies below it. */
static bool is_below(const char *path, const char *top)
{
    size_t size = strlen(top);

    if (strcmp(top, "/") == 0)
        return true;
    return strncmp(path, top, size) == 0 && (path[size] == '/' || path[size] == 0);
}

int pathset_take(struct pathset *set, const char *const *paths, size_t count, struct err *err)
{
    *set = (struct pathset){
        .at = malloc((count + 1) * sizeof(*set->at)),
        .tops = malloc((count + 1) * sizeof(*set->tops)),
    };
    if (!set->at || !set->tops) {
        pathset_clear(set);
        return err_set(err, ERR_NOMEM, "no memory for %zu paths", count);
    }
    if (count > 0)
        memcpy(set->at, paths, count * sizeof(*set->at));
    qsort(set->at, count, sizeof(*set->at), compare_pointers);
    for (size_t i = 0; i < count; i++) {
        const char *path = set->at[i];
        if (set->count > 0 && strcmp(path, set->at[set->count - 1]) == 0)
            continue;
        set->at[set->count++] = path;
        if (set->top_count == 0 || !is_below(path, set->tops[set->top_count - 1]))
            set->tops[set->top_count++] = path;
    }
    return 0;
}

void pathset_clear(struct pathset *set)
{
    free(set->at);
    free(set->tops);
    *set = (struct pathset){0};
}

bool pathset_below(const struct pathset *set, const char *path, size_t *out_first, size_t *out_end)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(set->at[middle], path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_first = *out_end = low;
    while (*out_end < set->count && is_below(set->at[*out_end], path))
        (*out_end)++;
    return *out_end > low;
}
