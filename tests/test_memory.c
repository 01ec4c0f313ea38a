#include "backup/base/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "tests/harness/cmocka.h"

static void a_secret_is_zeroed_and_aligned(void **state)
{
    (void)state;
    CLEANUP(secure_freep) uint8_t *secret = secure_alloc(10000);
    CLEANUP(secure_freep) uint64_t *none = NULL;
    static const uint8_t zeros[10000];

    assert_true(secret && !none && (uintptr_t)secret % 64 == 0);
    assert_true(memcmp(secret, zeros, sizeof(zeros)) == 0);
    memset(secret, 0xAA, sizeof(zeros));
    assert_true(!secure_alloc(SIZE_MAX) && !secure_alloc(SIZE_MAX / 2));
}

/* Looks in /proc for the flag "dd" (do not dump) of the mapping that holds the address. */
static void a_secret_is_left_out_of_core_dumps(void **state)
{
    (void)state;
    CLEANUP(secure_freep) uint8_t *secret = secure_alloc(32);
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    uintptr_t start;
    uintptr_t end;
    bool inside = false;
    bool found = false;

    if (!maps)
        skip();
    while (fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start <= (uintptr_t)secret && (uintptr_t)secret < end;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    fclose(maps);
    assert_true(found);
}

static size_t locked_kib(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    size_t kib = 0;

    assert_non_null(status);
    while (fgets(line, sizeof(line), status))
        (void)sscanf(line, "VmLck: %zu kB", &kib);
    fclose(status);
    return kib;
}

static void a_child_locks_the_secrets_that_it_goes_on_using(void **state)
{
    (void)state;
    void *secrets[3] = {secure_alloc(10000), secure_alloc(10000), secure_alloc(10000)};
    int status = -1;

    if (locked_kib() == 0)
        skip();
    secure_free(secrets[1]);
    size_t before = locked_kib();
    pid_t child = fork();
    if (child == 0) {
        bool lost = locked_kib() == 0;
        secure_after_fork();
        _exit(lost && locked_kib() == before ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    secure_free(secrets[0]);
    secure_free(secrets[2]);
    assert_int_equal(locked_kib(), 0);
}

static void a_hardened_process_dumps_no_core(void **state)
{
    (void)state;
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        struct rlimit limit;
        process_harden();
        getrlimit(RLIMIT_CORE, &limit);
        _exit(prctl(PR_GET_DUMPABLE) == 0 && limit.rlim_cur == 0 ? 0 : 1);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_zeroed_and_aligned),
        cmocka_unit_test(a_secret_is_left_out_of_core_dumps),
        cmocka_unit_test(a_child_locks_the_secrets_that_it_goes_on_using),
        cmocka_unit_test(a_hardened_process_dumps_no_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
