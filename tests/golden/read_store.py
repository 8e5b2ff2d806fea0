#!/usr/bin/python3
"""Reads a tenantfs store with nothing but docs/format.md and a cipher library (python3-cryptography; libsodium for Argon2id,
sealed boxes, XChaCha20 and SipHash).

    read_store.py STORE#TENANT KEYS --passphrase-file F | --key-file F    prints the tree: names, sizes, hashes, attributes
        --header FILE       instead: can the file whose first page this is be opened? (status 1: no)
        --count-headers     instead: how many files' headers open
"""
import argparse, base64, ctypes, glob, hashlib, json, os, stat, struct, sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

sodium = ctypes.CDLL("libsodium.so.23")
sodium.sodium_init()
PAGE = 4096


def unb64(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text, "not the canonical encoding"
    return data


def blake(key, data, n=32):
    """BLAKE2b; keys above 64 bytes are hashed first."""
    return hashlib.blake2b(data, digest_size=n, key=hashlib.blake2b(key).digest() if len(key) > 64 else key).digest()


def derive(key, label, context=b"", n=32):
    return blake(key, bytes([len(label)]) + label.encode() + context, n)


def aead_open(suite, key, nonce, suffix, ad, sealed, tag):
    if suite == 1:
        return AESGCM(key).decrypt(nonce, sealed + tag, ad)
    out = ctypes.create_string_buffer(len(sealed) or 1)
    if sodium.crypto_aead_xchacha20poly1305_ietf_decrypt_detached(out, None, sealed, ctypes.c_ulonglong(len(sealed)), tag, ad,
                                                                  ctypes.c_ulonglong(len(ad)), nonce + suffix, key):
        raise ValueError("does not verify")
    return out.raw[:len(sealed)]


def siphash(key, data):
    out = ctypes.create_string_buffer(16)
    sodium.crypto_shorthash_siphashx24(out, data, ctypes.c_ulonglong(len(data)), key)
    return out.raw


def unwrap(suite, key, ad, suffix, wrap):
    """"Wraps": nonce 12, key 32, tag 16, key-check value 16."""
    assert blake(key, b"tfs-kcv" + ad, 16) == wrap[60:76], "wrapped under another key"
    return aead_open(suite, key, wrap[:12], suffix, ad, wrap[12:44], wrap[44:60])


class Keys:
    """"Keyring", "Slots"."""

    def __init__(self, path, kind, secret):
        with open(path, encoding="utf-8") as f:
            ring = json.load(f)
        assert ring["format"] == 1
        self.suite, self.tenant = ring["suite"], unb64(ring["tenant_uuid"])
        owner = unb64(ring["store_uuid"]) + self.tenant
        trk = next((t for t in (self.open_slot(s, kind, secret, owner) for s in ring["slots"]) if t), None)
        if not trk:
            sys.exit("no slot opens with this")
        self.keys = {}
        for k in ring["keys"]:
            if "wrapped" in k:
                ad = b"tfs-keyring-" + k["kind"].encode() + owner + struct.pack("<I", k["epoch"])
                self.keys[k["kind"], k["epoch"]] = unwrap(self.suite, trk, ad, self.tenant[:12], unb64(k["wrapped"]))
        text = json.dumps({n: v for n, v in ring.items() if n != "mac"}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        mdk = self.keys[max(k for k in self.keys if k[0] == "mdk")]
        assert blake(derive(mdk, "tfs-keyring-mac", owner), text.encode()) == unb64(ring["mac"]), "the keyring's MAC"

    def open_slot(self, slot, kind, secret, owner):
        if slot["kind"] != kind:
            return None
        salt, ident = unb64(slot["salt"]), unb64(slot["id"])
        if kind == "keyfile":
            key = derive(secret, "tfs-keyfile", salt)
        else:
            key = ctypes.create_string_buffer(32)
            assert sodium.crypto_pwhash(key, ctypes.c_ulonglong(32), secret, ctypes.c_ulonglong(len(secret)), salt,
                                        ctypes.c_ulonglong(slot["iterations"]), ctypes.c_size_t(slot["memory_kib"] * 1024), 2) == 0
            key = key.raw
        try:
            private = unwrap(self.suite, key, b"tfs-slot-secret" + owner + ident, ident[:12], unb64(slot["secret"]))
        except AssertionError:
            return None
        box, both = unb64(slot["trk"]), ctypes.create_string_buffer(64)
        assert sodium.crypto_box_seal_open(both, box, ctypes.c_ulonglong(len(box)), unb64(slot["public"]), private) == 0
        assert both.raw[32:] == blake(b"", b"tfs-slot-trk" + owner + ident)
        return both.raw[:32]


class File:
    """"Regular files": header, blocks, presence."""

    def __init__(self, keys, page0):
        try:
            slots = [self.parse(keys, raw) for raw in (page0[:1024], page0[1024:2048]) if any(raw)]
        except (KeyError, ValueError) as e:
            raise AssertionError(f"a header slot: {e!r}") from e
        except Exception as e:
            if type(e).__name__ != "InvalidTag": # the library's
                raise
            raise AssertionError("a header slot does not verify") from e
        assert slots, "no header slot"
        assert len(slots) == 2 or slots[0]["commits"] == 1, "a header slot is blank"
        self.__dict__.update(max(slots, key=lambda s: s["commits"]))

    @staticmethod
    def parse(keys, raw):
        magic, version, suite, flags, file_id, tenant, epoch, size, commits = struct.unpack_from("<4sHBB16s16sIQQ", raw)
        assert magic == b"TFSH" and version == 1 and tenant == keys.tenant
        assert not any(raw[604:688]), "a re-encryption in progress"
        wraps = {}
        for name, at in (("fek", 452), ("xk", 528)):
            ad = name.encode().ljust(4, b"\0") + tenant + file_id + struct.pack("<I", epoch)
            wraps[name] = unwrap(suite, keys.keys["kek", epoch], ad, file_id[:12], raw[at:at + 76])
        fek = wraps["fek"]
        assert blake(derive(fek, "tenantfs file header"), raw[:992]) == raw[992:1024], "the header's MAC"
        homes = [raw[84 + 20 * i:100 + 20 * i] for i in range(4) if any(raw[100 + 20 * i:104 + 20 * i])]
        mask = blake(derive(fek, "tenantfs set mask"), raw[436:452], 16)
        return dict(suite=suite, flags=flags, file_id=file_id, size=size, commits=commits, fek=fek, xk=wraps["xk"], homes=homes,
                    presence=raw[164:292], presence_pages=raw[292:420], set_hash=bytes(a ^ b for a, b in zip(raw[420:436], mask)))

    def group_page(self, group):
        if group < 1024:
            return 65 + (group - 1) * 129 if group else 0
        run, within = divmod(group - 1024, 32512)
        return 65 + 1023 * 129 + run * (1 + 32512 * 129) + 1 + within * 129

    def present(self, f, group):
        bits, bit = self.presence, group
        if group >= 1024:
            index, bit = divmod(group - 1024, 32512)
            if not self.presence_pages[index // 8] >> index % 8 & 1:
                return False
            page = os.pread(f, PAGE, (65 + 1023 * 129 + index * (1 + 32512 * 129)) * PAGE)
            mac = blake(derive(self.fek, "tenantfs presence"), self.file_id + struct.pack("<Q", index) + page[:4064])
            assert mac == page[4064:], "a presence page"
            bits = page
        return bits[bit // 8] >> bit % 8 & 1

    def read(self, f):
        """Yields the content in pieces of a block."""
        total, at_set = bytes(16), derive(self.fek, "tenantfs set hash", n=16)
        blocks = -(-self.size // PAGE)
        for block in range(max(blocks, 64)):
            group, index = (0, block) if block < 64 else (1 + (block - 64) // 128, (block - 64) % 128)
            page = self.group_page(group)
            entry = os.pread(f, 32, page * PAGE + index * 32 + (2048 if group == 0 else 0)) if self.present(f, group) else bytes(32)
            if group == 0 and any(entry):
                total = bytes(a ^ b for a, b in zip(total, siphash(at_set, struct.pack("<Q", block) + entry)))
            if block >= blocks:
                continue
            plain, state = bytes(PAGE), entry[28]
            if self.present(f, group):
                assert state in (1, 2), "no entry in a group that is present"
                sealed = os.pread(f, PAGE, (page + 1 + index) * PAGE) if state == 1 else b""
                number = struct.pack("<Q", block)
                opened = aead_open(self.suite, self.fek, entry[:12], number + bytes(4), self.file_id + number + bytes([state]),
                                   sealed, entry[12:28])
                plain = opened if state == 1 else plain
            yield plain[:self.size - block * PAGE]
        assert self.size > 64 * PAGE or total == self.set_hash, "the set hash"


def attributes(key, path):
    """"Extended attributes": key is a file's XK or a directory's name key."""
    names, found = os.listxattr(path, follow_symlinks=False), {}
    for name in names:
        if not name.startswith("user.tfs."):
            continue
        lower, raw = name[9:], os.getxattr(path, name, follow_symlinks=False)
        body = AESSIV(derive(key, "tenantfs xattr value", n=64)).decrypt(raw[16:], [lower.encode() + raw[:16]])
        assert body[0] == 1
        n = struct.unpack_from("<H", body, 1)[0]
        sealed = body[3:3 + n] if n else unb64(lower)
        assert not n or lower == "~" + base64.urlsafe_b64encode(blake(b"", sealed)).rstrip(b"=").decode()
        found[AESSIV(derive(key, "tenantfs xattr name", n=64)).decrypt(sealed, [b"xattr"])] = body[3 + n:]
    return "".join(f" user.{k.decode()}={v.hex()}" for k, v in sorted(found.items()))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def link_binding(lower_name):
    """The name of the record that says which link stands under a name."""
    return "~" + b64(blake(b"", lower_name.encode(), 16)) + ".b"


def link_target(keys, directory, ident, lower_name):
    """"Links": bound to its name; what exceeds 1,000 characters goes on in sidecars, behind a dot."""
    text = os.readlink(os.path.join(directory, lower_name))
    head = unb64(text[:32])[:18]
    nmk = keys.keys["nmk", struct.unpack_from("<H", head)[0]]
    bindings = unb64(os.readlink(os.path.join(directory, link_binding(lower_name))))
    assert blake(derive(nmk, "link binding"), head + ident + lower_name.encode(), 16) in (bindings[:16], bindings[16:]), \
        "a link that is not bound to its name"
    sidecar, n = "~" + b64(head[2:]) + ".%d", 0
    while text.endswith("."):
        text, n = text[:-1] + os.readlink(os.path.join(directory, sidecar % n)), n + 1
    raw = unb64(text)
    return AESSIV(derive(nmk, "link", n=64)).decrypt(raw[18:], [raw[2:18]])


def is_internal(name):
    return name in (".dir", ".dir.new") or name[0] == "~" and "." in name


def walk(keys, lower, plain, parent_id, lower_name):
    """"Names", "Directories"."""
    record = unb64(os.readlink(os.path.join(lower, ".dir")))
    epoch, ident = struct.unpack_from("<H", record, 1)[0], record[3:19]
    nmk = keys.keys["nmk", epoch]
    binding = blake(derive(nmk, "binding"), record[:19] + parent_id + lower_name.encode(), 16)
    assert record[0] == 1 and binding in (record[19:35], record[35:51]), "a directory that is not bound here"
    name_key = derive(nmk, "name", ident, 64)
    print(f"{plain}/ directory{attributes(name_key, lower)}")
    entries = []
    for name in os.listdir(lower):
        if is_internal(name):
            continue
        sealed = unb64(os.readlink(os.path.join(lower, name + ".n")) if name[0] == "~" else name)
        entries.append((AESSIV(name_key).decrypt(sealed, [ident]).decode(), name))
    for clear, name in sorted(entries):
        path, shown = os.path.join(lower, name), plain + "/" + clear
        st = os.lstat(path)
        if stat.S_ISDIR(st.st_mode):
            walk(keys, path, shown, ident, name)
        elif stat.S_ISLNK(st.st_mode):
            print(f"{shown} link {link_target(keys, lower, ident, name).decode()}")
        elif stat.S_ISREG(st.st_mode) and st.st_size == 0:
            print(f"{shown} file 0 {hashlib.sha256().hexdigest()}")
        elif stat.S_ISREG(st.st_mode):
            fd = os.open(path, os.O_RDONLY)
            f, digest = File(keys, os.pread(fd, PAGE, 0)), hashlib.sha256()
            assert f.flags & 1 or ident in f.homes, "a file that is not at home here"
            for piece in f.read(fd):
                digest.update(piece)
            os.close(fd)
            print(f"{shown} file {f.size} {digest.hexdigest()}{attributes(f.xk, path)}")
        else:
            print(f"{shown} other {stat.S_IFMT(st.st_mode):o}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tenant", metavar="STORE#TENANT")
    p.add_argument("keys")
    p.add_argument("--passphrase-file")
    p.add_argument("--key-file")
    p.add_argument("--header")
    p.add_argument("--count-headers", action="store_true")
    a = p.parse_args()
    store, _, tenant = a.tenant.rpartition("#")
    secret = open(a.key_file or a.passphrase_file, "rb").read()
    if a.passphrase_file:
        secret = secret.split(b"\n")[0]
    with open(os.path.join(store, "store.json"), encoding="utf-8") as f:
        uuid = json.load(f)["store_uuid"]
    keys = Keys(os.path.join(a.keys, uuid, tenant + ".json"), "keyfile" if a.key_file else "passphrase", secret)
    root = os.path.join(store, "t", tenant, "root")
    if a.header:
        try:
            print(File(keys, open(a.header, "rb").read(PAGE)).file_id.hex())
        except AssertionError as e:
            sys.exit(str(e))
    elif a.count_headers:
        opened = 0
        for path in glob.glob(root + "/**", recursive=True, include_hidden=True):
            if not os.path.islink(path) and os.path.isfile(path) and os.path.getsize(path):
                try:
                    File(keys, open(path, "rb").read(PAGE))
                    opened += 1
                except AssertionError:
                    pass
        print(opened)
    else:
        walk(keys, root, "", bytes(16), "")


if __name__ == "__main__":
    main()
