/*
 * codec — a thread's own tools for encoding and decoding: zstd's contexts and the buffers.
 *
 * A plaintext is a codec byte and content, as docs/format.md, "Blocks", has it.  Whatever is not
 * needed (encoding, in one who only reads) is not allocated.  codec_new() and codec_free() are in
 * writer.h.
 *
 * Ownership: what codec_encode() and codec_scratch() give belongs to the codec, and is good until
 *            the same function is called again.
 * Threads:   one at a time.
 * Errors:    ERR_CORRUPT for what is not one zstd frame of the right size; ERR_NOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct codec;
struct err;

/* The first byte of a plaintext. */
enum { CODEC_PLAIN = 0, CODEC_ZSTD = 1 };

/* The plaintext for `raw`, with room for a tag behind it; compressed where that saves 3 %. */
int codec_encode(struct codec *codec, const uint8_t *raw, size_t raw_size, uint8_t **out,
                 size_t *out_size, struct err *err);
/* Decodes a plaintext that must have exactly `raw_size` bytes of content. */
int codec_decode(struct codec *codec, const uint8_t *plain, size_t size, uint8_t *raw,
                 size_t raw_size, struct err *err);
/* How many bytes of content a plaintext says it has; more than `limit` is ERR_CORRUPT. */
int codec_content_size(const uint8_t *plain, size_t size, size_t limit, size_t *out,
                       struct err *err);
/* Compares instead of giving out: ERR_CORRUPT if the plaintext does not decode to `raw`. */
int codec_compare(struct codec *codec, const uint8_t *plain, size_t size, const uint8_t *raw,
                  size_t raw_size, struct err *err);
/* A buffer for stored bytes that are opened in place. */
int codec_scratch(struct codec *codec, size_t size, uint8_t **out, struct err *err);
