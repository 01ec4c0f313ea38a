#include "backup/archive/thaw.h"

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "tests/harness/backingup.h"
#include "tests/harness/bucket.h"
#include "tests/harness/compacting.h"

enum { MANY = 200, QUESTIONS = 16 };

static struct err err;
static struct thaw *thaw;
static struct thaw_sum sum;
static struct thaw_amount asked;
static struct progress progress;

static int start(void **state)
{
    int r = set_up(state);
    struct fixture *fixture = *state;

    bucket_dress(fixture->temp.repo->store, 0);
    progress = (struct progress){.cancelled = 0};
    assert_int_equal(thaw_new(fixture->temp.repo, &thaw, &err), 0);
    return r;
}

static int end(void **state)
{
    struct fixture *fixture = *state;

    thaw_free(thaw);
    bucket_undress(fixture->temp.repo->store);
    return tear_down(state);
}

static struct bucket_object *put(struct fixture *fixture, unsigned number, const char *class,
                                 enum cold_state is)
{
    char name[BUCKET_NAME_SIZE];

    bucket_name("data/", number, name);
    struct bucket_object *object = bucket_put(fixture->temp.repo->store, name, 100 + number);
    object->class = class;
    object->state = is;
    return object;
}

static uint32_t number_of(struct fixture *fixture, unsigned number)
{
    char name[BUCKET_NAME_SIZE];
    const struct archive_id id = bucket_name("data/", number, name);
    uint32_t archive;

    assert_int_equal(idtable_number(fixture->temp.repo->ids, &id, ARCHIVE_DATA, &archive, &err), 0);
    return archive;
}

static void need(struct fixture *fixture, unsigned number)
{
    assert_int_equal(thaw_need(thaw, number_of(fixture, number), &err), 0);
}

static void list(void)
{
    bool any = false;

    assert_int_equal(thaw_list(thaw, &any, &err), 0);
    assert_true(any);
}

static void look(void)
{
    if (thaw_look(thaw, &progress, &sum, &err) < 0)
        fail_msg("%s", err.text);
}

static void put_many(struct fixture *fixture)
{
    for (unsigned i = 0; i < MANY; i++)
        put(fixture, i, "GLACIER", COLD_FROZEN);
    list();
    for (unsigned i = 0; i < MANY; i++)
        need(fixture, i);
}

static void where_all_is_warm_nothing_can_be_cold(void **state)
{
    struct fixture *fixture = *state;
    bool any = true;

    put(fixture, 0, "STANDARD", COLD_READY);
    put(fixture, 1, "GLACIER_IR", COLD_READY);
    assert_int_equal(thaw_list(thaw, &any, &err), 0);
    assert_false(any);
}

static void only_what_is_needed_and_listed_as_cold_is_asked_after(void **state)
{
    struct fixture *fixture = *state;
    struct bucket_object *warm = put(fixture, 0, "STANDARD", COLD_READY),
                         *frozen = put(fixture, 1, "GLACIER", COLD_FROZEN),
                         *not_needed = put(fixture, 2, "GLACIER", COLD_FROZEN),
                         *thawing = put(fixture, 3, "DEEP_ARCHIVE", COLD_THAWING),
                         *thawed = put(fixture, 4, "GLACIER", COLD_THAWED),
                         *tiered = put(fixture, 5, "INTELLIGENT_TIERING", COLD_READY);

    list();
    for (unsigned i = 0; i < 6; i++)
        if (i != 2)
            need(fixture, i);
    look();
    assert_int_equal(warm->looks, 0);
    assert_int_equal(not_needed->looks, 0);
    assert_int_equal(frozen->looks, 1);
    assert_int_equal(thawing->looks, 1);
    assert_int_equal(tiered->looks, 1);
    assert_true(thawed->looks >= 1);
    assert_true(sum.frozen.archives == 1 && sum.frozen.bytes == 101);
    assert_true(sum.thawing.archives == 1 && sum.thawing.bytes == 103);
    assert_true(sum.thawed.archives == 1 && sum.thawed.bytes == 104);
    assert_int_equal(sum.class_count, 2);
    size_t deep = strcmp(sum.classes[0].name, "GLACIER") == 0; /* in no order */
    assert_string_equal(sum.classes[!deep].name, "GLACIER");
    assert_true(sum.classes[!deep].amount.archives == 1);
    assert_true(sum.classes[!deep].amount.bytes == 101);
    assert_string_equal(sum.classes[deep].name, "DEEP_ARCHIVE");

    assert_int_equal(thaw_ask(thaw, COLD_STANDARD, 7, &progress, &asked, &err), 0);
    assert_true(asked.archives == 1 && asked.bytes == 101);
    assert_int_equal(frozen->thaws, 1);
    assert_int_equal(not_needed->thaws + thawing->thaws + thawed->thaws + tiered->thaws, 0);
}

static void what_was_asked_for_is_not_asked_for_again(void **state)
{
    struct fixture *fixture = *state;
    struct bucket_object *object = put(fixture, 0, "GLACIER", COLD_FROZEN);

    list();
    need(fixture, 0);
    for (int i = 0; i < 3; i++) {
        look();
        assert_int_equal(thaw_ask(thaw, COLD_BULK, 1, &progress, &asked, &err), 0);
        assert_int_equal(asked.archives, i == 0);
    }
    assert_int_equal(object->thaws, 1);
    object->state = COLD_THAWED;
    look();
    assert_true(sum.frozen.archives + sum.thawing.archives == 0 && sum.thawed.archives == 1);
}

static void of_many_each_is_looked_at_and_asked_for_once(void **state)
{
    struct fixture *fixture = *state;

    put_many(fixture);
    look();
    assert_int_equal(sum.frozen.archives, MANY);
    assert_int_equal(thaw_ask(thaw, COLD_STANDARD, 7, &progress, &asked, &err), 0);
    assert_int_equal(asked.archives, MANY);
    for (size_t i = 0; i < bucket.count; i++) {
        assert_int_equal(bucket.objects[i].looks, 1);
        assert_int_equal(bucket.objects[i].thaws, 1);
    }
}

/* What came back first may be frozen again when the last has come. */
static void what_is_frozen_again_by_the_time_that_all_are_there_is_seen(void **state)
{
    struct fixture *fixture = *state;
    struct bucket_object *first = put(fixture, 0, "GLACIER", COLD_THAWED),
                         *last = put(fixture, 1, "GLACIER", COLD_THAWING);

    list();
    need(fixture, 0);
    need(fixture, 1);
    look();
    assert_true(sum.thawing.archives == 1 && sum.thawed.archives == 1);
    first->state = COLD_FROZEN;
    last->state = COLD_THAWED;
    look();
    assert_int_equal(sum.frozen.archives, 1);
    assert_int_equal(thaw_ask(thaw, COLD_STANDARD, 7, &progress, &asked, &err), 0);
    assert_int_equal(first->thaws, 1);
    assert_int_equal(last->thaws, 0);
}

static void one_that_was_pruned_since_is_nothing_to_wait_for(void **state)
{
    struct fixture *fixture = *state;

    put(fixture, 0, "GLACIER", COLD_FROZEN)->is_gone = true;
    put(fixture, 1, "GLACIER", COLD_THAWED);
    list();
    need(fixture, 0);
    need(fixture, 1);
    look();
    assert_true(sum.frozen.archives == 0 && sum.thawing.archives == 0);
    assert_int_equal(sum.thawed.archives, 1);
}

static void the_first_look_that_is_refused_ends_it(void **state)
{
    put_many(*state);
    err_set(&bucket.fails, ERR_DENIED, "no right to");
    assert_int_equal(thaw_look(thaw, &progress, &sum, &err), -ERR_DENIED);
    assert_string_equal(err.text, "no right to");
    assert_true(bucket.questions <= QUESTIONS);
    bucket.fails = (struct err){0}; /* and another begins anew */
    look();
    assert_int_equal(sum.frozen.archives, MANY);
}

static void an_interrupt_ends_the_looking(void **state)
{
    put_many(*state);
    bucket.cancels = &progress;
    assert_int_equal(thaw_look(thaw, &progress, &sum, &err), -ERR_CANCELLED);
    assert_true(bucket.questions <= QUESTIONS);
}

static void what_was_asked_for_before_a_refusal_is_told_and_not_asked_for_again(void **state)
{
    unsigned thaws = 0;

    put_many(*state);
    look();
    bucket.questions = 0;
    bucket.cancels = &progress;
    assert_int_equal(thaw_ask(thaw, COLD_STANDARD, 7, &progress, &asked, &err), -ERR_CANCELLED);
    for (size_t i = 0; i < bucket.count; i++)
        thaws += bucket.objects[i].thaws;
    assert_true(thaws >= 1 && thaws <= QUESTIONS);
    assert_int_equal(asked.archives, thaws);
    bucket.cancels = NULL;
    progress.cancelled = 0;
    assert_int_equal(thaw_ask(thaw, COLD_STANDARD, 7, &progress, &asked, &err), 0);
    assert_int_equal(asked.archives, MANY - thaws);
    for (size_t i = 0; i < bucket.count; i++)
        assert_int_equal(bucket.objects[i].thaws, 1);
}

static void a_class_that_does_not_come_back_that_way_is_told(void **state)
{
    struct fixture *fixture = *state;

    put(fixture, 0, "DEEP_ARCHIVE", COLD_FROZEN);
    list();
    need(fixture, 0);
    look();
    assert_int_equal(thaw_ask(thaw, COLD_EXPEDITED, 7, &progress, &asked, &err), -ERR_USAGE);
    assert_int_equal(asked.archives, 0);
}

/* ---- contents ---------------------------------------------------------------------------- */

static void need_file(struct fixture *fixture, struct blocks *blocks, const char *path)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};

    find(fixture, blocks, path, &held);
    if (thaw_need_content(thaw, blocks, &held.entry.content, &err) < 0)
        fail_msg("%s", err.text);
}

/* All of the repository's data is frozen. */
static void freeze_all(struct fixture *fixture)
{
    const struct root *root = &fixture->result.root;
    char name[OBJECT_NAME_SIZE];

    for (size_t i = 0; i < root->archive_count; i++) {
        if (root->archives[i].kind != ARCHIVE_DATA)
            continue;
        repo_object_name(ARCHIVE_DATA, &root->archives[i].id, name);
        bucket_at(name)->class = "GLACIER";
        bucket_at(name)->state = COLD_FROZEN;
    }
}

static void a_file_needs_the_archives_that_its_content_lies_in(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);

    shell(fixture, "head -c 300000 /dev/urandom > a");
    usleep(50000); /* what is as new as its backup is read again, and here stored again */
    must_back_up(fixture);
    freeze_all(fixture);
    shell(fixture, "head -c 300000 /dev/urandom > b");
    must_back_up(fixture);
    freeze_all(fixture);
    list();
    need_file(fixture, blocks, "a");
    look();
    assert_int_equal(sum.frozen.archives, 1);
    need_file(fixture, blocks, "b");
    look();
    assert_int_equal(sum.frozen.archives, 2);
}

static void what_was_compacted_is_needed_where_it_lies_by_now(void **state)
{
    struct fixture *fixture = *state;
    struct repo *repo = fixture->temp.repo;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(repo, 1 << 20);
    const struct compacting how = {.repo = repo, .index = true};
    struct remap_entry *entries = NULL;
    char name[OBJECT_NAME_SIZE];
    size_t count = 0;

    shell(fixture, "head -c 300000 /dev/urandom > a");
    must_back_up(fixture);
    compact(&how, &fixture->result.root, ARCHIVE_DATA);
    assert_int_equal(remap_entries(repo, &entries, &count, &err), 0);
    assert_true(count >= 1);
    repo_object_name(ARCHIVE_DATA, &entries[0].new, name);
    free(entries);
    bucket_at(name)->class = "GLACIER";
    bucket_at(name)->state = COLD_FROZEN;
    list();
    need_file(fixture, blocks, "a");
    look();
    assert_int_equal(sum.frozen.archives, 1);
    assert_int_equal(bucket_at(name)->looks, 1);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, start, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(where_all_is_warm_nothing_can_be_cold),
        CASE(only_what_is_needed_and_listed_as_cold_is_asked_after),
        CASE(what_was_asked_for_is_not_asked_for_again),
        CASE(of_many_each_is_looked_at_and_asked_for_once),
        CASE(what_is_frozen_again_by_the_time_that_all_are_there_is_seen),
        CASE(one_that_was_pruned_since_is_nothing_to_wait_for),
        CASE(the_first_look_that_is_refused_ends_it),
        CASE(an_interrupt_ends_the_looking),
        CASE(what_was_asked_for_before_a_refusal_is_told_and_not_asked_for_again),
        CASE(a_class_that_does_not_come_back_that_way_is_told),
        CASE(a_file_needs_the_archives_that_its_content_lies_in),
        CASE(what_was_compacted_is_needed_where_it_lies_by_now),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
