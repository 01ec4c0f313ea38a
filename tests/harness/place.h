/*
 * place — a directory of its own for each test of the local store.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/local.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

static char place[] = "/tmp/test_local_XXXXXX";

static inline int make_place(void **state)
{
    (void)state;
    strcpy(place + sizeof(place) - 7, "XXXXXX");
    return mkdtemp(place) ? 0 : -1;
}

static inline int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *at)
{
    (void)stat;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline int remove_place(void **state)
{
    (void)state;
    return nftw(place, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline struct store *open_store(void)
{
    struct store *store = NULL;
    struct err err;

    assert_true(local_store_open(place, true, &store, &err) == 0);
    return store;
}

static inline const char *in_place(const char *name)
{
    static char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", place, name);
    return path;
}

static inline void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static inline size_t entries_in(const char *path)
{
    DIR *directory = opendir(path);
    size_t count = 0;

    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static inline void assert_object(struct store *store, const char *name, const char *expected)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    char text[100] = "";
    struct err err;

    assert_true(store_open(store, name, &object, &err) == 0);
    assert_true(store_object_size(object) == strlen(expected));
    assert_true(store_read(object, 0, text, strlen(expected), &err) == 0);
    assert_string_equal(text, expected);
}
