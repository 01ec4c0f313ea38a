#include "backup/base/bytes.h"

#include "backup/base/buf.h"

int put_u8(struct buf *buf, uint8_t value, struct err *err)
{
    return buf_append(buf, &value, sizeof(value), err);
}

int put_u16(struct buf *buf, uint16_t value, struct err *err)
{
    uint8_t bytes[sizeof(value)];

    store_le16(bytes, value);
    return buf_append(buf, bytes, sizeof(bytes), err);
}

int put_u32(struct buf *buf, uint32_t value, struct err *err)
{
    uint8_t bytes[sizeof(value)];

    store_le32(bytes, value);
    return buf_append(buf, bytes, sizeof(bytes), err);
}

int put_u64(struct buf *buf, uint64_t value, struct err *err)
{
    uint8_t bytes[sizeof(value)];

    store_le64(bytes, value);
    return buf_append(buf, bytes, sizeof(bytes), err);
}

int put_varint(struct buf *buf, uint64_t value, struct err *err)
{
    uint8_t bytes[VARINT_MAX];
    size_t count = 0;

    while (value >= 0x80) {
        bytes[count++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[count++] = (uint8_t)value;
    return buf_append(buf, bytes, count, err);
}

int put_zigzag(struct buf *buf, int64_t value, struct err *err)
{
    uint64_t sign = value < 0 ? UINT64_MAX : 0;

    return put_varint(buf, ((uint64_t)value << 1) ^ sign, err);
}
