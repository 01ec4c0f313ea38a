#include <pthread.h>
#include <string.h>

#include "backup/base/err.h"
#include "backup/job/baseline.h"
#include "backup/job/dedup.h"
#include "backup/job/references.h"
#include "tests/harness/cmocka.h"

static struct references noted, refused;

static int set_up(void **state)
{
    (void)state;
    return references_init(&noted) && references_init(&refused) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    references_clear(&noted);
    references_clear(&refused);
    return 0;
}

/* A catalog that knows one chunk, in archive 5. */
static bool find_nines(struct baseline *baseline, const uint8_t id[32], uint32_t length,
                       struct place *out)
{
    (void)baseline;
    *out = (struct place){5, 77};
    return id[0] == 9 && length == 100;
}

static const struct baseline_ops ops = {.find_chunk = find_nines};
static struct baseline nines = {&ops};

static void make_id(uint8_t id[32], unsigned number)
{
    memset(id, 0, 32);
    id[0] = (uint8_t)number;
    id[9] = (uint8_t)(number >> 8);
    id[10] = (uint8_t)(number >> 16);
}

static int claim(struct dedup *dedup, unsigned number, struct place *place, struct sighting **other)
{
    uint8_t id[32];
    struct err err;

    make_id(id, number);
    return dedup_claim(dedup, id, 100, place, other, &err);
}

static void settle(struct dedup *dedup, unsigned number, struct place place)
{
    uint8_t id[32];

    make_id(id, number);
    dedup_settle(dedup, id, place);
}

static void a_chunk_is_claimed_once_and_then_known(void **state)
{
    (void)state;
    struct dedup *dedup = dedup_new(NULL, &noted, &refused);
    struct sighting *other = NULL;
    struct place place;

    for (unsigned i = 0; i < 20000; i++) {
        assert_true(claim(dedup, i, &place, &other) == DEDUP_CLAIMED);
        settle(dedup, i, (struct place){1, i});
    }
    for (unsigned i = 0; i < 20000; i++) {
        assert_true(claim(dedup, i, &place, &other) == DEDUP_KNOWN);
        assert_true(place.archive == 1 && place.raw == i);
    }
    dedup_free(dedup);
}

static void what_the_baseline_knows_is_noted_unless_it_is_refused(void **state)
{
    (void)state;
    struct dedup *dedup = dedup_new(&nines, &noted, &refused);
    struct sighting *other = NULL;
    struct place place;

    assert_true(!references_has(&noted, 5));
    assert_true(claim(dedup, 9, &place, &other) == DEDUP_KNOWN && place.raw == 77);
    assert_true(references_has(&noted, 5));
    references_note(&refused, 5);
    assert_true(claim(dedup, 9, &place, &other) == DEDUP_CLAIMED);
    dedup_free(dedup);
}

struct waiter {
    struct dedup *dedup;
    struct sighting *other;
    struct place place;
    bool found;
};

static void *wait_for_seven(void *argument)
{
    struct waiter *waiter = argument;
    uint8_t id[32];

    make_id(id, 7);
    waiter->found = dedup_wait(waiter->dedup, id, waiter->other, &waiter->place);
    return NULL;
}

static void run_waiters(struct place outcome, bool forget)
{
    enum { WAITERS = 4 };
    struct dedup *dedup = dedup_new(NULL, &noted, &refused);
    struct waiter waiters[WAITERS];
    pthread_t threads[WAITERS];
    struct sighting *other = NULL;
    struct place place;
    uint8_t id[32];

    make_id(id, 7);
    assert_true(claim(dedup, 7, &place, &other) == DEDUP_CLAIMED);
    for (unsigned i = 0; i < WAITERS; i++) {
        waiters[i] = (struct waiter){.dedup = dedup};
        assert_true(claim(dedup, 7, &place, &waiters[i].other) == DEDUP_PENDING);
        assert_true(pthread_create(&threads[i], NULL, wait_for_seven, &waiters[i]) == 0);
    }
    settle(dedup, 7, outcome);
    if (forget)
        dedup_forget(dedup, id);
    for (unsigned i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(waiters[i].found == (outcome.archive != NO_ARCHIVE));
        assert_true(waiters[i].place.archive == outcome.archive);
    }
    /* One that failed, or was forgotten, is claimed anew. */
    bool gone = forget || outcome.archive == NO_ARCHIVE;
    assert_true(claim(dedup, 7, &place, &other) == (gone ? DEDUP_CLAIMED : DEDUP_KNOWN));
    dedup_free(dedup);
}

static void those_who_wait_are_given_the_place(void **state)
{
    (void)state;
    run_waiters((struct place){3, 4}, false);
    run_waiters((struct place){3, 4}, true);
}

static void those_who_wait_learn_that_it_failed(void **state)
{
    (void)state;
    run_waiters((struct place){.archive = NO_ARCHIVE}, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_claimed_once_and_then_known),
        cmocka_unit_test_setup_teardown(what_the_baseline_knows_is_noted_unless_it_is_refused,
                                        set_up, tear_down),
        cmocka_unit_test(those_who_wait_are_given_the_place),
        cmocka_unit_test(those_who_wait_learn_that_it_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
