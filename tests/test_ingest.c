/* What happens to a backup while the source, the repository or the user does something unexpected.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#include "backup/base/hex.h"
#include "backup/base/manyreads.h"
#include "backup/base/progress.h"
#include "backup/job/fileread.h"
#include "backup/source/findings.h"
#include "backup/source/scout.h"
#include "backup/source/srcdir.h"
#include "tests/harness/backingup.h"

/* A command that runs in the source once, before (or just after) the file of this name is opened.
 */
static struct {
    const char *name, *command;
    const char *source;
    bool after;
    atomic_int left; /* how often */
} hook;

int __wrap_fileread_open(struct fileread *file, struct err *err);
int __real_fileread_open(struct fileread *file, struct err *err);

/* What the kernel does about many reads at once. */
static struct {
    bool refuses;
    unsigned lets; /* one in so many is not read; 0: all are */
    atomic_uint runs, reads;
} kernel;

struct manyreads *__wrap_manyreads_new(unsigned most);
struct manyreads *__real_manyreads_new(unsigned most);
void __wrap_manyreads_run(struct manyreads *many, struct manyreads_one *reads, size_t count);
void __real_manyreads_run(struct manyreads *many, struct manyreads_one *reads, size_t count);

struct manyreads *__wrap_manyreads_new(unsigned most)
{
    return kernel.refuses ? NULL : __real_manyreads_new(most);
}

void __wrap_manyreads_run(struct manyreads *many, struct manyreads_one *reads, size_t count)
{
    __real_manyreads_run(many, reads, count);
    kernel.runs++;
    for (size_t i = 0; kernel.lets && i < count; i++)
        if (kernel.reads++ % kernel.lets == 0) {
            memset(reads[i].bytes, '?', reads[i].size);
            reads[i].done = false;
        }
}

static void run_hook(void)
{
    char line[512];

    (void)snprintf(line, sizeof(line), "cd %s && %s", hook.source, hook.command);
    if (atomic_fetch_sub(&hook.left, 1) > 0)
        assert_true(system(line) == 0);
}

int __wrap_fileread_open(struct fileread *file, struct err *err)
{
    bool matches = hook.name && strcmp(file->name, hook.name) == 0;

    if (matches && !hook.after)
        run_hook();
    int r = __real_fileread_open(file, err);
    if (matches && hook.after)
        run_hook();
    return r;
}

static void set_hook(struct fixture *fixture, const char *name, const char *command, bool after)
{
    hook.name = name;
    hook.command = command;
    hook.source = fixture->source;
    hook.after = after;
    hook.left = 1;
}

/* Devices move, and file systems round times. */
static unsigned device_shift;
static bool whole_seconds;

int __wrap_statx(int dir, const char *name, int flags, unsigned mask, struct statx *out);
int __real_statx(int dir, const char *name, int flags, unsigned mask, struct statx *out);

int __wrap_statx(int dir, const char *name, int flags, unsigned mask, struct statx *out)
{
    int r = __real_statx(dir, name, flags, mask, out);

    out->stx_dev_minor += device_shift;
    if (whole_seconds)
        out->stx_ctime.tv_nsec = out->stx_mtime.tv_nsec = 0;
    return r;
}

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

/* A pruner that saw the new archives before there was a root that needs them. */
static atomic_bool prune_before_root;

int __wrap_root_publish(struct repo *repo, const struct root *root, uint64_t *out_size,
                        struct err *err);
int __real_root_publish(struct repo *repo, const struct root *root, uint64_t *out_size,
                        struct err *err);

int __wrap_root_publish(struct repo *repo, const struct root *root, uint64_t *out_size,
                        struct err *err)
{
    for (size_t i = 0; prune_before_root && i < root->archive_count; i++) {
        char name[128] = "marks/";

        hex_encode(root->archives[i].id.bytes, sizeof(root->archives[i].id.bytes), name + 6);
        assert_true(store_create(repo->store, name, "YSTRMARK", 8, err) == 0);
    }
    prune_before_root = false;
    return __real_root_publish(repo, root, out_size, err);
}

/* What a scout saw in the source's top directory. */
static struct findings *findings;

struct findings *__wrap_scout_findings(struct scout *scout, const struct srcdir *dir);

struct findings *__wrap_scout_findings(struct scout *scout, const struct srcdir *dir)
{
    (void)scout;
    return findings && findings_are_of(findings, dir) ? STEAL(findings) : NULL;
}

/* As it is now, but for its size. */
static void see(struct fixture *fixture, const char *name, uint64_t more)
{
    struct srcdir *dir = NULL;
    struct statx st;
    struct err err;

    assert_true(srcdir_open(NULL, fixture->source, &dir, &err) == 0);
    if (!findings)
        findings = findings_new(dir);
    assert_true(__real_statx(dir->fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME,
                             &st) == 0);
    st.stx_size += more;
    findings_note(findings, name, &st);
    srcdir_unref(dir);
}

static int set_up_all(void **state)
{
    hook.name = NULL;
    device_shift = 0;
    whole_seconds = false;
    struct rlimit files; /* as the program does: with few, no file is opened before its turn */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    writes_left = INT32_MAX;
    prune_before_root = false;
    return set_up(state);
}

static int count_object(void *context, const char *name, uint64_t size, struct err *err)
{
    (void)name;
    (void)size;
    (void)err;
    ++*(unsigned *)context;
    return 0;
}

static unsigned snapshots(struct fixture *fixture)
{
    unsigned count = 0;
    struct err err;

    assert_true(store_list(fixture->temp.repo->store, "snapshots/", count_object, &count, &err) ==
                0);
    return count;
}

/* The snapshot has it, with this content. */
static void must_be(struct fixture *fixture, const char *path, const char *content)
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

static bool is_there(struct fixture *fixture, const char *path)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    char whole[256];
    struct err err;

    (void)snprintf(whole, sizeof(whole), "%s/%s", fixture->source + 1, path);
    return tree_resolve(blocks, &fixture->result.root.types[TYPE_FILES].directory, whole,
                        strlen(whole), &held, &err) == 0;
}

static void a_growing_file_is_read_as_far_as_it_went(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo one > log && head -c 3000000 /dev/zero > large");
    set_hook(fixture, "log", "echo two >> log", true);
    hook.left = INT32_MAX;
    must_back_up(fixture);
    assert_true(fixture->result.changed == 1 && fixture->troubles == 0);
    must_be(fixture, "log", "one\ntwo\ntwo\n"); /* as the third try found it */

    set_hook(fixture, "large", "head -c 3000000 /dev/zero >> large", true);
    must_back_up(fixture); /* the second try found it holding still */
    must_hold(fixture, "large");
    assert_true(fixture->result.changed == 0);
}

static void a_file_that_was_cut_short_is_read_again(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "head -c 5000000 /dev/urandom > large && head -c 5000 /dev/urandom > small && "
                   "truncate -s 5M hollow");
    set_hook(fixture, "large", "truncate -s 1234567 large", true);
    must_back_up(fixture);
    must_hold(fixture, "large");
    fixture->force = true;
    set_hook(fixture, "small", "truncate -s 12 small", true);
    must_back_up(fixture);
    must_hold(fixture, "small");
    set_hook(fixture, "hollow", "truncate -s 1 hollow", true);
    must_back_up(fixture);
    must_hold(fixture, "hollow");
    assert_true(fixture->troubles == 0 && fixture->result.changed == 0);
}

/* All are open before one is read. */
static void files_that_change_before_their_turn_leave_the_others_as_they_are(void **state)
{
    static const char *const changes[] = {
        "echo longer >> a",                       /* over the beginning of the next one */
        "head -c 50000 /dev/urandom >> a",        /* over all of them */
        "head -c 3000000 /dev/urandom >> b",      /* too long for what small files are read into */
        "truncate -s 10 a",                       /* what follows moves up */
        "truncate -s 0 a && rm c && echo x >> d", /* and so on */
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        shell(fixture, "for f in a b c d e f; do head -c 5000 /dev/urandom > $f; done && "
                       "truncate -s 0 c2 && echo tail > g");
        set_hook(fixture, "g", changes[i], true);
        must_back_up(fixture);
        assert_true(fixture->troubles == 0 && fixture->result.changed == 0);
        for (const char *name = "abdefg"; *name; name++)
            must_hold(fixture, (const char[]){*name, 0});
        must_hold(fixture, "c2");
        shell(fixture, "rm -f ?");
    }
}

static void what_the_kernel_does_not_read_at_once_is_read_one_by_one(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "for f in $(seq 100); do seq 1 $f > $f; done && truncate -s 0 empty");
    fixture->force = true;
    for (kernel.lets = 4; kernel.lets > 0; kernel.lets--) { /* in the end it reads none at all */
        must_back_up(fixture);
        for (const char *const *name = (const char *const[]){"1", "2", "57", "99", "100", NULL};
             *name; name++)
            must_hold(fixture, *name);
    }
    unsigned runs = kernel.runs;
    kernel.refuses = true;
    must_back_up(fixture);
    kernel.refuses = false;
    must_hold(fixture, "100");
    assert_true(kernel.runs == runs && fixture->troubles == 0);
}

static void what_goes_while_it_is_backed_up_is_noted(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo a > a && echo b > b && echo c > c && echo z > z");
    set_hook(fixture, "a", "rm a && mkfifo a && rm b && rm c && ln -s z c", false);
    must_back_up(fixture);
    assert_true(fixture->troubles == 0 && fixture->notes == 3 && fixture->result.root.complete);
    assert_true(fixture->result.vanished == 3 && fixture->result.root.types[TYPE_FILES].files == 1);
    must_hold(fixture, "z");
}

static void what_a_scout_saw_counts_only_where_nothing_has_changed(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture,
          "for f in becomes changes gone new same; do echo old > $f; done && ln changes link && "
          "ln -s same symlink && rm new && sleep 0.05");
    must_back_up(fixture);
    see(fixture, "becomes", 1); /* a change that it saw */
    see(fixture, "changes", 0);
    see(fixture, "gone", 0);
    see(fixture, "link", 0);
    see(fixture, "same", 0);
    see(fixture, "symlink", 0);
    findings_finish(findings);
    shell(fixture, "echo more >> changes && rm gone becomes && mkdir becomes && echo new > new");
    must_back_up(fixture);
    assert_null(findings);
    assert_true(fixture->troubles == 0 && fixture->result.vanished == 1);
    assert_true(fixture->result.files_unchanged == 1 && fixture->result.files_read == 2);
    must_be(fixture, "same", "old\n");
    must_be(fixture, "changes", "old\nmore\n"); /* two names: looked at again */
    must_be(fixture, "link", "old\nmore\n");
    must_be(fixture, "new", "new\n");
    assert_true(is_there(fixture, "symlink"));
    assert_false(is_there(fixture, "gone"));
    assert_false(is_there(fixture, "becomes"));

    shell(fixture, "sleep 0.05");
    must_back_up(fixture); /* without a scout, as before */
    assert_true(fixture->result.vanished == 0 && is_there(fixture, "becomes"));
}

static void a_change_that_a_scout_saw_is_read_as_it_is_now(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo old > file && sleep 0.05");
    must_back_up(fixture);
    shell(fixture, "echo changed > file");
    see(fixture, "file", 0);
    findings_finish(findings);
    shell(fixture, "echo once more >> file");
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 1 && fixture->result.changed == 0);
    must_be(fixture, "file", "changed\nonce more\n");
}

static void other_names_are_kept_when_the_first_one_goes(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "mkdir x y && echo precious > a && ln a b && ln a x/c && ln a y/d");
    set_hook(fixture, "a", "rm a b", false);
    must_back_up(fixture);
    assert_true(fixture->result.vanished == 1 && fixture->troubles == 0);
    assert_true(!is_there(fixture, "a"));
    must_be(fixture, "b", "precious\n"); /* it was there, and its file still is */
    must_be(fixture, "x/c", "precious\n");
    must_be(fixture, "y/d", "precious\n");
}

static void other_names_keep_their_content_when_the_first_one_is_replaced(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry first = {0};
    CLEANUP(held_entry_clear) struct held_entry second = {0};

    shell(fixture, "echo old > a && ln a b && ln a c");
    set_hook(fixture, "a", "echo new > tmp && mv tmp a", false);
    must_back_up(fixture);
    must_be(fixture, "a", "new\n");
    must_be(fixture, "b", "old\n");
    must_be(fixture, "c", "old\n");
    find(fixture, blocks, "b", &first);
    find(fixture, blocks, "c", &second);
    assert_true(first.entry.shared && place_equal(first.entry.place, second.entry.place));
}

static void a_file_that_gets_a_second_name_while_it_is_read_is_kept(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo content > f && echo more > g");
    set_hook(fixture, "f", "ln f f2", false);
    must_back_up(fixture);
    must_be(fixture, "f", "content\n");
    must_be(fixture, "g", "more\n");
    usleep(50000);
    must_back_up(fixture);
    must_be(fixture, "f", "content\n");
    must_be(fixture, "f2", "content\n");
}

static void a_file_that_loses_a_name_while_it_is_read_is_kept(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo content > a && ln a b");
    set_hook(fixture, "a", "rm b", true);
    must_back_up(fixture);
    must_be(fixture, "a", "content\n");
}

static void few_descriptors_are_enough(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit few, before;

    shell(fixture, "for d in $(seq 300); do mkdir $d && echo $d > $d/f; done && mkdir many && "
                   "for f in $(seq 600); do echo $f > many/$f; done && "
                   "d=deep; for i in $(seq 120); do mkdir $d && echo $i > $d/f && d=$d/d; done");
    assert_true(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = 64;
    assert_true(setrlimit(RLIMIT_NOFILE, &few) == 0);
    struct err err;
    int r = back_up(fixture, &err);
    assert_true(setrlimit(RLIMIT_NOFILE, &before) == 0);
    if (r < 0)
        fail_msg("%s", err.text);
    assert_true(fixture->troubles == 0 && fixture->notes == 0);
    assert_true(fixture->result.root.types[TYPE_FILES].files == 300 + 600 + 120);
}

static void a_missing_source_below_a_missing_directory_is_told(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    struct err err;

    (void)snprintf(path, sizeof(path), "%s/not/there", fixture->source);
    fixture->path = path;
    assert_true(back_up(fixture, &err) == -ERR_NOT_FOUND);
    assert_true(fixture->troubles == 1 && snapshots(fixture) == 0);
}

static void another_device_number_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry before = {0};
    CLEANUP(held_entry_clear) struct held_entry after = {0};

    shell(fixture, "mkdir d && echo f > d/f && ln d/f d/g && ln -s x d/s");
    usleep(50000);
    must_back_up(fixture);
    find(fixture, blocks, "d", &before);
    device_shift = 7;
    must_back_up(fixture);
    find(fixture, blocks, "d", &after);
    assert_true(fixture->result.files_read == 0);
    assert_true(place_equal(before.entry.directory.place, after.entry.directory.place));
    must_hold(fixture, "d/g");
}

static void times_in_whole_seconds_are_not_trusted_at_once(void **state)
{
    struct fixture *fixture = *state;

    whole_seconds = true;
    shell(fixture, "echo aaaa > f");
    usleep(50000);
    must_back_up(fixture);
    shell(fixture, "echo bbbb > f");
    must_back_up(fixture);
    must_hold(fixture, "f");
}

static void a_repository_error_is_no_trouble_of_the_source(void **state)
{
    struct fixture *fixture = *state;
    struct err err;

    shell(fixture, "for f in $(seq 300); do echo $f > $f; done && "
                   "head -c 9000000 /dev/urandom > large && truncate -s 1G endless");
    for (int left = 0; left < 60; left += 3) {
        writes_left = left;
        assert_true(back_up(fixture, &err) == -ERR_SYSTEM);
        assert_string_equal(err.text, "the disk is full");
        assert_true(fixture->troubles == 0 && snapshots(fixture) == 0);
    }
    writes_left = INT32_MAX;
    must_back_up(fixture);
    must_hold(fixture, "large");
}

static void what_was_marked_before_its_root_was_there_is_stored_again(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo precious > f");
    prune_before_root = true;
    must_back_up(fixture);
    assert_true(fixture->result.root.revision == 1);
    must_hold(fixture, "f");
}

static void *cancel_soon(void *argument)
{
    struct progress *progress = argument;

    while (progress->files < 100 && progress->bytes < 1000000)
        usleep(1000);
    progress->cancelled = 1;
    return NULL;
}

static void an_interrupted_backup_leaves_no_snapshot(void **state)
{
    struct fixture *fixture = *state;
    struct progress progress = {.cancelled = 0};
    pthread_t thread;
    struct err err;

    shell(fixture, "for f in $(seq 3000); do echo $f > $f; done && "
                   "head -c 200000000 /dev/zero | tr '\\0' x > large && cp large larger");
    fixture->progress = &progress;
    assert_true(pthread_create(&thread, NULL, cancel_soon, &progress) == 0);
    assert_true(back_up(fixture, &err) == -ERR_CANCELLED);
    pthread_join(thread, NULL);
    assert_true(fixture->troubles == 0 && snapshots(fixture) == 0);
}

static void *cancel_later(void *argument)
{
    struct progress *progress = argument;

    usleep(100000);
    progress->cancelled = 1;
    return NULL;
}

static void a_silent_standard_input_can_be_interrupted(void **state)
{
    struct fixture *fixture = *state;
    struct progress progress = {.cancelled = 0};
    int ends[2], before = dup(STDIN_FILENO);
    pthread_t thread;
    struct err err;

    assert_true(pipe(ends) == 0 && dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
    fixture->progress = &progress;
    fixture->stdin_name = "dump";
    assert_true(pthread_create(&thread, NULL, cancel_later, &progress) == 0);
    assert_true(back_up(fixture, &err) == -ERR_CANCELLED);
    pthread_join(thread, NULL);
    assert_true(fixture->troubles == 0 && snapshots(fixture) == 0);
    assert_true(dup2(before, STDIN_FILENO) == STDIN_FILENO);
    close(before);
    close(ends[0]);
    close(ends[1]);
}

static void a_dry_run_takes_attributes_and_extents_of_any_size(void **state)
{
    struct fixture *fixture = *state;
    char path[128], value[3000] = {1};

    shell(fixture, "mkdir d && echo f > d/f && ln d/f d/g");
    (void)snprintf(path, sizeof(path), "%s/d", fixture->source);
    if (setxattr(path, "user.a", value, sizeof(value), 0) < 0 ||
        setxattr(path, "user.b", value, 500, 0) < 0)
        skip();
    fixture->dry_run = true;
    must_back_up(fixture);
    assert_true(fixture->troubles == 0 && snapshots(fixture) == 0);
    fixture->dry_run = false;
    must_back_up(fixture);
    must_hold(fixture, "d/f");
}

/* An old directory whose archive is damaged. */
static void a_damaged_snapshot_before_is_as_none(void **state)
{
    struct fixture *fixture = *state;
    char command[256];

    shell(fixture, "mkdir d && for f in $(seq 50); do echo $f > d/$f; done");
    usleep(50000);
    must_back_up(fixture);
    (void)snprintf(command, sizeof(command),
                   "for f in $(find %s/meta -type f); do chmod u+w $f && "
                   "dd if=/dev/urandom of=$f bs=512 seek=1 count=8 conv=notrunc status=none; done",
                   fixture->temp.directory);
    assert_true(system(command) == 0);
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 50 && fixture->troubles == 0);
    must_hold(fixture, "d/7");
}

static void a_file_of_the_kernel_has_no_size_and_is_read_to_its_end(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    static uint8_t want[65536];
    struct err err;

    FILE *file = fopen("/proc/crypto", "rb");
    if (!file)
        skip();
    size_t size = fread(want, 1, sizeof(want), file);
    fclose(file);
    fixture->path = "/proc/crypto";
    must_back_up(fixture);
    assert_true(tree_resolve(blocks, &fixture->result.root.types[TYPE_FILES].directory,
                             "proc/crypto", 11, &held, &err) == 0);
    assert_true(held.entry.size == size);
}

/* Whoever holds a lease gives it up when he is told to. */
static int leased = -1;

static void give_lease_up(int number)
{
    (void)number;
    (void)fcntl(leased, F_SETLEASE, F_UNLCK);
}

static void a_leased_file_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct sigaction action = {.sa_handler = give_lease_up, .sa_flags = SA_RESTART}, before;
    char path[128];

    shell(fixture, "echo shared > f");
    (void)snprintf(path, sizeof(path), "%s/f", fixture->source);
    leased = open(path, O_RDWR | O_CLOEXEC);
    assert_true(leased >= 0 && sigaction(SIGIO, &action, &before) == 0);
    if (fcntl(leased, F_SETLEASE, F_WRLCK) < 0)
        skip();
    must_back_up(fixture);
    close(leased);
    assert_true(sigaction(SIGIO, &before, NULL) == 0 && fixture->troubles == 0);
    must_be(fixture, "f", "shared\n");
}

struct other {
    struct fixture fixture;
    int result;
    struct err err;
};

static void *back_up_too(void *argument)
{
    struct other *other = argument;

    other->result = back_up(&other->fixture, &other->err);
    return NULL;
}

static void two_backups_at_once_are_two_snapshots(void **state)
{
    struct fixture *fixture = *state;
    struct other other = {.fixture = *fixture};
    pthread_t thread;

    shell(fixture, "for f in $(seq 500); do echo $f > $f; done && "
                   "head -c 9000000 /dev/urandom > large");
    other.fixture.temp.repo = temprepo_open_again(&fixture->temp);
    assert_true(pthread_create(&thread, NULL, back_up_too, &other) == 0);
    must_back_up(fixture);
    pthread_join(thread, NULL);
    assert_int_equal(other.result, 0);
    assert_true(snapshots(fixture) == 2);
    assert_string_not_equal(fixture->result.root.name, other.fixture.result.root.name);
    must_hold(fixture, "large");
    must_hold(&other.fixture, "large");
    backup_result_clear(&other.fixture.result);
    repo_free(other.fixture.temp.repo);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up_all, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_growing_file_is_read_as_far_as_it_went),
        CASE(a_file_that_was_cut_short_is_read_again),
        CASE(files_that_change_before_their_turn_leave_the_others_as_they_are),
        CASE(what_the_kernel_does_not_read_at_once_is_read_one_by_one),
        CASE(what_goes_while_it_is_backed_up_is_noted),
        CASE(what_a_scout_saw_counts_only_where_nothing_has_changed),
        CASE(a_change_that_a_scout_saw_is_read_as_it_is_now),
        CASE(other_names_are_kept_when_the_first_one_goes),
        CASE(other_names_keep_their_content_when_the_first_one_is_replaced),
        CASE(a_file_that_gets_a_second_name_while_it_is_read_is_kept),
        CASE(a_file_that_loses_a_name_while_it_is_read_is_kept),
        CASE(few_descriptors_are_enough),
        CASE(a_missing_source_below_a_missing_directory_is_told),
        CASE(another_device_number_changes_nothing),
        CASE(times_in_whole_seconds_are_not_trusted_at_once),
        CASE(a_repository_error_is_no_trouble_of_the_source),
        CASE(what_was_marked_before_its_root_was_there_is_stored_again),
        CASE(an_interrupted_backup_leaves_no_snapshot),
        CASE(a_silent_standard_input_can_be_interrupted),
        CASE(a_dry_run_takes_attributes_and_extents_of_any_size),
        CASE(a_damaged_snapshot_before_is_as_none),
        CASE(a_file_of_the_kernel_has_no_size_and_is_read_to_its_end),
        CASE(a_leased_file_is_waited_for),
        CASE(two_backups_at_once_are_two_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
