/*
 * bytes — numbers as little-endian bytes, and a cursor that cannot read past its end.
 *
 * Every structure on disk is written with put_…() and read with read_…().  A cursor that ran
 * into its end, or met a number that is not in its one canonical form, has failed: it yields
 * zeros from then on, so that a whole structure is read first and `failed` is checked once.
 * Lengths so read are still to be bounded before they are used.
 *
 *     struct cursor in = cursor_of(bytes, size);
 *     uint32_t version = read_u32(&in);
 *     uint64_t count = read_varint(&in);
 *     if (in.failed) ...
 *
 * Ownership: a cursor borrows its bytes; what read_bytes() returns lies within them.
 * Errors:    writers return those of the buffer: ERR_TOO_LARGE, ERR_NOMEM.
 */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf;
struct err;

enum { VARINT_MAX = 10 }; /* the most bytes that a varint takes */

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline uint16_t load_le16(const uint8_t *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof(value));
    return le16toh(value);
}

static inline uint32_t load_le32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

static inline uint64_t load_le64(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return le64toh(value);
}

static inline void store_le16(uint8_t *bytes, uint16_t value)
{
    value = htole16(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline void store_le32(uint8_t *bytes, uint32_t value)
{
    value = htole32(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline void store_le64(uint8_t *bytes, uint64_t value)
{
    value = htole64(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline struct cursor cursor_of(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    return (struct cursor){.at = at, .end = size > 0 ? at + size : at};
}

static inline size_t cursor_left(const struct cursor *cursor)
{
    return cursor->failed ? 0 : (size_t)(cursor->end - cursor->at);
}

/* The next `count` bytes; NULL, and failed, when there are fewer. */
static inline const uint8_t *read_bytes(struct cursor *cursor, size_t count)
{
    const uint8_t *bytes = cursor->at;

    if (count > cursor_left(cursor) || cursor->failed) {
        cursor->failed = true;
        return NULL;
    }
    if (count > 0)
        cursor->at += count;
    return bytes;
}

static inline uint8_t read_u8(struct cursor *cursor)
{
    const uint8_t *bytes = read_bytes(cursor, 1);

    return bytes ? bytes[0] : 0;
}

static inline uint16_t read_u16(struct cursor *cursor)
{
    const uint8_t *bytes = read_bytes(cursor, 2);

    return bytes ? load_le16(bytes) : 0;
}

static inline uint32_t read_u32(struct cursor *cursor)
{
    const uint8_t *bytes = read_bytes(cursor, 4);

    return bytes ? load_le32(bytes) : 0;
}

static inline uint64_t read_u64(struct cursor *cursor)
{
    const uint8_t *bytes = read_bytes(cursor, 8);

    return bytes ? load_le64(bytes) : 0;
}

/* An unsigned LEB128 number in its shortest form; a longer form of the same number fails. */
static inline uint64_t read_varint(struct cursor *cursor)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < VARINT_MAX; i++) {
        uint8_t byte = read_u8(cursor);
        bool overlong = i > 0 && byte == 0;
        bool too_large = i == VARINT_MAX - 1 && byte > 1;

        if (cursor->failed || overlong || too_large)
            break;
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80)
            return value;
    }
    cursor->failed = true;
    return 0;
}

/* A signed number, stored as the varint 0, 1, 2, … for 0, -1, 1, … */
static inline int64_t read_zigzag(struct cursor *cursor)
{
    uint64_t value = read_varint(cursor);

    return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}

/* Append one value to a buffer, in the form that the read_…() of that name expects. */
int put_u8(struct buf *buf, uint8_t value, struct err *err);
int put_u16(struct buf *buf, uint16_t value, struct err *err);
int put_u32(struct buf *buf, uint32_t value, struct err *err);
int put_u64(struct buf *buf, uint64_t value, struct err *err);
int put_varint(struct buf *buf, uint64_t value, struct err *err);
int put_zigzag(struct buf *buf, int64_t value, struct err *err);
