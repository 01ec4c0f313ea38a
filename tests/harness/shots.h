/*
 * shots — small trees and the snapshots that have them, for tests of what goes over all snapshots.
 *
 *     struct dirref top = DIRECTORY(&temp, {"a", .version = 1}, {"d", .below = &below});
 *     struct timeline_shot shots[] = {SHOT("20260101_000000", top)};
 */
#pragma once

#include "fs/timeline.h"
#include "tests/harness/temptree.h"

/* What a test says of an entry; the rest is made up. */
struct spec {
    const char *name;
    char version; /* of its content: the digest */
    const struct dirref *below;
    uint32_t mode, uid;
};

static inline struct entry shots_entry(struct temptree *temp, const struct spec *spec)
{
    struct entry entry = {.type = ENTRY_FILE, .name = spec->name, .links = 1};

    entry.name_size = strlen(spec->name);
    entry.mode = spec->mode ? spec->mode : 0644;
    entry.uid = spec->uid;
    if (spec->below) {
        entry.type = ENTRY_DIRECTORY;
        entry.directory = *spec->below;
        entry.below_entries = spec->below->entries + 100; /* for what is further down */
        return entry;
    }
    entry.size = 100;
    entry.content = (struct content){.form = CONTENT_ONE, .size = 100};
    entry.content.place.archive = temptree_archive(temp, ARCHIVE_DATA, 1);
    memset(entry.digest, spec->version, sizeof(entry.digest));
    return entry;
}

static inline struct dirref shots_directory(struct temptree *temp, const struct spec *specs,
                                            size_t count)
{
    struct dirwriter *dir;
    struct dirref out;
    struct err err;

    assert_int_equal(dirwriter_new(temp->writer, NULL, &dir, &err), 0);
    for (size_t i = 0; i < count; i++) {
        struct entry entry = shots_entry(temp, &specs[i]);
        assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), 0);
    }
    assert_int_equal(dirwriter_finish(dir, &out, &err), 0);
    return out;
}

#define DIRECTORY(temp, ...)                              \
    shots_directory((temp), (struct spec[]){__VA_ARGS__}, \
                    sizeof((struct spec[]){__VA_ARGS__}) / sizeof(struct spec))

#define SHOT(text, ...)                                                                       \
    {                                                                                         \
        .name = text, .types = 1 << TYPE_FILES, .directories = { [TYPE_FILES] = __VA_ARGS__ } \
    }

#define TIMELINE(shots)                                            \
    (struct timeline)                                              \
    {                                                              \
        .at = (shots), .count = sizeof(shots) / sizeof((shots)[0]) \
    }
