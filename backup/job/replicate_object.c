#include <stdlib.h>
#include <string.h>

#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/log.h"
#include "backup/base/progress.h"
#include "backup/job/replicate_internal.h"
#include "backup/store/store.h"

static const char header_name[] = "repository";

enum { PIECE = 4 * 1024 * 1024 };

/* One object on its way. */
struct passage {
    const struct replicate_options *options;
    struct store_object *from;
    struct store_put *to;
    struct reader *reader; /* NULL: not an archive */
    struct codec *codec;
    uint8_t *stored, *raw; /* a piece and a block more; a block */
};

static void passage_clear(struct passage *passage)
{
    store_object_close(passage->from);
    store_put_abort(passage->to);
    reader_close(passage->reader);
    codec_free(passage->codec);
    free(passage->stored);
    free(passage->raw);
}

static int write_piece(struct passage *passage, uint64_t offset, size_t size, struct err *err)
{
    if (progress_cancelled(passage->options->progress))
        return err_set(err, ERR_CANCELLED, "interrupted");
    int r = store_put_write(passage->to, offset, passage->stored, size, err);
    if (r == 0)
        progress_add(passage->options->progress, 0, size);
    return r;
}

/* Bytes that are no blocks: whoever opened the archive has seen them. */
static int copy_range(struct passage *passage, uint64_t offset, uint64_t end, struct err *err)
{
    int r = 0;

    for (; r == 0 && offset < end; offset += PIECE) {
        size_t size = end - offset < PIECE ? (size_t)(end - offset) : PIECE;

        r = store_read(passage->from, offset, passage->stored, size, err);
        if (r == 0)
            r = write_piece(passage, offset, size, err);
    }
    return r;
}

/* How many blocks from `first` on fit into a piece, and their bytes. */
static size_t blocks_in_piece(const struct reader *reader, size_t first, size_t *out_bytes)
{
    size_t count = 0;

    *out_bytes = 0;
    while (first + count < reader_blocks(reader)) {
        uint32_t size = reader_block(reader, first + count)->stored_size;

        if (count > 0 && *out_bytes + size > PIECE)
            break;
        *out_bytes += size;
        count++;
    }
    return count;
}

static int copy_blocks(struct passage *passage, uint64_t *out_end, struct err *err)
{
    const struct reader *reader = passage->reader;
    size_t total = reader_blocks(reader), count = 0, bytes;
    int r = 0;

    for (size_t first = 0; r == 0 && first < total; first += count) {
        uint64_t start = reader_block(reader, first)->offset;

        count = blocks_in_piece(reader, first, &bytes);
        r = reader_fetch(reader, first, count, passage->stored, err);
        for (size_t i = 0; r == 0 && i < count; i++)
            r = reader_decode_fetched(reader, passage->codec, first + i,
                                      passage->stored +
                                          (reader_block(reader, first + i)->offset - start),
                                      passage->raw, err);
        if (r == 0)
            r = write_piece(passage, start, bytes, err);
        *out_end = start + bytes;
    }
    return r;
}

static int copy_archive(struct passage *passage, uint64_t size, struct err *err)
{
    uint64_t blocks = reader_block(passage->reader, 0)->offset, end = blocks;

    passage->codec = codec_new(1);
    passage->raw = malloc(BLOCK_RAW_MAX);
    if (!passage->codec || !passage->raw)
        return err_set(err, ERR_NOMEM, "no memory to copy an archive");
    int r = reader_check_header(passage->reader, err);
    if (r == 0)
        r = reader_check_padding(passage->reader, err);
    if (r == 0)
        r = copy_range(passage, 0, blocks, err);
    if (r == 0)
        r = copy_blocks(passage, &end, err);
    return r == 0 ? copy_range(passage, end, size, err) : r;
}

/* Somebody else brought it meanwhile, or is about to: where the store cannot refuse to overwrite, a
 * name may be claimed, and be so for an hour by who died. */
static int find_brought(struct store *to, const char *name, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    int r = store_open(to, name, &object, err);

    if (r != -ERR_NOT_FOUND)
        return r;
    r = err_set(err, ERR_BUSY, "%s: another host is about to store it in the replica, or was",
                name);
    log_warn("%s", err->text);
    return r;
}

int replicate_object(const struct replicate_options *options, const struct replica_class *class,
                     const char *name, uint64_t size, struct err *err)
{
    CLEANUP(passage_clear) struct passage passage = {.options = options};
    struct store_put *put;
    int r = store_open(options->repo->store, name, &passage.from, err);

    if (r == 0 && class->kind != 0)
        r = reader_open(options->repo, class->kind, NULL, name, &passage.reader, err);
    if (r < 0)
        return r;
    if (store_object_size(passage.from) != size)
        return err_set(err, ERR_CORRUPT, "%s: it has changed its size", name);
    passage.stored = malloc(PIECE + 2 * BLOCK_RAW_MAX);
    if (!passage.stored)
        return err_set(err, ERR_NOMEM, "no memory to copy an object");
    r = store_put_begin(options->to, &passage.to, err);
    if (r == 0)
        r = passage.reader ? copy_archive(&passage, size, err) : copy_range(&passage, 0, size, err);
    if (r < 0)
        return r;
    put = STEAL(passage.to);
    r = store_put_commit(put, name, err);
    return r == -ERR_EXISTS ? find_brought(options->to, name, err) : r;
}

/* ---- the repository's header -------------------------------------------------------------- */

static int read_header(struct store *store, uint8_t out[REPLICA_HEADER_SIZE], size_t *out_size,
                       struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    int r = store_open(store, header_name, &object, err);

    if (r < 0)
        return r;
    uint64_t size = store_object_size(object);
    if (size > REPLICA_HEADER_SIZE)
        return err_set(err, ERR_CORRUPT, "%s: not the header of a repository", header_name);
    *out_size = (size_t)size;
    return store_read(object, 0, out, *out_size, err);
}

int replica_look_at_header(const struct replicate_options *options, struct err *err)
{
    uint8_t here[REPLICA_HEADER_SIZE], there[REPLICA_HEADER_SIZE];
    size_t here_size, there_size;
    int r = read_header(options->repo->store, here, &here_size, err);

    if (r == 0 && !options->to)
        return 0;
    if (r == 0)
        r = read_header(options->to, there, &there_size, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r == 0 && (here_size != there_size || memcmp(here, there, here_size) != 0))
        r = err_set(err, ERR_EXISTS, "%s holds another repository", options->to->location);
    return r < 0 ? r : 1;
}
