/*
 * temprepo — a repository of its own for a test, in a directory that is removed again.
 *
 * Its objects are files, so that a test can damage them.
 *
 *     CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
 */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/base/err.h"
#include "backup/store/local.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"

struct temprepo {
    char directory[32];
    struct repo *repo;
};

static inline struct secret temprepo_secret(void)
{
    static const char text[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="; /* 32 bytes */
    struct secret secret;
    struct err err;

    assert_int_equal(secret_parse(text, strlen(text), &secret, &err), 0);
    return secret;
}

static inline struct temprepo temprepo_make(void)
{
    struct temprepo temp = {.directory = "/tmp/test_repo_XXXXXX"};
    struct secret secret = temprepo_secret();
    struct store *store;
    struct err err;

    assert_non_null(mkdtemp(temp.directory));
    assert_int_equal(local_store_open(temp.directory, true, &store, &err), 0);
    assert_int_equal(repo_create(store, &secret, "test", &temp.repo, &err), 0);
    secret_clear(&secret);
    return temp;
}

/* Another process would see it like this: nothing is known but the objects. */
static inline struct repo *temprepo_open_again(const struct temprepo *temp)
{
    struct secret secret = temprepo_secret();
    struct store *store;
    struct repo *repo;
    struct err err;

    assert_int_equal(local_store_open(temp->directory, false, &store, &err), 0);
    assert_int_equal(repo_open(store, NULL, &secret, 1, &repo, &err), 0);
    secret_clear(&secret);
    return repo;
}

static inline int temprepo_remove_entry(const char *path, const struct stat *stat, int kind,
                                        struct FTW *at)
{
    (void)stat;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void temprepo_clear(struct temprepo *temp)
{
    repo_free(temp->repo);
    nftw(temp->directory, temprepo_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Reads the file of an object; the caller frees. */
static inline uint8_t *temprepo_load(const struct temprepo *temp, const char *name,
                                     size_t *out_size)
{
    char path[300];
    struct stat stat;

    snprintf(path, sizeof(path), "%s/%s", temp->directory, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &stat) == 0);
    *out_size = (size_t)stat.st_size;
    uint8_t *bytes = malloc(*out_size + 1);
    assert_int_equal(read(fd, bytes, *out_size), (ssize_t)*out_size);
    close(fd);
    return bytes;
}

/* Puts other bytes in the place of an object. */
static inline void temprepo_replace(const struct temprepo *temp, const char *name,
                                    const uint8_t *bytes, size_t size)
{
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", temp->directory, name);
    chmod(path, 0600);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static inline int temprepo_count_one(void *context, const char *name, uint64_t size,
                                     struct err *err)
{
    (void)name;
    (void)size;
    (void)err;
    ++*(unsigned *)context;
    return 0;
}

/* How many objects there are whose names begin like that. */
static inline unsigned temprepo_count(const struct temprepo *temp, const char *prefix)
{
    unsigned count = 0;
    struct err err;

    assert_int_equal(store_list(temp->repo->store, prefix, temprepo_count_one, &count, &err), 0);
    return count;
}
