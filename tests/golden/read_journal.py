#!/usr/bin/python3
"""Reads a tenant's journal with nothing but docs/format.md ("Journal"), as read_store.py reads the tree.

    read_journal.py STORE#TENANT KEYS PASSPHRASE_FILE    prints what a mount would finish
"""
import ctypes, glob, json, struct, sys
from read_store import Keys, aead_open, derive, unwrap

xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
xxhash.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
RING, SECTOR, PAYLOAD = 8192, 512, 488


class Journal:
    def __init__(self, text, keys, store, tenant):
        self.text, self.slots = text, []
        subkey = derive(keys.keys[max(k for k in keys.keys if k[0] == "mdk")], "journal", store + tenant)
        for at in (0, 4096):
            slot = text[at : at + SECTOR]
            magic, version, self.suite, zero, generation, epoch, size, tail, sequence = struct.unpack_from("<4sHBBQQQQQ", slot)
            assert magic == b"TFSJ" and version == 1 and not zero and not any(slot[156:]) and size == len(text)
            assert at == generation % 2 * 4096
            key = unwrap(self.suite, subkey, b"tfs-journal-super" + slot[:80] + store + tenant, tenant[:12], slot[80:156])
            self.slots.append((generation, epoch, tail, sequence, key))
        _, self.epoch, self.tail, self.sequence, self.key = max(self.slots)
        self.ring = (len(text) - RING) // SECTOR

    def sector(self, number, sequence, nonce=0):
        """Its payload; None when it is not a whole one of this record."""
        at = RING + number % self.ring * SECTOR
        raw = self.text[at : at + SECTOR]
        marks = struct.unpack_from("<QQQ", raw, PAYLOAD)
        good = xxhash.XXH3_64bits_withSeed(raw[:504], 504, number % self.ring ^ nonce)
        return raw[:PAYLOAD] if marks == (sequence, self.epoch, good) else None

    def records(self):
        at, sequence = self.tail, self.sequence
        while True:
            first = self.sector(at, sequence)
            if first is None:
                return
            length = struct.unpack_from("<I", first)[0]
            count = (36 + length + PAYLOAD - 1) // PAYLOAD
            nonce = struct.unpack_from("<Q", first, 8)[0]
            parts = [self.sector(at + i, sequence, nonce if i else 0) for i in range(count)]
            if None in parts:
                return
            whole = b"".join(parts)
            ad = b"tfs-journal-record" + whole[:8] + struct.pack("<QQQ", self.epoch, sequence, at % self.ring)
            suffix = struct.pack("<Q4x", sequence)
            yield aead_open(self.suite, self.key, whole[8:20], suffix, ad, whole[36 : 36 + length], whole[20:36])
            at, sequence = at + count, sequence + 1

    @staticmethod
    def entry(kind, body):
        file_id, ino = struct.unpack_from("<16sQ", body)
        found = dict(kind=["erase", "commit", "times", "mark"][kind - 1], file_id=file_id.hex(), ino=ino)
        rest = body[24:]
        if kind == 1:
            first, end, flags = struct.unpack("<QQI", rest)
            found |= dict(first=first, end=end, keep_space=bool(flags & 1))
        elif kind == 2:
            commits, length, seconds, nanoseconds, flags, count = struct.unpack_from("<QQqIQQ", rest)
            fresh = [struct.unpack_from("<QQ", rest, 44 + 16 * i) for i in range(count)]
            ranges, at = [], 44 + 16 * count
            while at < len(rest):
                offset, size = struct.unpack_from("<QI", rest, at)
                assert at + 12 + size <= len(rest)
                ranges.append((offset, size))
                at += 12 + size
            found |= dict(commits=commits, length=length, modified=(seconds, nanoseconds), hard=bool(flags & 1),
                          fresh=fresh, ranges=ranges)
        elif kind == 3:
            found |= dict(modified=struct.unpack("<qI", rest))
        else:
            upto, flags = struct.unpack("<QI", rest)
            found |= dict(upto=upto, decision=bool(flags & 1))
        return found

    def entries(self):
        for text in self.records():
            while text:
                kind, zero, length = struct.unpack_from("<HHI", text)
                assert 1 <= kind <= 4 and not zero, "an entry of a newer format"
                yield self.entry(kind, text[8 : 8 + length])
                text = text[8 + length :]


def uuid_in(path, member):
    with open(path) as f:
        return bytes.fromhex(json.load(f)[member].replace("-", ""))


def read(folder, keyring, passphrase):
    """The journal of a tenant's folder STORE/t/TENANT."""
    with open(folder + "/journal", "rb") as f, open(passphrase, "rb") as p:
        return Journal(f.read(), Keys(keyring, "passphrase", p.read().strip()), uuid_in(folder + "/../../store.json", "store_uuid"),
            uuid_in(folder + "/tenant.json", "tenant_uuid"))


if __name__ == "__main__":
    store, tenant = sys.argv[1].rsplit("#", 1)
    (ring,) = glob.glob(f"{sys.argv[2]}/*/{tenant}.json")
    for entry in read(f"{store}/t/{tenant}", ring, sys.argv[3]).entries():
        print(entry)
