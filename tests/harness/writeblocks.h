/*
 * writeblocks — an archive of equal blocks whose bytes a function knows.
 */
#pragma once

#include <stdlib.h>

#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

typedef uint8_t writeblocks_fn(uint32_t archive, size_t raw);

/* Gives the archive's number. */
static inline uint32_t writeblocks(struct repo *repo, enum archive_kind kind, size_t count,
                                   size_t size, writeblocks_fn *byte)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    uint8_t *raw = malloc(size);
    struct writer *writer;
    struct writer_result result;
    uint32_t at, stored;
    struct err err;

    assert_non_null(raw);
    assert_int_equal(writer_new(repo, kind, &writer, &err), 0);
    for (size_t block = 0; block < count; block++) {
        for (size_t i = 0; i < size; i++)
            raw[i] = byte(writer_archive(writer), block * size + i);
        assert_int_equal(writer_append(writer, codec, raw, size, NULL, 0, &at, &stored, &err), 0);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    free(raw);
    return result.archive;
}
