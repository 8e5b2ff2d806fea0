#!/usr/bin/python3
# tests/run: core timeout=120
"""The storage attacker's table (docs/threat-model.md): what somebody who can write to the store does, and what the tenant's user
then gets. Everything goes the whole way: files are made through the mount, changed below it, and read through the mount again. A row
holds when the access ends in EIO (or the entry is left out), every byte that was read is the right one, and the log has an alarm about
that very file or directory; the last rows show what version 1 does not notice. Usage: test_attacker.py [BUILDDIR]"""
import atexit, base64, errno, json, os, shutil, stat, struct, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "golden"))
BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TENANTFS_BUILD", os.path.join(HERE, "../../build/gcc")))
PAGE, GROUP_1, GROUP_2 = 4096, 65, 194 # pages: a page, the tag pages of groups 1 and 2
LIFE_SECONDS = 60 # of one mount
failures = 0


def report(good, name, detail=""):
    global failures
    failures += not good
    print(f"{'ok' if good else 'not ok'} - attacker: {name}" + (f"\n  {detail}" if detail and not good else ""), flush=True)
    return good


def skip_all(reason):
    print(f"skip - attacker: everything: {reason}")
    sys.exit(0)


if os.geteuid() != 0:
    skip_all("needs root")
if not os.path.exists("/dev/fuse"):
    skip_all("there is no /dev/fuse")
try:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    import read_store
except ImportError:
    skip_all("python3-cryptography is not installed")


def program(name):
    for folder in ("fs", "keymgmt", "tools"):
        if os.access(f"{BUILD}/{folder}/{name}", os.X_OK):
            return f"{BUILD}/{folder}/{name}"
    report(False, f"{name} was built")
    sys.exit(1)


def sh(*words, status=0):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if status is not None and done.returncode != status:
        raise RuntimeError(f"{os.path.basename(words[0])} {words[1]}: status {done.returncode}: {done.stderr.strip()}")
    return done


SCRATCH = os.path.realpath(tempfile.mkdtemp(prefix="tenantfs-attacker-", dir=os.environ.get("TMPDIR", "/var/tmp")))
STORE, KEYS = SCRATCH + "/store", SCRATCH + "/keys"


class Tenant:
    def __init__(self, name, *options):
        self.name, self.mnt, self.secret = name, f"{SCRATCH}/mnt-{name}", f"{SCRATCH}/pass-{name}"
        self.spec, self.folder, self.daemon = f"{STORE}#{name}", f"{STORE}/t/{name}", None
        self.root = self.folder + "/root"
        atexit.register(self.clean)
        os.mkdir(self.mnt)
        with open(self.secret, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(f"correct horse of {name}\n")
        sh(program("tenantkey"), "create", self.spec, "--keys", KEYS, "--owner", "root", "--new-passphrase-file", self.secret,
           "--pbkdf-memory", "64", "--pbkdf-force-iterations", "1", "--journal-size", "1M", *options)
        self.ring = f"{KEYS}/{os.listdir(KEYS)[0]}/{name}.json"
        self.load_keys()

    def load_keys(self):
        self.keys = read_store.Keys(self.ring, "passphrase", open(self.secret, "rb").read().strip())

    def words(self, options=""):
        return [program("tenantfs"), "-f", self.spec, self.mnt, "-o", f"keys={KEYS},passfile={self.secret}{options}"]

    def mount(self, options=""):
        self.log = open(f"{SCRATCH}/log-{self.name}", "ab")
        self.daemon = subprocess.Popen(self.words(options), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        threading.Thread(target=self.watch, args=(self.daemon,), daemon=True).start()
        for _ in range(1500):
            if self.is_mounted():
                return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not mount: status {self.daemon.poll()}")

    @staticmethod
    def watch(daemon):
        """A daemon that hangs would hold this process too, beyond any signal."""
        try:
            daemon.wait(LIFE_SECONDS)
        except subprocess.TimeoutExpired:
            report(False, "the daemon answers")
            daemon.kill()

    def is_mounted(self):
        with open("/proc/self/mounts") as f:
            return any(line.split()[1] == self.mnt for line in f)

    def unmount(self):
        sh("umount", self.mnt)
        status, self.daemon = self.daemon.wait(60), None
        if status:
            report(False, f"the daemon of {self.name} ends well", f"status {status}")

    def clean(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        if os.path.isdir(self.mnt) and self.is_mounted():
            subprocess.run(["umount", "-l", self.mnt])

    def refusal(self):
        """The status of a mount that is refused and what it says; 0 when it is not."""
        done = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(1000):
            if done.poll() is not None:
                return done.returncode, done.stderr.read().strip()
            if self.is_mounted():
                sh("umount", self.mnt)
                done.wait(60)
                return 0, "it mounts"
            time.sleep(0.005)
        done.kill()
        return -1, "no answer"

    def ctl(self, *words, status=0):
        return sh(program("tenantctl"), words[0], words[1], self.spec, *words[2:], "--keys", KEYS, "--passphrase-file", self.secret,
                  status=status)

    def alarms(self):
        """Of the whole log: sequence number, the file or directory (hexadecimal), the message."""
        found = []
        for line in self.ctl("audit", "export").stdout.splitlines():
            record = json.loads(line)
            if record.get("severity_id") == 5:
                found.append((record["metadata"]["sequence"], record.get("file", {}).get("uid", ""), record.get("message", "")))
        return found

    # Where things are in the lower tree: docs/format.md, "Names".
    def name_in(self, lower_dir, name):
        record = read_store.unb64(os.readlink(lower_dir + "/.dir"))
        key = read_store.derive(self.keys.keys["nmk", struct.unpack_from("<H", record, 1)[0]], "name", record[3:19], 64)
        sealed = AESSIV(key).encrypt(name.encode(), [record[3:19]])
        text = b64(sealed)
        return text if len(text) <= 255 else "~" + b64(read_store.blake(b"", sealed))

    def lower(self, path):
        at = self.root
        for name in path.strip("/").split("/"):
            at += "/" + self.name_in(at, name)
        return at


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# ---- The attacker's hands.

def patch(path, offset, data):
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, data, offset)
    os.close(fd)


def peek(path, offset, length):
    fd = os.open(path, os.O_RDONLY)
    data = os.pread(fd, length, offset)
    os.close(fd)
    return data


def flip(path, offset, bit=0):
    patch(path, offset, bytes([peek(path, offset, 1)[0] ^ 1 << bit]))


def swap(path, a, b, length=PAGE, other=None):
    other = other or path
    x, y = peek(path, a, length), peek(other, b, length)
    patch(path, a, y)
    patch(other, b, x)


def exchange(a, b):
    os.rename(a, a + ".x")
    os.rename(b, a)
    os.rename(a + ".x", b)


def relink(path, text):
    os.unlink(path)
    os.symlink(text, path)


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def changed(text, byte):
    """The base64 text with one bit of that byte changed."""
    at = -(-byte * 8 // 6)
    return text[:at] + ALPHABET[ALPHABET.index(text[at]) ^ 32] + text[at + 1:]


def newest_slot(path):
    commits = [struct.unpack_from("<Q", peek(path, i * 1024 + 52, 8))[0] for i in (0, 1)]
    return commits.index(max(commits))


def entry_at(block):
    """Where the tag entry and the data of a block are, in bytes."""
    if block < 64:
        return 2048 + 32 * block, (1 + block) * PAGE
    group, index = divmod(block - 64, 128)
    page = GROUP_1 + 129 * group
    return page * PAGE + 32 * index, (page + 1 + index) * PAGE


PRESENCE = 132032 * PAGE # the first presence page


def punch(path, offset, length):
    sh("fallocate", "-p", "-o", str(offset), "-l", str(length), path)


# ---- What the user does.

content = {} # (row's directory, name): the right bytes


def write(base, name, data):
    with open(f"{acme.mnt}/{base}/{name}", "wb") as f:
        f.write(data)
    content[base, name] = data


def rewrite(base, name, offset, data):
    with open(f"{acme.mnt}/{base}/{name}", "r+b", buffering=0) as f:
        f.seek(offset)
        f.write(data)
        os.fsync(f.fileno())
    old = content[base, name]
    content[base, name] = old[:offset] + data + old[offset + len(data):]


def error_of(call, *args):
    try:
        return None, call(*args)
    except OSError as e:
        return e.errno, None


def read_blocks(path, size):
    """Each block's bytes, or the errno. As an application that goes on after an error."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        return [error_of(os.pread, fd, PAGE, at) for at in range(0, size, PAGE)]
    finally:
        os.close(fd)


def refused(name="f"):
    """EIO, at the open or from some block on; whatever does come is right."""
    def access(base):
        right = content[base, name]
        e, blocks = error_of(read_blocks, f"{acme.mnt}/{base}/{name}", len(right))
        if e is not None:
            assert e == errno.EIO, f"{name}: {errno.errorcode[e]}"
            return
        for i, (e, data) in enumerate(blocks):
            assert e in (None, errno.EIO), f"{name}, block {i}: {errno.errorcode[e]}"
            assert e or data == right[i * PAGE:(i + 1) * PAGE], f"{name}, block {i}: wrong data"
        assert any(e for e, _ in blocks), f"{name}: nothing was refused"
    return access


def same(*names):
    def access(base):
        for name in names:
            with open(f"{acme.mnt}/{base}/{name}", "rb") as f:
                assert f.read() == content[base, name], f"{name}: wrong data"
    return access


def reads(name, data):
    """What version 1 lets pass is exactly this."""
    def access(base):
        with open(f"{acme.mnt}/{base}/{name}", "rb") as f:
            assert f.read() == (data(base) if callable(data) else data), f"{name}: other data"
    return access


def fails(call, *args, error=errno.EIO):
    e, result = error_of(call, *args)
    assert e == error, f"{call.__name__}: {errno.errorcode[e] if e else repr(result)[:80]}"


def both(*accesses):
    def access(base):
        for a in accesses:
            a(base)
    return access


def refused_dir(*names, inner="f"):
    def access(base):
        for name in names:
            path = f"{acme.mnt}/{base}/{name}"
            fails(os.listdir, path)
            fails(os.stat, path + "/" + inner)
            fails(lambda p=path: open(p + "/new", "w"))
    return access


def left_out(name, others=()):
    def access(base):
        listed = os.listdir(f"{acme.mnt}/{base}")
        assert sorted(listed) == sorted(others), f"listed: {listed}"
        fails(os.stat, f"{acme.mnt}/{base}/{name}", error=errno.ENOENT)
    return access


# ---- Rows. Each has a directory of its own. make: through the mount; old: below it, before the rotation of the keys; save: after it;
# change: through the mount; tamper: below it; access: through the mount. L gives the lower path of a name in the row's directory.

class Row:
    def __init__(self, name, make, tamper, access, alarm=True, old=None, save=None, change=None):
        self.name, self.make, self.tamper, self.access, self.alarm = name, make, tamper, access, alarm
        self.old, self.save, self.change = old, save, change
        self.base = f"row{len(rows)}"
        self.kept = {}
        rows.append(self)

    def L(self, name=""):
        return acme.lower(f"{self.base}/{name}")

    def find_ids(self):
        """Inode numbers, file ids and directory ids of the row's lower tree."""
        lower = self.L()
        for folder, folders, files in os.walk(lower):
            for name in folders + files + ["."]:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                self.inodes.add(st.st_ino)
                if stat.S_ISREG(st.st_mode) and st.st_size:
                    self.ids.add(peek(path, 8, 16).hex())
                elif stat.S_ISLNK(st.st_mode) and name == ".dir":
                    try:
                        self.ids.add(read_store.unb64(os.readlink(path))[3:19].hex())
                    except Exception: # the attacker's own record
                        pass

    def is_mine(self, alarm):
        words = alarm[2].replace(",", "").split()
        inode = words[words.index("inode") + 1] if "inode" in words else "0"
        return int(inode) in self.inodes if inode != "0" else alarm[1].replace("-", "") in self.ids


rows = []


def small(base, name="f"):
    """Three blocks and a piece; every slot in use."""
    write(base, name, os.urandom(3 * PAGE + 100))
    rewrite(base, name, 5, b"again")


def large(base, name="f"):
    """Groups 0, 1 and 2."""
    write(base, name, os.urandom(200 * PAGE + 100))
    rewrite(base, name, 5, b"again")


def sparse(base, name="f"):
    """A block beyond group 1,024: under a presence page."""
    with open(f"{acme.mnt}/{base}/{name}", "wb") as f:
        f.write(b"begin")
        f.seek(SPARSE_AT)
        f.write(b"far away")
    content[base, name] = None


SPARSE_AT = (64 + 128 * 1030) * PAGE


def newer(base):
    rewrite(base, "f", PAGE, b"newer")


def two(make):
    def both_made(base):
        make(base, "f")
        make(base, "g")
    return both_made


HEADER = [("magic", 0), ("version", 4), ("suite", 6), ("flags", 7), ("file id", 8), ("tenant uuid", 24), ("epoch", 40), ("size", 44),
    ("commit version", 52), ("block writes", 60), ("created", 68), ("modified", 76), ("first home", 84), ("its names", 100),
    ("fourth home", 144), ("first presence bits", 164), ("last presence bits", 291), ("presence pages", 292), ("set hash", 420),
    ("mask salt", 436), ("FEK nonce", 452), ("FEK", 464), ("FEK tag", 496), ("FEK check value", 512), ("XK nonce", 528), ("XK", 540),
    ("XK tag", 572), ("XK check value", 588), ("second FEK", 604), ("boundary", 680), ("reserved", 688), ("end of reserved", 991),
    ("MAC", 992), ("end of MAC", 1023)]
ENTRY = [("nonce", 0), ("tag", 12), ("state", 28), ("reserved", 29), ("end of reserved", 31)]
RECORD = [("version", 0), ("epoch", 1), ("id", 3), ("end of id", 18), ("binding", 19), ("end of binding", 33)]


def header_rows():
    for which in ("newer", "older"):
        for field, offset in HEADER:
            def tamper(r, offset=offset, which=which):
                f = r.L("f")
                slot = newest_slot(f)
                flip(f, offset + 1024 * (slot if which == "newer" else 1 - slot))
            Row(f"header, {which} slot: a bit of {field}", small, tamper, refused(), change=newer)
    for field, offset in (("version", 4), ("flags", 7), ("file id", 8), ("size", 44), ("homes", 84), ("FEK", 464), ("MAC", 992)):
        Row(f"header, both slots: a bit of {field}", small, lambda r, o=offset: [flip(r.L("f"), o + s, 1) for s in (0, 1024)], refused())
    Row("the newer slot zeroed", small, lambda r: patch(r.L("f"), 1024 * newest_slot(r.L("f")), bytes(1024)), refused(),
        change=newer)
    Row("the newer slot zeroed, in a large file", large, lambda r: patch(r.L("f"), 1024 * newest_slot(r.L("f")), bytes(1024)), refused(),
        change=newer)
    Row("the older slot zeroed", small, lambda r: patch(r.L("f"), 1024 * (1 - newest_slot(r.L("f"))), bytes(1024)), refused(),
        change=newer)
    Row("both slots zeroed", small, lambda r: patch(r.L("f"), 0, bytes(2048)), refused())
    Row("page 0 zeroed", small, lambda r: patch(r.L("f"), 0, bytes(PAGE)), refused())
    Row("page 0 zeroed, in a large file", large, lambda r: patch(r.L("f"), 0, bytes(PAGE)), refused())
    Row("page 0 punched", small, lambda r: punch(r.L("f"), 0, PAGE), refused())
    Row("the slots of another file", two(small), lambda r: patch(r.L("f"), 0, peek(r.L("g"), 0, 2048)), both(refused(), same("g")))
    Row("page 0 of another file", two(small), lambda r: patch(r.L("f"), 0, peek(r.L("g"), 0, PAGE)), both(refused(), same("g")))
    Row("page 0 of another file, in a large file", two(large), lambda r: patch(r.L("f"), 0, peek(r.L("g"), 0, PAGE)),
        both(refused(), same("g")))

    def keep(length):
        return lambda r: r.kept.update(page=peek(r.L("f"), 0, length))

    def back(r):
        patch(r.L("f"), 0, r.kept["page"])
    Row("the slots from an older epoch", small, back, refused(), old=keep(2048))
    Row("page 0 from an older epoch", small, back, refused(), old=keep(PAGE))
    Row("page 0 from an older epoch, in a large file", large, back, refused(), old=keep(PAGE))
    Row("the slots from an earlier commit", small, back, refused(), save=keep(2048), change=newer)
    Row("page 0 from an earlier commit", small, back, refused(), save=keep(PAGE), change=newer)
    Row("page 0 from an earlier commit, in a large file", large, back, refused(), save=keep(PAGE),
        change=newer)

    def old_block(r):
        for offset, length in zip(entry_at(1), (32, PAGE)):
            patch(r.L("f"), offset, r.kept[offset])

    def keep_block(r):
        r.kept.update({offset: peek(r.L("f"), offset, length) for offset, length in zip(entry_at(1), (32, PAGE))})
    Row("an earlier block with its entry put back", small, old_block, refused(), save=keep_block,
        change=newer)


def block_rows():
    for field, offset in ENTRY:
        Row(f"tag entry in page 0: a bit of {field}", small, lambda r, o=offset: flip(r.L("f"), entry_at(1)[0] + o), refused())
        Row(f"tag entry in a large file's page 0: a bit of {field}", large, lambda r, o=offset: flip(r.L("f"), entry_at(1)[0] + o),
            refused())
        Row(f"tag entry in a group's page: a bit of {field}", large, lambda r, o=offset: flip(r.L("f"), entry_at(100)[0] + o), refused())
    for state, what in ((0, "none"), (2, "HOLE"), (3, "unknown")):
        Row(f"tag entry: DATA becomes {what}", large, lambda r, s=state: patch(r.L("f"), entry_at(100)[0] + 28, bytes([s])), refused())
    Row("tag entry: zeros", large, lambda r: patch(r.L("f"), entry_at(100)[0], bytes(32)), refused())
    for block, make in ((0, small), (3, small), (63, large), (64, large), (199, large), (200, large)):
        for offset in (0, 4095):
            Row(f"data: a bit of block {block}, byte {offset}, of {'201' if make is large else '4'}", make,
                lambda r, b=block, o=offset: flip(r.L("f"), entry_at(b)[1] + o), refused())
    for make, a, b in ((small, 0, 1), (large, 70, 180)):
        which = "small" if make is small else "large"

        def entries(r, a=a, b=b):
            swap(r.L("f"), entry_at(a)[0], entry_at(b)[0], 32)

        def data(r, a=a, b=b):
            swap(r.L("f"), entry_at(a)[1], entry_at(b)[1])

        def across(r, a=a):
            swap(r.L("f"), entry_at(a)[1], entry_at(a)[1], other=r.L("g"))

        def across_whole(r, a=a):
            swap(r.L("f"), entry_at(a)[0], entry_at(a)[0], 32, other=r.L("g"))
            across(r, a)
        Row(f"two blocks of a {which} file swapped", make, data, refused())
        Row(f"two blocks of a {which} file swapped with their entries", make, lambda r, e=entries, d=data: (e(r), d(r)), refused())
        Row(f"two entries of a {which} file swapped", make, entries, refused())
        Row(f"blocks of two {which} files swapped", two(make), across, both(refused("f"), refused("g")))
        Row(f"blocks of two {which} files swapped with their entries", two(make), across_whole, both(refused("f"), refused("g")))
    Row("tag pages of two groups swapped", large, lambda r: swap(r.L("f"), GROUP_1 * PAGE, GROUP_2 * PAGE), refused())
    Row("two whole groups swapped", large, lambda r: swap(r.L("f"), GROUP_1 * PAGE, GROUP_2 * PAGE, 8 * PAGE), refused())
    Row("a whole group taken from another file", two(large), lambda r: swap(r.L("f"), GROUP_1 * PAGE, GROUP_1 * PAGE, 129 * PAGE,
        other=r.L("g")), both(refused("f"), refused("g")))
    for verb, act in (("zeroed", lambda f, at, n: patch(f, at, bytes(n))), ("punched", punch)):
        Row(f"a block {verb}", small, lambda r, a=act: a(r.L("f"), entry_at(1)[1], PAGE), refused())
        Row(f"a block of a large file {verb}", large, lambda r, a=act: a(r.L("f"), entry_at(100)[1], PAGE), refused())
        Row(f"a group's tag page {verb}", large, lambda r, a=act: a(r.L("f"), GROUP_1 * PAGE, PAGE), refused())
        Row(f"a whole group {verb}", large, lambda r, a=act: a(r.L("f"), GROUP_1 * PAGE, 129 * PAGE), refused())
        Row(f"the tail {verb}", large, lambda r, a=act: a(r.L("f"), entry_at(190)[1], 11 * PAGE), refused())
        Row(f"the tag entries in page 0 {verb}" if verb == "zeroed" else f"everything behind page 0 {verb}", large,
            lambda r, a=act, v=verb: a(r.L("f"), *((2048, 2048) if v == "zeroed" else (PAGE, 260 * PAGE))), refused())
    for what, make, length in (("its last page", small, lambda n: n - PAGE), ("its last bytes", small, lambda n: n - 50),
            ("all but page 0", small, lambda n: PAGE), ("half of page 0 too", small, lambda n: 2048), ("all but a byte", small, lambda n: 1),
            ("its last group", large, lambda n: GROUP_2 * PAGE), ("half a page", large, lambda n: n - 2048),
            ("half of it", large, lambda n: n // 2)):
        Row(f"cut off a {'small' if make is small else 'large'} file: {what}", make,
            lambda r, n=length: os.truncate(r.L("f"), n(os.path.getsize(r.L("f")))), refused())

    def refused_far(base):
        fd = os.open(f"{acme.mnt}/{base}/f", os.O_RDONLY)
        try:
            fails(os.pread, fd, 8, SPARSE_AT)
            assert os.pread(fd, 5, 0) == b"begin"
        finally:
            os.close(fd)
    for what, tamper in (("a bit set", lambda r: flip(r.L("f"), PRESENCE + 2000)), ("the bit of the group cleared", lambda r:
            patch(r.L("f"), PRESENCE, bytes(4064))), ("a bit of its MAC", lambda r: flip(r.L("f"), PRESENCE + 4064)), ("the last bit of "
            "its MAC", lambda r: flip(r.L("f"), PRESENCE + 4095, 7)), ("zeroed", lambda r: patch(r.L("f"), PRESENCE, bytes(PAGE))),
            ("punched", lambda r: punch(r.L("f"), PRESENCE, PAGE))):
        Row(f"presence page: {what}", sparse, tamper, refused_far)
    Row("presence page of another file", two(sparse), lambda r: patch(r.L("f"), PRESENCE, peek(r.L("g"), PRESENCE, PAGE)), refused_far)


def place_rows():
    def folders(base):
        for d in ("a", "b"):
            os.mkdir(f"{acme.mnt}/{base}/{d}")
            small(base, d + "/f")

    def moved(r):
        os.unlink(r.L("b/f"))
        os.rename(r.L("a/f"), acme.lower(f"{r.base}/b/f"))

    def copied(r):
        shutil.copyfile(r.L("a/f"), r.L("b/f"))

    def linked(r):
        os.unlink(r.L("b/f"))
        os.link(r.L("a/f"), acme.lower(f"{r.base}/b/f"))

    def refused_b(base):
        fails(lambda: open(f"{acme.mnt}/{base}/b/f", "rb"))
    Row("a file moved to another directory", folders, moved, refused_b)
    Row("a file copied to another directory", folders, copied, refused_b)
    Row("a file hard-linked into another directory", folders, linked, refused_b)
    Row("a file opens no more where it lives once it is seen linked elsewhere", folders, linked,
        both(refused_b, lambda base: fails(lambda: open(f"{acme.mnt}/{base}/a/f", "rb"))))
    Row("files of two directories swapped", folders, lambda r: exchange(r.L("a/f"), r.L("b/f")), both(refused("a/f"), refused("b/f")))
    Row("a file of another tenant", small, lambda r: shutil.copyfile(beta.lower("theirs"), r.L("f")), refused())
    Row("a file under a name sealed for another directory", folders, lambda r: os.rename(r.L("a/f"), r.L("b") + "/" +
        os.path.basename(r.L("a/f"))), lambda base: left_out_in_b(base))

    def left_out_in_b(base):
        assert os.listdir(f"{acme.mnt}/{base}/b") == ["f"] and os.listdir(f"{acme.mnt}/{base}/a") == []
    Row("a file in the place of a directory", folders, lambda r: (shutil.rmtree(r.L("b")), os.rename(r.L("a/f"), r.L("b"))),
        lambda base: fails(lambda: open(f"{acme.mnt}/{base}/b", "rb")))

    Row("a link out of the store in the place of a file", folders, lambda r: relink(r.L("b/f"), "/etc/passwd"), refused_b)
    Row("a link to its neighbour in the place of a directory", folders, lambda r: (shutil.rmtree(r.L("b")), os.symlink(os.path.basename(
        r.L("a")), r.L("b"))), lambda base: fails(os.listdir, f"{acme.mnt}/{base}/b"))
    Row("a directory renamed", folders, lambda r: (shutil.rmtree(r.L("b")), os.rename(r.L("a"), r.L("b"))), refused_dir("b"))
    Row("a directory swapped with its neighbour", folders, lambda r: exchange(r.L("a"), r.L("b")), refused_dir("a", "b"))

    def nested(base):
        folders(base)
        os.mkdir(f"{acme.mnt}/{base}/a/x")
        small(base, "a/x/f")
        os.mkdir(f"{acme.mnt}/{base}/b/x")
        small(base, "b/x/f")
    Row("a directory moved to another one", nested, lambda r: (shutil.rmtree(r.L("b/x")), os.rename(r.L("a/x"), r.L("b") + "/" +
        acme.name_in(r.L("b"), "x"))), refused_dir("b/x"))
    Row("a directory copied to another one", nested, lambda r: (shutil.rmtree(r.L("b/x")), shutil.copytree(r.L("a/x"), r.L("b") + "/" +
        acme.name_in(r.L("b"), "x"), symlinks=True)), both(refused_dir("b/x"), same("a/x/f")))
    Row("a tree with the record of its new place's old directory", nested, lambda r: (r.kept.update(text=os.readlink(r.L("b") + "/.dir")),
        shutil.rmtree(r.L("b")), os.rename(r.L("a"), r.L("b")), relink(r.L("b") + "/.dir", r.kept["text"])),
        lambda base: (names_gone(base), ))

    def names_gone(base):
        assert os.listdir(f"{acme.mnt}/{base}/b") == [], "names of another directory are shown"
        fails(lambda: open(f"{acme.mnt}/{base}/b/f", "rb"), error=errno.ENOENT)
    Row("a directory of another tenant", folders, lambda r: (shutil.rmtree(r.L("b")), shutil.copytree(beta.lower("theirs.d"), r.L("b"),
        symlinks=True)), refused_dir("b"))
    Row("a record copied from the neighbour", folders, lambda r: relink(r.L("b") + "/.dir", os.readlink(r.L("a") + "/.dir")),
        refused_dir("b"))
    Row("a record of the parent", folders, lambda r: relink(r.L("b") + "/.dir", os.readlink(r.L() + "/.dir")), refused_dir("b"))
    Row("a record removed, with content", folders, lambda r: os.unlink(r.L("b") + "/.dir"), refused_dir("b"))
    Row("a record that is a file", folders, lambda r: (os.unlink(r.L("b") + "/.dir"), open(r.L("b") + "/.dir", "w").close()),
        refused_dir("b"))
    Row("an empty record", folders, lambda r: relink(r.L("b") + "/.dir", "A"), refused_dir("b"))
    Row("a record that is cut off", folders, lambda r: relink(r.L("b") + "/.dir", os.readlink(r.L("b") + "/.dir")[:-8]), refused_dir("b"))
    for field, byte in RECORD:
        Row(f"directory record: a bit of {field}", folders, lambda r, b=byte: relink(r.L("b") + "/.dir",
            changed(os.readlink(r.L("b") + "/.dir"), b)), refused_dir("b"))
    Row("a record from before a rename", folders, lambda r: relink(r.L("c") + "/.dir", r.kept["text"]), refused_dir("c"),
        save=lambda r: r.kept.update(text=os.readlink(r.L("b") + "/.dir")),
        change=lambda base: os.rename(f"{acme.mnt}/{base}/b", f"{acme.mnt}/{base}/c"))

    def empty(base):
        os.mkdir(f"{acme.mnt}/{base}/e")

    def usable(base):
        assert os.listdir(f"{acme.mnt}/{base}/e") == []
        write(base, "e/f", b"new")
        same("e/f")(base)
    Row("a record removed from an empty directory: it gets a new one", empty, lambda r: os.unlink(r.L("e") + "/.dir"), usable, alarm=False)


LONG = "n" * 250


def name_rows():
    def pair(base):
        small(base, "f")
        small(base, "g")
    for byte in (0, 15, 16):
        Row(f"a sealed name: a bit of byte {byte}", pair, lambda r, b=byte: os.rename(r.L("f"), os.path.join(r.L(),
            changed(os.path.basename(r.L("f")), b))), left_out("f", ["g"]))
    Row("a sealed name that is none", pair, lambda r: os.rename(r.L("f"), r.L() + "/hello world"), left_out("f", ["g"]))

    def long_names(base):
        small(base, LONG)
        small(base, LONG + "2")
    for what, tamper in (("a bit changed", lambda r: relink(r.L(LONG) + ".n", changed(os.readlink(r.L(LONG) + ".n"), 100))),
            ("removed", lambda r: os.unlink(r.L(LONG) + ".n")), ("cut off", lambda r: relink(r.L(LONG) + ".n", "AAAA")),
            ("a file", lambda r: (os.unlink(r.L(LONG) + ".n"), open(r.L(LONG) + ".n", "w").close()))):
        Row(f"a long name's sidecar: {what}: not listed", long_names, tamper, lambda base: only_listed(base, [LONG + "2"]))
    Row("sidecars of two long names swapped: neither is listed", long_names, lambda r: exchange(r.L(LONG) + ".n", r.L(LONG + "2") + ".n"),
        lambda base: only_listed(base, []))
    Row("a long name: a character of the entry changed", long_names, lambda r: os.rename(r.L(LONG), os.path.join(r.L(), "~" +
        changed(os.path.basename(r.L(LONG))[1:], 3))), lambda base: only_listed(base, [LONG + "2"]))

    def only_listed(base, names):
        listed = os.listdir(f"{acme.mnt}/{base}")
        assert listed == names, f"listed: {len(listed)}"
        # Who knows a name finds the file or nothing, but never another.
        for name in (LONG, LONG + "2"):
            e, data = error_of(lambda n=name: open(f"{acme.mnt}/{base}/{n}", "rb").read())
            assert e == errno.ENOENT or data == content[base, name]


TARGET = "/somewhere/" + "t" * 3000


def link_rows():
    def links(base):
        os.symlink("target of f", f"{acme.mnt}/{base}/f")
        os.symlink("target of g", f"{acme.mnt}/{base}/g")
        os.symlink(TARGET, f"{acme.mnt}/{base}/long")
        os.symlink(TARGET.upper(), f"{acme.mnt}/{base}/LONG")
        os.mkdir(f"{acme.mnt}/{base}/d")
        os.symlink("target of h", f"{acme.mnt}/{base}/d/h")

    def refused_link(*names):
        return both(*(lambda base, n=name: fails(os.readlink, f"{acme.mnt}/{base}/{n}") for name in names))

    def record(path):
        return os.path.dirname(path) + "/" + read_store.link_binding(os.path.basename(path))

    def swapped(r, a, b, with_records):
        exchange(r.L(a), r.L(b))
        if with_records:
            exchange(record(r.L(a)), record(r.L(b)))
    for a, b, what in (("f", "g", "of its directory"), ("long", "LONG", "of its directory, both long"), ("f", "d/h", "of another directory")):
        for with_records, how in ((False, ""), (True, ", bindings and all")):
            Row(f"a link swapped with one {what}{how}", links, lambda r, a=a, b=b, w=with_records: swapped(r, a, b, w), refused_link(a, b))
    Row("a link renamed over another one of its directory", links, lambda r: os.rename(r.L("g"), r.L("f")), refused_link("f"))
    Row("a link hard-linked over another one of its directory", links, lambda r: (os.unlink(r.L("f")), os.link(r.L("g"), r.L() + "/" +
        acme.name_in(r.L(), "f"), follow_symlinks=False)), refused_link("f"))
    Row("a link swapped, then renamed, exchanged or linked by the user", links, lambda r: exchange(r.L("f"), r.L("g")), both(
        lambda b: fails(os.rename, f"{acme.mnt}/{b}/f", f"{acme.mnt}/{b}/new"), lambda b: fails(os.rename, f"{acme.mnt}/{b}/g",
        f"{acme.mnt}/{b}/LONG"), lambda b: fails(lambda: os.link(f"{acme.mnt}/{b}/f", f"{acme.mnt}/{b}/new", follow_symlinks=False)),
        refused_link("f", "g")))
    for what, tamper in (("its first bit", lambda r: relink(record(r.L("f")), changed(os.readlink(record(r.L("f"))), 0))),
            ("its last byte", lambda r: relink(record(r.L("f")), changed(os.readlink(record(r.L("f"))), 14))),
            ("removed", lambda r: os.unlink(record(r.L("f")))),
            ("cut off", lambda r: relink(record(r.L("f")), os.readlink(record(r.L("f")))[:-4])),
            ("that of another link", lambda r: relink(record(r.L("f")), os.readlink(record(r.L("g"))))),
            ("a file", lambda r: (os.unlink(record(r.L("f"))), open(record(r.L("f")), "w").close()))):
        Row(f"a link's binding: {what}", links, tamper, refused_link("f"))
    for field, byte in (("epoch", 0), ("salt", 2), ("tag", 18), ("text", 34), ("last text", 43)):
        Row(f"link target: a bit of {field}", links, lambda r, b=byte: relink(r.L("f"), changed(os.readlink(r.L("f")), b)),
            refused_link("f"))
    Row("a link target in the clear", links, lambda r: relink(r.L("f"), "/etc/passwd"), refused_link("f"))
    Row("a link target that is cut off", links, lambda r: relink(r.L("f"), os.readlink(r.L("f"))[:-4]), refused_link("f"))

    def side(r, name, n):
        return r.L() + "/~" + b64(read_store.unb64(os.readlink(r.L(name))[:32])[2:18]) + f".{n}"
    for what, tamper in (("a bit of the first", lambda r: relink(side(r, "long", 0), changed(os.readlink(side(r, "long", 0)), 300))),
            ("a bit of the last", lambda r: relink(side(r, "long", 3), changed(os.readlink(side(r, "long", 3)), 0))),
            ("the first removed", lambda r: os.unlink(side(r, "long", 0))), ("the last removed", lambda r: os.unlink(side(r, "long", 3))),
            ("two of them swapped", lambda r: exchange(side(r, "long", 0), side(r, "long", 1))),
            ("swapped with another link's", lambda r: exchange(side(r, "long", 1), side(r, "LONG", 1))),
            ("the dot of the entry removed", lambda r: relink(r.L("long"), os.readlink(r.L("long"))[:-1])),
            ("a file", lambda r: (os.unlink(side(r, "long", 0)), open(side(r, "long", 0), "w").close()))):
        Row(f"a long link's sidecars: {what}", links, tamper, refused_link("long"))
    Row("a link of another tenant", links, lambda r: relink(r.L("f"), os.readlink(beta.lower("theirs.l"))), refused_link("f"))


def xattr_rows():
    def attributes(base):
        for name in ("f", "g"):
            small(base, name)
        os.mkdir(f"{acme.mnt}/{base}/d")
        for name in ("f", "g", "d"):
            os.setxattr(f"{acme.mnt}/{base}/{name}", "user.one", name.encode() + b" one")
            os.setxattr(f"{acme.mnt}/{base}/{name}", "user.two", name.encode() + b" two")
            os.setxattr(f"{acme.mnt}/{base}/{name}", "user." + "l" * 240, name.encode() + b" long")

    def lower_names(path):
        return sorted(n for n in os.listxattr(path) if n.startswith("user.tfs.") and "~" not in n)

    def flipped(path, name, byte):
        value = bytearray(os.getxattr(path, name))
        value[byte] ^= 1
        os.setxattr(path, name, bytes(value))

    def refused_value(name):
        """At least one attribute gives EIO, none a wrong value."""
        def access(base):
            path, refusals = f"{acme.mnt}/{base}/{name}", 0
            for attribute, right in (("one", b" one"), ("two", b" two"), ("l" * 240, b" long")):
                e, value = error_of(os.getxattr, path, "user." + attribute)
                assert e == errno.EIO or value == name.encode() + right, f"{attribute[:3]}: {e} {value}"
                refusals += e is not None
            assert refusals, "nothing was refused"
        return access

    def refused_names(name):
        def access(base):
            path = f"{acme.mnt}/{base}/{name}"
            fails(os.listxattr, path)
            assert sorted(error_of(os.getxattr, path, "user." + a)[0] or 0 for a in ("one", "two")) == [0, errno.ENODATA]
        return access
    for on, what in (("f", "a file's"), ("d", "a directory's")):
        for field, byte in (("salt", 0), ("tag", 16), ("text", 32), ("last byte", -1)):
            Row(f"{what} attribute: a bit of {field}", attributes, lambda r, o=on, b=byte: flipped(r.L(o), lower_names(r.L(o))[0], b),
                refused_value(on))

        def renamed(r, on=on):
            path = r.L(on)
            name = lower_names(path)[0]
            value = os.getxattr(path, name)
            os.removexattr(path, name)
            os.setxattr(path, "user.tfs." + changed(name[9:], 4), value)

        def swapped(r, on=on):
            path = r.L(on)
            a, b = lower_names(path)
            x, y = os.getxattr(path, a), os.getxattr(path, b)
            os.setxattr(path, a, y)
            os.setxattr(path, b, x)

        def long_flipped(r, on=on):
            path = r.L(on)
            flipped(path, next(n for n in os.listxattr(path) if n.startswith("user.tfs.~")), 40)
        Row(f"{what} attribute: a bit of its name", attributes, renamed, refused_names(on))
        Row(f"{what} attributes: values swapped", attributes, swapped, refused_value(on))
        Row(f"{what} attribute with a long name: a bit", attributes, long_flipped, refused_value(on))
        Row(f"{what} attribute: cut off", attributes, lambda r, o=on: os.setxattr(r.L(o), lower_names(r.L(o))[0], b"short"),
            refused_value(on))
        Row(f"{what} attribute in the clear", attributes, lambda r, o=on: os.setxattr(r.L(o), "user.tfs.planted", b"value"),
            lambda base, o=on: fails(os.listxattr, f"{acme.mnt}/{base}/{o}"))

    def from_other(r):
        names = lower_names(r.L("g"))
        for name in lower_names(r.L("f")):
            os.removexattr(r.L("f"), name)
        for name in names:
            os.setxattr(r.L("f"), name, os.getxattr(r.L("g"), name))
    Row("attributes of another file", attributes, from_other, lambda base: fails(os.listxattr, f"{acme.mnt}/{base}/f"))


def silent_rows():
    """What version 1 does not notice (docs/threat-model.md): exactly this, and no alarm."""
    def pair(base):
        small(base, "f")
        small(base, "g")
        os.mkdir(f"{acme.mnt}/{base}/d")
        for name in ("f", "d"):
            os.setxattr(f"{acme.mnt}/{base}/{name}", "user.one", b"one")
            os.setxattr(f"{acme.mnt}/{base}/{name}", "user.two", b"two")
        os.symlink("target of f", f"{acme.mnt}/{base}/l")
        os.symlink("target of g", f"{acme.mnt}/{base}/d/l")

    def silent(name, make, tamper, access, **more):
        Row("not noticed: " + name, make, tamper, access, alarm=False, **more)

    def gone(name):
        return lambda base: fails(os.lstat, f"{acme.mnt}/{base}/{name}", error=errno.ENOENT)
    silent("two files of one directory swapped", pair, lambda r: exchange(r.L("f"), r.L("g")),
           both(reads("f", lambda b: content[b, "g"]), reads("g", lambda b: content[b, "f"])))
    silent("a file linked over another one of its directory", pair, lambda r: (os.unlink(r.L("g")), os.link(r.L("f"), r.L() + "/" +
           acme.name_in(r.L(), "g"))), both(same("f"), reads("g", lambda b: content[b, "f"])))
    silent("a file deleted", pair, lambda r: os.unlink(r.L("f")), both(gone("f"), same("g")))
    silent("a directory deleted", pair, lambda r: shutil.rmtree(r.L("d")), both(gone("d"), same("f", "g")))
    silent("a directory emptied, record and all", pair, lambda r: [os.unlink(os.path.join(r.L("d"), n)) for n in os.listdir(r.L("d"))],
           lambda b: assert_equal(os.listdir(f"{acme.mnt}/{b}/d"), []))
    silent("a file emptied", pair, lambda r: os.truncate(r.L("f"), 0), both(reads("f", b""), same("g")))
    silent("a link deleted", pair, lambda r: os.unlink(r.L("l")), gone("l"))

    def old_file(r):
        with open(r.L("f"), "r+b") as f:
            f.truncate(len(r.kept["all"]))
            f.write(r.kept["all"])
        for name, value in r.kept["attributes"].items():
            os.setxattr(r.L("f"), name, value)

    def keep_file(r):
        with open(r.L("f"), "rb") as f:
            r.kept.update(all=f.read(), plain=content[r.base, "f"])
        r.kept["attributes"] = {n: os.getxattr(r.L("f"), n) for n in os.listxattr(r.L("f"))}

    def old_content(base):
        return next(r for r in rows if r.base == base).kept["plain"]
    silent("a whole file as it was before", pair, old_file, reads("f", old_content), save=keep_file, change=newer)
    silent("a whole large file as it was before", large, old_file, reads("f", old_content), save=keep_file, change=newer)

    def keep_block(r):
        r.kept.update({offset: peek(r.L("f"), offset, length) for offset, length in zip(entry_at(100), (32, PAGE))},
            plain=content[r.base, "f"])

    def old_block(r):
        for offset, length in zip(entry_at(100), (32, PAGE)):
            patch(r.L("f"), offset, r.kept[offset])
    silent("blocks of a file above 256 KiB as they were before, with their entries", large, old_block, reads("f", old_content),
           save=keep_block, change=lambda base: rewrite(base, "f", 100 * PAGE, b"newer"))

    def grow(base):
        with open(f"{acme.mnt}/{base}/f", "ab") as f:
            f.write(b"x" * 3 * PAGE)
        content[base, "f"] += b"x" * 3 * PAGE

    def slots(r):
        patch(r.L("f"), 0, r.kept["page"])
    silent("both slots of a file above 256 KiB as they were before: size, homes and times with them", large, slots,
           lambda b: reads("f", content[b, "f"][:200 * PAGE + 100])(b), save=lambda r: r.kept.update(page=peek(r.L("f"), 0, 2048)), change=grow)

    def binding(path):
        return os.path.dirname(path) + "/" + read_store.link_binding(os.path.basename(path))

    def keep_link(r):
        r.kept.update(place=r.L("l"), text=os.readlink(r.L("l")), binding=os.readlink(binding(r.L("l"))))

    def old_link(r):
        for path, text in ((r.kept["place"], r.kept["text"]), (binding(r.kept["place"]), r.kept["binding"])):
            if os.path.lexists(path):
                os.unlink(path)
            os.symlink(text, path)

    def newer_link(base):
        os.unlink(f"{acme.mnt}/{base}/l")
        os.symlink("newer target", f"{acme.mnt}/{base}/l")
    silent("a link as it was before, with the binding of then", pair, old_link,
           lambda b: assert_equal(os.readlink(f"{acme.mnt}/{b}/l"), "target of f"), save=keep_link, change=newer_link)
    silent("a link put back where it was before a rename, with the binding of then", pair, old_link,
           lambda b: assert_equal((os.readlink(f"{acme.mnt}/{b}/l"), os.readlink(f"{acme.mnt}/{b}/m")), ("target of f", "target of f")),
           save=keep_link, change=lambda b: os.rename(f"{acme.mnt}/{b}/l", f"{acme.mnt}/{b}/m"))

    def without_first(path):
        os.removexattr(path, acme_attribute(path))

    def acme_attribute(path):
        return sorted(n for n in os.listxattr(path) if n.startswith("user.tfs."))[0]
    for on, what in (("f", "a file"), ("d", "a directory")):
        silent(f"an attribute of {what} removed", pair, lambda r, o=on: without_first(r.L(o)),
               lambda b, o=on: assert_equal(len(os.listxattr(f"{acme.mnt}/{b}/{o}")), 1))
        silent(f"an attribute of {what} as it was before", pair, lambda r, o=on: [os.setxattr(r.L(o), n, v) for n, v in r.kept["old"].items()],
               lambda b, o=on: assert_equal(os.getxattr(f"{acme.mnt}/{b}/{o}", "user.one"), b"one"),
               save=lambda r, o=on: r.kept.update(old={n: os.getxattr(r.L(o), n) for n in os.listxattr(r.L(o)) if "tfs" in n}),
               change=lambda b, o=on: os.setxattr(f"{acme.mnt}/{b}/{o}", "user.one", b"newer"))
    silent("a directory moved back to where it was, with the record of then", pair, lambda r: (os.rename(r.L("e"), r.L() + "/" +
           r.kept["name"]), relink(r.L("d") + "/.dir", r.kept["text"])), lambda b: assert_equal(sorted(os.listdir(f"{acme.mnt}/{b}")),
           ["d", "f", "g", "l"]), save=lambda r: r.kept.update(text=os.readlink(r.L("d") + "/.dir"), name=os.path.basename(r.L("d"))),
           change=lambda b: os.rename(f"{acme.mnt}/{b}/d", f"{acme.mnt}/{b}/e"))
    silent("modes, owners and times", pair, lambda r: (os.chmod(r.L("f"), 0o640), os.chown(r.L("f"), 61001, 61002), os.utime(r.L("f"),
           (1, 2))), lambda b: assert_equal([getattr(os.stat(f"{acme.mnt}/{b}/f"), "st_" + n) for n in ("mode", "uid", "gid", "mtime")],
           [0o100640, 61001, 61002, 2]))
    silent("a fifo in the place of a file", pair, lambda r: (os.unlink(r.L("f")), os.mkfifo(r.L() + "/" + acme.name_in(r.L(), "f"))),
           lambda b: assert_equal(stat.S_ISFIFO(os.stat(f"{acme.mnt}/{b}/f").st_mode), True))
    silent("an orphaned sidecar and a half-made record", pair, lambda r: (os.symlink("x", r.L() + "/~orphan.n"), os.symlink("x", r.L() +
           "/~orphan.b"), os.symlink("x", r.L() + "/~orphan.c"), os.symlink("x", r.L() + "/.dir.new")), lambda b: assert_equal(sorted(os.listdir(f"{acme.mnt}/{b}")), ["d", "f", "g", "l"]))

    def longer(r):
        os.truncate(r.L("f"), os.path.getsize(r.L("f")) + 5 * PAGE)
    silent("random bytes behind the end: the content is what it was", pair, lambda r: patch(r.L("f"), os.path.getsize(r.L("f")),
           os.urandom(5 * PAGE)), same("f"))
    silent("a longer lower file: the content is what it was", large, longer, same("f"))
    silent("a longer lower file: its size is right once it was opened", small, longer, both(same("f"), lambda b: assert_equal(
           os.path.getsize(f"{acme.mnt}/{b}/f"), len(content[b, "f"]))))

    def append(base):
        with open(f"{acme.mnt}/{base}/f", "ab") as f:
            f.write(b"more")
        content[base, "f"] += b"more"

    def shorten(base):
        os.truncate(f"{acme.mnt}/{base}/f", 5000)
        content[base, "f"] = content[base, "f"][:5000]
    silent("a longer lower file: what is appended comes behind the right end", small, longer, both(append, same("f")))
    silent("a longer lower file: truncate(2) and attributes work", small, longer, both(shorten, lambda b: os.setxattr(
           f"{acme.mnt}/{b}/f", "user.a", b"1"), same("f")))
    silent("a lower file with a byte more", large, lambda r: os.truncate(r.L("f"), os.path.getsize(r.L("f")) + 1), same("f"))


def assert_equal(got, right):
    assert got == right, f"{got!r} instead of {right!r}"


# ---- The rows above, all at once.

def run_rows():
    acme.mount()
    for r in rows:
        os.mkdir(f"{acme.mnt}/{r.base}")
        r.make(r.base)
    acme.unmount()
    for r in rows:
        if r.old:
            r.old(r)
    sh(program("tenantkey"), "rotate", acme.spec, "--keys", KEYS, "--passphrase-file", acme.secret, "--no-progress")
    acme.load_keys()
    for r in rows:
        if r.save:
            r.save(r)
    acme.mount()
    for r in rows:
        if r.change:
            r.change(r.base)
    acme.unmount()
    for r in rows:
        r.inodes, r.ids = set(), set()
        r.find_ids()
        lower = r.L()
        r.tamper(r)
        r.inodes.update(os.lstat(os.path.join(d, n)).st_ino for d, folders, files in os.walk(lower) for n in folders + files)
    before = acme.alarms()
    report(before == [], "no alarm before the attacker came", before[:3])
    acme.mount()
    wrong = {}
    for r in rows:
        try:
            r.access(r.base)
        except AssertionError as e:
            wrong[r] = str(e)
        except OSError as e:
            wrong[r] = f"{errno.errorcode[e.errno]} {e.filename}"
    daemon_lives = acme.daemon.poll() is None
    alarms = acme.alarms()
    for r in rows:
        mine = [a for a in alarms if r.is_mine(a)]
        problem = wrong.get(r)
        if not problem and r.alarm and not mine:
            problem = "no alarm on the log"
        if not problem and not r.alarm and mine:
            problem = f"an alarm: {mine[0]}"
        report(not problem, r.name, problem)
    strays = [a for a in alarms if not any(r.is_mine(a) for r in rows)]
    report(not strays, "every alarm is about one of these", strays[:5])
    shown = sum(" alarm " in line for line in acme.ctl("audit", "show").stdout.splitlines())
    report(shown == len(alarms), "tenantctl audit show has them all", f"{shown} of {len(alarms)}")
    report(daemon_lives and acme.daemon.poll() is None, "the daemon lives")


# ---- With the tenant mounted, caches dropped.

def live_row(name, make, tamper, access):
    base = f"live{len(live_bases)}"
    live_bases.append(base)
    os.mkdir(f"{acme.mnt}/{base}")
    make(base)
    before, problem = len(acme.alarms()), None
    for folder, _, files in os.walk(f"{acme.mnt}/{base}"):
        for f in files:
            if not os.path.islink(os.path.join(folder, f)):
                drop(os.path.join(folder, f))
    everything_in_place()
    try:
        tamper(lambda n="": acme.lower(f"{base}/{n}"))
        access(base)
    except AssertionError as e:
        problem = str(e)
    if not problem and len(acme.alarms()) == before:
        problem = "no alarm on the log"
    report(not problem, "while mounted: " + name, problem)


live_bases = []


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def everything_in_place():
    """What was written a moment ago is not read from the disk before it is there."""
    until = time.monotonic() + 20
    while json.loads(sh(program("tenantctl"), "status", acme.spec, "--json").stdout)["journal"]["used"]:
        assert time.monotonic() < until, "the journal does not become empty"
        time.sleep(0.1)


def run_live():
    def held(tamper, block):
        """A file that stays open, read again behind the attacker's back."""
        def access(base):
            fd = os.open(f"{acme.mnt}/{base}/f", os.O_RDONLY)
            try:
                assert os.pread(fd, PAGE, block * PAGE) == content[base, "f"][block * PAGE:(block + 1) * PAGE]
                tamper(acme.lower(f"{base}/f"))
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                fails(os.pread, fd, PAGE, block * PAGE)
            finally:
                os.close(fd)
        return access
    nothing = lambda L: None
    live_row("a bit of a data block", small, lambda L: flip(L("f"), entry_at(1)[1]), refused())
    live_row("a header bit", small, lambda L: flip(L("f"), 1024 * newest_slot(L("f")) + 44), refused())
    live_row("blocks swapped", large, lambda L: swap(L("f"), entry_at(70)[1], entry_at(180)[1]), refused())
    live_row("cut short", small, lambda L: os.truncate(L("f"), PAGE), refused())
    live_row("a bit of a data block of an open file", small, nothing, held(lambda f: flip(f, entry_at(1)[1], 3), 1))
    live_row("a block of an open file punched", large, nothing, held(lambda f: punch(f, entry_at(100)[1], PAGE), 100))
    live_row("an open file cut", large, nothing, held(lambda f: os.truncate(f, 2 * PAGE), 100))
    live_row("an unknown name appears", small, lambda L: open(L() + "/planted", "w").close(),
        lambda base: assert_equal(os.listdir(f"{acme.mnt}/{base}"), ["f"]))
    live_row("a link target", lambda b: os.symlink("x", f"{acme.mnt}/{b}/l"), lambda L: relink(L("l"), "y"),
        lambda base: fails(os.readlink, f"{acme.mnt}/{base}/l"))


# ---- What is read at the mount: a refusal, with nothing shown and the store as it was.

DAMAGED, WRONG_KEY = 7, 6


def refused_mount(name, tamper, statuses=(DAMAGED,), alarm=False):
    """The attacker's change, a try to mount, and everything put back."""
    saved, tenant = SCRATCH + "/saved", ("policy", "tenant.json", "audit", "journal")
    shutil.rmtree(saved, ignore_errors=True)
    os.mkdir(saved)
    sh("cp", "-a", KEYS, STORE + "/store.json", *(f"{acme.folder}/{n}" for n in tenant), saved)
    record = os.readlink(acme.root + "/.dir")
    tamper()
    before = len(acme.alarms()) if alarm else 0
    status, said = acme.refusal()
    if alarm and len(acme.alarms()) == before:
        status, said = "without an alarm", said
    report(status in statuses, name + (": the mount is refused" if statuses != (0,) else ""), f"status {status}: {said}")
    sh("cp", "-a", saved + "/store.json", STORE)
    for n in tenant:
        sh("rm", "-rf", f"{acme.folder}/{n}")
        sh("cp", "-a", f"{saved}/{n}", acme.folder)
    sh("rm", "-rf", KEYS)
    sh("cp", "-a", saved + "/keys", KEYS)
    if os.path.isdir(acme.root + ".kept"):
        shutil.rmtree(acme.root)
        os.rename(acme.root + ".kept", acme.root)
    if not os.path.islink(acme.root + "/.dir") or os.readlink(acme.root + "/.dir") != record:
        sh("rm", "-f", acme.root + "/.dir")
        os.symlink(record, acme.root + "/.dir")


def edit_json(path, change):
    with open(path) as f:
        data = json.load(f)
    change(data)
    with open(path, "w") as f:
        json.dump(data, f)


def bump(text):
    """Another byte string of the same length, or another uuid."""
    at = len(text) // 2
    return text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1:]


def run_mount_rows():
    ring, policy = acme.ring, acme.folder + "/policy"
    members = json.load(open(ring))
    for member, value in members.items():
        if isinstance(value, str):
            refused_mount(f"keyring: {member} changed", lambda m=member, v=value: edit_json(ring, lambda j: j.update({m: bump(v)})), (6, 7))
        elif isinstance(value, int):
            refused_mount(f"keyring: {member} changed", lambda m=member, v=value: edit_json(ring, lambda j: j.update({m: v + 1})),
                (6, 7, 8, 9, 10))
    for kind in {k["kind"] for k in members["keys"]}:
        for field in ("wrapped", "epoch"):
            def tamper(kind=kind, field=field):
                def change(j):
                    for k in j["keys"]:
                        if k["kind"] == kind and field in k:
                            k[field] = bump(k[field]) if isinstance(k[field], str) else k[field] + 7
                edit_json(ring, change)
            refused_mount(f"keyring: {field} of {kind} changed", tamper, (6, 7))
    for field in ("secret", "trk", "salt", "public", "id", "name"):
        refused_mount(f"keyring: {field} of a slot changed", lambda f=field: edit_json(ring, lambda j: j["slots"][0].update(
            {f: bump(j["slots"][0][f])})), (6, 7))
    refused_mount("keyring: truncated", lambda: os.truncate(ring, 100))
    refused_mount("keyring: emptied", lambda: os.truncate(ring, 0))
    refused_mount("keyring: a byte in its middle", lambda: flip(ring, os.path.getsize(ring) // 2), (6, 7))
    refused_mount("keyring: of another tenant", lambda: shutil.copyfile(beta.ring, ring), (6, 7))
    refused_mount("keyring: from before the rotation", lambda: shutil.copyfile(SCRATCH + "/ring-before", ring), (6, 7))
    for what, tamper in (("a bit of the magic", lambda: flip(policy, 0)), ("a bit of the version", lambda: flip(policy, 8)),
            ("a bit of the nonce", lambda: flip(policy, 16)), ("a bit of the text", lambda: flip(policy, 50)),
            ("a bit of the tag", lambda: flip(policy, os.path.getsize(policy) - 1)), ("cut off", lambda: os.truncate(policy, 60)),
            ("emptied", lambda: os.truncate(policy, 0)), ("removed", lambda: os.unlink(policy)),
            ("an earlier version put back", lambda: shutil.copyfile(SCRATCH + "/policy-before", policy)),
            ("of another tenant", lambda: shutil.copyfile(beta.folder + "/policy", policy))):
        refused_mount(f"policy: {what}", tamper)
    refused_mount("keyring: from before the last policy", lambda: shutil.copyfile(SCRATCH + "/ring-before-policy", ring))
    refused_mount("not noticed: an earlier policy with the keyring of then, which lies in another place", lambda: (shutil.copyfile(
        SCRATCH + "/ring-before-policy", ring), shutil.copyfile(SCRATCH + "/policy-before", policy)), (0,))
    tenant = acme.folder + "/tenant.json"
    refused_mount("tenant.json: tenant_uuid changed", lambda: edit_json(tenant, lambda j: j.update(tenant_uuid=bump(j["tenant_uuid"]))),
        (6, 7))
    refused_mount("tenant.json: of another tenant", lambda: shutil.copyfile(beta.folder + "/tenant.json", tenant), (6, 7))
    refused_mount("tenant.json: suite changed", lambda: edit_json(tenant, lambda j: j.update(suite="xchacha20-poly1305")), (6, 7))
    refused_mount("tenant.json: tenant changed", lambda: edit_json(tenant, lambda j: j.update(tenant="other")), (6, 7))
    refused_mount("tenant.json: removed", lambda: os.unlink(tenant), (4, 7))
    refused_mount("tenant.json: cut off", lambda: os.truncate(tenant, 20))
    refused_mount("store.json: store_uuid changed", lambda: edit_json(STORE + "/store.json", lambda j: j.update(store_uuid=bump(
        j["store_uuid"]))), (4, 6, 7))
    refused_mount("store.json: cut off", lambda: os.truncate(STORE + "/store.json", 10))
    refused_mount("the root's record of another tenant", lambda: relink(acme.root + "/.dir", os.readlink(beta.root + "/.dir")), alarm=True)
    refused_mount("the root's record of a directory in it", lambda: relink(acme.root + "/.dir", os.readlink(acme.lower("row0") + "/.dir")),
        alarm=True)
    refused_mount("the root's record removed", lambda: os.unlink(acme.root + "/.dir"), alarm=True)
    refused_mount("a bit of the root's record", lambda: relink(acme.root + "/.dir", changed(os.readlink(acme.root + "/.dir"), 20)), alarm=True)
    refused_mount("the whole root of another tenant", lambda: (os.rename(acme.root, acme.root + ".kept"),
        shutil.copytree(beta.root, acme.root, symlinks=True)), alarm=True)


def run_audit_rows():
    folder = acme.folder + "/audit"
    segments = sorted(f"{folder}/{n}" for n in os.listdir(folder) if n.endswith(".seg"))
    report(acme.ctl("audit", "verify", status=None).returncode == 0, "control: the log is intact")
    for what, tamper in (("a bit of a header", lambda: flip(segments[0], 60)), ("a bit of a header's signature", lambda: flip(segments[0],
            4040)), ("a bit of a record", lambda: flip(segments[1], 4096 + 100)), ("a bit of a record's length", lambda: flip(segments[1],
            4096)), ("the end of a segment cut off", lambda: os.truncate(segments[1], os.path.getsize(segments[1]) - 10)),
            ("a segment removed", lambda: os.unlink(segments[1])), ("the last segment removed", lambda: os.unlink(segments[-1])),
            ("two segments swapped", lambda: exchange(segments[0], segments[1])), ("a segment replaced by another", lambda:
            shutil.copyfile(segments[0], segments[1])), ("a segment of another tenant", lambda: shutil.copyfile(
            beta.folder + "/audit/00000001.seg", segments[0])), ("a bit of audit/next", lambda: [flip(folder + "/next", at + 100)
            for at in (0, 4096)])):
        kept = SCRATCH + "/audit-kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)
        tamper()
        status = acme.ctl("audit", "verify", status=None).returncode
        report(status == 1, f"audit: {what}: verify says that it is broken", f"status {status}")
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)


def run_journal_rows():
    journal, slots = acme.folder + "/journal", (0, PAGE)
    fields = {"magic": 0, "version": 4, "suite": 6, "generation": 8, "epoch": 16, "size": 24, "tail": 32, "sequence": 40, "key": 80,
        "key's tag": 110, "key-check value": 130}
    for field, at in fields.items():
        refused_mount(f"journal: a bit of {field} in both slots", lambda a=at: [flip(journal, slot + a, 1) for slot in slots],
            (DAMAGED, 8) if field == "version" else (DAMAGED,))
    for slot in slots:
        refused_mount(f"journal: the slot at {slot} zeroed: the other one counts", lambda s=slot: patch(journal, s, bytes(512)), (0,))
    refused_mount("journal: both slots zeroed", lambda: patch(journal, 0, bytes(8 * PAGE)))
    refused_mount("journal: cut off", lambda: os.truncate(journal, 100000))
    refused_mount("journal: emptied", lambda: os.truncate(journal, 0))
    refused_mount("journal: removed", lambda: os.unlink(journal), (4,))
    refused_mount("journal: of another tenant", lambda: shutil.copyfile(beta.folder + "/journal", journal))
    refused_mount("journal: a fifo in its place", lambda: (os.unlink(journal), os.mkfifo(journal)), (1, DAMAGED))
    refused_mount("journal: bytes behind the superblocks: there was nothing to be done", lambda: patch(journal, 2 * PAGE, os.urandom(PAGE)), (0,))
    for what, tamper in (("damaged", lambda: patch(journal, 0, os.urandom(8 * PAGE))), ("cut off", lambda: os.truncate(journal, 100)),
            ("removed", lambda: os.unlink(journal))):
        tamper()
        before, problem = len(acme.alarms()), None
        acme.mount(",journal=reset")
        try:
            same("g")(next(r.base for r in rows if r.name == "the slots of another file"))
        except (AssertionError, OSError) as e:
            problem = str(e)
        acme.unmount()
        report(not problem and len(acme.alarms()) == before + 1 and acme.refusal()[0] == 0,
            f"journal: {what}: journal=reset starts a new one, which is on the log", problem)
    before = len(acme.alarms())
    acme.mount(",journal=reset")
    acme.unmount()
    report(len(acme.alarms()) == before, "journal: journal=reset leaves a good one alone")


def run_whole_store():
    """Undetected by version 1: the whole store as it was, with today's keyring."""
    saved = SCRATCH + "/whole"
    sh("cp", "-a", beta.folder, saved)
    beta.mount()
    with open(f"{beta.mnt}/since", "w") as f:
        f.write("then")
    beta.unmount()
    shutil.rmtree(beta.folder)
    sh("cp", "-a", saved, beta.folder)
    beta.mount()
    gone = not os.path.exists(f"{beta.mnt}/since") and os.path.exists(f"{beta.mnt}/theirs")
    beta.unmount()
    report(gone and not beta.alarms() and beta.ctl("audit", "verify", status=None).returncode == 0,
        "not noticed: a whole tenant's folder as it was before, its log included")


def main():
    global acme, beta
    atexit.register(lambda: os.environ.get("KEEP") or shutil.rmtree(SCRATCH, ignore_errors=True))
    sh(program("tenantkey"), "init", STORE, "--keys", KEYS)
    acme, beta = Tenant("acme"), Tenant("beta")
    beta.mount()
    with open(beta.mnt + "/theirs", "wb") as f:
        f.write(b"x" * (3 * PAGE + 100))
    os.mkdir(beta.mnt + "/theirs.d")
    with open(beta.mnt + "/theirs.d/f", "wb") as f:
        f.write(b"x" * 100)
    os.symlink("theirs", beta.mnt + "/theirs.l")
    beta.unmount()
    for group in (header_rows, block_rows, place_rows, name_rows, link_rows, xattr_rows, silent_rows):
        group()
    shutil.copyfile(acme.ring, SCRATCH + "/ring-before")
    run_rows()
    run_live()
    acme.unmount()
    shutil.copyfile(acme.folder + "/policy", SCRATCH + "/policy-before")
    shutil.copyfile(acme.ring, SCRATCH + "/ring-before-policy")
    with open(SCRATCH + "/policy-text", "w") as f:
        f.write("tenant acme\npermit all: user:root to any on /**\n")
    acme.ctl("policy", "apply", SCRATCH + "/policy-text")
    run_mount_rows()
    run_audit_rows()
    run_journal_rows()
    run_whole_store()


if __name__ == "__main__":
    main()
    sys.exit(failures != 0)
