#include "backup/archive/codec.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "backup/archive/writer.h"
#include "backup/base/err.h"
#include "backup/crypto/seal.h"

enum { WINDOW_LOG_MAX = 20, LEAST_SAVING = 32 /* one part in so many */ };

struct room {
    uint8_t *bytes;
    size_t size;
};

struct codec {
    int level;
    ZSTD_CCtx *encoder; /* NULL until it is needed, as what follows */
    ZSTD_DCtx *decoder;
    struct room encoded, scratch, proof;
};

struct codec *codec_new(int level)
{
    struct codec *codec = calloc(1, sizeof(*codec));

    if (codec)
        codec->level = level;
    return codec;
}

void codec_set_level(struct codec *codec, int level)
{
    codec->level = level;
}

void codec_free(struct codec *codec)
{
    if (!codec)
        return;
    ZSTD_freeCCtx(codec->encoder);
    ZSTD_freeDCtx(codec->decoder);
    free(codec->encoded.bytes);
    free(codec->scratch.bytes);
    free(codec->proof.bytes);
    free(codec);
}

void codec_freep(struct codec **codec)
{
    codec_free(*codec);
}

static int make_room(struct room *room, size_t size, struct err *err)
{
    if (size <= room->size)
        return 0;
    free(room->bytes); /* the contents are of no use any more */
    *room = (struct room){.bytes = malloc(size)};
    if (!room->bytes)
        return err_set(err, ERR_NOMEM, "no memory for %zu bytes", size);
    room->size = size;
    return 0;
}

int codec_scratch(struct codec *codec, size_t size, uint8_t **out, struct err *err)
{
    int r = make_room(&codec->scratch, size, err);

    if (r == 0)
        *out = codec->scratch.bytes;
    return r;
}

static int need_encoder(struct codec *codec, struct err *err)
{
    if (!codec->encoder)
        codec->encoder = ZSTD_createCCtx();
    if (!codec->encoder)
        return err_set(err, ERR_NOMEM, "no memory to compress");
    ZSTD_CCtx_setParameter(codec->encoder, ZSTD_c_compressionLevel, codec->level);
    ZSTD_CCtx_setParameter(codec->encoder, ZSTD_c_checksumFlag, 0);
    return 0;
}

static int need_decoder(struct codec *codec, struct err *err)
{
    if (!codec->decoder)
        codec->decoder = ZSTD_createDCtx();
    return codec->decoder ? 0 : err_set(err, ERR_NOMEM, "no memory to decompress");
}

/* 0 in *out where compressing does not pay. */
static int compress(struct codec *codec, const uint8_t *raw, size_t raw_size, uint8_t *to,
                    size_t *out, struct err *err)
{
    int r = need_encoder(codec, err);
    if (r < 0)
        return r;

    bool large = raw_size > (size_t)1 << WINDOW_LOG_MAX;
    size_t most = raw_size - raw_size / LEAST_SAVING;
    ZSTD_CCtx_setParameter(codec->encoder, ZSTD_c_windowLog, large ? WINDOW_LOG_MAX : 0);
    size_t size = ZSTD_compress2(codec->encoder, to, most, raw, raw_size);
    if (!ZSTD_isError(size)) {
        *out = size < most ? size : 0;
        return 0;
    }
    *out = 0;
    if (ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall)
        return 0;
    return err_set(err, ERR_NOMEM, "compressing: %s", ZSTD_getErrorName(size));
}

int codec_encode(struct codec *codec, const uint8_t *raw, size_t raw_size, uint8_t **out,
                 size_t *out_size, struct err *err)
{
    size_t compressed = 0;
    int r = make_room(&codec->encoded, 1 + raw_size + SEAL_TAG_SIZE, err);
    if (r < 0)
        return r;

    uint8_t *plain = codec->encoded.bytes;
    r = compress(codec, raw, raw_size, plain + 1, &compressed, err);
    if (r < 0)
        return r;
    if (compressed == 0)
        memcpy(plain + 1, raw, raw_size);
    plain[0] = compressed > 0 ? CODEC_ZSTD : CODEC_PLAIN;
    *out = plain;
    *out_size = 1 + (compressed > 0 ? compressed : raw_size);
    return 0;
}

/* The frame's header is looked at by hand: zstd checks the window of streams only. */
static bool window_valid(const uint8_t *frame, size_t size)
{
    if (size < 6)
        return false;
    if (frame[4] & 0x20) /* a single segment: the window is the content */
        return true;

    unsigned log = 10 + (frame[5] >> 3);
    uint64_t window = UINT64_C(1) << log;
    window += window / 8 * (frame[5] & 7);
    return window <= UINT64_C(1) << WINDOW_LOG_MAX;
}

static int decompress(struct codec *codec, const uint8_t *frame, size_t size, uint8_t *raw,
                      size_t raw_size, struct err *err)
{
    int r = need_decoder(codec, err);
    if (r < 0)
        return r;
    if (!window_valid(frame, size) || ZSTD_findFrameCompressedSize(frame, size) != size)
        return err_set(err, ERR_CORRUPT, "not one zstd frame");

    size_t got = ZSTD_decompressDCtx(codec->decoder, raw, raw_size, frame, size);
    if (ZSTD_isError(got))
        return err_set(err, ERR_CORRUPT, "zstd: %s", ZSTD_getErrorName(got));
    if (got != raw_size)
        return err_set(err, ERR_CORRUPT, "%zu bytes where %zu should be", got, raw_size);
    return 0;
}

int codec_decode(struct codec *codec, const uint8_t *plain, size_t size, uint8_t *raw,
                 size_t raw_size, struct err *err)
{
    if (size > 1 && plain[0] == CODEC_ZSTD)
        return decompress(codec, plain + 1, size - 1, raw, raw_size, err);
    if (size < 1 || plain[0] != CODEC_PLAIN)
        return err_set(err, ERR_CORRUPT, "its codec is not known");
    if (size - 1 != raw_size)
        return err_set(err, ERR_CORRUPT, "%zu bytes where %zu should be", size - 1, raw_size);
    memcpy(raw, plain + 1, raw_size);
    return 0;
}

int codec_content_size(const uint8_t *plain, size_t size, size_t limit, size_t *out,
                       struct err *err)
{
    unsigned long long content = size > 0 ? size - 1 : 0;

    if (size > 1 && plain[0] == CODEC_ZSTD)
        content = ZSTD_getFrameContentSize(plain + 1, size - 1); /* errors are huge numbers */
    if (content > limit)
        return err_set(err, ERR_CORRUPT, "more than %zu bytes, or no one knows how many", limit);
    *out = (size_t)content;
    return 0;
}

int codec_compare(struct codec *codec, const uint8_t *plain, size_t size, const uint8_t *raw,
                  size_t raw_size, struct err *err)
{
    int r = make_room(&codec->proof, raw_size, err);

    if (r == 0)
        r = codec_decode(codec, plain, size, codec->proof.bytes, raw_size, err);
    if (r == 0 && memcmp(codec->proof.bytes, raw, raw_size) != 0)
        r = err_set(err, ERR_CORRUPT, "other bytes than went in");
    return r;
}
