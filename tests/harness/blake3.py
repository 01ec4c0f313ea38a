#!/usr/bin/env python3
"""blake3 — BLAKE3 (hash, keyed hash, extended output) in plain Python, by another hand than yester's.

For tests of small repositories.  Chunks of 1 KiB are worked on side by side: a word of all of them is one
large integer with 64 bits a lane, of which the low 32 count, so that Python adds and shifts many at once.

    blake3.digest(data, key=None, size=32)
    blake3.py FILE…      print digests as b3sum does
"""
import struct
import sys

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED = 1, 2, 4, 8, 16
BLOCK, CHUNK = 64, 1024


def compress(value, words, counters, length, flags, ones):
    """The 16 words behind one compression, in as many lanes as ONES has ones."""
    mask = ones * 0xFFFFFFFF
    v = list(value) + [ones * word for word in IV[:4]]
    v += [counters & mask, counters >> 32 & mask, ones * length, ones * flags]
    m = list(words)
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(QUARTERS):
            v[a] = v[a] + v[b] + m[2 * i] & mask
            v[d] ^= v[a]
            v[d] = (v[d] >> 16 | v[d] << 16) & mask
            v[c] = v[c] + v[d] & mask
            v[b] ^= v[c]
            v[b] = (v[b] >> 12 | v[b] << 20) & mask
            v[a] = v[a] + v[b] + m[2 * i + 1] & mask
            v[d] ^= v[a]
            v[d] = (v[d] >> 8 | v[d] << 24) & mask
            v[c] = v[c] + v[d] & mask
            v[b] ^= v[c]
            v[b] = (v[b] >> 7 | v[b] << 25) & mask
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)] + [v[i + 8] ^ value[i] for i in range(8)]


def lanes(parts):
    """The 16 words of blocks of 64 bytes, side by side."""
    rows = [struct.unpack("<16I", part) for part in parts]
    return [int.from_bytes(struct.pack(f"<{len(rows)}Q", *column), "little") for column in zip(*rows)]


def unlane(values, count):
    """Chaining values side by side, as a list of bytes."""
    columns = [struct.unpack(f"<{count}Q", value.to_bytes(8 * count, "little")) for value in values[:8]]
    return [struct.pack("<8I", *row) for row in zip(*columns)]


def ones_of(count):
    return int.from_bytes(struct.pack("<Q", 1) * count, "little")


class Node:
    """The last compression of a tree: its output can be as long as one likes."""

    def __init__(self, value, block, counter, flags):
        self.value, self.flags, self.counter, self.length = value, flags, counter, len(block)
        self.words = struct.unpack("<16I", block.ljust(BLOCK, b"\0"))

    def chain(self):
        return struct.pack("<8I", *compress(self.value, self.words, self.counter, self.length, self.flags, 1)[:8])

    def output(self, size):
        out = b""
        while len(out) < size:
            words = compress(self.value, self.words, len(out) // BLOCK, self.length, self.flags | ROOT, 1)
            out += struct.pack("<16I", *words)
        return out[:size]


def last_chunk(key, data, counter, flags):
    value = key
    blocks = [data[at:at + BLOCK] for at in range(0, len(data), BLOCK)] or [b""]
    for i, block in enumerate(blocks[:-1]):
        start = CHUNK_START if i == 0 else 0
        value = compress(value, struct.unpack("<16I", block), counter, BLOCK, flags | start, 1)[:8]
    return Node(value, blocks[-1], counter, flags | CHUNK_END | (CHUNK_START if len(blocks) == 1 else 0))


def whole_chunks(key, data, count, flags):
    """The chaining values of COUNT chunks of 1 KiB."""
    ones = ones_of(count)
    counters = int.from_bytes(struct.pack(f"<{count}Q", *range(count)), "little")
    # A counter is 64 bits wide and a lane holds 32 of it: data of 4 TiB is not for this program.
    value = [ones * word for word in key]
    for i in range(CHUNK // BLOCK):
        words = lanes([data[at + i * BLOCK:at + (i + 1) * BLOCK] for at in range(0, count * CHUNK, CHUNK)])
        edge = (CHUNK_START if i == 0 else 0) | (CHUNK_END if i == CHUNK // BLOCK - 1 else 0)
        value = compress(value, words, counters, BLOCK, flags | edge, ones)[:8]
    return unlane(value, count)


def parents(key, chains, flags):
    """One level up; an odd one at the end goes up as it is."""
    pairs = [chains[i] + chains[i + 1] for i in range(0, len(chains) - 1, 2)]
    ones = ones_of(len(pairs))
    value = compress([ones * word for word in key], lanes(pairs), 0, BLOCK, flags | PARENT, ones)
    return unlane(value, len(pairs)) + chains[len(pairs) * 2:]


def digest(data, key=None, size=32):
    data = bytes(data)
    flags = KEYED if key is not None else 0
    words = struct.unpack("<8I", key) if key is not None else IV
    count = max(0, (len(data) - 1) // CHUNK)      # chunks before the last, which may be short
    last = last_chunk(words, data[count * CHUNK:], count, flags)
    if count == 0:
        return last.output(size)
    chains = whole_chunks(words, data, count, flags) + [last.chain()]
    while len(chains) > 2:
        chains = parents(words, chains, flags)
    return Node(words, b"".join(chains), 0, flags | PARENT).output(size)


def main(argv):
    for name in argv:
        with open(name, "rb") as f:
            print(f"{digest(f.read()).hex()}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
