"""formatkeys — open the keys of a repository as docs/format.md, "Keys", says; the other side of format_keys.py."""
import base64
import binascii
import struct

import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from format_keys import NONCE, derive, public
from formatbytes import MIB, Cursor, need

HKDF_KDF, SCRYPT_KDF = 1, 2


class WrongKey(Exception):
    pass


RECOVERY = b"yester recovery key v1".ljust(32, b"\0")


def recovery(text):
    """The 32 bytes of a recovery key's lines, or None where the text is none."""
    lines = [line.strip() for line in text.splitlines()]
    at = [i for i, line in enumerate(lines) if line.upper() == b"YESTER RECOVERY KEY"]
    if not at:
        return None
    found = b""
    for line in lines[at[0] + 1:]:
        number = len(found) // 8 + 1
        if number > 4 or line[:1] not in (b"1", b"2", b"3", b"4") or line[1:2] != b":":
            continue
        need(line[:1] == b"%d" % number, "a recovery key", "has its lines in another order")
        digits = line[2:].lower().translate(bytes.maketrans(b"oil", b"011"), b" \t\r-")
        raw = bytes.fromhex(digits.decode("ascii"))
        found += raw[:8]
        need(len(raw) == 10 and blake3.digest(found, RECOVERY)[:2] == raw[8:], "a recovery key", "is mistyped")
    need(len(found) == 32, "a recovery key", "is too short")
    return found


def secret(text):
    """(kdf, bytes) of what a key file holds or somebody typed."""
    typed = recovery(text)
    if typed:
        return HKDF_KDF, typed
    stripped = text.strip()
    try:
        raw = base64.b64decode(stripped, validate=True)
        if len(raw) == 32 and base64.b64encode(raw) == stripped:
            return HKDF_KDF, raw
    except binascii.Error:
        pass
    return SCRYPT_KDF, text[:-1] if text.endswith(b"\n") else text


def unseal(key, nonce, sealed, additional, what):
    try:
        return AESGCM(key).decrypt(nonce, sealed, additional)
    except InvalidTag:
        need(False, what, "is not what was sealed")


class Slot:
    def __init__(self, name, data, repo_id):
        need(len(data) == 208, name, "has", len(data), "bytes")
        magic, version, self.kdf, zero, flags, repo, self.id, self.salt, self.n, self.r, self.p = struct.unpack(
            "<8sHBBI16s16s32sIII", data[:92])
        need(magic == b"YSTRSLOT" and version == 1 and zero == 0 and flags == 0, name, "is no slot of version 1")
        need(repo == repo_id and name == "keys/slot/" + self.id.hex(), name, "is another slot")
        need(not any(data[92:128]), name, "has something reserved set")
        if self.kdf == HKDF_KDF:
            need(self.n == self.r == self.p == 0, name, "has scrypt's parameters")
        else:
            need(self.kdf == SCRYPT_KDF, name, "has an unknown kdf")
            need(10 <= self.n <= 20 and 1 <= self.r <= 16 and 1 <= self.p <= 16, name, "has parameters out of bounds")
            need((self.r << self.n) <= 2 ** 23, name, "wants too much memory")
        self.name, self.data = name, data

    def open(self, kind, ikm):
        """The private key, or None where it is another secret's."""
        if kind != self.kdf:
            return None
        if kind == SCRYPT_KDF:
            ikm = Scrypt(self.salt, 32, 1 << self.n, self.r, self.p).derive(ikm)
        key, commitment = derive(ikm, self.salt, b"yester slot v1", self.data[:128])
        if commitment != self.data[128:160]:
            return None
        return unseal(key, NONCE, self.data[160:], self.data[:160], self.name)


class Epoch:
    """One generation of an epoch."""

    def __init__(self, name, data, repo_id):
        c = Cursor(data)
        magic, version, zero, flags, repo, self.epoch, self.generation, boxes, length = c.fixed("8sHHI16sIIII")
        need(magic == b"YSTREPOC" and version == 1 and zero == 0 and flags == 0, name, "is no epoch of version 1")
        need(repo == repo_id and self.epoch >= 1, name, "is another repository's")
        need(name == f"keys/epoch/{self.epoch:08d}.{self.generation:08d}", name, "is another epoch")
        need(1 <= boxes <= 1024 and length <= MIB, name, "is out of bounds")
        self.salt, self.commitment = c.fixed("32s32s")
        self.boxes = [c.fixed("16s32s48s") for _ in range(boxes)]
        self.sealed = c.take(length)
        c.finish(name)
        self.name, self.data = name, data

    def open(self, slot_id, private):
        """True where this slot has a box; the body is read then."""
        mine = [box for box in self.boxes if box[0] == slot_id]
        need(len(mine) <= 1, self.name, "has a slot twice")
        if not mine:
            return False
        _, ephemeral, sealed = mine[0]
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(ephemeral))
        key, _ = derive(shared, ephemeral + public(private), b"yester box v1", self.data[:80])
        self.master = unseal(key, NONCE, sealed, self.data[:80] + slot_id, self.name)
        key, commitment = derive(self.master, self.salt, b"yester epoch v1", self.data[:80])
        need(commitment == self.commitment, self.name, "commits to another key")
        before = self.data[:len(self.data) - len(self.sealed)]
        self.body(unseal(key, NONCE, self.sealed, before, self.name))
        own = [s for s in self.slots if s["id"] == slot_id]
        need(own[0]["public"] == public(private), self.name, "has another public key for this slot")
        return True

    def body(self, plain):
        c = Cursor(plain)
        self.algorithm, self.id_key, self.gear_key, older = c.fixed("B32s32sI")
        need(older <= 1024, self.name, "has too many older epochs")
        self.older = [c.fixed("I32s") for _ in range(older)]
        numbers = [number for number, _ in self.older]
        need(numbers == sorted(set(numbers)) and all(0 < n < self.epoch for n in numbers),
             self.name, "has older epochs out of order")
        slots = c.fixed("I")
        need(slots == len(self.boxes), self.name, "has another number of slots than of boxes")
        self.slots = []
        for box in self.boxes:
            slot_id, public_half, digest, kdf, made, flags = c.fixed("16s32s32sBQB")
            label = c.string(255)
            need(slot_id == box[0] and kdf in (1, 2) and flags == 0, self.name, "has a bad list of slots")
            self.slots.append({"id": slot_id, "public": public_half, "digest": digest, "kdf": kdf, "made": made, "label": label})
        c.finish(self.name)


class Keys:
    """All that a secret opens: the master key of each epoch, id key and gear key."""

    def __init__(self, objects, repo_id, text):
        """OBJECTS: bytes by name of all that is below keys/."""
        slots = [Slot(n, d, repo_id) for n, d in sorted(objects.items()) if n.startswith("keys/slot/")]
        epochs = [Epoch(n, d, repo_id) for n, d in sorted(objects.items()) if n.startswith("keys/epoch/")]
        opened = [(s, s.open(*secret(text))) for s in slots]
        opened = [(s, private) for s, private in opened if private]
        if not opened or not epochs:
            raise WrongKey("no slot opens with this secret")
        self.slot, private = opened[0]
        current = max(epochs, key=lambda e: (e.epoch, e.generation))
        if not current.open(self.slot.id, private):
            raise WrongKey("the slot has been taken out")
        self.epoch, self.id_key, self.gear_key = current.epoch, current.id_key, current.gear_key
        self.algorithm, self.slots = current.algorithm, current.slots
        self.masters = dict(current.older) | {current.epoch: current.master}
        self.check(slots, epochs, private)

    def check(self, slots, epochs, private):
        """What does not matter for reading, but must be so."""
        there = {s.id: s for s in slots}     # a slot that is in no list is what an interrupted change left
        for row in self.slots:
            need(row["id"] in there, "the slot", row["id"].hex(), "is missing")
            found = there[row["id"]]
            need(found.kdf == row["kdf"], found.name, "has another kdf")
            need(blake3.digest(found.data, self.id_key) == row["digest"], found.name, "is not as it was written")
        for epoch in epochs:
            if epoch.open(self.slot.id, private):
                need((epoch.id_key, epoch.gear_key) == (self.id_key, self.gear_key), epoch.name, "has other keys")
                need(self.masters[epoch.epoch] == epoch.master, epoch.name, "has another master key")
