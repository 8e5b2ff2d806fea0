#!/usr/bin/python3
"""Many processes of two users do everything at once to the same files; load_ops.py DIR PROCESSES SECONDS UID UID [--may-end] [SEED].

DIR is the working directory, so that a mount that was detached serves on. Content is made of 8-byte words that name their block, the
process and the step: whatever is read must be such words or zeros; one's own files must be what one wrote. --may-end: the mount may
end (ENOTCONN). Exit status 1 and a line for each finding. load_ops.py --check DIR: reads everything that is there.
"""
import ctypes
import errno
import mmap
import os
import random
import signal
import stat
import sys
import time
import traceback

BLOCK = 4096
BLOCKS = 160  # beyond the first group of tags
NAMES = 8
SHARED = ("s0", "s1", "s2", "s3")
DISPUTED = "b"  # taken from one of the users now and then
MAPPED = "m"  # files that nobody makes shorter, so that a map of them is safe
PUNCH, KEEP, ZERO = 2, 1, 16
# What another process's step in between explains, and modes of another user's file.
RACE = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.EPERM, errno.ENODATA,
        errno.ENXIO}
# What a right that ends explains.
LOST = {errno.EACCES, errno.EIO, errno.ESTALE, errno.EBADF}
# What the end of the mount explains: what the kernel could not write back any more is an EIO.
END = {errno.ENOTCONN, errno.ECONNABORTED, errno.EIO}
libc = ctypes.CDLL(None, use_errno=True)


def call(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def exchange(a, b):
    call(libc.renameat2(-100, a.encode(), -100, b.encode(), 2), "renameat2")


def fallocate(fd, mode, offset, length):
    call(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)), "fallocate")


def words(number, step, offset, length):
    """Of whole words, for this place of a file."""
    parts = []
    while length > 0:
        n = min(length, BLOCK - offset % BLOCK)
        parts.append(b"%04x%01x%03x" % (offset // BLOCK, number, step % 4096) * (n // 8))
        offset, length = offset + n, length - n
    return b"".join(parts)


def judge(path, data, offset):
    """Nobody wrote anything else there."""
    zeros = bytes(8)
    for at in range(0, len(data) // 8 * 8, BLOCK):
        block = b"%04x" % ((offset + at) // BLOCK)
        part = data[at:at + BLOCK]
        for word in {part[k:k + 8] for k in range(0, len(part) // 8 * 8, 8)}:
            if word != zeros and word[:4] != block:
                raise ValueError(f"{path}: {word!r} in block {int(block, 16)}")


def difference(data, expected):
    if data == expected:
        return "as it should be"
    at = next((k for k, (a, b) in enumerate(zip(data, expected)) if a != b), min(len(data), len(expected)))
    at -= at % 8
    return f"{len(data)} bytes of {len(expected)}, from {at} on {data[at:at + 8]!r}, not {bytes(expected[at:at + 8])!r}"


class Worker:
    def __init__(self, number, seed):
        self.number = number
        self.random = random.Random(seed * 1000 + number)
        self.steps = 0
        self.own = {}  # path: content
        self.done = {}

    def place(self, disputed=False):
        d = DISPUTED if disputed else self.random.choice(SHARED)
        return f"{d}/n{self.random.randrange(NAMES)}"

    def span(self, size=BLOCKS * BLOCK, whole=False):
        """Offset and length inside of size, of words."""
        r = self.random
        length = r.choice((8, 64, BLOCK, BLOCK, 3 * BLOCK, 20 * BLOCK))
        offset = r.randrange(max(1, size - length)) // 8 * 8
        if whole or r.random() < 0.5:
            offset, length = offset // BLOCK * BLOCK, max(length, BLOCK)
        return offset, length

    def words(self, offset, length):
        self.steps += 1
        return words(self.number, self.steps, offset, length)

    # Everybody's files.

    def create(self, path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | self.random.choice((0, os.O_EXCL, os.O_TRUNC)), 0o666)
        try:
            self.write_at(fd)
        finally:
            os.close(fd)

    def write_at(self, fd):
        offset, length = self.span()
        os.pwrite(fd, self.words(offset, length), offset)

    def opened(self, path, flags=os.O_RDWR):
        return os.fdopen(os.open(path, flags | os.O_NOFOLLOW), "rb" if flags == os.O_RDONLY else "r+b", buffering=0)

    def write(self, path):
        with self.opened(path) as f:
            for _ in range(self.random.randrange(1, 4)):
                self.write_at(f.fileno())
            if self.random.random() < 0.3:
                self.random.choice((os.fsync, os.fdatasync))(f.fileno())

    def read(self, path):
        with self.opened(path, os.O_RDONLY | (os.O_DIRECT if self.random.random() < 0.2 else 0)) as f:
            offset = self.random.randrange(BLOCKS) * BLOCK
            room = mmap.mmap(-1, 16 * BLOCK)
            judge(path, room[:os.preadv(f.fileno(), [room], offset)], offset)

    def cut(self, path):
        size = self.random.randrange(BLOCKS * BLOCK) // 8 * 8
        if self.random.random() < 0.2:
            os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW))
        else:
            os.truncate(path, size)

    def punch(self, path):
        with self.opened(path) as f:
            fallocate(f.fileno(), self.random.choice((PUNCH | KEEP, ZERO | KEEP, 0)), *self.span())

    def seek(self, path):
        with self.opened(path, os.O_RDONLY) as f:
            os.lseek(f.fileno(), self.random.randrange(BLOCKS) * BLOCK, self.random.choice((os.SEEK_DATA, os.SEEK_HOLE)))

    def mapped(self, _path):
        """The whole of it has been written once, and nobody makes it shorter."""
        with self.opened(f"{MAPPED}/{self.random.randrange(4)}") as f, mmap.mmap(f.fileno(), 64 * BLOCK) as m:
            for _ in range(3):
                offset, length = self.span(64 * BLOCK)
                length = min(length, 64 * BLOCK - offset)
                m[offset:offset + length] = self.words(offset, length)
                offset, length = self.span(64 * BLOCK, True)
                judge(MAPPED, m[offset:offset + length], offset)
            if self.random.random() < 0.3:
                m.flush()
            if self.random.random() < 0.2:
                fallocate(f.fileno(), PUNCH | KEEP, *self.span(64 * BLOCK))

    def held(self, path):
        """Removed while it is open: still there for who has it."""
        with self.opened(path) as f:
            os.unlink(path)
            self.write_at(f.fileno())
            offset = self.random.randrange(BLOCKS) * BLOCK
            judge(path, os.pread(f.fileno(), 4 * BLOCK, offset), offset)

    def xattr(self, path):
        name = f"user.{self.random.randrange(3)}"
        roll = self.random.randrange(4)
        if roll < 2:
            os.setxattr(path, name, self.words(0, 8) * self.random.choice((1, 10, 60)))
        elif roll == 2:
            value = os.getxattr(path, name)
            if value != value[:8] * (len(value) // 8):
                raise ValueError(f"{path}: {name} is not one writer's")
        else:
            os.removexattr(path, self.random.choice(os.listxattr(path) or [name]))

    def list(self, path):
        with os.scandir(os.path.dirname(path)) as entries:
            for e in entries:
                if e.name[0] == "n" and self.random.random() < 0.2:
                    os.stat(e.path, follow_symlinks=False)

    def attributes(self, path):
        self.random.choice((os.utime, os.stat, lambda p: os.access(p, os.R_OK), lambda p: os.chmod(p, 0o666)))(path)

    def copy(self, path):
        # Only to the same place: a word names its block.
        offset, length = self.span(whole=True)
        with self.opened(path, os.O_RDONLY) as a, self.opened(self.place()) as b:
            os.copy_file_range(a.fileno(), b.fileno(), length, offset, offset)

    def names(self, path):
        roll = self.random.randrange(9)
        disputed = path.startswith(DISPUTED)
        if roll < 2:
            os.rename(path, self.place(disputed))
        elif roll == 2:
            exchange(path, self.place(disputed))
        elif roll == 3:
            os.link(path, self.place(disputed), follow_symlinks=False)
        elif roll == 4:
            os.unlink(path)
        elif roll == 5:
            os.symlink("n0" * self.random.choice((1, 100)), path)
        elif roll == 6:
            os.readlink(path)
        elif roll == 7:
            os.mkdir(path, 0o777)
        else:
            os.rmdir(path)

    # One's own, among the others: what is in them is known.

    def make(self, _path):
        if len(self.own) > 6:
            return
        path = f"{self.random.choice(SHARED)}/k{self.number}.{self.steps}"
        data = self.words(0, self.random.choice((0, 8, 3000, 2 * BLOCK, 70 * BLOCK)))
        with open(path, "xb", buffering=0) as f:
            self.own[path] = bytearray(data)
            if f.write(data) != len(data):
                raise ValueError(f"{path}: a short write")

    def some_own(self):
        path = self.random.choice(list(self.own))
        return path, self.own.pop(path)  # of unknown content until the step is done

    def change(self, _path):
        if not self.own:
            return
        path, data = self.some_own()
        r = self.random
        offset, length = self.span(len(data) + 3 * BLOCK)
        roll = r.randrange(6)
        with self.opened(path) as f:
            if roll == 0:
                size = r.randrange(len(data) + 2 * BLOCK) // 8 * 8
                os.ftruncate(f.fileno(), size)
                data = data[:size] + bytes(max(0, size - len(data)))
            elif roll == 1:
                fallocate(f.fileno(), r.choice((PUNCH, ZERO)) | KEEP, offset, length)
                end = min(offset + length, len(data))
                if offset < end:
                    data[offset:end] = bytes(end - offset)
            elif roll == 2 and len(data) >= 16:
                offset, length = self.span(len(data))
                length = min(length, len(data) - offset) // 8 * 8
                new = self.words(offset, length)
                with mmap.mmap(f.fileno(), len(data)) as m:
                    m[offset:offset + length] = new
                    if r.random() < 0.5:
                        m.flush()
                data[offset:offset + length] = new
            else:
                new = self.words(offset, length)
                os.pwrite(f.fileno(), new, offset)
                data += bytes(max(0, offset - len(data)))
                data[offset:offset + length] = new
            if r.random() < 0.3:
                os.fsync(f.fileno())
        self.own[path] = data

    def move(self, _path):
        if not self.own:
            return
        path, data = self.some_own()
        new = f"{self.random.choice(SHARED)}/k{self.number}.{self.steps}m"
        self.steps += 1
        if self.random.random() < 0.5:
            os.rename(path, new)
        else:
            os.link(path, new)
            os.unlink(path)
        self.own[new] = data

    def look(self, _path):
        if not self.own:
            return
        path, data = self.some_own()
        with self.opened(path, os.O_RDONLY) as f:
            found = f.read()
            if found != data:
                raise ValueError(f"{path}: {difference(found, data)}")
        if self.random.random() < 0.3:
            os.unlink(path)
        else:
            self.own[path] = data

    STEPS = [(create, 6), (write, 8), (read, 8), (cut, 3), (punch, 3), (seek, 2), (mapped, 4), (held, 2), (xattr, 4), (list, 3), (attributes, 3),
             (copy, 2), (names, 10), (make, 3), (change, 8), (move, 2), (look, 4)]
    OWN = {make, change, move, look}

    def step(self, may_end):
        what = self.random.choices([s for s, _ in self.STEPS], [w for _, w in self.STEPS])[0]
        disputed = what not in (Worker.mapped, Worker.copy) and what not in self.OWN and self.random.random() < 0.2
        path = self.place(disputed)
        self.done[what.__name__] = self.done.get(what.__name__, 0) + 1
        try:
            what(self, path)
        except OSError as e:
            if e.errno in END and may_end:
                return False
            if what in self.OWN or not (e.errno in RACE or (disputed and e.errno in LOST)):
                raise
        return True

    def run(self, seconds, may_end):
        findings, going = 0, True
        end = time.monotonic() + seconds
        while going and time.monotonic() < end and findings < 5:
            try:
                going = self.step(may_end)
            except (OSError, ValueError):
                print(f"process {self.number}, step {self.steps}: {traceback.format_exc()}", flush=True)
                findings += 1
        if going and not may_end:
            while self.own and findings < 5:
                try:
                    self.look("")
                except (OSError, ValueError):
                    print(f"process {self.number}, at the end: {traceback.format_exc()}", flush=True)
                    findings += 1
        return findings


def forgetful(seed):
    """The kernel drops its inodes now and then, as it does when memory is short."""
    r = random.Random(seed)
    while True:
        time.sleep(r.uniform(0.05, 0.8))
        try:
            with open("/proc/sys/vm/drop_caches", "w") as f:
                f.write("2")
        except OSError:
            pass


def check(top):
    bad = 0
    os.chdir(top)
    for where, _, names in os.walk(".", onerror=print):
        for name in names:
            path = os.path.join(where, name)
            try:
                if stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
                    with open(path, "rb") as f:
                        data = f.read()
                    judge(path, data, 0)
                    if os.stat(path).st_size != len(data):
                        raise ValueError(f"{path}: {len(data)} bytes of {os.stat(path).st_size}")
            except (OSError, ValueError) as e:
                print(e)
                bad += 1
    return bad


def prepare():
    for d in SHARED + (DISPUTED, MAPPED):
        os.makedirs(d, exist_ok=True)
        os.chmod(d, 0o777)
    for n in range(4):
        with open(f"{MAPPED}/{n}", "wb") as f:
            f.write(words(0, 0, 0, 64 * BLOCK))
        os.chmod(f"{MAPPED}/{n}", 0o666)


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    if sys.argv[1] == "--check":
        sys.exit(check(sys.argv[2]) > 0)
    may_end = "--may-end" in sys.argv
    processes, seconds, users = int(args[1]), float(args[2]), [int(a) for a in args[3:5]]
    seed = int(args[5]) if len(args) > 5 else random.randrange(1 << 30)
    os.chdir(args[0])
    os.umask(0)
    prepare()
    dropping = os.fork()
    if dropping == 0:
        forgetful(seed)
    pids = []
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            uid = users[number % 2]
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            w = Worker(number, seed)
            bad = w.run(seconds, may_end)
            if number == 0:
                print("# steps of one process:", ", ".join(f"{k} {v}" for k, v in sorted(w.done.items())), flush=True)
            os._exit(bad > 0)
        pids.append(pid)
    bad = [os.waitpid(pid, 0)[1] for pid in pids]
    if may_end:  # a page of a map that cannot be read any more
        bad = [status for status in bad if status != signal.SIGBUS]
    os.kill(dropping, signal.SIGKILL)
    os.waitpid(dropping, 0)
    if any(bad):
        print(f"seed {seed}; status {bad}")
    sys.exit(any(bad))


main()
