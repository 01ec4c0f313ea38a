/*
 * knownrepo — a small repository of every kind of object, of which all is known: each object's
 * bytes, and all that its snapshots say.
 *
 * judge() looks at it as a new process would, after somebody has changed an object.
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/archive/blocks.h"
#include "backup/archive/root.h"
#include "backup/archive/tree.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/job/backup.h"
#include "backup/job/treewalk.h"
#include "backup/job/verify.h"
#include "tests/harness/compacting.h"
#include "tests/harness/temprepo.h"
#include "tests/harness/trusting.h"

enum { OBJECTS_MAX = 64, SNAPSHOTS = 2, CONTENT_MAX = 4 << 20, CACHE = 16 << 20 };

struct object {
    char *name;
    uint8_t *bytes;
    size_t size;
};

static struct temprepo temp;
static struct object objects[OBJECTS_MAX];
static size_t object_count;
static char snapshots[SNAPSHOTS][SNAPSHOT_NAME_SIZE];
static struct buf expected[SNAPSHOTS]; /* all that a snapshot says, in one row of bytes */
static unsigned long trials, harmless;
static struct err err;

static inline void trouble(void *context, const char *path, const struct err *why)
{
    (void)context;
    fail_msg("%s: %s", path, why->text);
}

static inline void note(void *context, const char *path, const char *text)
{
    (void)context;
    (void)path;
    (void)text;
}

static inline void back_up(const char *directory, const struct root *previous,
                           struct backup_result *out)
{
    const char *paths[] = {directory};
    struct backup_source source = {
        .type = TYPE_FILES, .paths = paths, .path_count = 1, .previous = previous};
    struct backup_options options = {.repo = temp.repo,
                                     .baseline = &baseline,
                                     .host = "here",
                                     .sources = &source,
                                     .source_count = 1,
                                     .parent = previous ? previous->name : "",
                                     .sequence = previous ? previous->sequence : 0,
                                     .level = 1,
                                     .trouble = trouble,
                                     .note = note};

    if (backup_run(&options, out, &err) < 0)
        fail_msg("%s", err.text);
}

static inline void add_key(const char *label)
{
    struct key_objects keys = repo_key_objects(temp.repo->store);
    struct secret secret = {.kdf = SLOT_KDF_HKDF, .count = 32};

    secret.bytes = calloc(1, 32);
    assert_non_null(secret.bytes);
    memcpy(secret.bytes, label, strlen(label));
    assert_int_equal(keyring_add(temp.repo->keyring, &keys, &secret, label, &err), 0);
    free(secret.bytes);
}

/* Two more keys, of which one is taken out: what is written from here on is of epoch 2. */
static inline void change_epoch(void)
{
    struct key_objects keys = repo_key_objects(temp.repo->store);
    struct slot_info info = {.label = ""};

    add_key("stays");
    add_key("goes");
    for (size_t i = 0; strcmp(info.label, "goes") != 0; i++)
        keyring_slot(temp.repo->keyring, i, &info);
    assert_int_equal(keyring_remove(temp.repo->keyring, &keys, info.id, &err), 0);
    assert_int_equal(keyring_epoch(temp.repo->keyring), 2);
}

static inline void shell(const char *directory, const char *command)
{
    char line[2048];

    (void)snprintf(line, sizeof(line), "cd %s && %s", directory, command);
    assert_true(system(line) == 0);
}

/* Content and directories of the first snapshot are found through a remap. */
static inline void compact_first(const struct root *root)
{
    const struct compacting how = {.repo = temp.repo};
    struct remap_object *remaps;
    char name[OBJECT_NAME_SIZE];
    size_t count;

    compact(&how, root, ARCHIVE_DATA);
    compact(&how, root, ARCHIVE_METADATA);
    assert_int_equal(remap_objects(temp.repo, &remaps, &count, &err), 0);
    for (size_t i = 0; i < count; i++) {
        repo_object_name(ARCHIVE_REMAP, &remaps[i].id, name);
        if (remaps[i].superseded)
            assert_int_equal(store_remove(temp.repo->store, name, &err), 0);
    }
    free(remaps);
}

static inline void make_repository(void)
{
    char directory[] = "/tmp/test_bits_XXXXXX", remove[64];
    struct backup_result first, second;

    temp = temprepo_make();
    assert_non_null(mkdtemp(directory));
    shell(directory,
          "mkdir -p a/b c empty && echo one > a/b/one && : > nothing && ln a/b/one c/link && "
          "ln -s one a/b/symlink && mkfifo fifo && seq 1 300 > c/text && yes | head -c 150000 >> "
          "c/text && "
          "head -c 500 /dev/urandom > c/noise && truncate -s 1M c/sparse && "
          "echo end >> c/sparse && for i in $(seq 70); do echo $i > a/$i; done && sleep 0.05");
    back_up(directory, NULL, &first);
    change_epoch();
    shell(directory, "echo more > c/more && rm a/7");
    back_up(directory, &first.root, &second);
    compact_first(&first.root);
    memcpy(snapshots[0], first.root.name, SNAPSHOT_NAME_SIZE);
    memcpy(snapshots[1], second.root.name, SNAPSHOT_NAME_SIZE);
    backup_result_clear(&first);
    backup_result_clear(&second);
    (void)snprintf(remove, sizeof(remove), "rm -rf %s", directory);
    shell("/", remove);
}

static inline void load_objects(const char *folder)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/%s", temp.directory, folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        struct object *object = &objects[object_count];

        if (entry->d_type != DT_REG || entry->d_name[0] == '.')
            continue;
        assert_true(object_count < OBJECTS_MAX &&
                    asprintf(&object->name, "%s%s%s", folder, folder[0] ? "/" : "", entry->d_name) >
                        0);
        object->bytes = temprepo_load(&temp, object->name, &object->size);
        object_count++;
    }
    closedir(dir);
}

static inline void load_all(void)
{
    char folder[64];

    for (const char *const *at = (const char *const[]){"", "keys/slot", "keys/epoch", "data",
                                                       "meta", "index", "remap", NULL};
         *at; at++)
        load_objects(*at);
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        (void)snprintf(folder, sizeof(folder), "snapshots/%s", snapshots[i]);
        load_objects(folder);
    }
}

static inline int add_content(struct blocks *blocks, const struct content *content, struct buf *out)
{
    int r = buf_reserve(out, content->size, &err);

    if (r == 0)
        r = content_read(blocks, content, 0, out->data + out->size, content->size, &err);
    if (r == 0)
        out->size += content->size;
    return r;
}

static inline int add_entry(struct blocks *blocks, const struct entry *entry, const char *path,
                            struct buf *out)
{
    const uint64_t numbers[] = {entry->type,
                                entry->mode,
                                entry->uid,
                                entry->gid,
                                (uint64_t)entry->mtime_s,
                                entry->mtime_ns,
                                entry->links,
                                entry->size,
                                entry->rdev,
                                entry->flags,
                                entry->below_entries,
                                entry->below_bytes,
                                entry->shared};
    int r = buf_append(out, path, strlen(path) + 1, &err);

    if (r == 0)
        r = buf_append(out, numbers, sizeof(numbers), &err);
    if (r == 0 && entry->target_size > 0)
        r = buf_append(out, entry->target, entry->target_size, &err);
    if (r == 0 && entry->type == ENTRY_FILE && entry->size > 0)
        r = add_content(blocks, &entry->content, out);
    if (r == 0 && (entry->flags & ENTRY_XATTRS))
        r = add_content(blocks, &entry->xattrs, out);
    return r;
}

static inline int read_snapshot(struct blocks *blocks, const char *name, struct buf *out)
{
    CLEANUP(root_clear) struct root root = {0};
    CLEANUP(treewalk_freep) struct treewalk *walk = NULL;
    const struct entry *entry;
    const char *path;

    int r = root_read(blocks_repo(blocks), name, 0, &root, &err);
    if (r == 0)
        r = treewalk_new(blocks, &root.types[TYPE_FILES].directory, &walk, &err);
    while (r == 0 && (r = treewalk_next(walk, &entry, &path, &err)) == 1)
        r = add_entry(blocks, entry, path, out);
    return r;
}

static inline void close_repo(struct repo **repo)
{
    repo_free(*repo);
}

static inline int open_repo(struct repo **out)
{
    struct secret secret = temprepo_secret();
    struct store *store;

    int r = local_store_open(temp.directory, false, &store, &err);
    if (r == 0)
        r = repo_open(store, NULL, &secret, 1, out, &err);
    secret_clear(&secret);
    return r;
}

static inline void damaged(void *context, const char *object, uint32_t archive,
                           const struct err *why)
{
    (void)context;
    (void)object;
    (void)archive;
    (void)why;
}

static inline void hurt(void *context, const char *snapshot, const char *path,
                        const struct err *why)
{
    (void)context;
    (void)snapshot;
    (void)path;
    (void)why;
}

static inline int run_verify(struct blocks *blocks)
{
    struct verify_options options = {.data = true, .damaged = damaged, .hurt = hurt};
    struct verify_result result;

    return verify_run(blocks, &options, &result, &err);
}

/* How many snapshots read as they should; one that reads as anything else is a failure. */
static inline size_t read_all(struct blocks *blocks, const char *what)
{
    size_t whole = 0;

    for (size_t i = 0; i < SNAPSHOTS; i++) {
        CLEANUP(buf_clear) struct buf got = {.limit = CONTENT_MAX};

        if (read_snapshot(blocks, snapshots[i], &got) < 0)
            continue;
        if (got.size != expected[i].size || memcmp(got.data, expected[i].data, got.size) != 0)
            fail_msg("%s: %s reads without an error, and as something else", what, snapshots[i]);
        whole++;
    }
    return whole;
}

/* Whether it is found that something is wrong with the repository as it is now.  `lost`: snapshots
 * whose object is not there any more, which only who remembers them can miss. */
static inline bool judge(const char *what, size_t lost)
{
    CLEANUP(close_repo) struct repo *repo = NULL;
    CLEANUP(blocks_freep) struct blocks *blocks = NULL;

    trials++;
    if (open_repo(&repo) < 0)
        return true;
    blocks = blocks_new(repo, CACHE);
    assert_non_null(blocks);
    bool found = run_verify(blocks) < 0;
    blocks_free(STEAL(blocks)); /* nothing of it is left in a cache */
    blocks = blocks_new(repo, CACHE);
    assert_non_null(blocks);
    size_t whole = read_all(blocks, what);
    if (!found && whole + lost < SNAPSHOTS)
        fail_msg("%s: cannot be read (%s), and verify finds nothing", what, err.text);
    harmless += !found;
    return found;
}

static inline void knownrepo_make(void)
{
    make_repository();
    load_all();
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, CACHE);
    assert_non_null(blocks);
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        expected[i].limit = CONTENT_MAX;
        assert_int_equal(read_snapshot(blocks, snapshots[i], &expected[i]), 0);
    }
    assert_int_equal(run_verify(blocks), 0);
    assert_true(object_count >= 10);
}

static inline void knownrepo_clear(void)
{
    for (size_t i = 0; i < object_count; i++) {
        free(objects[i].name);
        free(objects[i].bytes);
    }
    for (size_t i = 0; i < SNAPSHOTS; i++)
        buf_clear(&expected[i]);
    temprepo_clear(&temp);
}
