#include <stdio.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "catalog/catalog.h"
#include "fs/mount_internal.h"
#include "tests/harness/cmocka.h"

enum { FILES = 1 << TYPE_FILES, CONFIG = 1 << TYPE_CONFIG };

static struct err err;

static struct snapshot_row row(const char *name, const char *host, int types)
{
    struct snapshot_row out = {.complete = true, .end_ns = 5, .start_ns = 4};

    (void)snprintf(out.name, sizeof(out.name), "%s", name);
    (void)snprintf(out.host, sizeof(out.host), "%s", host);
    out.types = out.complete_types = (uint8_t)types;
    return out;
}

/* Gives the names that changed, with a minus before those that are gone. */
static void assert_update(struct shots *shots, struct snapshot_row *rows, size_t count,
                          const char *expected)
{
    const struct snapshot_rows all = {.at = rows, .count = count};
    struct shot_changes changes = {0};
    CLEANUP(buf_clear) struct buf text = {.limit = 10000};

    assert_int_equal(shots_update(shots, &all, &changes, &err), 0);
    for (size_t i = 0; i < changes.count; i++) {
        char word[40];
        int size = snprintf(word, sizeof(word), "%s%s ", changes.at[i].gone ? "-" : "",
                            changes.at[i].name);
        assert_int_equal(buf_append(&text, word, (size_t)size, &err), 0);
    }
    assert_int_equal(buf_append(&text, "", 1, &err), 0);
    assert_string_equal((char *)text.data, expected);
    shot_changes_clear(&changes);
}

static void assert_latest(struct shots *shots, unsigned type, const char *expected)
{
    struct shot shot;
    uint32_t number;
    uint16_t top;

    assert_true(shots_top(shots, &top));
    bool found = shots_latest(shots, top, type, &number, &shot);
    assert_string_equal(found ? shot.name : "none", expected);
}

static void latest_is_the_newest_complete_one_with_that_type(void **state)
{
    (void)state;
    struct shots *shots = shots_new(NULL, "here");
    struct snapshot_row rows[] = {
        row("20260101_000000", "here", FILES | CONFIG), row("20260102_000000", "here", FILES),
        row("20260103_000000", "here", FILES | CONFIG), row("20260104_000000", "here", FILES),
        row("20260105_000000", "here", CONFIG),         row("20260106_000000", "there", FILES),
    };

    rows[2].complete_types = CONFIG; /* some of its files could not be read */
    rows[3].adhoc = true;
    rows[4].complete = false;
    assert_update(shots, rows, 6,
                  "20260101_000000 20260102_000000 20260103_000000 20260104_000000 "
                  "20260105_000000 20260106_000000 ");
    assert_latest(shots, TYPE_FILES, "20260102_000000");
    assert_latest(shots, TYPE_CONFIG, "20260103_000000");
    assert_latest(shots, TYPE_DATABASE, "none");
    shots_free(shots);
}

static void only_what_changed_is_told(void **state)
{
    (void)state;
    struct shots *shots = shots_new(NULL, "here");
    struct snapshot_row rows[] = {
        row("20260102_000000", "here", FILES),
        row("20260104_000000", "here", FILES),
        row("20260106_000000", "here", FILES),
    };
    uint32_t number;
    struct shot shot;
    uint16_t top;

    assert_update(shots, rows, 3, "20260102_000000 20260104_000000 20260106_000000 ");
    assert_update(shots, rows, 3, "");
    rows[1].revision = 1;
    assert_update(shots, rows, 3, "20260104_000000 ");
    assert_true(shots_top(shots, &top));
    assert_true(shots_by_name(shots, top, "20260106_000000", &number, &shot));
    rows[1] = row("20260101_000000", "here", FILES);
    struct snapshot_row next[] = {rows[1], rows[0], row("20260105_000000", "here", FILES)};
    assert_update(shots, next, 3,
                  "20260101_000000 -20260104_000000 20260105_000000 -20260106_000000 ");
    assert_false(shots_by_name(shots, top, "20260106_000000", &number, &shot));
    assert_true(shots_get(shots, number, &shot) && shot.gone); /* nodes may still name it */
    assert_true(shots_by_name(shots, top, "20260101_000000", &number, &shot));
    assert_latest(shots, TYPE_FILES, "20260105_000000");
    assert_update(shots, NULL, 0, "-20260101_000000 -20260102_000000 -20260105_000000 ");
    assert_false(shots_top(shots, &top));
    shots_free(shots);
}

static void another_host_stands_at_the_top_only_if_it_is_the_only_one(void **state)
{
    (void)state;
    struct shots *shots = shots_new(NULL, "here");
    struct snapshot_row rows[] = {
        row("20260101_000000", "there", FILES),
        row("20260102_000000", "elsewhere", FILES),
        row("20260103_000000", "here", FILES),
    };
    char name[HOST_NAME_MAX_SIZE + 1];
    uint16_t top;

    assert_false(shots_top(shots, &top));
    assert_update(shots, rows, 1, "20260101_000000 ");
    assert_true(shots_top(shots, &top) && shots_host(shots, top, name));
    assert_string_equal(name, "there");
    assert_update(shots, rows, 2, "20260102_000000 ");
    assert_false(shots_top(shots, &top));
    assert_update(shots, rows, 3, "20260103_000000 ");
    assert_true(shots_top(shots, &top) && shots_host(shots, top, name));
    assert_string_equal(name, "here");
    shots_free(shots);
}

/* ---- the layout -------------------------------------------------------------------------- */

static void assert_children(struct mount *mount, struct node node, const char *expected)
{
    CLEANUP(buf_clear) struct buf names = {.limit = 10000};
    struct child child, found;

    for (uint64_t number = 0; layout_next(mount, 7, &node, &number, &child); number++) {
        assert_int_equal(buf_append(&names, child.name, strlen(child.name), &err), 0);
        assert_int_equal(buf_append(&names, " ", 1, &err), 0);
        assert_true(layout_find(mount, 7, &node, child.name, &found));
        assert_true(found.node.key == child.node.key && found.node.kind == child.node.kind);
        assert_true(child.node.parent == 7);
    }
    assert_int_equal(buf_append(&names, "", 1, &err), 0);
    assert_string_equal((char *)names.data, expected);
    assert_false(layout_find(mount, 7, &node, "nothing", &found));
}

static void each_directory_shows_what_it_should(void **state)
{
    (void)state;
    struct mount *mount = calloc(1, sizeof(*mount));
    struct snapshot_row rows[] = {
        row("20260101_000000", "here", FILES),
        row("20260102_000000", "a/b", FILES), /* cannot be a directory */
        row("20260103_000000", "here", FILES | CONFIG),
        row("20260104_000000", "there", CONFIG),
    };

    mount->shots = shots_new(NULL, "here");
    mount->nodes = nodes_new();
    assert_children(mount, (struct node){.kind = NODE_ROOT}, "latest history hosts ");
    assert_update(mount->shots, rows, 4,
                  "20260101_000000 20260102_000000 20260103_000000 20260104_000000 ");
    assert_children(mount, (struct node){.kind = NODE_ROOT},
                    "latest history hosts 20260101_000000 20260103_000000 ");
    assert_children(mount, (struct node){.kind = NODE_HOSTS}, "here there ");
    assert_children(mount, (struct node){.kind = NODE_HOST, .host = 2},
                    "latest history 20260104_000000 ");
    assert_children(mount, (struct node){.kind = NODE_LATEST}, "files config ");
    assert_children(mount, (struct node){.kind = NODE_LATEST, .host = 2}, "config ");
    assert_children(mount, (struct node){.kind = NODE_HISTORY}, "files config ");
    assert_children(mount, (struct node){.kind = NODE_HISTORY, .host = 2}, "config ");
    assert_children(mount, (struct node){.kind = NODE_SNAPSHOT, .snapshot = 2},
                    "files config manifest.json ");
    assert_children(mount, (struct node){.kind = NODE_SNAPSHOT, .snapshot = 3},
                    "config manifest.json ");
    assert_children(mount, (struct node){.kind = NODE_MANIFEST, .snapshot = 3}, "");
    nodes_free(mount->nodes);
    shots_free(mount->shots);
    free(mount);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latest_is_the_newest_complete_one_with_that_type),
        cmocka_unit_test(only_what_changed_is_told),
        cmocka_unit_test(another_host_stands_at_the_top_only_if_it_is_the_only_one),
        cmocka_unit_test(each_directory_shows_what_it_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
