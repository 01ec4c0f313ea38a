#include "backup/base/crew.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "tests/harness/cmocka.h"

struct work {
    struct crew crew;
    atomic_uint done, skipped;
    unsigned fails_at; /* the job that does; 0: none */
    struct progress progress;
};

struct job {
    struct work *work;
    unsigned number;
};

static void run(void *argument)
{
    struct job *job = argument;
    struct work *work = job->work;
    struct err err;

    if (crew_ended(&work->crew)) {
        atomic_fetch_add(&work->skipped, 1);
    } else if (job->number == work->fails_at) {
        err_set(&err, ERR_REMOTE, "job %u", job->number);
        crew_fail(&work->crew, &err);
    } else {
        atomic_fetch_add(&work->done, 1);
    }
}

enum { JOBS = 100 };

static void submit(struct work *work, struct job jobs[JOBS])
{
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){work, i + 1};
        crew_submit(&work->crew, run, &jobs[i]);
    }
}

static void all_is_done_when_it_settles(void **state)
{
    struct job jobs[JOBS];
    struct work work = {.fails_at = 0};
    struct err err;

    (void)state;
    assert_int_equal(crew_open(&work.crew, 4, 4, &work.progress, "to test", &err), 0);
    submit(&work, jobs);
    assert_int_equal(crew_settle(&work.crew, 0, &err), 0);
    assert_int_equal(work.done, JOBS);
    submit(&work, jobs); /* it goes on */
    assert_int_equal(crew_settle(&work.crew, 0, &err), 0);
    assert_int_equal(work.done, 2 * JOBS);
    crew_close(&work.crew);
}

static void the_first_failure_ends_it_and_is_what_is_told(void **state)
{
    struct job jobs[JOBS];
    struct work work = {.fails_at = 10};
    struct err err;

    (void)state;
    assert_int_equal(crew_open(&work.crew, 1, 1, NULL, "to test", &err), 0);
    submit(&work, jobs);
    err_set(&err, ERR_CANCELLED, "who submits has noticed");
    assert_int_equal(crew_settle(&work.crew, -ERR_CANCELLED, &err), -ERR_REMOTE);
    assert_string_equal(err.text, "job 10");
    assert_int_equal(work.done, 9);
    assert_int_equal(work.skipped, JOBS - 10);
    crew_close(&work.crew);
}

static void without_a_failure_it_is_the_error_of_who_submits(void **state)
{
    struct work work = {.fails_at = 0};
    struct err err;

    (void)state;
    assert_int_equal(crew_open(&work.crew, 2, 2, &work.progress, "to test", &err), 0);
    work.progress.cancelled = 1;
    err_set(&err, ERR_NOMEM, "his");
    assert_int_equal(crew_settle(&work.crew, -ERR_NOMEM, &err), -ERR_NOMEM);
    assert_string_equal(err.text, "his");
    crew_close(&work.crew);
}

static void an_interruption_ends_it(void **state)
{
    struct job jobs[JOBS];
    struct work work = {.fails_at = 0};
    struct err err;

    (void)state;
    assert_int_equal(crew_open(&work.crew, 2, 2, &work.progress, "to test", &err), 0);
    work.progress.cancelled = 1;
    submit(&work, jobs);
    assert_int_equal(crew_settle(&work.crew, 0, &err), -ERR_CANCELLED);
    assert_int_equal(work.skipped, JOBS);
    crew_close(&work.crew);
}

static void one_that_is_not_open_is_closed(void **state)
{
    CLEANUP(crew_close) struct crew crew = {0};

    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_done_when_it_settles),
        cmocka_unit_test(the_first_failure_ends_it_and_is_what_is_told),
        cmocka_unit_test(without_a_failure_it_is_the_error_of_who_submits),
        cmocka_unit_test(an_interruption_ends_it),
        cmocka_unit_test(one_that_is_not_open_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
