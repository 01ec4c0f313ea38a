#include "tools/tar.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "tests/harness/cmocka.h"

/* The judge is the system's tar. */
struct fixture {
    char directory[32];
    int fd;
};

static struct err err;

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    char name[64];

    strcpy(fixture->directory, "/tmp/test_tar_XXXXXX");
    if (!mkdtemp(fixture->directory))
        return -1;
    (void)snprintf(name, sizeof(name), "%s/t.tar", fixture->directory);
    fixture->fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    *state = fixture;
    return fixture->fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[64];

    (void)snprintf(command, sizeof(command), "rm -rf %s", fixture->directory);
    close(fixture->fd);
    int r = system(command);
    free(fixture);
    return r;
}

static void put(struct fixture *fixture, struct tar_member member, const char *content)
{
    member.size = content ? strlen(content) : 0;
    if (!member.target)
        member.target = "";
    assert_int_equal(tar_header(fixture->fd, &member, &err), 0);
    if (content)
        assert_int_equal(io_write_full(fixture->fd, content, strlen(content), &err), 0);
    assert_int_equal(tar_pad(fixture->fd, member.size, &err), 0);
}

static void unpack(struct fixture *fixture)
{
    char command[256];

    assert_int_equal(tar_end(fixture->fd, &err), 0);
    (void)snprintf(command, sizeof(command),
                   "cd %s && tar --xattrs --xattrs-include='*' -xpf t.tar", fixture->directory);
    assert_int_equal(system(command), 0);
}

static void look(struct fixture *fixture, const char *name, struct stat *out)
{
    char path[8192];

    (void)snprintf(path, sizeof(path), "%s/%s", fixture->directory, name);
    assert_int_equal(lstat(path, out), 0);
}

static struct tar_member file(const char *path)
{
    return (struct tar_member){.type = '0', .path = path, .mode = 0640, .mtime_s = 1000000000};
}

static void files_links_and_directories_come_back(void **state)
{
    struct fixture *fixture = *state;
    struct tar_member directory = {.type = '5', .path = "./d/", .mode = 0750, .mtime_s = 5};
    struct tar_member symlink = {.type = '2', .path = "./s", .target = "d/a", .target_size = 3};
    struct tar_member link = {.type = '1', .path = "./h", .target = "./d/a", .target_size = 5};
    struct tar_member fifo = {.type = '6', .path = "./p", .mode = 0600};
    struct stat first, second;

    put(fixture, directory, NULL);
    put(fixture, file("./d/a"), "content\n");
    put(fixture, symlink, NULL);
    put(fixture, link, NULL);
    put(fixture, fifo, NULL);
    put(fixture, file("./empty"), "");
    unpack(fixture);
    look(fixture, "d/a", &first);
    assert_true(first.st_size == 8 && (first.st_mode & 07777) == 0640);
    assert_true(first.st_mtim.tv_sec == 1000000000);
    look(fixture, "h", &second);
    assert_true(first.st_ino == second.st_ino);
    look(fixture, "d", &first);
    assert_true((first.st_mode & 07777) == 0750 && first.st_mtim.tv_sec == 5);
    look(fixture, "s", &first);
    assert_true(S_ISLNK(first.st_mode));
    look(fixture, "p", &first);
    assert_true(S_ISFIFO(first.st_mode));
}

static void what_ustar_cannot_hold_comes_back(void **state)
{
    struct fixture *fixture = *state;
    char name[600] = "./";
    struct stat st;

    memset(name + 2, 'n', 250);
    struct tar_member member = file(name);
    member.mtime_s = -2;
    member.mtime_ns = 750000000;
    put(fixture, member, "x");
    member = file("./\xff\n");
    member.mtime_s = INT64_C(9000000000);
    member.mtime_ns = 1;
    put(fixture, member, "y");
    unpack(fixture);
    look(fixture, name, &st);
    assert_true(st.st_mtim.tv_sec == -2 && st.st_mtim.tv_nsec == 750000000);
    look(fixture, "\xff\n", &st);
    assert_true(st.st_mtim.tv_sec == INT64_C(9000000000) && st.st_mtim.tv_nsec == 1);
}

/* The length of a record counts its own digits: around 9/10, 99/100 and 999/1000 it is easily one
 * off, and tar refuses it. */
static void records_of_every_length_are_well_formed(void **state)
{
    struct fixture *fixture = *state;
    char name[1200];
    struct stat st;

    for (size_t size = 101; size < 254; size++) {
        memset(name, 'd', size);
        name[size] = '\0';
        put(fixture, file(name), "z");
    }
    for (size_t size = 960; size < 1010; size++) {
        memset(name, 't', size);
        struct tar_member member = {
            .type = '2', .path = "link", .target = name, .target_size = size};
        put(fixture, member, NULL);
    }
    unpack(fixture);
    look(fixture, "link", &st);
    assert_int_equal(st.st_size, 1009);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_links_and_directories_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_ustar_cannot_hold_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_of_every_length_are_well_formed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
