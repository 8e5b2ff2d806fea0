#!/usr/bin/python3
"""Many processes change the same few directories at once; concurrent_ops.py DIR PROCESSES SECONDS [SEED].

Whatever is read must be one writer's whole content, and no call may fail in a way that a race does not explain.
Exit status 1 and one line for each finding. concurrent_ops.py --check DIR: reads everything that is there.
"""
import ctypes
import errno
import mmap
import os
import random
import signal
import sys
import time
import traceback

NAMES = 12  # in each directory, few enough to collide
DIRS = 4
# What another process's step in between explains.
RACE = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.EPERM}
libc = ctypes.CDLL(None, use_errno=True)


def whole(data):
    """One writer's content: its 16 bytes again and again."""
    return data == data[:16] * (len(data) // 16)


def read(path):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        data = b""
        while True:
            part = os.read(fd, 1 << 16)
            if not part:
                break
            data += part
        size = os.fstat(fd).st_size
    finally:
        os.close(fd)
    if not whole(data) or size != len(data):
        raise ValueError(f"{path}: {len(data)} bytes of {size} are not one writer's")


def contents(path, flags=0):
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        room = mmap.mmap(-1, 1 << 20)  # aligned, for O_DIRECT
        return bytes(room[:os.preadv(fd, [room], 0)])
    finally:
        os.close(fd)


def difference(data, expected):
    """Where two contents part, and what stands there."""
    if data == expected:
        return "as it should be"
    at = next((k for k, (a, b) in enumerate(zip(data, expected)) if a != b), min(len(data), len(expected)))
    there = data[at - at % 16:][:16]
    what = ("the end" if at == len(data) else "zeros" if not any(there)
            else f"step {int(there[8:], 16)} of process {int(there[:8], 16)}" if there.isalnum() else "no writer's bytes")
    return f"{len(data)} bytes of {len(expected)}, from {at} on {what}"


def story(path, data, expected):
    """All that tells a wrong size from wrong content, and the kernel's mistake from the disk's."""
    lines = [f"{path}: {difference(data, expected)}"]
    for name, again in (("read again", 0), ("past the cache", os.O_DIRECT)):
        try:
            lines.append(f"{name}: {difference(contents(path, again), expected)}")
        except OSError as e:
            lines.append(f"{name}: {e}")
    st = os.stat(path)
    lines.append(f"number {st.st_ino}, size {st.st_size}, modified {time.time() - st.st_mtime:.3f} s ago")
    forget()
    time.sleep(0.2)
    forget()
    try:
        lines.append(f"when the kernel has forgotten it: {difference(contents(path), expected)}")
    except OSError as e:
        lines.append(f"when the kernel has forgotten it: {e}")
    return "; ".join(lines)


def forget():
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("2")
    except OSError:
        pass


def forgetful(seed):
    """The kernel drops its inodes now and then, as it does when memory is short."""
    r = random.Random(seed)
    while True:
        time.sleep(r.uniform(0.05, 0.8))
        forget()


def exchange(a, b):
    if libc.renameat2(-100, a.encode(), -100, b.encode(), 2) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


class Worker:
    def __init__(self, top, number, seed):
        self.top, self.number = top, number
        self.random = random.Random(seed * 1000 + number)
        self.steps = 0
        self.kept = {}

    def spot(self):
        name = f"n{self.random.randrange(NAMES)}"
        if self.random.random() < 0.1:
            name += "x" * 230  # with a sidecar
        return f"{self.top}/d{self.random.randrange(DIRS)}/{name}"

    def token(self):
        self.steps += 1
        return b"%08x%08x" % (self.number, self.steps)

    def make(self, path, length):
        data = self.token() * (length // 16)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        return data

    def replace(self):
        own = f"{self.top}/d{self.random.randrange(DIRS)}/own{self.number}"
        self.make(own, self.random.choice((0, 16, 4096, 40000, 300000)))
        try:
            os.rename(own, self.spot())
        except OSError:
            os.unlink(own)
            raise

    def create_empty(self):
        os.close(os.open(self.spot(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))

    def keep(self):
        """Created in place, written, closed, read again: nobody else touches it."""
        path = f"{self.top}/d{self.random.randrange(DIRS)}/kept{self.number}.{self.steps}"
        self.kept[path] = self.make(path, 4800)

    def look(self):
        if not self.kept:
            return
        path = self.random.choice(list(self.kept))
        expected = self.kept.pop(path)
        with open(path, "rb") as f:
            data = f.read()
        if data != expected:
            raise ValueError(story(path, data, expected))
        os.unlink(path)

    def change(self):
        """One's own again: longer, shorter, or in the middle."""
        if not self.kept:
            return
        path = self.random.choice(list(self.kept))
        expected = self.kept.pop(path)
        how = self.random.randrange(3)
        if how == 0:
            more = self.token() * self.random.choice((1, 256, 300, 3000))
            with open(path, "ab", buffering=0) as f:
                f.write(more)
            expected += more
        elif how == 1:
            at = self.random.randrange(len(expected) // 16 + 1) * 16
            os.truncate(path, at)
            expected = expected[:at]
        else:
            at = self.random.randrange(len(expected) // 16 + 1) * 16
            part = self.token() * 10
            fd = os.open(path, os.O_RDWR)
            try:
                os.pwrite(fd, part, at)
            finally:
                os.close(fd)
            expected = expected[:at] + part + expected[at + len(part):]
        self.kept[path] = expected

    def held(self):
        """Open while it is removed."""
        path = self.spot()
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            try:
                os.unlink(path)
            except OSError as e:
                if e.errno not in RACE:
                    raise
            if not whole(os.read(fd, 1 << 20)):
                raise ValueError(f"{path}: changed while it was open")
        finally:
            os.close(fd)

    def list(self):
        top = f"{self.top}/d{self.random.randrange(DIRS)}"
        with os.scandir(top) as entries:
            names = [e.name for e in entries if e.name[0] == "n" and e.is_file(follow_symlinks=False)]
        for name in names[:3]:
            read(f"{top}/{name}")

    def step(self):
        r = self.random
        roll = r.randrange(13)
        if roll < 2:
            self.replace()
        elif roll == 2:
            self.create_empty()
        elif roll == 3:
            os.link(self.spot(), self.spot(), follow_symlinks=False)
        elif roll == 4:
            os.rename(self.spot(), self.spot())
        elif roll == 5:
            exchange(self.spot(), self.spot())
        elif roll == 6:
            os.unlink(self.spot())
        elif roll == 7:
            os.symlink("t" * r.choice((5, 200, 3000)), self.spot())
        elif roll == 8:
            path = self.spot()
            if set(os.readlink(path)) != {"t"}:
                raise ValueError(f"{path}: another target")
        elif roll == 9:
            path = self.spot()
            r.choice((os.mkdir, os.rmdir))(path)
        elif roll == 10:
            self.held()
        elif roll == 11:
            r.choice((self.keep, self.look, self.change, self.change))()
        else:
            self.list()

    def run(self, seconds):
        findings = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end and findings < 5:
            try:
                self.step()
            except ValueError as e:
                print(f"process {self.number}: {e}", flush=True)
                findings += 1
            except OSError as e:
                if e.errno not in RACE:
                    print(f"process {self.number}, step {self.steps}: {traceback.format_exc()}", flush=True)
                    findings += 1
        try:
            while self.kept:
                self.look()
        except (OSError, ValueError) as e:
            print(f"process {self.number}: {e}", flush=True)
            findings += 1
        return findings


def check(top):
    bad = 0
    for where, _, names in os.walk(top, onerror=lambda e: print(e)):
        for name in names:
            path = os.path.join(where, name)
            try:
                if os.path.islink(path):
                    if set(os.readlink(path)) != {"t"}:
                        raise ValueError(f"{path}: another target")
                else:
                    read(path)
            except (OSError, ValueError) as e:
                print(e)
                bad += 1
    return bad


def main():
    if sys.argv[1] == "--check":
        sys.exit(check(sys.argv[2]) > 0)
    top, processes, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 30)
    for d in range(DIRS):
        os.makedirs(f"{top}/d{d}", exist_ok=True)
    pids = []
    dropping = os.fork()
    if dropping == 0:
        forgetful(seed)
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            os._exit(Worker(top, number, seed).run(seconds) > 0)
        pids.append(pid)
    bad = [os.waitpid(pid, 0)[1] for pid in pids]
    os.kill(dropping, signal.SIGKILL)
    os.waitpid(dropping, 0)
    if any(bad):
        print(f"seed {seed}")
    sys.exit(any(bad))


main()
