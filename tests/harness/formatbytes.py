"""formatbytes — numbers, frames, chunks: what all parts of docs/format.md are made of, read strictly.

Written from docs/format.md alone, by another hand than yester's.  Speed does not matter here.
"""
import struct

import blake3
import zstandard

KIB, MIB = 1 << 10, 1 << 20
FILE, DIRECTORY, SYMLINK, CHARACTER, BLOCK_DEVICE, FIFO, SOCKET, LINK = 1, 2, 3, 4, 5, 6, 7, 15
CHUNK_LEAST, CHUNK_AIM, CHUNK_MOST = 16 * KIB, 64 * KIB, 128 * KIB


class Damaged(Exception):
    """A rule of docs/format.md does not hold."""


def need(holds, *what):
    if not holds:
        raise Damaged(" ".join(map(str, what)))


class Cursor:
    """Bytes that are read from the front; nothing is read beyond their end."""

    def __init__(self, data, at=0, end=None):
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def left(self):
        return self.end - self.at

    def take(self, count):
        need(0 <= count <= self.left(), count, "bytes wanted,", self.left(), "there")
        self.at += count
        return bytes(self.data[self.at - count:self.at])

    def fixed(self, form):
        values = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return values[0] if len(values) == 1 else values

    def varint(self, limit=2 ** 64 - 1):
        value = 0
        for i in range(10):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                need(i == 0 or byte, "a varint is not in its shortest form")
                need(value <= limit, "a number is", value, "and may be", limit)
                return value
        raise Damaged("a varint is too long")

    def zigzag(self):
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def string(self, limit=2 ** 32):
        return self.take(self.varint(limit))

    def strings(self, limit=1 << 20):
        return [self.string() for _ in range(self.varint(limit))]

    def finish(self, what):
        need(self.left() == 0, what, "has", self.left(), "bytes too many")


def signed(value):
    """A number modulo 2^64 as i64."""
    value &= 2 ** 64 - 1
    return value - 2 ** 64 if value >> 63 else value


def unpack(data, raw, limit):
    """A block: codec byte and content; RAW is its length, or None where the frame tells it."""
    need(data, "a block is empty")
    content = data[1:]
    if data[0] == 0:
        need(raw is None or len(content) == raw, "a block's length is another than the toc's")
        need(len(content) <= limit, "a section is too long")
        return content
    need(data[0] == 1, "unknown codec", data[0])
    told = zstandard.get_frame_parameters(content)
    if raw is None:
        need(told.content_size <= limit, "a frame does not tell its content size, or too much")
        raw = told.content_size
    need(told.window_size <= max(MIB, limit), "a frame's window is", told.window_size)
    # One byte more than it may have: whether a frame is longer is seen, and no memory wasted.
    decoder = zstandard.ZstdDecompressor(max_window_size=max(MIB, limit)).decompressobj()
    try:
        out = decoder.decompress(content)
    except zstandard.ZstdError as e:
        raise Damaged(f"zstd: {e}") from e
    need(len(out) == raw, "a frame has", len(out), "bytes, not", raw)
    need(decoder.unused_data == b"", "there is something behind the frame")
    return out


def padme(size):
    """The next Padmé size from SIZE on."""
    e = size.bit_length() - 1
    zeros = e - e.bit_length()
    mask = (1 << max(zeros, 0)) - 1
    return size + mask & ~mask


def padded(size):
    """The size of an object that has SIZE bytes without padding."""
    target = padme(size)
    while 0 < target - size < 17:
        target = padme(target + 1)
    return target


class Chunker:
    """Gear with normalised chunking."""

    def __init__(self, gear_key):
        self.table = struct.unpack("<256Q", blake3.digest(b"", gear_key, 2048))

    def cut(self, data):
        """The length of the first chunk of DATA."""
        mask_s, mask_l, table, h = (2 ** 18 - 1) << 46, (2 ** 14 - 1) << 50, self.table, 0
        end = min(len(data), CHUNK_MOST)
        for i in range(max(0, CHUNK_LEAST - 64), end):
            h = (h << 1) + table[data[i]] & 2 ** 64 - 1
            length = i + 1
            if length >= CHUNK_LEAST and h & (mask_s if length < CHUNK_AIM else mask_l) == 0:
                return length
        return end

    def region(self, data):
        """The chunks of one region."""
        if len(data) <= CHUNK_AIM:
            return [data]
        chunks = []
        while data:
            length = self.cut(data)
            chunks.append(data[:length])
            data = data[length:]
        return chunks


def content_digest(chunker, id_key, regions):
    """REGIONS: bytes, or the length of a hole."""
    text = b""
    for region in regions:
        if isinstance(region, int):
            text += b"\0" + struct.pack("<Q", region)
        else:
            text += b"\1" + b"".join(blake3.digest(c, id_key) for c in chunker.region(region))
    return blake3.digest(text, id_key)[:16] if text else bytes(16)
