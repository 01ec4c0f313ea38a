#!/usr/bin/env python3
"""Write a key slot and an epoch as docs/format.md says, by another hand than yester's.

Prints them in hexadecimal, as tests/test_keyring.c has them; needs python3-cryptography.
"""
import struct

import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

REPO = bytes(range(0x10, 0x20))
SLOT = bytes(range(0x20, 0x30))
PRIVATE, EPHEMERAL = bytes(range(0x40, 0x60)), bytes(range(0x60, 0x80))
MASTER, OLDER = bytes(range(0x80, 0xA0)), bytes(range(0xA0, 0xC0))
ID_KEY, GEAR_KEY = bytes(range(0xC0, 0xE0)), bytes(range(0xE0, 0x100))
NONCE = bytes(12)


def derive(ikm, salt, text, info):
    both = HKDF(SHA256(), 64, salt, text + info).derive(ikm)
    return both[:32], both[32:]


def public(private):
    key = X25519PrivateKey.from_private_bytes(private).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def slot(passphrase):
    salt = bytes(range(32))
    head = b"YSTRSLOT" + struct.pack("<HBBI", 1, 2, 0, 0) + REPO + SLOT + salt
    head += struct.pack("<III", 10, 8, 1) + bytes(36)
    key, commitment = derive(Scrypt(salt, 32, 1 << 10, 8, 1).derive(passphrase), salt,
                             b"yester slot v1", head)
    return head + commitment + AESGCM(key).encrypt(NONCE, PRIVATE, head + commitment)


def epoch():
    body = b"\x01" + ID_KEY + GEAR_KEY + struct.pack("<II", 1, 1) + OLDER
    body += struct.pack("<I", 1) + SLOT + public(PRIVATE) + blake3.digest(slot(b"golden"), ID_KEY)
    body += struct.pack("<BQB", 2, 1_700_000_000_000_000_000, 0) + b"\x06golden"
    salt = bytes(range(1, 33))
    head = b"YSTREPOC" + struct.pack("<HHI", 1, 0, 0) + REPO
    head += struct.pack("<IIII", 2, 3, 1, len(body) + 16) + salt
    key, commitment = derive(MASTER, salt, b"yester epoch v1", head)
    shared = X25519PrivateKey.from_private_bytes(EPHEMERAL).exchange(
        X25519PublicKey.from_public_bytes(public(PRIVATE)))
    box_key, _ = derive(shared, public(EPHEMERAL) + public(PRIVATE), b"yester box v1", head)
    box = SLOT + public(EPHEMERAL) + AESGCM(box_key).encrypt(NONCE, MASTER, head + SLOT)
    return head + commitment + box + AESGCM(key).encrypt(NONCE, body, head + commitment + box)


if __name__ == "__main__":
    for name, made in (("slot", slot(b"golden")), ("epoch", epoch())):
        print(name)
        for at in range(0, len(made), 40):
            print(f'    "{made[at:at + 40].hex()}"')
