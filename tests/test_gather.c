/* Streams in any order become a tree that reads back as they were. */
#include "backup/job/gather.h"

#include <pthread.h>
#include <stdatomic.h>

#include "backup/job/treewalk.h"
#include "backup/job/verify.h"
#include "tests/harness/backingup.h"

enum { THREADS = 8, FILES_EACH = 40, MIB = 1024 * 1024 };

static atomic_int writes_left = INT32_MAX;

int __wrap_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err);
int __real_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err);

int __wrap_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err)
{
    if (atomic_fetch_sub(&writes_left, 1) <= 0)
        return err_set(err, ERR_SYSTEM, "the disk is full");
    return __real_store_put_write(put, offset, bytes, count, err);
}

static const struct gather_attributes plain = {
    .mode = 0640, .uid = 12, .gid = 34, .mtime_s = 1700000000, .mtime_ns = 5};

/* Bytes that follow from a number: the same again for who compares. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint8_t *random_bytes(uint64_t seed, size_t size)
{
    uint8_t *bytes = malloc(size + 8);
    uint64_t state = seed * 2654435761U + 88172645463325252U;

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t value = next_random(&state);
        memcpy(bytes + i, &value, 8);
    }
    return bytes;
}

typedef int produce_fn(void *context, struct gather *gather, struct err *err);

static int run_of(struct fixture *fixture, produce_fn *produce, void *context, struct err *err)
{
    struct backup_source source = {
        .type = TYPE_DATABASE, .produce = produce, .produce_context = context};
    struct backup_options options = {
        .repo = fixture->temp.repo,
        .baseline = &baseline,
        .host = "here",
        .sources = &source,
        .source_count = 1,
        .parent = "",
        .dry_run = fixture->dry_run,
        .level = 1,
        .trouble = trouble,
        .note = note,
        .context = fixture,
    };

    backup_result_clear(&fixture->result);
    fixture->troubles = fixture->notes = 0;
    return backup_run(&options, &fixture->result, err);
}

static void must_run(struct fixture *fixture, produce_fn *produce, void *context)
{
    struct err err;

    if (run_of(fixture, produce, context, &err) < 0)
        fail_msg("%s", err.text);
}

static const struct root_type *database(const struct fixture *fixture)
{
    return &fixture->result.root.types[TYPE_DATABASE];
}

static void verify_told(void *context, const char *object, uint32_t archive, const struct err *err)
{
    (void)context;
    (void)archive;
    fail_msg("%s: %s", object, err->text);
}

static void verify_whole(void *context, uint32_t archive)
{
    (void)context;
    (void)archive;
}

static void verify_hurt(void *context, const char *snapshot, const char *path,
                        const struct err *err)
{
    (void)context;
    (void)snapshot;
    fail_msg("%s: %s", path, err->text);
}

/* Every block decodes, every digest is that of its chunks. */
static void must_verify(struct fixture *fixture)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    const struct verify_options options = {
        .data = true, .damaged = verify_told, .whole = verify_whole, .hurt = verify_hurt};
    struct verify_result result;
    struct err err;

    assert_int_equal(verify_run(blocks, &options, &result, &err), 0);
}

static void must_read(struct fixture *fixture, const char *path, const void *want, size_t size)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct err err;

    if (tree_resolve(blocks, &database(fixture)->directory, path, strlen(path), &held, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    assert_int_equal(held.entry.type, ENTRY_FILE);
    assert_int_equal(held.entry.size, size);
    assert_int_equal(held.entry.mode, plain.mode);
    assert_int_equal(held.entry.uid, plain.uid);
    assert_int_equal(held.entry.gid, plain.gid);
    assert_int_equal(held.entry.mtime_s, plain.mtime_s);
    assert_int_equal(held.entry.mtime_ns, plain.mtime_ns);
    uint8_t *got = malloc(size + 1);
    assert_true(content_read(blocks, &held.entry.content, 0, got, size, &err) == 0);
    if (size > 0)
        assert_memory_equal(got, want, size);
    free(got);
}

static bool is_there(struct fixture *fixture, const char *path)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct err err;

    return tree_resolve(blocks, &database(fixture)->directory, path, strlen(path), &held, &err) ==
           0;
}

/* Pushed in pieces of odd sizes. */
static int push_all(struct gather_file *file, const uint8_t *bytes, size_t size, uint64_t seed,
                    struct err *err)
{
    int r = 0;

    for (size_t at = 0, count; r == 0 && at < size; at += count) {
        count = (size_t)(next_random(&seed) % 100000) + 1;
        count = count < size - at ? count : size - at;
        r = gather_push(file, bytes + at, count, err);
    }
    return r;
}

struct pusher {
    struct gather *gather;
    unsigned number;
    pthread_t thread;
    struct err err;
};

static size_t size_of(uint64_t seed)
{
    uint64_t state = seed + 1;
    uint64_t kind = (next_random(&state), next_random(&state) % 8);

    return kind == 0 ? 0 : next_random(&state) % (kind < 6 ? 5000 : 3 * MIB);
}

static void path_of(uint64_t seed, char *out, size_t size)
{
    (void)snprintf(out, size, "d%u/s%u/file %u", (unsigned)(seed % 7), (unsigned)(seed % 3),
                   (unsigned)(seed * 7919 % 100003));
}

static void *push_files(void *argument)
{
    struct pusher *pusher = argument;
    struct err err;

    for (unsigned i = 0; i < FILES_EACH; i++) {
        uint64_t seed = (uint64_t)pusher->number * FILES_EACH + i;
        uint32_t page = seed % 3 == 0 ? 16384 : GATHER_BY_CONTENT;
        struct gather_file *file;
        char path[64];

        path_of(seed, path, sizeof(path));
        uint8_t *bytes = random_bytes(seed, size_of(seed));
        int r = gather_open(pusher->gather, path, &plain, page, &file, &err);
        if (r == 0 && (r = push_all(file, bytes, size_of(seed), seed + 1, &err)) < 0)
            gather_drop(file);
        else if (r == 0)
            r = gather_close(file, &err);
        free(bytes);
        if (r < 0) {
            pusher->err = err;
            break;
        }
    }
    return NULL;
}

static int push_by_threads(void *context, struct gather *gather, struct err *err)
{
    struct pusher pushers[THREADS];

    (void)context;
    err->code = ERR_NONE;
    for (unsigned i = 0; i < THREADS; i++) {
        pushers[i] = (struct pusher){.gather = gather, .number = i};
        assert_int_equal(pthread_create(&pushers[i].thread, NULL, push_files, &pushers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(pushers[i].thread, NULL);
        if (pushers[i].err.code != ERR_NONE)
            *err = pushers[i].err;
    }
    return -(int)err->code;
}

static void streams_of_many_threads_read_back_as_they_were_pushed(void **state)
{
    struct fixture *fixture = *state;

    must_run(fixture, push_by_threads, NULL);
    assert_int_equal(database(fixture)->files, THREADS * FILES_EACH);
    assert_int_equal(database(fixture)->directories, 7 + 21);
    assert_true(database(fixture)->complete);
    for (uint64_t seed = 0; seed < (uint64_t)THREADS * FILES_EACH; seed++) {
        char path[64];

        path_of(seed, path, sizeof(path));
        uint8_t *bytes = random_bytes(seed, size_of(seed));
        must_read(fixture, path, bytes, size_of(seed));
        free(bytes);
    }
    must_verify(fixture);
}

/* After so many writes none succeeds any more. */
static void a_full_disk_ends_the_run_whoever_is_pushing(void **state)
{
    static const int moments[] = {0, 1, 2, 5, 20, 60};
    struct fixture *fixture = *state;
    struct err err;

    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        writes_left = moments[i];
        int r = run_of(fixture, push_by_threads, NULL, &err);
        writes_left = INT32_MAX;
        assert_int_equal(r, -ERR_SYSTEM);
        assert_non_null(strstr(err.text, "the disk is full"));
    }
    must_run(fixture, push_by_threads, NULL);
    must_verify(fixture);
}

static void a_dry_run_counts_and_writes_nothing(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    fixture->dry_run = true;
    must_run(fixture, push_by_threads, NULL);
    assert_int_equal(database(fixture)->files, THREADS * FILES_EACH);
    (void)snprintf(command, sizeof(command), "test -z \"$(ls -A %s/data %s/meta 2>/dev/null)\"",
                   fixture->temp.directory, fixture->temp.directory);
    assert_true(system(command) == 0);
}

static const struct gather_attributes directory = {.mode = 0750, .uid = 1, .gid = 2, .mtime_s = 3};

static int push_shapes(void *context, struct gather *gather, struct err *err)
{
    (void)context;
    int r = gather_put(gather, "b/deep/er/file", &plain, "one", 3, err);
    if (r == 0)
        r = gather_symlink(gather, "b.link", &plain, "b/deep", err);
    if (r == 0)
        r = gather_put(gather, "b!", &plain, "two", 3, err);
    if (r == 0)
        r = gather_directory(gather, "b", &directory, err);
    if (r == 0)
        r = gather_directory(gather, "empty", &directory, err);
    return r < 0 ? r : gather_put(gather, "a", &plain, "", 0, err);
}

static void directories_may_come_after_what_is_in_them_or_not_at_all(void **state)
{
    static const char *const order[] = {"a",  "b",      "b/deep", "b/deep/er", "b/deep/er/file",
                                        "b!", "b.link", "empty"};
    static const uint32_t modes[] = {0640, 0750, 0700, 0700, 0640, 0640, 0640, 0750};
    struct fixture *fixture = *state;

    must_run(fixture, push_shapes, NULL);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    struct treewalk *walk;
    const struct entry *entry;
    const char *path;
    struct err err;
    size_t count = 0;

    assert_int_equal(treewalk_new(blocks, &database(fixture)->directory, &walk, &err), 0);
    while (treewalk_next(walk, &entry, &path, &err) == 1) {
        assert_true(count < sizeof(order) / sizeof(order[0]));
        assert_string_equal(path, order[count]);
        assert_int_equal(entry->mode, modes[count]);
        count++;
    }
    treewalk_free(walk);
    assert_int_equal(count, sizeof(order) / sizeof(order[0]));
    must_read(fixture, "b/deep/er/file", "one", 3);
    must_verify(fixture);
}

enum { CROWD = 60000 };

static int push_crowd(void *context, struct gather *gather, struct err *err)
{
    int r = 0;

    (void)context;
    for (unsigned i = 0; r == 0 && i < CROWD; i++) {
        unsigned number = i * 7919U % CROWD;
        char path[64];

        (void)snprintf(path, sizeof(path), "%u/%u", number % 11, number);
        r = gather_put(gather, path, &plain, &number, number % 5, err);
    }
    return r;
}

static void a_crowd_of_small_files_in_a_jumble_comes_back_in_order(void **state)
{
    struct fixture *fixture = *state;

    must_run(fixture, push_crowd, NULL);
    assert_int_equal(database(fixture)->files, CROWD);
    assert_int_equal(database(fixture)->directories, 11);
    for (unsigned number = 0; number < CROWD; number += 1009) {
        char path[64];

        (void)snprintf(path, sizeof(path), "%u/%u", number % 11, number);
        must_read(fixture, path, &number, number % 5);
    }
    must_verify(fixture);
}

static int push_the_same_twice(void *context, struct gather *gather, struct err *err)
{
    const char *const *paths = context;
    int r = 0;

    for (size_t i = 0; r == 0 && i < 3; i++)
        r = gather_put(gather, paths[i], &plain, "x", 1, err);
    return r;
}

static void a_path_that_comes_twice_is_refused(void **state)
{
    const char *const twice[] = {"a/b", "a/c", "a/b"}, *const below[] = {"a", "a.b", "a/b/c"};
    struct fixture *fixture = *state;
    struct err err;

    assert_int_equal(run_of(fixture, push_the_same_twice, (void *)twice, &err), -ERR_EXISTS);
    assert_non_null(strstr(err.text, "a/b"));
    assert_int_equal(run_of(fixture, push_the_same_twice, (void *)below, &err), -ERR_EXISTS);
}

static void a_path_that_leads_elsewhere_is_refused(void **state)
{
    static const char *const paths[] = {"", "/a", "a/", "a//b", "a/../b", ".", "a/./b"};
    struct fixture *fixture = *state;
    struct err err;

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const char *const three[] = {paths[i], "x", "y"};
        assert_int_equal(run_of(fixture, push_the_same_twice, (void *)three, &err), -ERR_USAGE);
    }
}

/* Between two that are whole, one that breaks off: small, or after several MiB. */
static int push_broken(void *context, struct gather *gather, struct err *err)
{
    size_t size = *(const size_t *)context;
    uint8_t *bytes = random_bytes(3, size);
    struct err failure;
    struct gather_file *file;

    int r = gather_put(gather, "before", &plain, "before", 6, err);
    if (r == 0)
        r = gather_open(gather, "broken", &plain, 0, &file, err);
    if (r == 0) {
        r = gather_push(file, bytes, size, err);
        gather_drop(file);
    }
    free(bytes);
    err_set(&failure, ERR_REMOTE, "the server went away");
    if (r == 0)
        r = gather_trouble(gather, "broken", &failure, err);
    return r < 0 ? r : gather_put(gather, "behind", &plain, "behind", 6, err);
}

static void a_stream_that_breaks_off_is_left_out_and_counted(void **state)
{
    static const size_t sizes[] = {100, 5 * MIB};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < 2; i++) {
        must_run(fixture, push_broken, (void *)&sizes[i]);
        assert_int_equal(fixture->troubles, 1);
        assert_int_equal(database(fixture)->unreadable, 1);
        assert_false(database(fixture)->complete);
        assert_false(is_there(fixture, "broken"));
        must_read(fixture, "before", "before", 6);
        must_read(fixture, "behind", "behind", 6);
        must_verify(fixture);
    }
}

static int push_nothing(void *context, struct gather *gather, struct err *err)
{
    struct err failure;

    (void)context;
    err_set(&failure, ERR_REMOTE, "no server there");
    return gather_trouble(gather, "database", &failure, err);
}

static void where_nothing_could_be_read_there_is_no_snapshot(void **state)
{
    struct fixture *fixture = *state;
    struct err err;

    assert_int_equal(run_of(fixture, push_nothing, NULL, &err), -ERR_NOT_FOUND);
    assert_int_equal(fixture->troubles, 1);
}

static int push_failing(void *context, struct gather *gather, struct err *err)
{
    struct gather_file *file;

    (void)context;
    int r = gather_put(gather, "one", &plain, "one", 3, err);
    if (r == 0)
        r = gather_open(gather, "two", &plain, 0, &file, err);
    if (r == 0)
        gather_drop(file);
    return r < 0 ? r : err_set(err, ERR_CANCELLED, "interrupted");
}

static void an_error_of_the_producer_ends_the_run(void **state)
{
    struct fixture *fixture = *state;
    struct err err;

    assert_int_equal(run_of(fixture, push_failing, NULL, &err), -ERR_CANCELLED);
    assert_string_equal(err.text, "interrupted");
}

static int push_twins(void *context, struct gather *gather, struct err *err)
{
    size_t size = *(const size_t *)context;
    uint8_t *bytes = random_bytes(9, size);
    struct gather_file *file;

    int r = gather_open(gather, "table.copy", &plain, 0, &file, err);
    if (r < 0)
        return r;
    if (r == 0)
        r = gather_twin(file, "table.sql", "HEAD\n", 5, err);
    if (r == 0)
        r = push_all(file, bytes, size, 1, err);
    if (r == 0)
        r = gather_twin_tail(file, "TAIL", 4, err);
    free(bytes);
    return r < 0 ? r : gather_close(file, err);
}

static void a_twin_has_head_and_tail_and_the_same_content(void **state)
{
    static const size_t sizes[] = {0, 1, 70000, 5 * MIB + 17};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i];
        uint8_t *bytes = random_bytes(9, size), *twin = malloc(size + 9);

        must_run(fixture, push_twins, (void *)&sizes[i]);
        memcpy(twin, "HEAD\n", 5);
        memcpy(twin + 5, bytes, size);
        memcpy(twin + 5 + size, "TAIL", 4);
        must_read(fixture, "table.copy", bytes, size);
        must_read(fixture, "table.sql", twin, size + 9);
        assert_true(database(fixture)->new_bytes < size + size / 50 + 8192);
        must_verify(fixture);
        free(bytes);
        free(twin);
    }
}

/* A file in sections, each pushed by a thread of its own, the last one first. */
enum { SECTIONS = 9 };
static const size_t section_sizes[SECTIONS] = {0,       3 * MIB + 5, 1,           70000, 0,
                                               2 * MIB, 20000,       4 * MIB + 1, 0};

struct section {
    struct gather_file *file;
    size_t number;
    bool dropped;
    pthread_t thread;
    int r;
    struct err err;
};

struct sections {
    bool front;   /* the file has bytes of its own in front of them, and behind them */
    bool dropped; /* one of them breaks off */
};

static void *push_section(void *argument)
{
    struct section *section = argument;
    size_t size = section_sizes[section->number];
    uint8_t *bytes = random_bytes(50 + section->number, size);

    section->r = push_all(section->file, bytes, size, section->number + 1, &section->err);
    if (section->r < 0 || section->dropped)
        gather_drop(section->file);
    else
        section->r = gather_close(section->file, &section->err);
    free(bytes);
    return NULL;
}

static int push_sections(const struct sections *how, struct gather *gather, struct err *err)
{
    const char *const names[] = {how->front ? "second.copy" : "first.copy",
                                 how->front ? "second.sql" : "first.sql"};
    struct section sections[SECTIONS] = {0};
    struct gather_file *file;

    int r = gather_open(gather, names[0], &plain, 0, &file, err);
    if (r == 0)
        r = gather_twin(file, names[1], "HEAD\n", 5, err);
    if (r == 0 && how->front)
        r = gather_push(file, "front", 5, err);
    for (size_t i = 0; r == 0 && i < SECTIONS; i++) {
        sections[i].number = i;
        sections[i].dropped = how->dropped && i == 5;
        r = gather_section(file, &sections[i].file, err);
    }
    assert_int_equal(r, 0);
    for (size_t i = SECTIONS; i-- > 0;) {
        assert_int_equal(pthread_create(&sections[i].thread, NULL, push_section, &sections[i]), 0);
        if (i % 2 == 0) /* two at a time */
            pthread_join(sections[i].thread, NULL);
    }
    for (size_t i = 1; i < SECTIONS; i += 2)
        pthread_join(sections[i].thread, NULL);
    for (size_t i = 0; i < SECTIONS; i++)
        assert_int_equal(sections[i].r, 0);
    if (how->dropped) {
        gather_drop(file);
        return how->front ? 0 : gather_put(gather, "other", &plain, "other", 5, err);
    }
    if (how->front)
        r = gather_push(file, "behind", 6, err);
    if (r == 0)
        r = gather_twin_tail(file, "TAIL", 4, err);
    return r < 0 ? r : gather_close(file, err);
}

static int push_both(void *context, struct gather *gather, struct err *err)
{
    struct sections how = {.dropped = context != NULL};
    int r = push_sections(&how, gather, err);

    how.front = true;
    return r < 0 ? r : push_sections(&how, gather, err);
}

static void must_read_sections(struct fixture *fixture, bool front)
{
    size_t size = front ? 11 : 0, at = 5;

    for (size_t i = 0; i < SECTIONS; i++)
        size += section_sizes[i];
    uint8_t *twin = malloc(size + 9);
    memcpy(twin, "HEAD\nfront", 10);
    at += front ? 5 : 0;
    for (size_t i = 0; i < SECTIONS; at += section_sizes[i++]) {
        uint8_t *bytes = random_bytes(50 + i, section_sizes[i]);
        memcpy(twin + at, bytes, section_sizes[i]);
        free(bytes);
    }
    memcpy(twin + at, "behind", front ? 6 : 0);
    memcpy(twin + 5 + size, "TAIL", 4);
    must_read(fixture, front ? "second.copy" : "first.copy", twin + 5, size);
    must_read(fixture, front ? "second.sql" : "first.sql", twin, size + 9);
    free(twin);
}

static void sections_come_in_their_order_whatever_order_they_are_pushed_in(void **state)
{
    struct fixture *fixture = *state;
    size_t size = 0;

    must_run(fixture, push_both, NULL);
    must_read_sections(fixture, false);
    must_read_sections(fixture, true);
    must_verify(fixture);
    /* Content that is shifted within a file is cut as it is in the other. */
    for (size_t i = 0; i < SECTIONS; i++)
        size += section_sizes[i];
    assert_true(database(fixture)->new_bytes > size);
    assert_true(database(fixture)->new_bytes < size + size / 50 + 8192);
}

static void a_section_that_breaks_off_takes_its_file_along(void **state)
{
    struct fixture *fixture = *state;

    must_run(fixture, push_both, fixture);
    assert_false(is_there(fixture, "first.copy"));
    assert_false(is_there(fixture, "first.sql"));
    must_read(fixture, "other", "other", 5);
    must_verify(fixture);
}

/* A small file shifts what follows it in the same part; pages count from each file's beginning. */
static int push_pages(void *context, struct gather *gather, struct err *err)
{
    enum { SIZE = 4 * MIB };
    static const char *const names[] = {"1", "2"};
    uint8_t *bytes = random_bytes(11, SIZE);
    int r = 0;

    (void)context;
    for (size_t i = 0; r == 0 && i < 2; i++) {
        struct gather_file *file;
        char small[16];

        (void)snprintf(small, sizeof(small), "small %zu", i);
        r = gather_put(gather, small, &plain, bytes, 1234 + i, err);
        if (r == 0)
            r = gather_open(gather, names[i], &plain, 16384, &file, err);
        if (r < 0)
            break;
        r = push_all(file, bytes, SIZE, i + 1, err);
        if (r == 0)
            r = gather_close(file, err);
        bytes[2 * MIB + 5] ^= 1;
    }
    free(bytes);
    return r;
}

static void of_a_file_cut_in_pages_one_changed_byte_stores_one_page(void **state)
{
    struct fixture *fixture = *state;

    must_run(fixture, push_pages, NULL);
    assert_true(database(fixture)->bytes > 8 * MIB);
    assert_true(database(fixture)->new_bytes > 4 * MIB);
    /* Random bytes do not compress: the page, and a little for blocks and directories. */
    assert_true(database(fixture)->new_bytes < 4 * MIB + 4 * 16384 + 16384);
    uint8_t *bytes = random_bytes(11, 4 * MIB);
    must_read(fixture, "1", bytes, 4 * MIB);
    bytes[2 * MIB + 5] ^= 1;
    must_read(fixture, "2", bytes, 4 * MIB);
    free(bytes);
    must_verify(fixture);
}

int main(void)
{
#define GATHERS(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        GATHERS(streams_of_many_threads_read_back_as_they_were_pushed),
        GATHERS(a_full_disk_ends_the_run_whoever_is_pushing),
        GATHERS(a_dry_run_counts_and_writes_nothing),
        GATHERS(directories_may_come_after_what_is_in_them_or_not_at_all),
        GATHERS(a_crowd_of_small_files_in_a_jumble_comes_back_in_order),
        GATHERS(a_path_that_comes_twice_is_refused),
        GATHERS(a_path_that_leads_elsewhere_is_refused),
        GATHERS(a_stream_that_breaks_off_is_left_out_and_counted),
        GATHERS(where_nothing_could_be_read_there_is_no_snapshot),
        GATHERS(an_error_of_the_producer_ends_the_run),
        GATHERS(a_twin_has_head_and_tail_and_the_same_content),
        GATHERS(sections_come_in_their_order_whatever_order_they_are_pushed_in),
        GATHERS(a_section_that_breaks_off_takes_its_file_along),
        GATHERS(of_a_file_cut_in_pages_one_changed_byte_stores_one_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
