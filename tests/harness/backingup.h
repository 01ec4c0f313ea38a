/*
 * backingup — a source directory, a repository, and backups of the one into the other.
 *
 * Everything that is in the repository may be referred to; no chunk is remembered from run to run.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/tree.h"
#include "backup/base/cleanup.h"
#include "backup/job/backup.h"
#include "tests/harness/temprepo.h"
#include "tests/harness/trusting.h"

/* A source directory and a repository; what the last backup said. */
struct fixture {
    struct temprepo temp;
    char source[64];
    struct backup_result result;
    struct root before;
    unsigned troubles, notes;
    bool force, dry_run;
    struct progress *progress;     /* may stay NULL */
    const char *path, *stdin_name; /* instead of the source */
};

static inline int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    strcpy(fixture->source, "/tmp/yester-backup-XXXXXX");
    fixture->temp = temprepo_make();
    *state = fixture;
    return mkdtemp(fixture->source) ? 0 : -1;
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", fixture->source);
    int r = system(command);
    backup_result_clear(&fixture->result);
    root_clear(&fixture->before);
    temprepo_clear(&fixture->temp);
    free(fixture);
    return r;
}

/* As the program does: with few, no file is opened before its turn. */
static inline void raise_descriptors(void)
{
    struct rlimit files;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

static inline void shell(struct fixture *fixture, const char *command)
{
    char line[1024];

    (void)snprintf(line, sizeof(line), "cd %s && %s", fixture->source, command);
    assert_true(system(line) == 0);
}

static inline void trouble(void *context, const char *path, const struct err *err)
{
    struct fixture *fixture = context;

    (void)path;
    (void)err;
    fixture->troubles++;
}

static inline void note(void *context, const char *path, const char *text)
{
    struct fixture *fixture = context;

    (void)path;
    (void)text;
    fixture->notes++;
}

static inline int back_up(struct fixture *fixture, struct err *err)
{
    const char *paths[] = {fixture->path ? fixture->path : fixture->source};
    bool again = fixture->result.root.name[0] != 0;
    struct backup_source source = {
        .type = TYPE_FILES, .paths = paths, .path_count = 1, .stdin_name = fixture->stdin_name};
    struct backup_options options = {
        .repo = fixture->temp.repo,
        .baseline = &baseline,
        .host = "here",
        .sources = &source,
        .source_count = 1,
        .parent = "",
        .force = fixture->force,
        .dry_run = fixture->dry_run,
        .progress = fixture->progress,
        .level = 1,
        .trouble = trouble,
        .note = note,
        .context = fixture,
    };

    root_clear(&fixture->before);
    fixture->before = fixture->result.root;
    references_clear(&fixture->result.references);
    fixture->result = (struct backup_result){0};
    source.previous = again ? &fixture->before : NULL;
    fixture->troubles = fixture->notes = 0;
    return backup_run(&options, &fixture->result, err);
}

static inline void must_back_up(struct fixture *fixture)
{
    struct err err;
    int r = back_up(fixture, &err);

    if (r < 0)
        fail_msg("%s", err.text);
}

/* The stored entry of a path below the source. */
static inline void find(struct fixture *fixture, struct blocks *blocks, const char *path,
                        struct held_entry *out)
{
    char whole[256];
    struct err err;

    (void)snprintf(whole, sizeof(whole), "%s%s%s", fixture->source + 1, *path ? "/" : "", path);
    int r = tree_resolve(blocks, &fixture->result.root.types[TYPE_FILES].directory, whole,
                         strlen(whole), out, &err);
    if (r < 0)
        fail_msg("%s: %s", path, err.text);
}

static inline void must_hold(struct fixture *fixture, const char *path)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    char name[256];
    struct stat st;
    struct err err;

    (void)snprintf(name, sizeof(name), "%s/%s", fixture->source, path);
    FILE *file = fopen(name, "rb");
    assert_true(file && fstat(fileno(file), &st) == 0);
    find(fixture, blocks, path, &held);
    assert_int_equal(held.entry.size, st.st_size);
    size_t size = (size_t)st.st_size;
    uint8_t *want = malloc(size + 1), *got = malloc(size + 1);
    assert_true(fread(want, 1, size, file) == size);
    assert_true(content_read(blocks, &held.entry.content, 0, got, size, &err) == 0);
    assert_memory_equal(want, got, size);
    free(want);
    free(got);
    fclose(file);
}

/* The snapshot has it, with this content. */
static inline void must_be(struct fixture *fixture, const char *path, const char *content)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    size_t size = strlen(content);
    char got[256];
    struct err err;

    find(fixture, blocks, path, &held);
    assert_int_equal(held.entry.size, size);
    assert_true(content_read(blocks, &held.entry.content, 0, got, size, &err) == 0);
    assert_memory_equal(got, content, size);
}
