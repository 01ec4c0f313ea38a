#include "backup/job/cool.h"

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/base/clock.h"
#include "tests/harness/bucket.h"

#define DAY (24 * 3600 * NS_PER_SECOND)

enum { MANY = 200, MOVES = 8 };

static struct err err;
static struct cool_result result;
static struct progress progress;
static bool dry_run;
static unsigned told;

static void tell(void *context, const char *object, uint64_t size)
{
    (void)context;
    (void)object;
    told += size > 0;
}

static int set_up(void **state)
{
    progress = (struct progress){.cancelled = 0};
    dry_run = false;
    told = 0;
    return bucket_set_up(state, 0);
}

static int cool_in(struct repo *repo, struct store *store)
{
    const struct cool_options options = {.repo = repo,
                                         .store = store,
                                         .class = "GLACIER",
                                         .age_ns = 30 * DAY,
                                         .dry_run = dry_run,
                                         .progress = &progress,
                                         .tell = tell};

    return cool_run(&options, &result, &err);
}

static int cool(const struct temprepo *temp)
{
    return cool_in(temp->repo, temp->repo->store);
}

static struct bucket_object *put(const struct temprepo *temp, unsigned number, const char *class,
                                 int64_t age_ns)
{
    char name[BUCKET_NAME_SIZE];

    bucket_name("data/", number, name);
    struct bucket_object *object = bucket_put(temp->repo->store, name, 10);
    object->class = class;
    object->age_ns = age_ns;
    return object;
}

static void put_many(const struct temprepo *temp)
{
    for (unsigned i = 0; i < MANY; i++)
        put(temp, i, "STANDARD", 40 * DAY);
}

static void only_what_is_old_enough_and_warmer_is_moved(void **state)
{
    struct temprepo *temp = *state;
    struct bucket_object *old = put(temp, 0, "STANDARD", 30 * DAY),
                         *rare = put(temp, 1, "STANDARD_IA", 31 * DAY),
                         *young = put(temp, 2, "STANDARD", 30 * DAY - 1),
                         *unknown_age = put(temp, 3, "STANDARD", -1),
                         *there = put(temp, 4, "GLACIER", 60 * DAY),
                         *colder = put(temp, 5, "DEEP_ARCHIVE", 60 * DAY),
                         *by_itself = put(temp, 6, "INTELLIGENT_TIERING", 60 * DAY),
                         *foreign = put(temp, 7, "ICE", 60 * DAY);

    assert_int_equal(cool(temp), 0);
    assert_string_equal(old->class, "GLACIER");
    assert_string_equal(rare->class, "GLACIER");
    assert_int_equal(young->moves + unknown_age->moves + there->moves + colder->moves, 0);
    assert_int_equal(by_itself->moves + foreign->moves, 0);
    assert_int_equal(result.archives, 2);
    assert_int_equal(result.bytes, 20);
    assert_int_equal(told, 2);
    assert_int_equal(cool(temp), 0); /* and nothing twice */
    assert_int_equal(result.archives, 0);
}

static void nothing_but_data_is_moved(void **state)
{
    static const char *const prefixes[] = {"meta/", "index/", "remap/", "wal/", "tails/"};
    struct temprepo *temp = *state;
    char name[BUCKET_NAME_SIZE];

    for (unsigned i = 1; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strcmp(prefixes[i], "remap/") == 0) /* would have to be one */
            continue;
        bucket_name(prefixes[i], i, name);
        bucket_put(temp->repo->store, name, 10)->age_ns = 90 * DAY;
    }
    bucket_put(temp->repo->store, "data/of-somebody-else", 10)->age_ns = 90 * DAY;
    assert_int_equal(cool(temp), 0);
    assert_int_equal(result.archives, 0);
    assert_int_equal(bucket.questions, 0);
}

static void what_is_under_a_mark_stays(void **state)
{
    struct temprepo *temp = *state;
    struct bucket_object *marked = put(temp, 0, "STANDARD", 40 * DAY),
                         *other = put(temp, 1, "STANDARD", 40 * DAY);
    char mark[BUCKET_NAME_SIZE];

    bucket_name("marks/", 0, mark);
    bucket_put(temp->repo->store, mark, 64);
    assert_int_equal(cool(temp), 0);
    assert_int_equal(marked->moves, 0);
    assert_int_equal(other->moves, 1);
}

static void compact_to(const struct temprepo *temp, const struct archive_id *id,
                       enum archive_kind kind)
{
    const struct remap_entry entry = {
        .old = {{99, 99, 99}}, .new = *id, .kind = kind, .from = 0, .end = 10, .at = 0};

    assert_int_equal(remap_publish(temp->repo, &entry, 1, NULL, NULL, NULL, &err), 0);
}

static void what_others_were_compacted_into_stays(void **state)
{
    struct temprepo *temp = *state;
    struct bucket_object *compacted = put(temp, 0, "STANDARD", 40 * DAY),
                         *other = put(temp, 1, "STANDARD", 40 * DAY);
    char name[BUCKET_NAME_SIZE];
    const struct archive_id id = bucket_name("data/", 0, name);

    compact_to(temp, &id, ARCHIVE_DATA);
    CLEANUP(repo_freep) struct repo *again = temprepo_open_again(temp);
    assert_int_equal(cool_in(again, temp->repo->store), 0);
    assert_int_equal(compacted->moves, 0);
    assert_int_equal(other->moves, 1);
    assert_int_equal(result.compacted, 1);
    assert_int_equal(result.compacted_bytes, 10);
}

/* Such a one that goes soon, or is too young, or there already, is none of those that wait. */
static void of_what_was_compacted_only_that_is_counted_which_would_be_moved(void **state)
{
    struct temprepo *temp = *state;
    char name[BUCKET_NAME_SIZE], mark[BUCKET_NAME_SIZE];
    struct remap_entry entries[3];

    put(temp, 0, "STANDARD", 40 * DAY);
    put(temp, 1, "STANDARD", 20 * DAY);
    put(temp, 2, "GLACIER", 40 * DAY);
    bucket_name("marks/", 0, mark);
    bucket_put(temp->repo->store, mark, 64);
    for (unsigned i = 0; i < 3; i++)
        entries[i] = (struct remap_entry){.old = {{99, 99, (uint8_t)i}},
                                          .new = bucket_name("data/", i, name),
                                          .kind = ARCHIVE_DATA,
                                          .end = 10};
    assert_int_equal(remap_publish(temp->repo, entries, 3, NULL, NULL, NULL, &err), 0);
    CLEANUP(repo_freep) struct repo *again = temprepo_open_again(temp);
    assert_int_equal(cool_in(again, temp->repo->store), 0);
    assert_int_equal(result.archives, 0);
    assert_int_equal(result.compacted, 0);
}

/* What is under it is not known: it must not be taken for data by who meets it later. */
static void a_mark_on_a_directory_is_in_nobodys_way(void **state)
{
    struct temprepo *temp = *state;
    struct bucket_object *data = put(temp, 0, "STANDARD", 40 * DAY);
    char mark[BUCKET_NAME_SIZE];
    const struct archive_id id = bucket_name("marks/", 1, mark);
    uint32_t number;

    bucket_put(temp->repo->store, mark, 64);
    compact_to(temp, &id, ARCHIVE_METADATA);
    CLEANUP(repo_freep) struct repo *again = temprepo_open_again(temp);
    assert_int_equal(cool_in(again, temp->repo->store), 0);
    assert_int_equal(data->moves, 1);
    assert_int_equal(idtable_number(again->ids, &id, ARCHIVE_METADATA, &number, &err), 0);
}

static void of_many_each_is_moved_once(void **state)
{
    struct temprepo *temp = *state;

    put_many(temp);
    assert_int_equal(cool(temp), 0);
    for (size_t i = 0; i < bucket.count; i++)
        assert_int_equal(bucket.objects[i].moves, 1);
    assert_int_equal(result.archives, MANY);
    assert_int_equal(result.bytes, MANY * 10);
    assert_int_equal(told, MANY);
}

static void a_trial_counts_and_moves_nothing(void **state)
{
    struct temprepo *temp = *state;

    put_many(temp);
    dry_run = true;
    assert_int_equal(cool(temp), 0);
    assert_int_equal(result.archives, MANY);
    assert_int_equal(bucket.questions, 0);
}

static void one_that_is_gone_or_frozen_by_now_is_passed_over(void **state)
{
    struct temprepo *temp = *state;

    put_many(temp);
    put(temp, MANY, "STANDARD", 40 * DAY)->is_gone = true;
    assert_int_equal(cool(temp), 0);
    assert_int_equal(result.archives, MANY);
    bucket.fails_at = put(temp, MANY + 1, "STANDARD", 40 * DAY)->name;
    err_set(&bucket.fails, ERR_COLD, "frozen");
    assert_int_equal(cool(temp), 0);
    assert_int_equal(result.archives, 0);
}

static void the_first_refusal_ends_it(void **state)
{
    struct temprepo *temp = *state;

    put_many(temp);
    err_set(&bucket.fails, ERR_DENIED, "no right to");
    assert_int_equal(cool(temp), -ERR_DENIED);
    assert_string_equal(err.text, "no right to");
    assert_true(bucket.questions <= MOVES);
    assert_int_equal(result.archives, 0);
}

static void an_interrupt_ends_it_and_what_was_moved_is_counted(void **state)
{
    struct temprepo *temp = *state;
    unsigned moved = 0;

    put_many(temp);
    bucket.cancels = &progress;
    assert_int_equal(cool(temp), -ERR_CANCELLED);
    for (size_t i = 0; i < bucket.count; i++)
        moved += bucket.objects[i].moves;
    assert_true(moved >= 1 && moved <= MOVES);
    assert_int_equal(result.archives, moved);
    assert_int_equal(told, moved);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, bucket_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(only_what_is_old_enough_and_warmer_is_moved),
        CASE(nothing_but_data_is_moved),
        CASE(what_is_under_a_mark_stays),
        CASE(what_others_were_compacted_into_stays),
        CASE(of_what_was_compacted_only_that_is_counted_which_would_be_moved),
        CASE(a_mark_on_a_directory_is_in_nobodys_way),
        CASE(of_many_each_is_moved_once),
        CASE(a_trial_counts_and_moves_nothing),
        CASE(one_that_is_gone_or_frozen_by_now_is_passed_over),
        CASE(the_first_refusal_ends_it),
        CASE(an_interrupt_ends_it_and_what_was_moved_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
