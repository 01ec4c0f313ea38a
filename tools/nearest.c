#include "tools/nearest.h"

#include <string.h>

enum { LONGEST = 40, FAR = 3 };

/* Levenshtein's distance, with two letters in the wrong order as one change. */
static size_t distance(const char *a, const char *b)
{
    size_t width = strlen(b);
    size_t rows[3][LONGEST + 1];
    size_t *above = rows[0], *row = rows[1], *before = rows[2];

    if (strlen(a) > LONGEST || width > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= width; j++)
        above[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        row[0] = i;
        for (size_t j = 1; j <= width; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);

            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = before[j - 2] + 1 < best ? before[j - 2] + 1 : best;
            row[j] = best;
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[width];
}

/* What somebody began to write is near, too. */
static size_t apart(const char *word, const char *candidate)
{
    size_t size = strlen(word);

    return size >= 2 && strncmp(candidate, word, size) == 0 ? 1 : distance(word, candidate);
}

const char *nearest_of(const char *word, const char *best, const char *candidate)
{
    size_t far = apart(word, candidate);
    size_t limit = strlen(word) / 2 < FAR ? strlen(word) / 2 : FAR;

    if (far > limit)
        return best;
    return !best || far < apart(word, best) ? candidate : best;
}
