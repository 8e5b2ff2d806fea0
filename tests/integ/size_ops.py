#!/usr/bin/python3
"""Sizes, blocks and free space: size_ops.py VERB DIRECTORY...; integ/sizes says for what.

make DIR: the same files on any filesystem; a line for each with its size, as several say it.
blocks DIR: what st_blocks of each must be here (docs/posix.md, "What it takes"); complains, and prints sums.
writing DIR: sizes while a file is written, to those who have it open and to those who have not.
removing DIR: free space while many files are erased."""
import ctypes
import os
import subprocess
import sys
import time

PAGE = 4096
PUNCH, KEEP, ZERO = 2, 1, 16
libc = ctypes.CDLL(None, use_errno=True)


def allocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def dense(size):
    def make(fd):
        os.pwrite(fd, b"d" * size, 0)
    return make


def islands(*places):
    def make(fd):
        for at in places:
            os.pwrite(fd, b"island", at)
    return make


def steps(*calls):
    def make(fd):
        for call, *args in calls:
            call(fd, *args)
    return make


def punch(fd, offset, length):
    allocate(fd, PUNCH | KEEP, offset, length)


def text(fd, size):
    os.pwrite(fd, b"t" * size, 0)


# What is written, and how many blocks of it hold data in the end; None: it depends on the filesystem.
FILES = {f"dense-{n}": (dense(n), -(-n // PAGE)) for n in (0, 1, 4095, 4096, 4097, 65536, 64 * PAGE, 64 * PAGE + 1, 1 << 20, 5000001)}
FILES.update({
    "hole-only": (steps((os.ftruncate, 10 << 20)), 0),
    "island-in-1G": (islands((1 << 30) - 3000), 1),
    "islands": (islands(*range(0, 64 << 20, 1 << 20)), 64),
    "punched": (steps((text, 4 << 20), (punch, PAGE, (4 << 20) - 2 * PAGE)), 2),
    "punched-end": (steps((text, 4 << 20), (punch, 1 << 20, 3 << 20)), 256),
    "cut": (steps((text, 4 << 20), (os.ftruncate, 5000)), 2),
    "cut-and-grown": (steps((text, 4 << 20), (os.ftruncate, 5000), (os.ftruncate, 8 << 20)), 2),
    "emptied": (steps((text, 1 << 20), (os.ftruncate, 0)), 0),
    "allocated": (steps((allocate, KEEP, 0, 1 << 20), (os.pwrite, b"x", 0)), None),
    "allocated-size": (steps((allocate, 0, 0, 1 << 20)), None),
    "zeroed": (steps((text, 1 << 20), (allocate, ZERO | KEEP, 0, 1 << 20)), None),
})


def run(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout


def make(top):
    os.chdir(top)
    os.mkdir("files")
    for name, (work, _) in FILES.items():
        fd = os.open("files/" + name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        work(fd)
        os.fsync(fd)
        print(f"{name}: {os.fstat(fd).st_size} while open")
        os.close(fd)
    os.symlink("t" * 1000, "files/link")
    os.mkdir("files/folder")
    for how in (("wc", "-c"), ("stat", "-c", "%n %s %F"), ("du", "-b", "--apparent-size")):
        print(" ".join(how) + ":\n" + run("sh", "-c", 'cd files && find . -type f -print0 | sort -z | xargs -0 "$@"', "sh", *how))
    print("link:", os.lstat("files/link").st_size)
    for test in ("-size 0", "-size 1", "-size -3", "-size +100k", "-size 1M", "-size -2M", "-size 4097c", "-size +1G", "-empty"):
        print(f"find {test}:", *sorted(run("find", "files", "-type", "f", *test.split()).split()))
    print("empty folders:", run("find", "files", "-type", "d", "-empty"))
    print("cp:", run("sh", "-c", "for f in files/*; do [ -f $f -a ${f#*1G} = $f ] || continue; cp --sparse=always $f copy && cmp $f copy && stat -c %s copy; done; rm copy"))


def tags(blocks):
    """Pages beside those of the data, when that many blocks from the beginning hold data."""
    return 0 if not blocks else 1 + (max(0, blocks - 64) + 127) // 128


def blocks(top):
    bad = []
    for name, (_, data) in FILES.items():
        st = os.stat(f"{top}/files/{name}")
        pages = -(-st.st_size // PAGE)
        got = st.st_blocks / 8
        # Where groups were, tags are; and the lower filesystem keeps lists of extents.
        least, most = (data, 3 * data + tags(min(pages, 2048)) + 3) if data is not None else (256, 256 + 2 * 128 + 8)
        if name.startswith("dense"):
            least = most = data + tags(data)
        if not least <= got <= most:
            bad.append(f"{name}: {got} blocks of {pages}, expected {least} to {most}")
    print("\n".join(bad))
    return bad


def writing(top):
    path = top + "/written"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    other = os.open(path, os.O_RDONLY)
    bad, size = [], 0
    for n in (1, 4095, 4096, 100000, 300000, 5, 1 << 20):
        os.pwrite(fd, b"w" * n, size)
        size += n
        seen = os.fstat(fd).st_size, os.stat(path).st_size, os.fstat(other).st_size, int(run("stat", "-c", "%s", path))
        if set(seen) != {size}:
            bad.append(f"after {size} bytes: {seen}")
        if len(os.pread(other, 10, size - 1)) != 1:
            bad.append(f"the last of {size} bytes is not read")
    os.fsync(fd)
    if not size <= run_blocks(path) * 512 <= size * 1.05 + 8192:
        bad.append(f"after fsync: {run_blocks(path)} blocks")
    os.ftruncate(fd, 10)
    if os.stat(path).st_size != 10:
        bad.append("after ftruncate")
    os.close(fd)
    os.close(other)
    os.remove(path)
    print("\n".join(bad))
    return bad


def run_blocks(path):
    return int(run("stat", "--cached=never", "-c", "%b", path))


def space(top):
    st = os.statvfs(top)
    return st.f_bavail * st.f_frsize, st.f_bfree * st.f_frsize, st.f_ffree


def removing(top):
    """Free space is at once what it was before the files, and never more while they are erased."""
    many, size = 100, 500000
    before = space(top)
    os.mkdir(top + "/many")
    for i in range(many):
        with open(f"{top}/many/{i}", "wb") as f:
            f.write(os.urandom(size))
            os.fsync(f.fileno())
    kept = os.open(f"{top}/many/0", os.O_RDONLY)
    full = space(top)
    for i in range(many):
        os.remove(f"{top}/many/{i}")
    bad, seen = [], []
    slack = 1 << 20
    end = time.monotonic() + 60
    while time.monotonic() < end:
        now = space(top)
        seen.append(now)
        for what, got, was in zip(("bavail", "bfree"), now, before):
            # One of them is still open.
            if not was - slack - 2 * size <= got <= was + slack - size:
                bad.append(f"{what}: {got - was:+} bytes of before, {len(seen)} looks after the removal")
        if not before[2] - 8 <= now[2] <= before[2] + 2:
            bad.append(f"ffree: {now[2] - before[2]:+} of before")
        if bad or waiting(sys.argv[3]) == 0:
            break
        time.sleep(0.002)
    os.close(kept)
    while time.monotonic() < end and not before[1] - slack <= space(top)[1] <= before[1] + slack:
        time.sleep(0.01)
    if not before[1] - slack <= space(top)[1]:
        bad.append("what was open stays")
    os.rmdir(top + "/many")
    print("\n".join(bad) if bad else f"{(before[1] - full[1]) >> 20} MiB in {many} files, {len(seen)} looks")
    return bad


def waiting(trash):
    """Files there but the one that is open."""
    return max(0, len(os.listdir(trash)) - 1)


if __name__ == "__main__":
    sys.exit(bool({"make": make, "blocks": blocks, "writing": writing, "removing": removing}[sys.argv[1]](sys.argv[2])))
