"""formatarchive — read one archive as docs/format.md, "Archives", says, and check all that stands there."""
import struct

from format_keys import derive
from formatbytes import KIB, MIB, Cursor, need, padded, padme, unpack
from formatkeys import unseal

DATA, META, ROOT, INDEX, REMAP, NOTE = 1, 2, 3, 4, 5, 9
FOLDERS = {DATA: "data", META: "meta", INDEX: "index", REMAP: "remap"}
BLOCK, CHUNKS, TOC, TRAILER, PADDING = 1, 2, 3, 4, 5
HEADER_SIZE, TRAILER_SIZE, TAG = 192, 256, 16
SECTION_MOST = 4 * MIB


class Archive:
    """Sealed parts are opened when they are asked for; what is plain is checked at once."""

    def __init__(self, name, data, repo_id, masters):
        self.name, self.data = name, data
        need(len(data) > HEADER_SIZE + TRAILER_SIZE, name, "is too short")
        self.header(data[:HEADER_SIZE], repo_id, masters)
        need(data[-TRAILER_SIZE:-64] == data[:HEADER_SIZE], name, "ends with another header")
        self.trailer()
        self.read_toc()
        self.read_chunks()
        self.read_padding()
        self.decoded = {}

    def header(self, head, repo_id, masters):
        (magic, version, self.kind, mode, flags, repo, self.id, salt, self.epoch, encapsulated, reserved, key,
         commitment) = struct.unpack("<8sHBBI16s32s32sIH26s32s32s", head)
        need(magic == bytes.fromhex("8959535452 0D0A1A"), self.name, "has another magic")
        need(version == 1 and 1 <= self.kind <= 9 and mode == 0 and flags == 0, self.name, "is of an unknown version")
        need(repo == repo_id, self.name, "is another repository's")
        need(encapsulated == 0 and not any(reserved) and not any(key), self.name, "has something reserved set")
        if self.kind in FOLDERS:
            need(self.name == f"{FOLDERS[self.kind]}/{self.id.hex()}", self.name, "has another name than it should")
        else:
            folder = self.name.split("/")[0]
            wanted = {"snapshots": ROOT, "forgets": NOTE, "holds": NOTE, "releases": NOTE}
            need(wanted.get(folder) == self.kind, self.name, "is of another kind")
        need(self.epoch in masters, self.name, "is of an unknown epoch")
        self.key, expected = derive(masters[self.epoch], salt, b"yester archive v1", head[:160])
        need(commitment == expected, self.name, "commits to another key")

    def part(self, domain, counter, offset, length, what):
        need(HEADER_SIZE <= offset and offset + length <= len(self.data), self.name, what, "lies outside")
        place = struct.pack("<IQ", domain, counter)
        additional = self.id + place + struct.pack("<HBB", 1, self.kind, 0)
        return unseal(self.key, place, self.data[offset:offset + length], additional, f"{self.name}: {what}")

    def trailer(self):
        plain = self.part(TRAILER, 0, len(self.data) - 64, 64, "trailer")
        (self.toc_at, self.toc_size, self.count, self.chunks_at, self.chunks_size, self.chunk_count, self.raw_end,
         zero, zero_too, flags) = struct.unpack("<QIIQIIIIII", plain)
        need(zero == zero_too == flags == 0, self.name, "has something reserved set in its trailer")
        need(self.toc_at + self.toc_size == len(self.data) - TRAILER_SIZE, self.name, "has no toc before its trailer")
        need(1 <= self.count <= 8192 and self.chunk_count <= 65536, self.name, "has too many blocks or chunks")

    def read_toc(self):
        sealed = self.part(TOC, 0, self.toc_at, self.toc_size, "toc")
        self.toc = unpack(sealed, None, SECTION_MOST)
        c, raw, stored = Cursor(self.toc), 0, HEADER_SIZE
        self.blocks = []        # (raw begin, raw length, stored offset, stored length)
        for _ in range(self.count):
            raw += c.varint(2 ** 32)
            length, size = c.varint(MIB), c.varint(MIB + 17)
            need(1 <= length and 18 <= size <= length + 17, self.name, "has a block of impossible lengths")
            self.blocks.append((raw, length, stored, size))
            raw, stored = raw + length, stored + size
        c.finish(self.name + ": toc")
        need(raw == self.raw_end < 2 ** 32, self.name, "ends elsewhere in the raw space")
        need(stored == self.chunks_at, self.name, "has no chunk table behind its blocks")

    def read_chunks(self):
        """Data: (raw offset, length, id); metadata: ids of archives."""
        self.chunk_bytes, self.chunks, self.refers = b"", [], []
        need(self.chunks_at + self.chunks_size <= self.toc_at, self.name, "has a chunk table that is too long")
        need((self.chunks_size == 0) == (self.chunk_count == 0), self.name, "has an empty chunk table")
        if self.chunks_size == 0:
            return
        need(self.kind in (DATA, META), self.name, "may have no chunk table")
        sealed = self.part(CHUNKS, 0, self.chunks_at, self.chunks_size, "chunks")
        self.chunk_bytes = unpack(sealed, None, SECTION_MOST)
        c, raw = Cursor(self.chunk_bytes), 0
        for _ in range(self.chunk_count):
            if self.kind == META:
                self.refers.append(c.take(32))
                continue
            raw += c.varint(2 ** 32)
            length = c.varint(MIB)
            self.chunks.append((raw, length, c.take(32)))
            raw += length
            need(any(b <= raw - length and raw <= b + size for b, size, _, _ in self.blocks) and length,
                 self.name, "has a chunk that lies in no block")
        c.finish(self.name + ": chunks")
        need(self.refers == sorted(set(self.refers)), self.name, "refers to archives out of order")

    def read_padding(self):
        begin = self.chunks_at + self.chunks_size
        size = self.toc_at - begin
        bare = len(self.data) - size
        need(len(self.data) == padme(len(self.data)) == padded(bare), self.name, "has", len(self.data),
             "bytes, should have", padded(bare))
        if size:
            need(size >= 17, self.name, "has too little padding")
            plain = self.part(PADDING, 0, begin, size, "padding")
            need(not any(plain), self.name, "has something in its padding")

    def block(self, number):
        if number not in self.decoded:
            _, raw, stored, size = self.blocks[number]
            sealed = self.part(BLOCK, number, stored, size, f"block {number}")
            self.decoded[number] = unpack(sealed, raw, MIB)
        return self.decoded[number]

    def number_at(self, offset):
        """The block in which a raw offset lies."""
        for i, (raw, length, _, _) in enumerate(self.blocks):
            if raw <= offset < raw + length:
                return i
        need(False, self.name, "has nothing at", offset)

    def read(self, offset, count):
        """Bytes that lie together in the raw space."""
        out = b""
        while len(out) < count:
            number = self.number_at(offset + len(out))
            at = offset + len(out) - self.blocks[number][0]
            out += self.block(number)[at:at + count - len(out)]
        return out

    def whole(self):
        """The raw space of an archive without gaps (root, index, remap, note)."""
        need(self.blocks[0][0] == 0 and self.raw_end == sum(b[1] for b in self.blocks), self.name, "has gaps")
        return b"".join(self.block(i) for i in range(self.count))

    def check_writer(self):
        """What holds for writers of version 1 only."""
        most = {DATA: 128 * KIB, META: None}.get(self.kind, None)
        for _, length, _, _ in self.blocks:
            need(most is None or length <= most, self.name, "has a block that is too long")
