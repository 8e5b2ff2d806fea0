#!/usr/bin/python3
"""Reads a tenant's journal with nothing but docs/format.md ("Journal"), as read_store.py reads the tree.

    read_journal.py STORE#TENANT KEYS PASSPHRASE_FILE    prints its entries, one JSON object each; status 1 when a record is missing
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
            flags = struct.unpack_from("<Q", slot, 72)[0]
            key = unwrap(self.suite, subkey, b"tfs-journal-super" + slot[:80] + store + tenant, tenant[:12], slot[80:156])
            self.slots.append((generation, epoch, tail, sequence, key, bool(flags & 1)))
        _, self.epoch, self.tail, self.sequence, self.key, self.clean = max(self.slots)
        self.ring = (len(text) - RING) // SECTOR

    def sector(self, number, sequence, nonce=0):
        """Its payload; None when it is not a whole one of this record."""
        at = RING + number % self.ring * SECTOR
        raw = self.text[at : at + SECTOR]
        marks = struct.unpack_from("<QQQ", raw, PAYLOAD)
        good = xxhash.XXH3_64bits_withSeed(raw[:504], 504, number % self.ring ^ nonce)
        return raw[:PAYLOAD] if marks == (sequence, self.epoch, good) else None

    def record(self, at, sequence):
        """Sectors, what was durable, text; None when none that is whole begins there. Raises when it does not open."""
        first = self.sector(at, sequence)
        if first is None:
            return None
        length, _, durable, nonce = struct.unpack_from("<IIQQ", first)
        count = (44 + length + PAYLOAD - 1) // PAYLOAD
        assert length <= 2097152 and count <= self.ring, "a record that is too long"
        parts = [self.sector(at + i, sequence, nonce if i else 0) for i in range(count)]
        if None in parts:
            return None
        whole = b"".join(parts)
        ad = b"tfs-journal-record" + whole[:16] + struct.pack("<QQQ", self.epoch, sequence, at % self.ring)
        text = aead_open(self.suite, self.key, whole[16:28], struct.pack("<Q4x", sequence), ad, whole[44 : 44 + length], whole[28:44])
        return count, durable, text

    def records(self):
        """Sequence number and text of each. Raises at the end when the next one is missing: "Durable"."""
        at, sequence, used = self.tail, self.sequence, 0
        while record := self.record(at, sequence):
            yield sequence, record[2]
            at, sequence, used = at + record[0], sequence + 1, used + record[0]
        for behind in range(at, at + self.ring - used):
            assert self.clean or not self.says_durable(behind, sequence), "a record that was durable is missing"

    def says_durable(self, at, sequence):
        """Whether a later record begins there that was written when this one was durable."""
        claimed = struct.unpack_from("<Q", self.text, RING + at % self.ring * SECTOR + PAYLOAD)[0]
        if claimed <= sequence:
            return False
        try:
            record = self.record(at, claimed)
        except Exception as e:
            if type(e).__name__ not in ("InvalidTag", "ValueError", "AssertionError"): # it does not open
                raise
            return False
        return record is not None and record[1] > sequence

    @staticmethod
    def entry(kind, body):
        file_id, ino = struct.unpack_from("<16sQ", body)
        found = dict(kind=["erase", "commit", "times", "mark"][kind - 1], file_id=file_id.hex(), ino=ino)
        rest = body[24:]
        if kind == 1:
            first, end, flags = struct.unpack("<QQI", rest)
            assert not flags & ~1
            found |= dict(first=first, end=end, keep_space=bool(flags & 1))
        elif kind == 2:
            commits, length, seconds, nanoseconds, flags, count = struct.unpack_from("<QQqIQQ", rest)
            assert not flags & ~1
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
            assert not flags & ~1
            found |= dict(upto=upto, decision=bool(flags & 1))
        return found

    def entries(self):
        for sequence, text in self.records():
            decision = False
            while text:
                kind, zero, length = struct.unpack_from("<HHI", text)
                assert 1 <= kind <= 4 and not zero, "an entry of a newer format"
                entry = dict(self.entry(kind, text[8 : 8 + length]), sequence=sequence)
                yield entry
                decision = decision or entry.get("decision", False)
                text = text[8 + length :]
            if decision: # of a recovery: nothing behind it counts
                return


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
        print(json.dumps(entry))
