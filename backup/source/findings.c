#include "backup/source/findings.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/clock.h"
#include "backup/source/srcdir.h"

#define MOST_NS (2 * NS_PER_SECOND)

struct finding {
    struct statx st;
    char name[];
};

struct findings {
    uint64_t device, inode;
    int64_t begun_ns;
    struct finding **noted;
    size_t count, room, next;
};

struct findings *findings_new(const struct srcdir *dir)
{
    struct findings *findings = calloc(1, sizeof(*findings));

    if (!findings)
        return NULL;
    findings->device = dir->device;
    findings->inode = dir->inode;
    findings->begun_ns = clock_monotonic_ns();
    return findings;
}

static bool make_room(struct findings *findings)
{
    size_t room = findings->room > 0 ? findings->room * 2 : 16;

    if (findings->count < findings->room)
        return true;
    struct finding **noted = realloc(findings->noted, room * sizeof(struct finding *));
    if (!noted)
        return false;
    findings->noted = noted;
    findings->room = room;
    return true;
}

void findings_note(struct findings *findings, const char *name, const struct statx *st)
{
    size_t size = strlen(name) + 1;
    struct finding *finding;

    if (findings->count == FINDINGS_MOST || !make_room(findings) ||
        !(finding = malloc(sizeof(*finding) + size)))
        return;
    finding->st = *st;
    memcpy(finding->name, name, size);
    findings->noted[findings->count++] = finding;
}

static int compare(const void *a, const void *b)
{
    const struct finding *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

void findings_finish(struct findings *findings)
{
    if (findings->count > 0)
        qsort(findings->noted, findings->count, sizeof(struct finding *), compare);
}

size_t findings_count(const struct findings *findings)
{
    return findings->count;
}

bool findings_are_of(const struct findings *findings, const struct srcdir *dir)
{
    return findings->inode == dir->inode && findings->device == dir->device;
}

bool findings_find(struct findings *findings, const char *name, struct statx *out)
{
    int order = -1;

    while (findings->next < findings->count &&
           (order = strcmp(findings->noted[findings->next]->name, name)) < 0)
        findings->next++;
    if (order != 0 || clock_monotonic_ns() - findings->begun_ns > MOST_NS)
        return false;
    *out = findings->noted[findings->next]->st;
    return true;
}

void findings_free(struct findings *findings)
{
    if (!findings)
        return;
    for (size_t i = 0; i < findings->count; i++)
        free(findings->noted[i]);
    free(findings->noted);
    free(findings);
}
