#include "backup/base/manyreads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "tests/harness/cmocka.h"

enum { MOST = 32, ROOM = 64 * 1024 };

static void manyreads_freep(struct manyreads **many)
{
    manyreads_free(*many);
}

/* Containers mostly refuse it: there is nothing to be shown there. */
static struct manyreads *have(void)
{
    struct manyreads *many = manyreads_new(MOST);

    if (!many)
        skip();
    return many;
}

static int file_of(uint8_t byte, size_t size)
{
    static uint8_t bytes[ROOM];
    struct err err;
    int fd;

    memset(bytes, byte, size);
    assert_int_equal(io_open_temporary("/tmp", &fd, &err), 0);
    assert_int_equal(io_write_full(fd, bytes, size, &err), 0);
    return fd;
}

static bool all_are(const uint8_t *bytes, size_t size, uint8_t byte)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != byte)
            return false;
    return true;
}

static void each_gets_its_own_bytes_again_and_again(void **state)
{
    (void)state;
    CLEANUP(manyreads_freep) struct manyreads *many = have();
    struct manyreads_one reads[MOST];
    uint8_t *room = malloc((size_t)MOST * ROOM);

    for (uint8_t i = 0; i < MOST; i++)
        reads[i] = (struct manyreads_one){.fd = file_of(i, 1U + i * 1500U),
                                          .bytes = room + (size_t)i * ROOM,
                                          .size = 1U + i * 1500U};
    for (int again = 0; again < 20; again++) { /* more than the rings have room for */
        size_t count = again % 2 ? MOST : 5;
        memset(room, 0xff, (size_t)MOST * ROOM);
        manyreads_run(many, reads, count);
        for (size_t i = 0; i < count; i++) {
            const uint8_t *bytes = reads[i].bytes;
            assert_true(reads[i].done && all_are(bytes, reads[i].size, (uint8_t)i));
            assert_true(all_are(bytes + reads[i].size, ROOM - reads[i].size, 0xff));
        }
    }
    manyreads_run(many, reads, 0);
    for (int i = 0; i < MOST; i++)
        close(reads[i].fd);
    free(room);
}

static void what_cannot_be_read_whole_is_not_done_and_the_others_are(void **state)
{
    (void)state;
    CLEANUP(manyreads_freep) struct manyreads *many = have();
    uint8_t room[4][100];
    struct manyreads_one reads[4];

    for (int i = 0; i < 4; i++)
        reads[i] = (struct manyreads_one){
            .fd = file_of('x', 100), .bytes = room[i], .size = 100, .done = true};
    assert_int_equal(ftruncate(reads[0].fd, 99), 0); /* shorter than it was */
    close(reads[2].fd);
    reads[2].fd = -1;
    manyreads_run(many, reads, 4);
    assert_false(reads[0].done || reads[2].done);
    assert_true(reads[1].done && all_are(room[1], 100, 'x'));
    assert_true(reads[3].done && all_are(room[3], 100, 'x'));
    for (int i = 0; i < 4; i++)
        closep(&reads[i].fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gets_its_own_bytes_again_and_again),
        cmocka_unit_test(what_cannot_be_read_whole_is_not_done_and_the_others_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
