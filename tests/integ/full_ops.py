"""Writers on a full disk: full_ops.py MOUNT STATE make|fill|check [SEED]   (test_full_writers.sh)
make: files of two users. fill: with no space left they overwrite, append, map, cut, rename, make; what was acknowledged by fsync is
noted in STATE, what failed may be as before or as after. check: everything reads, and nothing else than that."""
import ctypes
import errno
import json
import mmap
import os
import random
import signal
import sys

top, state, verb = sys.argv[1:4]
seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.getrandbits(32)
PAGE = 4096
USERS = (0, 61001)
NO_SPACE = ("ENOSPC", "EDQUOT")
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
failed = 0
counts = {}


def say(good, name, why=""):
    global failed
    failed += not good
    print(f"{'ok' if good else 'not ok'} - test_full_writers.sh: {os.environ['WHAT']}: {name}{'' if good else ': ' + why}", flush=True)


def as_user(uid):
    os.setegid(0)
    os.seteuid(0)
    os.setegid(uid)
    os.seteuid(uid)


class File:
    """low and high: its size in blocks; may: for each block the tags that it may show (0: zeros)."""

    def __init__(self, path, uid, low=0, high=0, may=()):
        self.path, self.uid, self.low, self.high = path, uid, low, high
        self.may = [set(m) for m in may]
        self.tag = max([0] + [t for m in self.may for t in m])

    def at(self, n):
        while len(self.may) <= n:
            self.may.append({0})
        return self.may[n]

    def wrote(self, first, count, tag, sure):
        for n in range(first, first + count):
            self.at(n)
            self.may[n] = {tag} if sure else self.may[n] | {tag}
        self.high = max(self.high, first + count)
        if sure:
            self.low = max(self.low, first + count)

    def cut(self, size, sure):
        self.at(size)
        for n in range(size, len(self.may)):
            self.may[n] = {0} if sure else self.may[n] | {0}
        self.low, self.high = (size, size) if sure else (min(self.low, size), max(self.high, size))

    def problem(self):
        try:
            with open(self.path, "rb") as f:
                data = f.read()
        except OSError as e:
            return errno.errorcode[e.errno]
        if len(data) % PAGE or not self.low * PAGE <= len(data) <= self.high * PAGE:
            return f"{len(data)} bytes, not {self.low} to {self.high} blocks"
        for n in range(len(data) // PAGE):
            block = data[n * PAGE:(n + 1) * PAGE]
            if block != block[:1] * PAGE or block[0] not in self.at(n):
                return f"block {n} is {block[0]}, not of {sorted(self.at(n))}"
        return ""


def attempt(name, call):
    """None, or the errno's name."""
    try:
        call()
        got = None
    except OSError as e:
        got = errno.errorcode[e.errno]
    c = counts.setdefault(name, {})
    c[got or "done"] = c.get(got or "done", 0) + 1
    return got


def next_tag(f):
    f.tag = f.tag % 250 + 1
    return f.tag


def write(f, first, count, how):
    tag = next_tag(f)
    data = bytes([tag]) * (count * PAGE)

    def plain():
        fd = os.open(f.path, os.O_RDWR)
        try:
            done = os.pwrite(fd, data, first * PAGE)
            if done < len(data):
                raise OSError(errno.ENOSPC, "short")
            os.fsync(fd)
        finally:
            os.close(fd)

    def mapped():
        fd = os.open(f.path, os.O_RDWR)
        try:
            m = mmap.mmap(fd, (first + count) * PAGE)
            m[first * PAGE:] = data
            m.flush()
            m.close()
            os.fsync(fd)
        finally:
            os.close(fd)

    got = attempt(how, mapped if how.startswith("map") else plain)
    f.wrote(first, count, tag, got is None)


def blocks(f):
    return os.stat(f.path).st_size // PAGE


def step(files, d, rnd, new):
    f = rnd.choice(files)
    kind = rnd.choice(("overwrite", "overwrite", "append", "map", "map a hole", "cut", "grow", "rename over", "create", "mkdir", "symlink",
                       "link", "setxattr", "allocate", "punch", "O_TRUNC"))
    now = blocks(f)
    if kind in ("overwrite", "map") and now:
        first = rnd.randrange(now)
        write(f, first, rnd.randint(1, min(now - first, 20)), kind)
    elif kind == "append":
        write(f, now, rnd.randint(1, 60), kind)
    elif kind == "map a hole":
        size = now + rnd.randint(1, 8)
        if attempt("grow", lambda: os.truncate(f.path, size * PAGE)) is None:
            f.cut(now, True)
            f.high = max(f.high, size)
            f.low = f.high = size
            write(f, now, size - now, kind)
        else:
            f.high = max(f.high, size)
    elif kind in ("cut", "grow"):
        size = rnd.randrange(now) if kind == "cut" and now else now + rnd.randint(1, 100)
        got = attempt(kind, lambda: os.truncate(f.path, size * PAGE))
        if size <= now:
            f.cut(size, got is None)
        else:
            f.low, f.high = (size, size) if got is None else (f.low, max(f.high, size))
    elif kind == "O_TRUNC":
        fd = None

        def empty():
            nonlocal fd
            fd = os.open(f.path, os.O_WRONLY | os.O_TRUNC)
        f.cut(0, attempt(kind, empty) is None)
        if fd is not None:
            os.close(fd)
    elif kind == "punch" and now:
        first = rnd.randrange(now)

        def punch():
            fd = os.open(f.path, os.O_RDWR)
            r = libc.fallocate(fd, 3, first * PAGE, 2 * PAGE)
            number = ctypes.get_errno()
            os.close(fd)
            if r:
                raise OSError(number, "punch")
        got = attempt(kind, punch)
        for n in range(first, min(first + 2, now)):
            f.at(n)
            f.may[n] = {0} if got is None else f.may[n] | {0}
    elif kind == "allocate":
        def allocate():
            fd = os.open(f.path, os.O_RDWR)
            r = libc.fallocate(fd, 1, 0, (now + 500) * PAGE)
            number = ctypes.get_errno()
            os.close(fd)
            if r:
                raise OSError(number, "allocate")
        attempt(kind, allocate)
    elif kind == "rename over" and len(files) > 4:
        victim = rnd.choice([x for x in files if x is not f])
        if attempt(kind, lambda: os.rename(f.path, victim.path)) is None:
            files.remove(victim)
            f.path = victim.path
    elif kind == "setxattr":
        attempt(kind, lambda: os.setxattr(f.path, "user.a", b"x" * 300))
    elif kind in ("create", "mkdir", "symlink", "link"):
        new[0] += 1
        path = f"{d}/{kind}{new[0]}"
        call = {"create": lambda: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)), "mkdir": lambda: os.mkdir(path),
                "symlink": lambda: os.symlink("t" * 2000, path), "link": lambda: os.link(f.path, path)}[kind]
        got = attempt(kind, call)
        if (got is None) != os.path.lexists(path):
            say(False, f"{kind} that said {got or 'nothing'}", "is there" if got else "is not there")
        # A file of two names would be cut and renamed twice.
        if got is None and kind == "link":
            os.unlink(path)


def load():
    with open(state) as s:
        return [File(**f) for f in json.load(s)]


def save(files):
    as_user(0)
    with open(state, "w") as s:
        json.dump([{"path": f.path, "uid": f.uid, "low": f.low, "high": f.high, "may": [sorted(m) for m in f.may]} for f in files], s)


def make():
    files = []
    os.chmod(top, 0o755)
    for uid in USERS:
        as_user(0)
        d = f"{top}/user{uid}"
        os.mkdir(d)
        os.chown(d, uid, uid)
        as_user(uid)
        for n in range(16):
            f = File(f"{d}/file{n}", uid)
            os.close(os.open(f.path, os.O_CREAT | os.O_WRONLY, 0o644))
            write(f, 0, (1, 16, 70, 130)[n % 4], "make")
            files.append(f)
    save(files)


def fill():
    rnd = random.Random(seed)
    print(f"# seed {seed}")
    files = load()
    mine = {uid: [f for f in files if f.uid == uid] for uid in USERS}
    new = [0]
    for _ in range(240):
        uid = rnd.choice(USERS)
        as_user(uid)
        step(mine[uid], f"{top}/user{uid}", rnd, new)
    save([f for uid in USERS for f in mine[uid]])
    for name, c in sorted(counts.items()):
        print(f"#   {name}: " + ", ".join(f"{k} {v}" for k, v in sorted(c.items())))
    # The kernel tells nobody but ENOSPC and EIO of what its cache could not write.
    strange = {f"{name}: {k}" for name, c in counts.items() for k in c if k not in ("done", "EIO") + NO_SPACE}
    say(not strange, "what fails says that there is no space", ", ".join(sorted(strange)))
    refused = sum(v for c in counts.values() for k, v in c.items() if k in NO_SPACE)
    say(refused > 20, "and much does fail", str(counts))
    removes = {k for name in ("cut", "O_TRUNC", "punch", "rename over") for k in counts.get(name, {})}
    say(removes == {"done"}, "cutting, emptying, punching and replacing work", ", ".join(sorted(removes)))


def check():
    wrong = [f"{f.path}: {p}" for f in load() if (p := f.problem())]
    say(not wrong, "every block is one that was written there, nothing acknowledged is lost", "; ".join(wrong))


signal.alarm(150)  # nothing may hang
{"make": make, "fill": fill, "check": check}[verb]()
sys.exit(failed != 0)
