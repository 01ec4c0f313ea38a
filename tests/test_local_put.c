#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/local_internal.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/place.h"

enum { MIB = 1024 * 1024 };

static int count_object(void *context, const char *name, uint64_t size, struct err *err)
{
    (void)name;
    (void)size;
    (void)err;
    ++*(size_t *)context;
    return 0;
}

static void a_name_that_is_taken_is_refused_in_each_way(void **state)
{
    (void)state;
    static const enum local_way ways[] = {LOCAL_RENAME, LOCAL_LINK, LOCAL_LOCKED};
    CLEANUP(store_closep) struct store *store = open_store();
    struct err err;

    for (size_t i = 0; i < 3; i++) {
        char name[] = "marks/0";
        name[6] = (char)('0' + i);
        atomic_store(&((struct local *)store)->way, ways[i]);
        assert_true(store_create(store, name, "first", 5, &err) == 0);
        assert_true(store_create(store, name, "second", 6, &err) == -ERR_EXISTS);
        assert_non_null(strstr(err.text, name));
        assert_object(store, name, "first");
    }
    assert_true(entries_in(in_place("tmp")) == 1); /* the lock of the last way */
}

struct race {
    struct store *store;
    pthread_barrier_t *start;
    int won;
    int lost;
};

static void *take_names(void *context)
{
    struct race *race = context;
    char name[32];
    struct err err;

    for (int i = 0; i < 30; i++) {
        (void)snprintf(name, sizeof(name), "snapshots/%d/00000000", i);
        pthread_barrier_wait(race->start);
        int r = store_create(race->store, name, name, strlen(name), &err);
        race->won += r == 0;
        race->lost += r == -ERR_EXISTS;
    }
    return NULL;
}

static void race_for_names(enum local_way way)
{
    CLEANUP(store_closep) struct store *one = open_store();
    CLEANUP(store_closep) struct store *other = open_store();
    pthread_barrier_t start;
    pthread_t thread;
    struct err err;

    pthread_barrier_init(&start, NULL, 2);
    struct race mine = {one, &start, 0, 0};
    struct race theirs = {other, &start, 0, 0};
    atomic_store(&((struct local *)one)->way, way);
    atomic_store(&((struct local *)other)->way, way);
    assert_true(pthread_create(&thread, NULL, take_names, &theirs) == 0);
    take_names(&mine);
    assert_true(pthread_join(thread, NULL) == 0);
    assert_true(mine.won + theirs.won == 30 && mine.lost + theirs.lost == 30);
    assert_object(one, "snapshots/29/00000000", "snapshots/29/00000000");
    for (int i = 0; i < 30; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "snapshots/%d/00000000", i);
        assert_true(store_remove(one, name, &err) == 0);
    }
    pthread_barrier_destroy(&start);
}

static void of_two_who_take_a_name_one_gets_it(void **state)
{
    (void)state;
    race_for_names(LOCAL_RENAME);
    race_for_names(LOCAL_LINK);
    race_for_names(LOCAL_LOCKED);
    assert_true(entries_in(in_place("snapshots")) == 0);
}

static void *come_and_go(void *context)
{
    struct store *store = context;
    struct err err;

    for (int i = 0; i < 200; i++) {
        if (store_create(store, "snapshots/a/1", "1", 1, &err) < 0 ||
            store_remove(store, "snapshots/a/1", &err) < 0)
            return context;
    }
    return NULL;
}

static void a_directory_that_goes_away_meanwhile_is_made_again(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    void *failed = NULL;
    pthread_t thread;
    struct err err;

    assert_true(pthread_create(&thread, NULL, come_and_go, store) == 0);
    for (int i = 0; i < 200; i++) {
        assert_true(store_create(store, "snapshots/a/2", "2", 1, &err) == 0);
        assert_true(store_remove(store, "snapshots/a/2", &err) == 0);
    }
    assert_true(pthread_join(thread, &failed) == 0 && !failed);
}

static pid_t dead_process(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    assert_true(pid > 0 && waitpid(pid, NULL, 0) == pid);
    return pid;
}

static void leave_behind(const struct local_owner *owner, uint64_t random)
{
    char name[LOCAL_TMP_SIZE];
    char path[LOCAL_TMP_SIZE + 8];

    local_owner_format(owner, random, name);
    (void)snprintf(path, sizeof(path), "tmp/%s", name);
    write_file(in_place(path), "torn");
}

static void only_what_dead_processes_of_this_host_left_is_removed(void **state)
{
    (void)state;
    struct local_owner self;
    struct err err;

    assert_true(mkdir(in_place("tmp"), 0700) == 0);
    local_owner_self(&self);
    if (self.boot == 0 || self.space == 0 || self.start == 0)
        skip();
    struct local_owner dead = self;
    dead.pid = (uint32_t)dead_process();
    leave_behind(&dead, 1); /* goes */
    struct local_owner recycled = self;
    recycled.start++;
    leave_behind(&recycled, 2); /* goes: the id is another process's now */
    leave_behind(&self, 3);
    struct local_owner abroad = dead;
    abroad.host ^= 2;
    abroad.boot ^= 2;
    leave_behind(&abroad, 4);
    struct local_owner contained = dead;
    contained.space ^= 2;
    leave_behind(&contained, 5);
    write_file(in_place("tmp/notes"), "somebody's");

    CLEANUP(store_closep) struct store *store = open_store();
    assert_true(entries_in(in_place("tmp")) == 6);
    assert_true(store_create(store, "data/a", "1", 1, &err) == 0);
    assert_true(entries_in(in_place("tmp")) == 4);
    char path[LOCAL_TMP_SIZE + 8] = "tmp/";
    local_owner_format(&self, 3, path + 4);
    assert_true(access(in_place(path), F_OK) == 0);
}

static void an_earlier_boot_of_the_same_host_is_dead(void **state)
{
    (void)state;
    const struct local_owner self = {.host = 1, .boot = 3, .space = 5, .pid = 7, .start = 9};
    struct local_owner owner = self;

    owner.boot = 11;
    assert_true(local_owner_is_dead(&self, &owner));
    owner.host = 13;
    assert_false(local_owner_is_dead(&self, &owner));
    owner.boot = 0;
    assert_false(local_owner_is_dead(&self, &owner));
    const struct local_owner unknown = {.boot = 3};
    owner = (struct local_owner){.boot = 11};
    assert_false(local_owner_is_dead(&unknown, &owner));
}

static void a_file_that_may_not_grow_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    static char bytes[MIB];
    CLEANUP(store_closep) struct store *store = open_store();
    struct rlimit before;
    struct err err;

    getrlimit(RLIMIT_FSIZE, &before);
    struct rlimit small = {MIB / 2, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_true(setrlimit(RLIMIT_FSIZE, &small) == 0);
    int r = store_create(store, "data/a", bytes, sizeof(bytes), &err);
    assert_true(setrlimit(RLIMIT_FSIZE, &before) == 0);
    assert_true(r == -ERR_SYSTEM && err.cause == EFBIG);
    assert_true(entries_in(in_place("tmp")) == 0);
    assert_true(store_create(store, "data/a", bytes, sizeof(bytes), &err) == 0);
}

/* In a process and a mount namespace of its own. */
static int fill_up(void)
{
    static char bytes[MIB];
    size_t listed = 0;
    struct store *store;
    struct err err;

    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", place, "tmpfs", 0, "size=512k") < 0)
        return 77;
    if (local_store_open(place, true, &store, &err) < 0 ||
        store_create(store, "data/small", "1", 1, &err) < 0)
        return 1;
    if (store_create(store, "data/large", bytes, sizeof(bytes), &err) != -ERR_SYSTEM ||
        err.cause != ENOSPC || !strstr(err.text, "is full") || !strstr(err.text, place))
        return 2;
    if (store_list(store, "", count_object, &listed, &err) < 0 || listed != 1)
        return 3;
    if (store_remove(store, "data/small", &err) < 0 ||
        store_create(store, "data/small", bytes, 100000, &err) < 0)
        return 4;
    store_close(store);
    return 0;
}

static void a_full_repository_says_so_and_can_still_be_listed_and_emptied(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(fill_up());
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

struct part {
    struct store_put *put;
    uint64_t offset;
    int r;
};

static void *write_part(void *context)
{
    struct part *part = context;
    uint8_t *bytes = malloc(10 * MIB);
    struct err err;

    memset(bytes, (int)(part->offset / (10 * MIB)) + 1, 10 * MIB);
    part->r = store_put_write(part->put, part->offset, bytes, 10 * MIB, &err);
    free(bytes);
    return NULL;
}

static void threads_write_one_object_together(void **state)
{
    (void)state;
    CLEANUP(store_closep) struct store *store = open_store();
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    struct part parts[2] = {{.offset = 0}, {.offset = 10 * MIB}};
    struct store_put *put;
    pthread_t thread;
    uint8_t bytes[2];
    struct err err;

    assert_true(store_put_begin(store, &put, &err) == 0);
    parts[0].put = parts[1].put = put;
    assert_true(pthread_create(&thread, NULL, write_part, &parts[1]) == 0);
    write_part(&parts[0]);
    assert_true(pthread_join(thread, NULL) == 0);
    assert_true(parts[0].r == 0 && parts[1].r == 0);
    assert_true(store_put_commit(put, "data/a", &err) == 0);
    assert_true(store_open(store, "data/a", &object, &err) == 0);
    assert_true(store_object_size(object) == 20 * MIB);
    assert_true(store_read(object, 10 * MIB - 1, bytes, 2, &err) == 0);
    assert_true(bytes[0] == 1 && bytes[1] == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(a_name_that_is_taken_is_refused_in_each_way),
        IN_PLACE(of_two_who_take_a_name_one_gets_it),
        IN_PLACE(a_directory_that_goes_away_meanwhile_is_made_again),
        IN_PLACE(only_what_dead_processes_of_this_host_left_is_removed),
        IN_PLACE(an_earlier_boot_of_the_same_host_is_dead),
        IN_PLACE(a_file_that_may_not_grow_is_an_error_and_leaves_nothing),
        IN_PLACE(a_full_repository_says_so_and_can_still_be_listed_and_emptied),
        IN_PLACE(threads_write_one_object_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
