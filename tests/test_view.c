#include "fs/view.h"

#include <json-c/json.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/select.h"
#include "tests/harness/temptree.h"

static struct err err;

static struct entry named(const char *name, enum entry_type type)
{
    return (struct entry){
        .type = type, .name = name, .name_size = strlen(name), .mode = 0600, .links = 1};
}

/* A directory of one entry. */
static struct dirref holding(struct temptree *temp, struct entry entry)
{
    struct dirwriter *dir;
    struct dirref out;

    assert_int_equal(dirwriter_new(temp->writer, NULL, &dir, &err), 0);
    assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), 0);
    assert_int_equal(dirwriter_finish(dir, &out, &err), 0);
    return out;
}

static struct dirref directory_holding(struct temptree *temp, const char *name, struct dirref below)
{
    struct entry entry = named(name, ENTRY_DIRECTORY);

    entry.directory = below;
    entry.below_entries = below.entries;
    return holding(temp, entry);
}

/* /srv/LEAF */
static struct dirref below_srv(struct temptree *temp, const char *leaf)
{
    return directory_holding(temp, "srv", holding(temp, named(leaf, ENTRY_FIFO)));
}

struct fixture {
    struct temptree temp;
    struct root root;
    struct selection selection;
};

/* Files: /srv/app; config: /srv/.env. */
static void fixture_make(struct fixture *fixture)
{
    *fixture = (struct fixture){.temp = temptree_make()};
    struct root *root = &fixture->root;

    temptree_begin(&fixture->temp);
    root->types[TYPE_FILES].directory = below_srv(&fixture->temp, "app");
    root->types[TYPE_CONFIG].directory = below_srv(&fixture->temp, ".env");
    temptree_end(&fixture->temp);
    (void)snprintf(root->name, sizeof(root->name), "20260204_120000");
    root->types[TYPE_FILES].present = root->types[TYPE_CONFIG].present = true;
    fixture->selection.roots = root;
    fixture->selection.count = 1;
    fixture->selection.types[TYPE_FILES] = fixture->selection.types[TYPE_CONFIG] = root;
}

static void fixture_clear(struct fixture *fixture)
{
    temptree_clear(&fixture->temp);
}

static void assert_resolves(struct fixture *fixture, const char *path, enum snapshot_type type,
                            const char *source)
{
    CLEANUP(view_target_clear) struct view_target target = {0};

    assert_int_equal(view_resolve(fixture->temp.blocks, &fixture->selection, path, &target, &err),
                     0);
    assert_true(target.type == type && target.root == &fixture->root);
    assert_string_equal(target.source_path, source);
}

static void assert_refuses(struct fixture *fixture, const char *path, int code, const char *text)
{
    struct view_target target;

    assert_int_equal(view_resolve(fixture->temp.blocks, &fixture->selection, path, &target, &err),
                     -code);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void a_path_begins_with_its_type(void **state)
{
    (void)state;
    CLEANUP(fixture_clear) struct fixture fixture;

    fixture_make(&fixture);
    assert_resolves(&fixture, "files/srv/app", TYPE_FILES, "/srv/app");
    assert_resolves(&fixture, "config/srv/.env", TYPE_CONFIG, "/srv/.env");
    assert_resolves(&fixture, "config/srv//./.env/", TYPE_CONFIG, "/srv/.env");
    assert_resolves(&fixture, "config", TYPE_CONFIG, "/");
    assert_resolves(&fixture, "files/", TYPE_FILES, "/");
    assert_refuses(&fixture, "config/srv/app", ERR_NOT_FOUND, "20260204_120000:config/srv/app");
    assert_refuses(&fixture, "database/globals.sql", ERR_NOT_FOUND, "database");
    assert_refuses(&fixture, "srv/app", ERR_USAGE, "files/");
    assert_refuses(&fixture, "filesystem/srv", ERR_USAGE, "files/");
    assert_refuses(&fixture, "files/srv/../srv/app", ERR_USAGE, "");
}

static void a_source_path_is_sought_in_files_then_in_config(void **state)
{
    (void)state;
    CLEANUP(fixture_clear) struct fixture fixture;

    fixture_make(&fixture);
    assert_resolves(&fixture, "/srv/app", TYPE_FILES, "/srv/app");
    assert_resolves(&fixture, "/srv", TYPE_FILES, "/srv");
    assert_resolves(&fixture, "/srv/.env", TYPE_CONFIG, "/srv/.env");
    assert_refuses(&fixture, "/srv/other", ERR_NOT_FOUND, "/srv/other");
    assert_refuses(&fixture, "/srv/app/below", ERR_NOT_FOUND, "/srv/app/below");
    fixture.selection.types[TYPE_FILES] = NULL;
    assert_resolves(&fixture, "/srv", TYPE_CONFIG, "/srv");
}

static void a_lost_archive_is_not_a_missing_path(void **state)
{
    (void)state;
    CLEANUP(fixture_clear) struct fixture fixture;
    struct view_target target;

    fixture_make(&fixture);
    fixture.root.types[TYPE_FILES].directory.place.archive =
        temptree_archive(&fixture.temp, ARCHIVE_METADATA, 77);
    int rc = view_resolve(fixture.temp.blocks, &fixture.selection, "/srv/.env", &target, &err);
    assert_true(rc < 0 && rc != -ERR_NOT_FOUND);
}

static void an_inode_number_stays_until_the_file_changes(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    const struct repo *repo = temp.repo.repo;
    char name[32];
    const struct entry file = temptree_file(&temp, 1, name);
    uint64_t number = view_inode_number(repo, "host", &file);
    struct entry other = file;

    other.name = "renamed";
    other.name_size = 7;
    other.content.place.raw++; /* stored again */
    assert_true(view_inode_number(repo, "host", &other) == number && number > 1);
    assert_true(view_inode_number(repo, "host2", &file) != number);
    other = file;
    other.inode++;
    assert_true(view_inode_number(repo, "host", &other) != number);
    other = file;
    other.ctime_ns++;
    assert_true(view_inode_number(repo, "host", &other) != number);
    other = file;
    other.digest[3] ^= 1;
    assert_true(view_inode_number(repo, "host", &other) != number);
}

/* ---- the manifest ------------------------------------------------------------------------ */

static void json_putp(json_object **object)
{
    json_object_put(*object);
}

static const char *text_of(json_object *object, const char *key)
{
    return json_object_get_string(json_object_object_get(object, key));
}

static void a_manifest_is_json_whatever_the_names_are(void **state)
{
    (void)state;
    struct root root = {.name = "20260204_120000", .host = "web\"1", .version = "1.0"};
    CLEANUP(buf_clear) struct buf out = {.limit = 100000};

    root.start_ns = INT64_C(1770206400000000000);
    root.end_ns = root.start_ns + 1000000000;
    root.complete = true;
    root.types[TYPE_FILES] = (struct root_type){.present = true, .files = 3, .bytes = 1000};
    root.types[TYPE_CONFIG] = (struct root_type){.present = true, .files = 2, .bytes = 10};
    assert_int_equal(strings_add(&root.types[TYPE_FILES].sources, "/caf\xE9\n", 6, &err), 0);
    assert_int_equal(view_manifest(&root, &out, &err), 0);
    assert_int_equal(buf_append(&out, "", 1, &err), 0);
    CLEANUP(json_putp) json_object *json = json_tokener_parse((char *)out.data);
    assert_non_null(json);
    assert_string_equal(text_of(json, "name"), "20260204_120000");
    assert_string_equal(text_of(json, "type"), "files,config");
    assert_string_equal(text_of(json, "host"), "web\"1");
    assert_string_equal(text_of(json, "start"), "2026-02-04T12:00:00Z");
    assert_string_equal(text_of(json, "end"), "2026-02-04T12:00:01Z");
    assert_string_equal(text_of(json, "complete"), "true");
    assert_string_equal(text_of(json, "adhoc"), "false");
    assert_string_equal(text_of(json, "files"), "5");
    assert_string_equal(text_of(json, "bytes"), "1010");
    assert_string_equal(text_of(json, "new_bytes"), "0");
    json_object *files = json_object_object_get(json_object_object_get(json, "types"), "files");
    json_object *sources = json_object_object_get(files, "sources");
    assert_string_equal(json_object_get_string(json_object_array_get_idx(sources, 0)),
                        "/caf\\351\\012");
    strings_clear(&root.types[TYPE_FILES].sources);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_begins_with_its_type),
        cmocka_unit_test(a_source_path_is_sought_in_files_then_in_config),
        cmocka_unit_test(a_lost_archive_is_not_a_missing_path),
        cmocka_unit_test(an_inode_number_stays_until_the_file_changes),
        cmocka_unit_test(a_manifest_is_json_whatever_the_names_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
