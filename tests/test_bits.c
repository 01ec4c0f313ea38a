/*
 * Every change of a small repository is found, or changes nothing.
 *
 * Damages one object at a time and looks at the repository as a new process would: it must not
 * open, or verify must find the damage, or everything must read as before; what reads without an
 * error must never be something else.  YESTER_BITS=all does every bit and every length, and
 * YESTER_BITS_PART=I/N every Nth of them; else a sample.
 */
#include "tests/harness/knownrepo.h"

static unsigned long part, parts = 1; /* every `parts`th trial is done */
static bool all;

static bool is_mine(void)
{
    static unsigned long counter;

    return counter++ % parts == part;
}

static void path_of(const struct object *object, char out[600])
{
    (void)snprintf(out, 600, "%s/%s", temp.directory, object->name);
}

/* When the repository was made stands in its header for people only. */
static bool is_for_people(const struct object *object, size_t at)
{
    return strcmp(object->name, "repository") == 0 && at >= 32 && at < 40;
}

static void flip(const struct object *object, size_t at, unsigned bit)
{
    char path[600], what[400];
    const uint8_t changed = (uint8_t)(object->bytes[at] ^ 1U << bit);

    path_of(object, path);
    (void)snprintf(what, sizeof(what), "%s: bit %u of byte %zu", object->name, bit, at);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, &changed, 1, (off_t)at) == 1);
    if (judge(what, 0) == is_for_people(object, at))
        fail_msg("%s: found, or not, as it should not be", what);
    assert_true(pwrite(fd, &object->bytes[at], 1, (off_t)at) == 1);
    close(fd);
}

/* In a sample: all bytes of what is small, and of the ends of archives; a few in between. */
static size_t step_at(const struct object *object, size_t at)
{
    if (all)
        return 1;
    return at < 200 || at + 300 > object->size ? 5 : 131;
}

static void every_flipped_bit_is_found_or_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < object_count; i++)
        for (size_t at = 0; at < objects[i].size; at += step_at(&objects[i], at))
            for (unsigned bit = 0; bit < (all ? 8 : 1); bit++)
                if (is_mine())
                    flip(&objects[i], at, all ? bit : (unsigned)(at * 5 / 3 % 8));
    printf("%lu trials, %lu harmless\n", trials, harmless);
    /* A repository that nothing can hurt is not looked at. */
    assert_true(trials > 100 && harmless < trials / 20);
}

static void every_truncation_is_found_or_harmless(void **state)
{
    char what[400];

    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        const struct object *object = &objects[i];

        for (size_t size = 0; size < object->size; size += all ? 1 : 1 + object->size / 9) {
            if (!is_mine())
                continue;
            (void)snprintf(what, sizeof(what), "%s: its first %zu bytes", object->name, size);
            temprepo_replace(&temp, object->name, object->bytes, size);
            judge(what, 0);
        }
        temprepo_replace(&temp, object->name, object->bytes, object->size);
    }
}

static void bytes_behind_an_object_are_found_or_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        const struct object *object = &objects[i];
        uint8_t *longer = calloc(1, object->size + 4096);

        assert_non_null(longer);
        memcpy(longer, object->bytes, object->size);
        for (size_t more = 1; more <= 4096; more *= 64) {
            temprepo_replace(&temp, object->name, longer, object->size + more);
            judge(object->name, 0);
        }
        free(longer);
        temprepo_replace(&temp, object->name, object->bytes, object->size);
    }
}

/* Also what was there before in the place of what is there now. */
static void an_object_in_the_place_of_another_is_found_or_harmless(void **state)
{
    char what[600];

    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        for (size_t j = 0; j < object_count; j++) {
            if (i == j || !is_mine())
                continue;
            (void)snprintf(what, sizeof(what), "%s in the place of %s", objects[j].name,
                           objects[i].name);
            temprepo_replace(&temp, objects[i].name, objects[j].bytes, objects[j].size);
            judge(what, 0);
        }
        temprepo_replace(&temp, objects[i].name, objects[i].bytes, objects[i].size);
    }
}

static void two_swapped_objects_are_found_or_harmless(void **state)
{
    char what[600];

    (void)state;
    for (size_t i = 0; i < object_count; i++)
        for (size_t j = i + 1; j < object_count; j++) {
            const struct object *a = &objects[i], *b = &objects[j];

            (void)snprintf(what, sizeof(what), "%s and %s swapped", a->name, b->name);
            temprepo_replace(&temp, a->name, b->bytes, b->size);
            temprepo_replace(&temp, b->name, a->bytes, a->size);
            judge(what, 0);
            temprepo_replace(&temp, a->name, a->bytes, a->size);
            temprepo_replace(&temp, b->name, b->bytes, b->size);
        }
}

static void a_missing_object_is_found(void **state)
{
    char path[600], aside[640];

    (void)state;
    (void)snprintf(aside, sizeof(aside), "%s/tmp/aside", temp.directory);
    for (size_t i = 0; i < object_count; i++) {
        unsigned long before = harmless;
        bool root = strncmp(objects[i].name, "snapshots/", 10) == 0;

        path_of(&objects[i], path);
        assert_int_equal(rename(path, aside), 0);
        judge(objects[i].name, root);
        assert_true(root || harmless == before);
        assert_int_equal(rename(aside, path), 0);
    }
}

/* The name of an object as it could come next: another revision, generation or id. */
static void next_name(const char *name, char out[256])
{
    (void)snprintf(out, 256, "%s", name);
    char *last = out + strlen(out) - 1;
    *last = *last == 'f' ? '0' : *last == '9' ? 'a' : (char)(*last + 1);
}

static void a_doubled_object_is_found_or_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < object_count; i++) {
        struct object copy = objects[i];
        char path[600], name[256];

        next_name(objects[i].name, name);
        copy.name = name;
        path_of(&copy, path);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            continue; /* there is one of that name */
        close(fd);
        temprepo_replace(&temp, copy.name, copy.bytes, copy.size);
        judge(copy.name, 0);
        assert_int_equal(unlink(path), 0);
    }
}

static int set_up(void **state)
{
    const char *wanted = getenv("YESTER_BITS"), *mine = getenv("YESTER_BITS_PART");

    (void)state;
    all = wanted && strcmp(wanted, "all") == 0;
    if (mine && (sscanf(mine, "%lu/%lu", &part, &parts) != 2 || part >= parts))
        return -1;
    knownrepo_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    knownrepo_clear();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_found_or_harmless),
        cmocka_unit_test(every_truncation_is_found_or_harmless),
        cmocka_unit_test(bytes_behind_an_object_are_found_or_harmless),
        cmocka_unit_test(an_object_in_the_place_of_another_is_found_or_harmless),
        cmocka_unit_test(two_swapped_objects_are_found_or_harmless),
        cmocka_unit_test(a_missing_object_is_found),
        cmocka_unit_test(a_doubled_object_is_found_or_harmless),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
