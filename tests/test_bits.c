/*
 * Every change of a small repository is found, or changes nothing.
 *
 * Damages one object at a time and looks at the repository as a new process would: it must not
 * open, or verify must find the damage, or everything must read as before; what reads without an
 * error must never be something else.  YESTER_BITS=all does every bit and every length, and
 * YESTER_BITS_PART=I/N every Nth of them; else a sample.
 */
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
#include "backup/job/baseline.h"
#include "backup/job/treewalk.h"
#include "backup/job/verify.h"
#include "tests/harness/compacting.h"
#include "tests/harness/temprepo.h"

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
static unsigned long part, parts = 1; /* every `parts`th trial is done */
static bool all;
static struct err err;

/* ---- the repository ---------------------------------------------------------------------- */

static bool find_nothing(struct baseline *baseline, const uint8_t id[32], uint32_t length,
                         struct place *out)
{
    (void)baseline;
    (void)id;
    (void)length;
    (void)out;
    return false;
}

static bool always_usable(struct baseline *baseline, uint32_t archive)
{
    (void)baseline;
    (void)archive;
    return true;
}

static int take_nothing_in(struct baseline *baseline, const struct writer_result *archive,
                           const void *index, size_t size, struct err *why)
{
    (void)baseline;
    (void)archive;
    (void)index;
    (void)size;
    (void)why;
    return 0;
}

static const struct baseline_ops trusting = {
    .find_chunk = find_nothing, .archive_usable = always_usable, .add_archive = take_nothing_in};
static struct baseline baseline = {&trusting};

static void trouble(void *context, const char *path, const struct err *why)
{
    (void)context;
    fail_msg("%s: %s", path, why->text);
}

static void note(void *context, const char *path, const char *text)
{
    (void)context;
    (void)path;
    (void)text;
}

static void back_up(const char *directory, const struct root *previous, struct backup_result *out)
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

static void add_key(const char *label)
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
static void change_epoch(void)
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

static void shell(const char *directory, const char *command)
{
    char line[2048];

    (void)snprintf(line, sizeof(line), "cd %s && %s", directory, command);
    assert_true(system(line) == 0);
}

/* Content and directories of the first snapshot are found through a remap. */
static void compact_first(const struct root *root)
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

static void make_repository(void)
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

static void load_objects(const char *folder)
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

static void load_all(void)
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

/* ---- what it says ------------------------------------------------------------------------ */

static int add_content(struct blocks *blocks, const struct content *content, struct buf *out)
{
    int r = buf_reserve(out, content->size, &err);

    if (r == 0)
        r = content_read(blocks, content, 0, out->data + out->size, content->size, &err);
    if (r == 0)
        out->size += content->size;
    return r;
}

static int add_entry(struct blocks *blocks, const struct entry *entry, const char *path,
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

static int read_snapshot(struct blocks *blocks, const char *name, struct buf *out)
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

static void close_repo(struct repo **repo)
{
    repo_free(*repo);
}

static int open_repo(struct repo **out)
{
    struct secret secret = temprepo_secret();
    struct store *store;

    int r = local_store_open(temp.directory, false, &store, &err);
    if (r == 0)
        r = repo_open(store, NULL, &secret, 1, out, &err);
    secret_clear(&secret);
    return r;
}

static void damaged(void *context, const char *object, uint32_t archive, const struct err *why)
{
    (void)context;
    (void)object;
    (void)archive;
    (void)why;
}

static void hurt(void *context, const char *snapshot, const char *path, const struct err *why)
{
    (void)context;
    (void)snapshot;
    (void)path;
    (void)why;
}

static int run_verify(struct blocks *blocks)
{
    struct verify_options options = {.data = true, .damaged = damaged, .hurt = hurt};
    struct verify_result result;

    return verify_run(blocks, &options, &result, &err);
}

/* How many snapshots read as they should; one that reads as anything else is a failure. */
static size_t read_all(struct blocks *blocks, const char *what)
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
static bool judge(const char *what, size_t lost)
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

static bool is_mine(void)
{
    static unsigned long counter;

    return counter++ % parts == part;
}

/* ---- damage ------------------------------------------------------------------------------ */

static void path_of(const struct object *object, char out[600])
{
    (void)snprintf(out, 600, "%s/%s", temp.directory, object->name);
}

/* When the repository was made stands in its header for people only. */
static bool is_for_people(const struct object *object, size_t at)
{
    return strcmp(object->name, "repository") == 0 && at >= 32 && at < 40;
}

static void flip(const struct object *object, size_t at, unsigned bit)
{
    char path[600], what[400];
    const uint8_t changed = (uint8_t)(object->bytes[at] ^ 1U << bit);

    path_of(object, path);
    (void)snprintf(what, sizeof(what), "%s: bit %u of byte %zu", object->name, bit, at);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, &changed, 1, (off_t)at) == 1);
    if (judge(what, 0) == is_for_people(object, at))
        fail_msg("%s: found, or not, as it should not be", what);
    assert_true(pwrite(fd, &object->bytes[at], 1, (off_t)at) == 1);
    close(fd);
}

/* In a sample: all bytes of what is small, and of the ends of archives; a few in between. */
static size_t step_at(const struct object *object, size_t at)
{
    if (all)
        return 1;
    return at < 200 || at + 300 > object->size ? 5 : 131;
}

static void every_flipped_bit_is_found_or_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < object_count; i++)
        for (size_t at = 0; at < objects[i].size; at += step_at(&objects[i], at))
            for (unsigned bit = 0; bit < (all ? 8 : 1); bit++)
                if (is_mine())
                    flip(&objects[i], at, all ? bit : (unsigned)(at * 5 / 3 % 8));
    printf("%lu trials, %lu harmless\n", trials, harmless);
    /* A repository that nothing can hurt is not looked at. */
    assert_true(trials > 100 && harmless < trials / 20);
}

static void every_truncation_is_found_or_harmless(void **state)
{
    char what[400];

    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        const struct object *object = &objects[i];

        for (size_t size = 0; size < object->size; size += all ? 1 : 1 + object->size / 9) {
            if (!is_mine())
                continue;
            (void)snprintf(what, sizeof(what), "%s: its first %zu bytes", object->name, size);
            temprepo_replace(&temp, object->name, object->bytes, size);
            judge(what, 0);
        }
        temprepo_replace(&temp, object->name, object->bytes, object->size);
    }
}

static void bytes_behind_an_object_are_found_or_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        const struct object *object = &objects[i];
        uint8_t *longer = calloc(1, object->size + 4096);

        assert_non_null(longer);
        memcpy(longer, object->bytes, object->size);
        for (size_t more = 1; more <= 4096; more *= 64) {
            temprepo_replace(&temp, object->name, longer, object->size + more);
            judge(object->name, 0);
        }
        free(longer);
        temprepo_replace(&temp, object->name, object->bytes, object->size);
    }
}

/* Also what was there before in the place of what is there now. */
static void an_object_in_the_place_of_another_is_found_or_harmless(void **state)
{
    char what[600];

    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        for (size_t j = 0; j < object_count; j++) {
            if (i == j || !is_mine())
                continue;
            (void)snprintf(what, sizeof(what), "%s in the place of %s", objects[j].name,
                           objects[i].name);
            temprepo_replace(&temp, objects[i].name, objects[j].bytes, objects[j].size);
            judge(what, 0);
        }
        temprepo_replace(&temp, objects[i].name, objects[i].bytes, objects[i].size);
    }
}

static void two_swapped_objects_are_found_or_harmless(void **state)
{
    char what[600];

    (void)state;
    for (size_t i = 0; i < object_count; i++)
        for (size_t j = i + 1; j < object_count; j++) {
            const struct object *a = &objects[i], *b = &objects[j];

            (void)snprintf(what, sizeof(what), "%s and %s swapped", a->name, b->name);
            temprepo_replace(&temp, a->name, b->bytes, b->size);
            temprepo_replace(&temp, b->name, a->bytes, a->size);
            judge(what, 0);
            temprepo_replace(&temp, a->name, a->bytes, a->size);
            temprepo_replace(&temp, b->name, b->bytes, b->size);
        }
}

static void a_missing_object_is_found(void **state)
{
    char path[600], aside[640];

    (void)state;
    (void)snprintf(aside, sizeof(aside), "%s/tmp/aside", temp.directory);
    for (size_t i = 0; i < object_count; i++) {
        unsigned long before = harmless;
        bool root = strncmp(objects[i].name, "snapshots/", 10) == 0;

        path_of(&objects[i], path);
        assert_int_equal(rename(path, aside), 0);
        judge(objects[i].name, root);
        assert_true(root || harmless == before);
        assert_int_equal(rename(aside, path), 0);
    }
}

/* The name of an object as it could come next: another revision, generation or id. */
static void next_name(const char *name, char out[256])
{
    (void)snprintf(out, 256, "%s", name);
    char *last = out + strlen(out) - 1;
    *last = *last == 'f' ? '0' : *last == '9' ? 'a' : (char)(*last + 1);
}

static void a_doubled_object_is_found_or_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        struct object copy = objects[i];
        char path[600], name[256];

        next_name(objects[i].name, name);
        copy.name = name;
        path_of(&copy, path);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            continue; /* there is one of that name */
        close(fd);
        temprepo_replace(&temp, copy.name, copy.bytes, copy.size);
        judge(copy.name, 0);
        assert_int_equal(unlink(path), 0);
    }
}

static int set_up(void **state)
{
    const char *wanted = getenv("YESTER_BITS"), *mine = getenv("YESTER_BITS_PART");

    (void)state;
    all = wanted && strcmp(wanted, "all") == 0;
    if (mine && (sscanf(mine, "%lu/%lu", &part, &parts) != 2 || part >= parts))
        return -1;
    make_repository();
    load_all();
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, CACHE);
    assert_non_null(blocks);
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        expected[i].limit = CONTENT_MAX;
        assert_int_equal(read_snapshot(blocks, snapshots[i], &expected[i]), 0);
    }
    assert_int_equal(run_verify(blocks), 0);
    return object_count >= 10 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        free(objects[i].name);
        free(objects[i].bytes);
    }
    for (size_t i = 0; i < SNAPSHOTS; i++)
        buf_clear(&expected[i]);
    temprepo_clear(&temp);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_found_or_harmless),
        cmocka_unit_test(every_truncation_is_found_or_harmless),
        cmocka_unit_test(bytes_behind_an_object_are_found_or_harmless),
        cmocka_unit_test(an_object_in_the_place_of_another_is_found_or_harmless),
        cmocka_unit_test(two_swapped_objects_are_found_or_harmless),
        cmocka_unit_test(a_missing_object_is_found),
        cmocka_unit_test(a_doubled_object_is_found_or_harmless),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
