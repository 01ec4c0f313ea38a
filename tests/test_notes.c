/* The catalog's part of notes, and what it remembers of a repository that was rolled back. */
#include "catalog/catalog.h"

#include "backup/base/cleanup.h"
#include "catalog/select.h"
#include "tests/harness/tempcatalog.h"

enum { FILES = 1 << TYPE_FILES, CONFIG = 1 << TYPE_CONFIG };

#define FIRST "20260201_120000"
#define SECOND "20260202_120000"
#define OBJECT(name) "snapshots/" name "/00000000"

struct fixture {
    struct tempcatalog made;
    struct catalog *catalog;
    struct err err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct root first = make_root(FIRST, "here", FILES), second = make_root(SECOND, "here", FILES);

    second.sequence = 2;
    f->made = tempcatalog_make();
    f->catalog = tempcatalog_open(&f->made, f->made.temp.repo);
    publish(f->made.temp.repo, &first);
    publish(f->made.temp.repo, &second);
    assert_int_equal(catalog_sync(f->catalog, false, &f->err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    catalog_close(f->catalog);
    tempcatalog_clear(&f->made);
    free(f);
    return 0;
}

/* As another host, or as this one after its catalog was lost. */
static struct catalog *fresh_catalog(struct fixture *f, const char *directory)
{
    struct catalog *catalog;
    char path[160];

    snprintf(path, sizeof(path), "%s/%s", f->made.temp.directory, directory);
    assert_int_equal(catalog_open(f->made.temp.repo, path, &catalog, &f->err), 0);
    assert_int_equal(catalog_sync(catalog, false, &f->err), 0);
    return catalog;
}

static struct snapshot_row row_of(struct catalog *catalog, const char *name)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    struct snapshot_row found = {0};
    struct err err;

    assert_int_equal(catalog_all_snapshots(catalog, NULL, &rows, &err), 0);
    for (size_t i = 0; i < rows.count; i++)
        if (strcmp(rows.at[i].name, name) == 0)
            found = rows.at[i];
    found.tags = (struct strings){0};
    assert_string_equal(found.name, name);
    return found;
}

static void forget(struct fixture *f, const char *name)
{
    struct snapshot_row row = row_of(f->catalog, name);

    assert_int_equal(catalog_forget(f->catalog, &row, "here", "old", &f->err), 0);
}

/* How many losses are told; `expected` stands in the first. */
static size_t losses(struct catalog *catalog, const char *expected)
{
    CLEANUP(strings_clear) struct strings lines = {0};
    struct err err;

    assert_int_equal(catalog_losses(catalog, &lines, &err), 0);
    if (expected && lines.count > 0 && !strstr(lines.at[0], expected))
        fail_msg("\"%s\" does not say \"%s\"", lines.at[0], expected);
    return lines.count;
}

static void a_forgotten_snapshot_is_hidden_and_comes_back(void **state)
{
    struct fixture *f = *state;
    CLEANUP(selection_clear) struct selection selection = {0};
    CLEANUP(catalog_closep) struct catalog *other = fresh_catalog(f, "OTHER");
    struct select_query query = {.host = "here", .types = FILES};

    forget(f, SECOND);
    assert_int_equal(count_snapshots(f->catalog, NULL), 1);
    struct snapshot_row row = row_of(f->catalog, SECOND);
    assert_true(row.forgotten && row.forgotten_ns > 0 && !row.held);
    assert_int_equal(select_snapshots(f->catalog, &query, &selection, &f->err), 0);
    assert_string_equal(selection.roots[0].name, FIRST); /* not latest */
    selection_clear(&selection);
    query.snapshot = "20260202";
    assert_int_equal(select_snapshots(f->catalog, &query, &selection, &f->err), -ERR_NOT_FOUND);
    query.snapshot = SECOND; /* by its whole name */
    assert_int_equal(select_snapshots(f->catalog, &query, &selection, &f->err), 0);
    assert_int_equal(count_snapshots(other, NULL), 2);
    assert_int_equal(catalog_sync(other, false, &f->err), 0);
    assert_int_equal(count_snapshots(other, NULL), 1);

    assert_int_equal(catalog_unforget(other, &row, "there", NULL, &f->err), 0);
    assert_int_equal(count_snapshots(other, NULL), 2);
    sync_it(f->catalog, false);
    assert_int_equal(count_snapshots(f->catalog, NULL), 2);
    forget(f, SECOND);
    assert_int_equal(count_snapshots(f->catalog, NULL), 1);
}

static void a_host_with_nothing_but_forgotten_snapshots_is_no_host(void **state)
{
    struct fixture *f = *state;
    CLEANUP(strings_clear) struct strings hosts = {0};
    CLEANUP(selection_clear) struct selection selection = {0};
    struct select_query query = {.host = "here", .snapshot = "2026"};

    forget(f, FIRST);
    forget(f, SECOND);
    assert_int_equal(catalog_hosts(f->catalog, &hosts, &f->err), 0);
    assert_int_equal(hosts.count, 0);
    assert_int_equal(select_snapshots(f->catalog, &query, &selection, &f->err), -ERR_NOT_FOUND);
}

static void two_hosts_forget_and_take_back_at_once(void **state)
{
    struct fixture *f = *state;
    CLEANUP(catalog_closep) struct catalog *other = fresh_catalog(f, "OTHER");
    struct snapshot_row row = row_of(f->catalog, SECOND);

    assert_int_equal(catalog_forget(f->catalog, &row, "here", NULL, &f->err), 0);
    assert_int_equal(catalog_forget(other, &row, "there", NULL, &f->err), 0); /* has not seen it */
    assert_int_equal(catalog_unforget(f->catalog, &row, "here", NULL, &f->err), 0);
    assert_int_equal(catalog_forget(other, &row, "there", NULL, &f->err), 0);
    assert_int_equal(catalog_sync(other, false, &f->err), 0);
    assert_int_equal(count_snapshots(other, NULL), 2); /* the taking back came after what it knew */
    sync_it(f->catalog, false);
    assert_int_equal(count_snapshots(f->catalog, NULL), 2);
}

static void several_holds_are_released_together(void **state)
{
    struct fixture *f = *state;
    CLEANUP(catalog_closep) struct catalog *other = fresh_catalog(f, "OTHER");
    CLEANUP(note_rows_clear) struct note_rows holds = {0};
    struct snapshot_row row = row_of(f->catalog, FIRST);
    size_t count = 0;

    assert_int_equal(catalog_hold(f->catalog, &row, "here", "audit", &f->err), 0);
    assert_int_equal(catalog_hold(other, &row, "there", "court", &f->err), 0);
    sync_it(f->catalog, false);
    assert_true(row_of(f->catalog, FIRST).held && !row_of(f->catalog, SECOND).held);
    assert_int_equal(catalog_holds(f->catalog, NULL, &holds, &f->err), 0);
    assert_int_equal(holds.count, 2);
    assert_string_equal(holds.at[0].note.reason, "audit");
    assert_string_equal(holds.at[1].note.by, "there");
    assert_int_equal(catalog_release(f->catalog, &row, "here", NULL, &count, &f->err), 0);
    assert_int_equal(count, 2);
    assert_false(row_of(f->catalog, FIRST).held);
    assert_int_equal(catalog_sync(other, false, &f->err), 0);
    assert_false(row_of(other, FIRST).held);
}

static void a_snapshot_that_somebody_removed_is_told(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(losses(f->catalog, NULL), 0);
    remove_object(&f->made, OBJECT(SECOND));
    sync_it(f->catalog, false);
    assert_int_equal(count_snapshots(f->catalog, NULL), 1);
    assert_int_equal(losses(f->catalog, SECOND " of here (its number 2, higher than any"), 1);
    assert_int_equal(catalog_rebuild(f->catalog, &f->err), 0); /* does not forget it */
    assert_int_equal(losses(f->catalog, SECOND), 1);
    assert_int_equal(catalog_accept_losses(f->catalog, &f->err), 0);
    assert_int_equal(losses(f->catalog, NULL), 0);
    assert_int_equal(count_snapshots(f->catalog, NULL), 1);
}

static void one_that_was_forgotten_may_go(void **state)
{
    struct fixture *f = *state;
    CLEANUP(catalog_closep) struct catalog *other = fresh_catalog(f, "OTHER");
    uint64_t sequence = 0;

    forget(f, SECOND);
    remove_object(&f->made, OBJECT(SECOND)); /* as prune does */
    sync_it(f->catalog, false);
    assert_int_equal(losses(f->catalog, NULL), 0);
    assert_int_equal(catalog_sync(other, false, &f->err), 0); /* sees both at once */
    assert_int_equal(losses(other, NULL), 0);
    assert_int_equal(catalog_sequence(other, "here", &sequence, &f->err), 0);
    assert_int_equal(sequence, 2);

    CLEANUP(catalog_closep) struct catalog *third = fresh_catalog(f, "THIRD"); /* saw it never */
    sequence = 0;
    assert_int_equal(catalog_sequence(third, "here", &sequence, &f->err), 0);
    assert_int_equal(sequence, 2);
}

static void what_prune_has_removed_is_not_taken_back(void **state)
{
    struct fixture *f = *state;
    struct snapshot_row row = row_of(f->catalog, SECOND);

    forget(f, SECOND);
    remove_object(&f->made, OBJECT(SECOND));
    assert_int_equal(catalog_unforget(f->catalog, &row, "here", NULL, &f->err), -ERR_NOT_FOUND);
    sync_it(f->catalog, false);
    assert_int_equal(losses(f->catalog, NULL), 0);
}

/* After a prune a clock goes back, and a run takes the name once more. */
static void a_name_that_is_taken_again_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    struct root again = make_root(SECOND, "here", FILES);

    again.sequence = 9;
    forget(f, SECOND);
    remove_object(&f->made, OBJECT(SECOND));
    sync_it(f->catalog, false);
    publish(f->made.temp.repo, &again);
    sync_it(f->catalog, false);
    assert_int_equal(count_snapshots(f->catalog, NULL), 2);
    forget(f, SECOND);
    assert_int_equal(count_snapshots(f->catalog, NULL), 1);
    assert_int_equal(losses(f->catalog, NULL), 0);
}

static void a_lower_revision_than_was_seen_is_told(void **state)
{
    struct fixture *f = *state;
    struct root next = make_root(SECOND, "here", FILES);

    next.sequence = 2;
    next.revision = 1;
    publish(f->made.temp.repo, &next);
    sync_it(f->catalog, false);
    assert_int_equal(losses(f->catalog, NULL), 0);
    remove_object(&f->made, "snapshots/" SECOND "/00000001");
    sync_it(f->catalog, false);
    assert_int_equal(losses(f->catalog, "from revision 1 to 0"), 1);
    publish(f->made.temp.repo, &next); /* it is back */
    sync_it(f->catalog, false);
    assert_int_equal(losses(f->catalog, NULL), 0);
}

static void a_note_that_is_gone_still_counts_and_is_told(void **state)
{
    struct fixture *f = *state;
    struct snapshot_row row = row_of(f->catalog, FIRST);
    CLEANUP(note_rows_clear) struct note_rows holds = {0};
    char object[OBJECT_NAME_SIZE];

    forget(f, SECOND);
    assert_int_equal(catalog_hold(f->catalog, &row, "here", NULL, &f->err), 0);
    assert_int_equal(catalog_holds(f->catalog, FIRST, &holds, &f->err), 0);
    strcpy(holds.at[0].note.snapshot, FIRST);
    note_object_name(&holds.at[0].note, object);
    remove_object(&f->made, object);
    remove_object(&f->made, "forgets/" SECOND ".00000000");
    sync_it(f->catalog, false);
    assert_true(row_of(f->catalog, FIRST).held && row_of(f->catalog, SECOND).forgotten);
    assert_int_equal(losses(f->catalog, "forgets/" SECOND ".00000000 is gone"), 2);
}

/* Nobody without a key makes a snapshot disappear, or ends a hold. */
static void rubbish_forgets_nothing_and_releases_nothing(void **state)
{
    struct fixture *f = *state;
    struct snapshot_row row = row_of(f->catalog, FIRST);
    CLEANUP(note_rows_clear) struct note_rows holds = {0};
    struct store *store = f->made.temp.repo->store;
    char object[OBJECT_NAME_SIZE];

    assert_int_equal(catalog_hold(f->catalog, &row, "here", NULL, &f->err), 0);
    assert_int_equal(catalog_holds(f->catalog, FIRST, &holds, &f->err), 0);
    holds.at[0].note.kind = NOTE_RELEASE;
    note_object_name(&holds.at[0].note, object);
    assert_int_equal(store_create(store, object, "x", 1, &f->err), 0);
    assert_int_equal(store_create(store, "forgets/" FIRST ".00000000", "x", 1, &f->err), 0);
    sync_it(f->catalog, false);
    assert_true(row_of(f->catalog, FIRST).held);
    assert_int_equal(count_snapshots(f->catalog, NULL), 2);
    forget(f, FIRST); /* under the next number */
    assert_int_equal(count_snapshots(f->catalog, NULL), 1);
}

static void tags_come_with_the_rows(void **state)
{
    struct fixture *f = *state;
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    struct root root = make_root("20260203_120000", "here", FILES);

    assert_int_equal(strings_add(&root.tags, "release", 7, &f->err), 0);
    assert_int_equal(strings_add(&root.tags, "march", 5, &f->err), 0);
    publish(f->made.temp.repo, &root);
    root_clear(&root);
    sync_it(f->catalog, false);
    assert_int_equal(catalog_snapshots(f->catalog, NULL, &rows, &f->err), 0);
    assert_int_equal(rows.count, 3);
    assert_int_equal(rows.at[1].tags.count, 0);
    assert_int_equal(rows.at[2].tags.count, 2);
    assert_string_equal(rows.at[2].tags.at[0], "march");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_forgotten_snapshot_is_hidden_and_comes_back),
        CASE(a_host_with_nothing_but_forgotten_snapshots_is_no_host),
        CASE(two_hosts_forget_and_take_back_at_once),
        CASE(several_holds_are_released_together),
        CASE(a_snapshot_that_somebody_removed_is_told),
        CASE(one_that_was_forgotten_may_go),
        CASE(what_prune_has_removed_is_not_taken_back),
        CASE(a_name_that_is_taken_again_is_not_forgotten),
        CASE(a_lower_revision_than_was_seen_is_told),
        CASE(a_note_that_is_gone_still_counts_and_is_told),
        CASE(rubbish_forgets_nothing_and_releases_nothing),
        CASE(tags_come_with_the_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
