#include "fs/mount_internal.h"
#include "tests/harness/cmocka.h"

static void an_entry_s_node_is_its_place(void **state)
{
    (void)state;
    const struct place places[] = {{0, 0}, {1, 7}, {(1u << 24) - 1, UINT32_MAX}};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (int shared = 0; shared < 2; shared++) {
            uint64_t id = node_of_place(places[i], shared);
            bool out_shared;
            struct place place = node_place(id, &out_shared);
            assert_true(node_is_placed(id) && id != FUSE_ROOT_ID);
            assert_true(place_equal(place, places[i]) && out_shared == (shared == 1));
        }
    }
    assert_false(node_is_placed(FUSE_ROOT_ID));
}

static uint64_t take(struct nodes *nodes, uint64_t parent, uint64_t key)
{
    const struct node wanted = {.parent = parent, .key = key, .kind = NODE_STORED, .snapshot = 3};
    struct err err;
    uint64_t id = 0;

    assert_int_equal(nodes_take(nodes, &wanted, &id, &err), 0);
    return id;
}

static void one_place_below_two_parents_is_two_directories(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new();
    struct node node;

    uint64_t first = take(nodes, FUSE_ROOT_ID, 99), second = take(nodes, first, 99);
    assert_true(first != second && first != FUSE_ROOT_ID && !node_is_placed(first));
    assert_true(take(nodes, FUSE_ROOT_ID, 99) == first);
    assert_true(nodes_find(nodes, first, 99) == second);
    assert_true(nodes_find(nodes, second, 99) == 0);
    assert_true(nodes_get(nodes, second, &node));
    assert_true(node.parent == first && node.key == 99 && node.snapshot == 3);
    nodes_free(nodes);
}

static void a_node_of_history_has_a_name_of_its_own(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new();
    char name[NODE_NAME_SIZE], given[] = "app";
    const struct node wanted = {.parent = FUSE_ROOT_ID, .key = 5, .kind = NODE_PAST, .name = given};
    struct node node;
    struct err err;
    uint64_t id = 0, *ids = NULL;
    size_t count = 0;

    take(nodes, FUSE_ROOT_ID, 99);
    assert_int_equal(nodes_take(nodes, &wanted, &id, &err), 0);
    given[0] = 'X';
    nodes_name(nodes, id, name);
    assert_string_equal(name, "app");
    assert_true(nodes_get(nodes, id, &node) && !node.name);
    assert_int_equal(nodes_of_history(nodes, &ids, &count, &err), 0);
    assert_true(count == 1 && ids[0] == id);
    free(ids);
    nodes_forget(nodes, id, 1);
    nodes_name(nodes, id, name);
    assert_string_equal(name, "");
    nodes_free(nodes);
}

static void a_directory_stays_until_each_lookup_is_forgotten(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new();
    struct node node;
    uint64_t id = take(nodes, FUSE_ROOT_ID, 1);

    assert_true(take(nodes, FUSE_ROOT_ID, 1) == id);
    nodes_forget(nodes, id, 1);
    assert_true(nodes_get(nodes, id, &node));
    nodes_forget(nodes, id, 1);
    assert_false(nodes_get(nodes, id, &node));
    assert_true(nodes_find(nodes, FUSE_ROOT_ID, 1) == 0);
    uint64_t again = take(nodes, FUSE_ROOT_ID, 1);
    assert_true(again != id && nodes_get(nodes, again, &node) && !nodes_get(nodes, id, &node));
    nodes_free(nodes);
}

static void the_root_and_entries_are_never_forgotten(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new();
    struct node node;

    nodes_forget(nodes, FUSE_ROOT_ID, 1000);
    nodes_forget(nodes, node_of_place((struct place){5, 5}, false), 1);
    nodes_forget(nodes, UINT64_C(77), 1);
    assert_true(nodes_get(nodes, FUSE_ROOT_ID, &node) && node.kind == NODE_ROOT);
    assert_int_equal(nodes_count(nodes), 1);
    nodes_free(nodes);
}

static void a_table_of_many_directories_finds_each_and_uses_its_room_again(void **state)
{
    (void)state;
    enum { MANY = 50000 };
    struct nodes *nodes = nodes_new();
    uint64_t *ids = calloc(MANY, sizeof(*ids));

    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < MANY; i++)
            ids[i] = take(nodes, i > 0 ? ids[i - 1] : FUSE_ROOT_ID, i % 7);
        assert_int_equal(nodes_count(nodes), MANY + 1);
        for (uint64_t i = 0; i < MANY; i++)
            assert_true(nodes_find(nodes, i > 0 ? ids[i - 1] : FUSE_ROOT_ID, i % 7) == ids[i]);
        for (uint64_t i = 0; i < MANY; i++) {
            assert_true((uint32_t)ids[i] <= MANY + 1);
            nodes_forget(nodes, ids[i], 1);
        }
        assert_int_equal(nodes_count(nodes), 1);
    }
    free(ids);
    nodes_free(nodes);
}

static void the_host_of_an_archive_is_the_one_noted_first(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new();

    assert_int_equal(nodes_host(nodes, 123456), 0);
    nodes_note_host(nodes, 123456, 9);
    nodes_note_host(nodes, 123456, 10);
    nodes_note_host(nodes, 123457, 0);
    assert_int_equal(nodes_host(nodes, 123456), 9);
    assert_int_equal(nodes_host(nodes, 123457), 0);
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_s_node_is_its_place),
        cmocka_unit_test(one_place_below_two_parents_is_two_directories),
        cmocka_unit_test(a_node_of_history_has_a_name_of_its_own),
        cmocka_unit_test(a_directory_stays_until_each_lookup_is_forgotten),
        cmocka_unit_test(the_root_and_entries_are_never_forgotten),
        cmocka_unit_test(a_table_of_many_directories_finds_each_and_uses_its_room_again),
        cmocka_unit_test(the_host_of_an_archive_is_the_one_noted_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
