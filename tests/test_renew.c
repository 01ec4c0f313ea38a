#include "backup/job/renew.h"

#include "backup/archive/idtable.h"
#include "backup/base/clock.h"
#include "tests/harness/bucket.h"

#define DAY (24 * 3600 * NS_PER_SECOND)

enum { MANY = 200, THREADS = 16 };

static const int64_t today = 20000 * DAY;
static struct err err;
static struct renew_result result;

/* What the caller knows and is told. */
static bool is_needed[MANY];
static int64_t remembered;    /* of every object that it knows */
static const char *known_one; /* NULL: it knows all */
static unsigned told;
static int known_fails;

static bool needs(void *context, uint32_t archive)
{
    (void)context;
    return archive < MANY && is_needed[archive];
}

static int known(void *context, const char *object, int64_t *out_ns, struct err *why)
{
    (void)context;
    if (!known_one || strcmp(object, known_one) == 0)
        *out_ns = remembered;
    return known_fails ? err_set(why, ERR_SYSTEM, "no catalog") : 0;
}

static void locked(void *context, const char *object, int64_t until_ns)
{
    (void)context;
    pthread_mutex_lock(&bucket.lock);
    assert_true(bucket_at(object)->until_ns >= until_ns);
    pthread_mutex_unlock(&bucket.lock);
    told++;
}

static int set_up(void **state)
{
    memset(is_needed, 0, sizeof(is_needed));
    remembered = told = 0;
    known_one = NULL;
    known_fails = 0;
    return bucket_set_up(state, 8 * DAY);
}

static int renew(const struct temprepo *temp)
{
    const struct renew_options options = {.repo = temp->repo,
                                          .store = temp->repo->store,
                                          .now_ns = today,
                                          .needs = needs,
                                          .known = known,
                                          .locked = locked};

    return renew_run(&options, &result, &err);
}

/* Archives that the run knows of, as one that has referred to them does. */
static struct bucket_object *put_archive(const struct temprepo *temp, enum archive_kind kind,
                                         unsigned number)
{
    char name[BUCKET_NAME_SIZE];
    uint32_t archive;
    struct archive_id id = bucket_name(kind == ARCHIVE_DATA ? "data/" : "meta/", number, name);

    assert_int_equal(idtable_number(temp->repo->ids, &id, kind, &archive, &err), 0);
    assert_int_equal(archive, number);
    return bucket_put(temp->repo->store, name, 10);
}

static void what_is_needed_is_locked_and_an_eighth_longer_than_it_has_to_be(void **state)
{
    struct temprepo *temp = *state;
    struct bucket_object *data = put_archive(temp, ARCHIVE_DATA, 0),
                         *meta = put_archive(temp, ARCHIVE_METADATA, 1),
                         *other = put_archive(temp, ARCHIVE_DATA, 2);

    is_needed[0] = is_needed[1] = true;
    assert_int_equal(renew(temp), 0);
    assert_int_equal(data->until_ns, today + 9 * DAY);
    assert_int_equal(meta->until_ns, today + 9 * DAY);
    assert_int_equal(other->renewals, 0);
    assert_int_equal(result.until_ns, today + 9 * DAY);
    assert_int_equal(result.missing, 0);
}

static void keys_header_holds_indexes_and_remaps_are_locked_as_well(void **state)
{
    static const char *const more[] = {"holds/20260101_000000.00000000000000000000000000000001",
                                       "releases/20260101_000000.00000000000000000000000000000001"};
    struct temprepo *temp = *state;
    char index[BUCKET_NAME_SIZE], remap[BUCKET_NAME_SIZE];
    unsigned keys = 0;

    bucket_name("index/", 5, index);
    bucket_name("remap/", 6, remap);
    bucket_put(temp->repo->store, index, 10);
    bucket_put(temp->repo->store, remap, 10);
    for (size_t i = 0; i < 2; i++)
        bucket_put(temp->repo->store, more[i], 10);
    assert_int_equal(renew(temp), 0);
    assert_int_equal(bucket_at("repository")->renewals, 1);
    assert_int_equal(bucket_at(index)->renewals, 1);
    assert_int_equal(bucket_at(remap)->renewals, 1);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(bucket_at(more[i])->renewals, 1);
    for (size_t i = 0; i < bucket.count; i++)
        keys += strncmp(bucket.objects[i].name, "keys/", 5) == 0 ? bucket.objects[i].renewals : 0;
    assert_int_equal(keys, 2); /* a slot and an epoch */
    assert_int_equal(result.objects, 7);
    assert_int_equal(result.renewed, 7);
    assert_int_equal(told, 7);
}

/* Prune waits for its lock to end: were it renewed each night, it would stay for ever. */
static void an_index_under_a_mark_is_not_locked_again(void **state)
{
    struct temprepo *temp = *state;
    char index[BUCKET_NAME_SIZE], other[BUCKET_NAME_SIZE], mark[BUCKET_NAME_SIZE];

    bucket_name("index/", 5, index);
    bucket_name("index/", 6, other);
    bucket_name("marks/", 5, mark);
    bucket_put(temp->repo->store, index, 10);
    bucket_put(temp->repo->store, other, 10);
    bucket_put(temp->repo->store, mark, 64);
    assert_int_equal(renew(temp), 0);
    assert_int_equal(bucket_at(index)->renewals, 0);
    assert_int_equal(bucket_at(other)->renewals, 1);
    assert_int_equal(bucket_at(mark)->renewals, 0);
}

/* It is too old to be taken away, and nobody deletes what is needed. */
static void a_needed_archive_is_locked_whatever_mark_it_is_under(void **state)
{
    struct temprepo *temp = *state;
    struct bucket_object *data = put_archive(temp, ARCHIVE_DATA, 0);
    char mark[BUCKET_NAME_SIZE];

    bucket_name("marks/", 0, mark);
    bucket_put(temp->repo->store, mark, 64);
    is_needed[0] = true;
    assert_int_equal(renew(temp), 0);
    assert_int_equal(data->renewals, 1);
}

static void what_is_known_to_be_locked_for_long_enough_is_not_asked_for(void **state)
{
    struct temprepo *temp = *state;
    struct bucket_object *data = put_archive(temp, ARCHIVE_DATA, 0);

    is_needed[0] = true;
    remembered = today + 8 * DAY;
    assert_int_equal(renew(temp), 0);
    assert_int_equal(bucket.questions, 0);
    assert_int_equal(result.renewed, 0);
    assert_true(result.objects > 1);
    remembered--;
    known_one = data->name;
    assert_int_equal(renew(temp), 0);
    assert_int_equal(data->renewals, 1);
}

static void a_lock_that_lasts_longer_is_left_as_it_is(void **state)
{
    struct temprepo *temp = *state;
    struct bucket_object *data = put_archive(temp, ARCHIVE_DATA, 0);

    is_needed[0] = true;
    data->until_ns = today + 100 * DAY;
    assert_int_equal(renew(temp), 0);
    assert_int_equal(data->until_ns, today + 100 * DAY);
}

static void an_archive_that_is_gone_is_counted_and_keeps_nothing_from_being_locked(void **state)
{
    struct temprepo *temp = *state;
    char index[BUCKET_NAME_SIZE];

    for (unsigned i = 0; i < MANY; i++) {
        put_archive(temp, i % 2 ? ARCHIVE_METADATA : ARCHIVE_DATA, i);
        is_needed[i] = true;
    }
    bucket_name("data/", 4, index);
    bucket_at(index)->is_gone = true;
    bucket_name("meta/", 7, index);
    bucket_at(index)->is_gone = true;
    bucket_name("index/", 9, index); /* nobody's any more */
    bucket_put(temp->repo->store, index, 10)->is_gone = true;
    assert_int_equal(renew(temp), 0);
    assert_int_equal(result.missing, 2);
    assert_int_equal(result.renewed, MANY - 2 + 3);
    assert_int_equal(told, result.renewed);
    assert_int_equal(result.objects, MANY + 4);
}

static void of_many_each_is_locked_once(void **state)
{
    struct temprepo *temp = *state;

    for (unsigned i = 0; i < MANY; i++) {
        put_archive(temp, ARCHIVE_DATA, i);
        is_needed[i] = true;
    }
    assert_int_equal(renew(temp), 0);
    for (size_t i = 0; i < bucket.count; i++)
        assert_int_equal(bucket.objects[i].renewals, 1);
    assert_int_equal(result.renewed, MANY + 3);
}

static void the_first_refusal_ends_it(void **state)
{
    struct temprepo *temp = *state;

    for (unsigned i = 0; i < MANY; i++) {
        put_archive(temp, ARCHIVE_DATA, i);
        is_needed[i] = true;
    }
    err_set(&bucket.fails, ERR_DENIED, "no right to");
    assert_int_equal(renew(temp), -ERR_DENIED);
    assert_string_equal(err.text, "no right to");
    assert_true(bucket.questions <= THREADS);
    assert_int_equal(result.renewed, 0);
    assert_int_equal(told, 0);
}

/* The store itself is told who interrupts. */
static void an_interrupt_ends_it(void **state)
{
    struct temprepo *temp = *state;

    for (unsigned i = 0; i < MANY; i++) {
        put_archive(temp, ARCHIVE_DATA, i);
        is_needed[i] = true;
    }
    err_set(&bucket.fails, ERR_CANCELLED, "interrupted");
    assert_int_equal(renew(temp), -ERR_CANCELLED);
    assert_true(bucket.questions <= THREADS);
}

static void what_was_locked_before_a_failure_is_told(void **state)
{
    struct temprepo *temp = *state;
    char name[BUCKET_NAME_SIZE];

    for (unsigned i = 0; i < MANY; i++) {
        put_archive(temp, ARCHIVE_DATA, i);
        is_needed[i] = true;
    }
    bucket_name("data/", MANY - 1, name); /* asked for last */
    bucket.fails_at = name;
    err_set(&bucket.fails, ERR_REMOTE, "later");
    assert_int_equal(renew(temp), -ERR_REMOTE);
    assert_true(result.renewed >= MANY - THREADS);
    assert_int_equal(told, result.renewed);
}

static void a_memory_that_cannot_be_read_ends_it(void **state)
{
    known_fails = 1;
    assert_int_equal(renew(*state), -ERR_SYSTEM);
    assert_int_equal(bucket.questions, 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, bucket_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_needed_is_locked_and_an_eighth_longer_than_it_has_to_be),
        CASE(keys_header_holds_indexes_and_remaps_are_locked_as_well),
        CASE(an_index_under_a_mark_is_not_locked_again),
        CASE(a_needed_archive_is_locked_whatever_mark_it_is_under),
        CASE(what_is_known_to_be_locked_for_long_enough_is_not_asked_for),
        CASE(a_lock_that_lasts_longer_is_left_as_it_is),
        CASE(an_archive_that_is_gone_is_counted_and_keeps_nothing_from_being_locked),
        CASE(of_many_each_is_locked_once),
        CASE(the_first_refusal_ends_it),
        CASE(an_interrupt_ends_it),
        CASE(what_was_locked_before_a_failure_is_told),
        CASE(a_memory_that_cannot_be_read_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
