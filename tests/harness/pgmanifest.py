"""A base backup held against its backup_manifest, for servers newer than the pg_verifybackup that is here.

    python3 pgmanifest.py DIRECTORY [IGNORED…]

Every file of the manifest is there with its size and CRC-32C, nothing else is there, and the manifest's own
SHA-256 is right.  The log is not looked at.  Exit 0, or 1 with what is wrong.
"""
import hashlib
import json
import pathlib
import sys

# What a server makes itself, or pg_verifybackup does not look at.
LEFT_OUT = {"backup_manifest", "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal"}


def make_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = make_table()


def step(crc, data):
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc


def times(columns, crc):
    """What CRC becomes: a linear function of its bits, each of which has its column."""
    out = 0
    while crc:
        low = crc & -crc
        out ^= columns[low.bit_length() - 1]
        crc ^= low
    return out


BLOCK_BITS = 20
ZEROS = bytes(1 << BLOCK_BITS)


def make_zeros():
    """What a block of zeros does to it: what one zero does, BLOCK_BITS times doubled."""
    columns = [step(1 << bit, b"\0") for bit in range(32)]
    for _ in range(BLOCK_BITS):
        columns = [times(columns, column) for column in columns]
    return columns


OVER_ZEROS = make_zeros()


def crc32c(path):
    crc = 0xFFFFFFFF
    with open(path, "rb") as f:
        while data := f.read(len(ZEROS)):
            crc = times(OVER_ZEROS, crc) if data == ZEROS else step(crc, data)
    return crc ^ 0xFFFFFFFF


def files_below(directory):
    for path in directory.iterdir():
        if path.is_dir():  # a tablespace may be a link to one
            yield from files_below(path)
        else:
            yield path


def problems(directory, ignored=()):
    directory = pathlib.Path(directory)
    raw = (directory / "backup_manifest").read_bytes()
    manifest = json.loads(raw)
    line = raw.rindex(b'"Manifest-Checksum"')
    if hashlib.sha256(raw[:line]).hexdigest() != manifest["Manifest-Checksum"]:
        yield "the manifest's own checksum is wrong"
    left_out = LEFT_OUT | set(ignored)
    names = set()
    for entry in manifest["Files"]:
        name = entry.get("Path") or bytes.fromhex(entry["Encoded-Path"]).decode(errors="surrogateescape")
        names.add(name)
        if name.split("/")[0] in left_out:
            continue
        path = directory / name
        if not path.is_file():
            yield f"{name} is missing"
            continue
        size = path.stat().st_size
        if size != entry["Size"]:
            yield f"{name} has {size} bytes, not {entry['Size']}"
        elif entry.get("Checksum-Algorithm") == "CRC32C" and \
                crc32c(path).to_bytes(4, "little").hex() != entry["Checksum"]:
            yield f"{name} has another checksum"
    for path in files_below(directory):
        name = path.relative_to(directory).as_posix()
        if name not in names and name.split("/")[0] not in left_out:
            yield f"{name} is not in the manifest"


def main():
    found = list(problems(sys.argv[1], sys.argv[2:]))
    print("\n".join(found) if found else "backup successfully verified")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
