#!/usr/bin/python3
# tests/run: core timeout=240
"""What replaces or outlives a file leaves nothing on the raw image either, ext4 and xfs: keyrings, policies and the log's next key that were
replaced, files that were unlinked or replaced while they were open, files with several names. Usage: test_erase_rest.py BUILDDIR [WORD]"""
import json, mmap, os, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rawimage
from erasing import TENANT, Tenant, program
from rawimage import SECTOR, TAKE, Image, Samples, report, sh

NAME = "erase_rest"
CHEAP = ("--pbkdf-memory", "64", "--pbkdf-force-iterations", "1")


class Kept(Tenant):
    """Its keys are on the image too."""

    def __init__(self, image, name):
        super().__init__(image, name, image.path + "/keys")
        self.argument = f"{self.store}#{TENANT}"
        self.new_pass = image.scratch + "/pass2"
        with open(self.new_pass, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write("battery staple\n")
        (folder,) = os.listdir(self.keys)
        self.key_folder = f"{self.keys}/{folder}"
        self.keyring = f"{self.key_folder}/{TENANT}.json"

    def key(self, *words, before=()):
        """tenantkey with these words, opened by the first passphrase; the words before it start it."""
        secret = ("--keys", self.keys, "--passphrase-file", self.pass_file)
        return [*before, program("tenantkey"), *words[:1], *(words[1:2] if words[0] == "slot" else ()), self.argument,
            *words[2 if words[0] == "slot" else 1:], *secret]

    def policy(self, text, before=()):
        path = self.image.scratch + "/policy"
        with open(path, "w") as f:
            f.write(text)
        return [*before, program("tenantctl"), "policy", "apply", self.argument, path, "--keys", self.keys, "--passphrase-file", self.pass_file]

    def leftovers(self, policy=True):
        """Files of an update that is not finished."""
        trash = self.key_folder + "/trash"
        there = [n for n in os.listdir(self.key_folder) if n not in (TENANT + ".json", "trash")]
        there += os.listdir(trash) if os.path.exists(trash) else []
        return there + [n for n in os.listdir(self.folder) if policy and n.startswith("policy.")]


def secrets_of(text):
    """16 bytes of every wrapped key of a keyring: their text is what lies on the disk."""
    found = Samples()

    def walk(value):
        if isinstance(value, dict):
            for v in value.values():
                walk(v)
        elif isinstance(value, list):
            for v in value:
                walk(v)
        elif isinstance(value, str) and len(value) >= 64:
            at = text.find(value)
            for i in range(0, len(value) - TAKE, TAKE):
                if (at + i) % SECTOR > SECTOR - TAKE:
                    continue # blocks of a file need not be neighbours
                found.add(text[at + i : at + i + TAKE].encode(), at + i)
    walk(json.loads(text))
    return found


def read(path):
    with open(path, "rb") as f:
        return f.read()


def only_old(samples, now):
    samples.pieces = {p for p in samples.pieces if p not in now}
    return samples


POLICY = "tenant t\npermit owner: user:#0 to any on /**\n"


def policy_text(n):
    """Long enough for several sectors; sealed, no two are alike."""
    return POLICY + "".join(f"permit more-{n}-{i}: user:#{70000 + i} to read on /some/where/{i}/**\n" for i in range(60))


def test_keyrings(image):
    tenant = Kept(image, NAME)
    acts = [("passwd", ("passwd", "--new-passphrase-file", tenant.pass_file, *CHEAP)),
        ("slot add", ("slot", "add", "second", "--new-passphrase-file", tenant.new_pass, *CHEAP)),
        ("rotate", ("rotate",)), ("slot remove", ("slot", "remove", "second"))]
    tenant.mount()
    tenant.write("file", 5000, 1)
    tenant.unmount()
    for label, words in acts:
        text = read(tenant.keyring)
        samples = secrets_of(text.decode())
        image.sync()
        before = image.found(samples)
        whole = len(samples)
        sh(*tenant.key(*words))
        only_old(samples, read(tenant.keyring))
        image.sync()
        after = image.found(samples)
        report(before == whole and len(samples) > 4 and after == 0 and not tenant.leftovers(),
            f"{NAME}: {image.kind} keyring replaced by {label}: none of its keys on the image", f"{before}/{whole}, {after}/{len(samples)} {tenant.leftovers()}")
    # an ordinary replacement, as control
    text = read(tenant.keyring)
    with open(image.path + "/plain", "wb", buffering=0) as f:
        f.write(os.urandom(8) + bytes(reversed(text)))
        os.fsync(f.fileno())
    samples = Samples().add_file(image.path + "/plain")
    with open(image.path + "/plain.tmp", "wb", buffering=0) as f:
        f.write(b"x" * len(text))
        os.fsync(f.fileno())
    os.rename(image.path + "/plain.tmp", image.path + "/plain")
    image.sync()
    report(image.found(samples) > 0, f"{NAME}: {image.kind} control: a file replaced by rename is found")


def test_policies(image):
    tenant = Kept(image, NAME)
    for mounted in (False, True):
        sh(*tenant.policy(policy_text(mounted)))
        if mounted:
            tenant.mount()
        samples = Samples().add_file(tenant.folder + "/policy")
        keys = secrets_of(read(tenant.keyring).decode())
        image.sync()
        before, whole = image.found(samples), len(samples)
        sh(*tenant.policy(policy_text(2 + mounted)))
        only_old(samples, read(tenant.folder + "/policy"))
        only_old(keys, read(tenant.keyring))
        image.sync()
        after, keys_after = image.found(samples), image.found(keys)
        report(before == whole and len(samples) > whole * 3 // 4 and after == 0 and len(keys) > 0 and keys_after == 0 and not tenant.leftovers(),
            f"{NAME}: {image.kind} policy replaced {'on a live mount' if mounted else 'off line'}: none of the old one, nor of the keyring that named it",
            f"{before}/{whole}, {after}/{len(samples)}, keyring {keys_after}/{len(keys)}")
    tenant.unmount()


def test_next_key(image):
    """The log's next signing key is overwritten once it is used."""
    tenant = Kept(image, NAME)
    path = tenant.folder + "/audit/next"
    for _ in range(2):
        samples = Samples().add_file(path)
        old = read(path)
        image.sync()
        before = image.found(samples)
        tenant.mount() # signs a segment with it
        only_old(samples, read(path))
        image.sync()
        after = image.found(samples)
        tenant.unmount()
        report(read(path) != old and before > 0 and len(samples) > 4 and after == 0, f"{NAME}: {image.kind} the log's next key, used: not on the image",
            f"{before} {after}/{len(samples)}")


def lower_samples(tenant, lower):
    samples = Samples().add_file(lower)
    samples.pieces -= tenant.common
    return samples


def made(tenant, name, size=70000):
    lower, _ = tenant.write(name, size, 1)
    return lower, read(f"{tenant.mnt}/{name}")


def test_open(image):
    tenant = Kept(image, NAME).mount()
    _, samples = tenant.write("other", 3, 1)
    tenant.common = samples.pieces

    def check(label, samples, alive, close, want=True):
        """Found while it is in use, gone at the last close."""
        image.sync()
        during, good = image.found(samples), alive()
        close()
        tenant.wait_empty()
        erase = tenant.wait_erased()
        image.sync()
        whole = len(samples)
        for path in tenant.lower_files():
            if not os.path.islink(path):
                only_old(samples, read(path)[:4096])  # headers name their directory
        after = image.found(samples)
        report(len(samples) >= whole - 2 and good and during == whole > 0 and after == 0 and not tenant.trash() and erase["failed_files"] == 0,
            f"{NAME}: {image.kind} {label}: whole while open, none after the last close", f"{good} {during}/{whole} then {after}/{len(samples)}")

    # two handles; more is written while it has no name
    lower, data = made(tenant, "two")
    one, two = os.open(tenant.mnt + "/two", os.O_RDWR), os.open(tenant.mnt + "/two", os.O_RDONLY)
    first = lower_samples(tenant, lower)
    os.unlink(tenant.mnt + "/two")
    os.pwrite(one, os.urandom(300000), len(data))
    os.fsync(one)
    (name,) = tenant.trash()
    samples = lower_samples(tenant, f"{tenant.folder}/trash/{name}")
    os.close(one)
    check("unlinked, two handles and written to", samples, lambda: os.pread(two, len(data), 0) == data and os.fstat(two).st_size == len(data) + 300000,
        lambda: os.close(two))
    first.pieces -= samples.pieces
    report(image.found(first) == 0, f"{NAME}: {image.kind} nor of what it was before it was unlinked")

    lower, data = made(tenant, "mapped")
    fd = os.open(tenant.mnt + "/mapped", os.O_RDONLY)
    m = mmap.mmap(fd, len(data), prot=mmap.PROT_READ)
    os.close(fd)
    samples = lower_samples(tenant, lower)
    os.unlink(tenant.mnt + "/mapped")
    check("unlinked, only mapped", samples, lambda: m[:] == data, m.close)

    lower, data = made(tenant, "victim")
    samples = lower_samples(tenant, lower)
    fd = os.open(tenant.mnt + "/victim", os.O_RDWR)
    made(tenant, "new", 3000)
    os.rename(tenant.mnt + "/new", tenant.mnt + "/victim")
    check("replaced by a rename", samples, lambda: os.pread(fd, len(data), 0) == data and os.stat(tenant.mnt + "/victim").st_size == 3000, lambda: os.close(fd))

    lower, data = made(tenant, "held by another process")
    samples = lower_samples(tenant, lower)
    holder = subprocess.Popen(["sleep", "60"], stdin=open(tenant.mnt + "/held by another process"))
    os.unlink(tenant.mnt + "/held by another process")

    def kill():
        holder.kill()
        holder.wait()
    check("unlinked, held by a process that is killed", samples, lambda: len(tenant.trash()) == 1, kill)

    # several names: nothing happens until the last one goes, and then not before the last close
    lower, data = made(tenant, "name 1")
    os.mkdir(tenant.mnt + "/d")
    for name in ("name 2", "d/name 3"):
        os.link(tenant.mnt + "/name 1", f"{tenant.mnt}/{name}")
    fd = os.open(tenant.mnt + "/name 2", os.O_RDONLY)
    for name in ("name 1", "name 2"):
        os.unlink(f"{tenant.mnt}/{name}")
        tenant.wait_erased()
        report(read(tenant.mnt + "/d/name 3") == data and not tenant.trash(), f"{NAME}: {image.kind} of several names one goes: the file stays whole")
    (lower,) = [p for p in tenant.lower_files() if os.lstat(p).st_ino == os.fstat(fd).st_ino]
    made(tenant, "over", 100)
    samples = lower_samples(tenant, lower)
    os.rename(tenant.mnt + "/over", tenant.mnt + "/d/name 3")
    check("the last of three names replaced", samples, lambda: os.pread(fd, len(data), 0) == data, lambda: os.close(fd))

    # and one that nobody has open, by the same way
    lower, data = made(tenant, "a")
    os.link(tenant.mnt + "/a", tenant.mnt + "/b")
    os.unlink(tenant.mnt + "/a")
    (lower,) = [p for p in tenant.lower_files() if os.lstat(p).st_size > 70000]
    samples = lower_samples(tenant, lower)
    check("two names unlinked one after the other", samples, lambda: True, lambda: os.unlink(tenant.mnt + "/b"))
    tenant.unmount()


def main():
    rawimage.need_root_and_loops(NAME)
    if not os.path.exists("/dev/fuse"):
        rawimage.skip(NAME, "needs /dev/fuse")
        sys.exit(77)
    for kind in rawimage.filesystems():
        for test in (test_keyrings, test_policies, test_next_key, test_open):
            if len(sys.argv) > 2 and sys.argv[2] not in test.__name__:
                continue
            with Image(kind) as image:
                test(image)
    return 1 if rawimage.failures else 0


if __name__ == "__main__":
    sys.exit(main())
