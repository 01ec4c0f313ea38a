/* What must not become an archive: what was encoded wrongly, or written in part. */
#include "backup/archive/writer.h"

#include <errno.h>
#include <zstd.h>

#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

static size_t (*broken_encoder)(uint8_t *out, size_t size);
size_t __real_ZSTD_compress2(ZSTD_CCtx *encoder, void *out, size_t room, const void *in,
                             size_t count);
size_t __wrap_ZSTD_compress2(ZSTD_CCtx *encoder, void *out, size_t room, const void *in,
                             size_t count);

size_t __wrap_ZSTD_compress2(ZSTD_CCtx *encoder, void *out, size_t room, const void *in,
                             size_t count)
{
    size_t size = __real_ZSTD_compress2(encoder, out, room, in, count);

    return broken_encoder && !ZSTD_isError(size) ? broken_encoder(out, size) : size;
}

static size_t flip_a_bit(uint8_t *out, size_t size)
{
    out[size - 2] ^= 8;
    return size;
}

static size_t lose_the_end(uint8_t *out, size_t size)
{
    (void)out;
    return size - 1;
}

/* Another frame, of as many bytes: it decodes, to something else. */
static size_t mistake_the_input(uint8_t *out, size_t size)
{
    static const uint8_t zeros[4096];

    (void)size;
    return ZSTD_compress(out, 1000, zeros, sizeof(zeros), 1);
}

static void what_was_encoded_wrongly_is_not_stored(void **state)
{
    (void)state;
    static size_t (*const ways[])(uint8_t * out, size_t size) = {flip_a_bit, lose_the_end,
                                                                 mistake_the_input};
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    uint8_t raw[4096];
    struct writer_result result;
    uint32_t at, stored;
    struct err err;

    for (size_t i = 0; i < sizeof(raw); i++)
        raw[i] = (uint8_t)(i / 7);
    for (size_t i = 0; i < 3; i++) {
        struct writer *writer;
        assert_int_equal(writer_new(temp.repo, ARCHIVE_DATA, &writer, &err), 0);
        broken_encoder = ways[i];
        assert_int_equal(
            writer_append(writer, codec, raw, sizeof(raw), NULL, 0, &at, &stored, &err),
            -ERR_CORRUPT);
        broken_encoder = NULL;
        assert_non_null(strstr(err.text, "encoder"));
        assert_int_equal(
            writer_append(writer, codec, raw, sizeof(raw), NULL, 0, &at, &stored, &err), 0);
        assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), -ERR_CORRUPT);
    }
}

static int fail_to_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                         struct err *err)
{
    (void)put;
    (void)offset;
    (void)bytes;
    (void)count;
    errno = ENOSPC;
    return err_sys(err, "a full disk");
}

static void a_write_that_failed_leaves_no_archive(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    CLEANUP(buf_clear) struct buf index = {.limit = 4096};
    const struct store_ops *sound = temp.repo->store->ops;
    struct store_ops full = *sound;
    struct writer *writer;
    struct writer_result result;
    uint32_t at, stored;
    struct err err;

    full.write = fail_to_write;
    for (size_t late = 0; late < 2; late++) {
        assert_int_equal(writer_new(temp.repo, ARCHIVE_DATA, &writer, &err), 0);
        assert_int_equal(
            writer_append(writer, codec, (uint8_t *)"a", 1, NULL, 0, &at, &stored, &err), 0);
        temp.repo->store->ops = &full;
        if (!late)
            assert_int_equal(
                writer_append(writer, codec, (uint8_t *)"b", 1, NULL, 0, &at, &stored, &err),
                -ERR_SYSTEM);
        if (!late)
            temp.repo->store->ops = sound;
        assert_int_equal(writer_commit(writer, NULL, &index, &result, &err), -ERR_SYSTEM);
        temp.repo->store->ops = sound;
    }
    assert_int_equal(index.size, 0);
    assert_int_equal(temprepo_count(&temp, "data/"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_encoded_wrongly_is_not_stored),
        cmocka_unit_test(a_write_that_failed_leaves_no_archive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
