/*
 * pruning — prunes of a small repository, with clocks that the test turns.
 */
#pragma once

#include <dirent.h>

#include "backup/archive/note.h"
#include "backup/base/clock.h"
#include "backup/job/prune.h"
#include "backup/job/verify.h"
#include "tests/harness/backingup.h"

#define HOUR (3600 * NS_PER_SECOND)
#define GRACE (48 * HOUR)

/* The clocks, and what the repository is said to attest. */
static struct marks_moment now;
static int64_t attested;
static unsigned compact; /* percent */
static bool is_remote;   /* the store is taken for one where many at once take hardly longer */
static struct prune_result result;
static struct err err;

static void (*before_prune)(struct fixture *fixture); /* may be NULL */
/* What a bucket with object lock would say; NULL: nothing is locked. */
static int (*retained)(struct store *store, const char *name, int64_t *out_ns, struct err *err);

static inline int64_t believe(void *context, int64_t time_ns)
{
    (void)context;
    (void)time_ns;
    return attested;
}

static inline void quiet_damaged(void *context, const char *object, uint32_t archive,
                                 const struct err *why)
{
    (void)context;
    (void)archive;
    (void)object;
    (void)why;
}

static inline void quiet_whole(void *context, uint32_t archive)
{
    (void)context;
    (void)archive;
}

static inline void quiet_hurt(void *context, const char *snapshot, const char *path,
                              const struct err *why)
{
    (void)context;
    (void)snapshot;
    (void)path;
    (void)why;
}

static inline int start(void **state)
{
    now = (struct marks_moment){clock_system()->now_ns(clock_system()), 77, 5 * HOUR};
    attested = 0;
    compact = 0;
    return set_up(state);
}

static inline void later(int64_t ns)
{
    now.time_ns += ns;
    now.boot_ns += ns;
}

/* As another process does it: nothing is in any cache. */
static inline int prune_with(struct fixture *fixture, const struct prune_known *known, bool at_once)
{
    struct repo *repo = temprepo_open_again(&fixture->temp);
    struct blocks *blocks = blocks_new(repo, 1 << 20);
    const struct prune_options options = {.blocks = blocks,
                                          .now = now,
                                          .grace_ns = GRACE,
                                          .compact_percent = compact,
                                          .at_once = at_once,
                                          .known = known,
                                          .known_count = known ? 1 : 0,
                                          .believed = believe};
    struct store_ops locking = *repo->store->ops;
    repo->store->is_remote = is_remote;

    locking.retained = retained;
    if (retained)
        repo->store->ops = &locking;
    if (before_prune)
        before_prune(fixture);
    int r = prune_run(&options, &result, &err);
    blocks_free(blocks);
    repo_free(repo);
    return r;
}

static inline void prune(struct fixture *fixture)
{
    if (prune_with(fixture, NULL, false) < 0)
        fail_msg("%s", err.text);
}

static inline unsigned objects(const struct fixture *fixture, const char *folder)
{
    char path[128];
    unsigned count = 0;

    (void)snprintf(path, sizeof(path), "%s/%s", fixture->temp.directory, folder);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    if (directory)
        closedir(directory);
    return count;
}

static inline unsigned archives(const struct fixture *fixture)
{
    return objects(fixture, "data") + objects(fixture, "meta") + objects(fixture, "index");
}

static inline void decide(struct fixture *fixture, const struct root *root, enum note_kind kind,
                          uint64_t number)
{
    struct note note = {.kind = kind,
                        .sequence = root->sequence,
                        .start_ns = root->start_ns,
                        .number = number,
                        .made_ns = now.time_ns};

    strcpy(note.snapshot, root->name);
    strcpy(note.host, root->host);
    strcpy(note.by, "here");
    if (kind == NOTE_HOLD)
        memset(note.id, 5, sizeof(note.id));
    assert_int_equal(note_publish(fixture->temp.repo, &note, &err), 0);
}

static inline void must_be_whole(struct fixture *fixture)
{
    struct repo *repo = temprepo_open_again(&fixture->temp);
    struct blocks *blocks = blocks_new(repo, 1 << 20);
    const struct verify_options options = {
        .data = true, .damaged = quiet_damaged, .whole = quiet_whole, .hurt = quiet_hurt};
    struct verify_result found;

    if (verify_run(blocks, &options, &found, &err) < 0)
        fail_msg("%s", err.text);
    blocks_free(blocks);
    repo_free(repo);
}

/* Two snapshots that share nothing but a directory's name; the first is fixture->before. */
static inline void two_snapshots(struct fixture *fixture)
{
    shell(fixture, "mkdir d && head -c 300000 /dev/urandom > d/old");
    must_back_up(fixture);
    shell(fixture, "rm d/old && head -c 300000 /dev/urandom > d/new");
    must_back_up(fixture);
    assert_int_not_equal(strcmp(fixture->before.name, fixture->result.root.name), 0);
}
