/* Asks git and our own patterns about the same paths: many random lists, one small tree. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/source/pattern.h"
#include "tests/harness/cmocka.h"

enum { LISTS = 250, LINES = 6, PATHS_MAX = 400, PATH_SIZE = 64 };

static const char *const names[] = {"a", "b", "ab", "a.b", "[a]", "*", "!a", "a ", "B", "\\", "-"};

enum { NAMES = sizeof(names) / sizeof(names[0]) };

struct tree {
    char root[32];
    size_t count;
    char paths[PATHS_MAX][PATH_SIZE];
    bool is_dir[PATHS_MAX];
};

static struct tree tree;
static uint32_t seed = 20260204;

static uint32_t below(uint32_t limit)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % limit;
}

static void add_path(const char *path, bool is_dir)
{
    assert_true(tree.count < PATHS_MAX);
    snprintf(tree.paths[tree.count], PATH_SIZE, "%s", path);
    tree.is_dir[tree.count++] = is_dir;
    if (is_dir)
        assert_true(mkdir(path, 0700) == 0);
    else
        close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

/* Every name in the root; in directories some names each, three levels deep. */
static void make_tree(void)
{
    char path[2 * PATH_SIZE];

    for (size_t i = 0; i < NAMES; i++)
        add_path(names[i], i % 3 != 2);
    for (size_t parent = 0; parent < tree.count && tree.count + NAMES < PATHS_MAX; parent++) {
        for (size_t i = 0; tree.is_dir[parent] && i < NAMES; i++) {
            snprintf(path, sizeof(path), "%s/%s", tree.paths[parent], names[i]);
            if (below(2) == 0 && strlen(path) < 12)
                add_path(path, below(2) == 0);
        }
    }
}

static void random_name(char *out)
{
    static const char *const pieces[] = {"a",       "b",   "*",     "?",           "[ab]", "[!a]",
                                         "\\*",     "\\a", ".",     "[[:alpha:]]", "**",   "[a-z]",
                                         "[]a]",    "B",   "\\[",   "[^b.]",       "\\ ",  "[",
                                         "[[:x:]]", " ",   "[\\]]", "[.-b]",       "[a-]", "[--b]"};

    out[0] = '\0';
    for (uint32_t i = 0, count = 1 + below(3); i < count; i++)
        strcat(out, pieces[below(sizeof(pieces) / sizeof(pieces[0]))]);
}

/* git reads "a**" + "/" as if a slash stood before the stars, against its own manual. */
static bool is_disputed(const char *line)
{
    const char *stars = strstr(line, "**");

    return stars && strchr(line, '/') && stars > line && stars[-1] != '/' && stars[-1] != '!';
}

static void random_line(char *out)
{
    char name[64];

    do {
        out[0] = '\0';
        strcat(out, below(3) == 0 ? "!" : "");
        strcat(out, below(4) == 0 ? "/" : "");
        for (uint32_t i = 0, parts = 1 + below(3); i < parts; i++) {
            random_name(name);
            strcat(out, i > 0 ? "/" : "");
            strcat(out, below(4) == 0 ? "**" : name);
        }
        strcat(out, below(4) == 0 ? "/" : "");
        strcat(out, below(12) == 0 ? "  " : "");
    } while (is_disputed(out));
}

/* As a walk does: what is in a directory that is left out is left out. */
static bool leaves_out(const struct patterns *patterns, const char *path, bool is_dir)
{
    size_t size = strlen(path);

    for (size_t i = 1; i <= size; i++) {
        bool whole = i == size;
        if (!whole && path[i] != '/')
            continue;
        enum pattern_verdict verdict =
            patterns_match(patterns, path, i, "/", 1, whole ? is_dir : true);
        if (verdict == PATTERN_EXCLUDED)
            return true;
    }
    return false;
}

/* Marks what git would leave out; its answer is the paths, each with a NUL. */
static void ask_git(bool *out)
{
    char path[PATH_SIZE * 2];
    FILE *list = fopen("../list", "w");
    size_t at = 0;
    int c;

    for (size_t i = 0; i < tree.count; i++)
        fwrite(tree.paths[i], 1, strlen(tree.paths[i]) + 1, list);
    fclose(list);
    FILE *git = popen("git check-ignore --no-index --stdin -z < ../list", "r");
    assert_non_null(git);
    for (size_t used = 0; (c = fgetc(git)) != EOF;) {
        path[used++] = (char)c;
        if (c != '\0')
            continue;
        while (at < tree.count && strcmp(tree.paths[at], path) != 0)
            at++;
        assert_true(at < tree.count); /* the answers come in the order of the questions */
        out[at++] = true;
        used = 0;
    }
    pclose(git);
}

static void check_list(void)
{
    CLEANUP(patterns_freep) struct patterns *patterns = patterns_new();
    char lines[LINES][256];
    bool expected[PATHS_MAX] = {false};
    FILE *file = fopen(".gitignore", "w");
    struct err err;

    for (size_t i = 0; i < LINES; i++) {
        random_line(lines[i]);
        fprintf(file, "%s\n", lines[i]);
    }
    fclose(file);
    assert_true(patterns_add_file(patterns, AT_FDCWD, ".gitignore", &err) == 0);
    ask_git(expected);
    for (size_t i = 0; i < tree.count; i++) {
        if (leaves_out(patterns, tree.paths[i], tree.is_dir[i]) == expected[i])
            continue;
        for (size_t line = 0; line < LINES; line++)
            print_error("<%s>\n", lines[line]);
        fail_msg("git %s %s", expected[i] ? "leaves out" : "keeps", tree.paths[i]);
    }
}

static void random_lists_leave_out_what_git_leaves_out(void **state)
{
    (void)state;
    for (int i = 0; i < LISTS; i++)
        check_list();
}

static int make_repository(void **state)
{
    (void)state;
    strcpy(tree.root, "/tmp/test_pattern-XXXXXX");
    setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
    setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
    if (!mkdtemp(tree.root) || chdir(tree.root) != 0 || mkdir("tree", 0700) != 0 ||
        chdir("tree") != 0 || system("git init -q .") != 0)
        return -1;
    make_tree();
    return 0;
}

static int remove_repository(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", tree.root);
    return chdir("/") == 0 ? system(command) : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_lists_leave_out_what_git_leaves_out),
    };

    if (system("git --version > /dev/null 2>&1") != 0)
        return 77;
    return cmocka_run_group_tests(tests, make_repository, remove_repository);
}
