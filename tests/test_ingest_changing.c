/* What happens to a backup while others write to its source. */
#include <fcntl.h>
#include <stdatomic.h>

#include "backup/base/manyreads.h"
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
    assert_true(statx(dir->fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) ==
                0);
    st.stx_size += more;
    findings_note(findings, name, &st);
    srcdir_unref(dir);
}

static int set_up_all(void **state)
{
    hook.name = NULL;
    raise_descriptors();
    return set_up(state);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
