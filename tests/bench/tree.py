"""Names: a tree of sources, one large directory, opening under many rules."""
import io
import os
import random
import shutil
import subprocess
import tarfile
import time
import zlib

from data import BASE, BLOCK, Wrong
from place import Trouble, die_with_parent


# A tree like that of a program's sources: 9,100 files in some 650 folders, median 4 KB, 85 MB together. The same in every run.

def listing(work):
    """[(path, size, where in BASE its content begins)]"""
    dice = random.Random(9100)
    folders = ["src"]
    while len(folders) < work.count(650, 8):
        parent = dice.choice(folders)
        if parent.count("/") < 5:
            folders.append(f"{parent}/part-{len(folders)}")
    return [(f"{dice.choice(folders)}/source_{n}.c", min(int(dice.lognormvariate(8.3, 1.3)) + 1, 500_000), dice.randrange(len(BASE) // 2))
            for n in range(work.count(9100, 100))]


def archive(work):
    path = f"{work.material}/tree.tar"
    if not os.path.exists(path):
        with tarfile.open(path + ".new", "w") as tar:
            known = set()
            for name, size, start in sorted(listing(work)):
                folder = os.path.dirname(name)
                if folder not in known:
                    known.add(folder)
                    made = tarfile.TarInfo(folder)
                    made.type, made.mode, made.mtime = tarfile.DIRTYPE, 0o755, 1_600_000_000
                    tar.addfile(made)
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = size, 1_600_000_000
                tar.addfile(entry, io.BytesIO(BASE[start:start + size]))
        os.rename(path + ".new", path)
    return path


def timed(*command, **options):
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, **options)
    took = time.monotonic() - began
    if done.returncode:
        raise Trouble(f"{command[0]} ends with status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return took


def unpack(work):
    return work.count(9100, 100), timed("tar", "-xf", archive(work), "-C", work.path("tree"))


def unpack_prepare(work):
    shutil.rmtree(work.path("tree"))
    archive(work)


def unpack_check(work):
    for name, size, start in listing(work):
        with open(work.path("tree", name), "rb") as f:
            if f.read() != BASE[start:start + size]:
                raise Wrong(f"{name} is not what was unpacked")


def walk(top):
    """[(path, stat)] of all files; as find does it."""
    found, todo = [], [top]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                told = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    found.append((entry.path, told))
    return found


def stat_all(work):
    began = time.monotonic()
    found = walk(work.path("tree", "src"))
    took = time.monotonic() - began
    expected = listing(work)
    if len(found) != len(expected) or sum(s.st_size for _, s in found) != sum(size for _, size, _ in expected):
        raise Wrong(f"{len(found)} files of {sum(s.st_size for _, s in found)} bytes are told, not {len(expected)} of {sum(size for _, size, _ in expected)}")
    return len(found), took


def warm(work):
    walk(work.path("tree", "src"))


def read_all(work):
    names = listing(work)
    paths = [work.path("tree", name) for name, _, _ in names]
    began = time.monotonic()
    contents = []
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        data = os.read(fd, 1 << 19)
        # As every reader does: to see that there is no more.
        if os.read(fd, 1 << 19):
            raise Wrong(f"{path} is longer than it was")
        os.close(fd)
        contents.append(data)
    took = time.monotonic() - began
    for (name, size, start), data in zip(names, contents):
        if zlib.crc32(data) != zlib.crc32(BASE[start:start + size]):
            raise Wrong(f"{name} is not what was unpacked")
    return len(names), took


def remove(work):
    return work.count(9100, 100), timed("rm", "-r", work.path("tree", "src"))


def remove_check(work):
    left = os.listdir(work.path("tree"))
    if "src" in left:
        raise Wrong("what was removed is still there")


# One large directory

def large(count):
    """Its four rows' functions: create, list, stat, remove."""
    group = f"large-{count}"

    def here(work):
        os.chdir(work.path(group))
        return [f"file-{n:07d}" for n in range(work.count(count, 200))]

    def prepare(work):
        shutil.rmtree(work.path(group))

    def create(work):
        names = here(work)
        began = time.monotonic()
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        return len(names), time.monotonic() - began

    def list_all(work):
        names = here(work)
        began = time.monotonic()
        found = os.listdir(".")
        took = time.monotonic() - began
        if sorted(found) != names:
            raise Wrong(f"{len(found)} names are listed, not {len(names)}")
        return len(names), took

    def stat(work):
        names = here(work)
        random.Random(1).shuffle(names)
        began = time.monotonic()
        for name in names:
            os.stat(name)
        return len(names), time.monotonic() - began

    def remove_all(work):
        names = here(work)
        began = time.monotonic()
        for name in names:
            os.unlink(name)
        took = time.monotonic() - began
        if os.listdir("."):
            raise Wrong("what was removed is still there")
        return len(names), took

    return prepare, create, list_all, stat, remove_all


# Opening under rules: tenantfs alone

def rules_files(work):
    for n in range(100):
        path = work.path("rules", f"file-{n}")
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.write(BASE[:BLOCK])


def rules(count):
    def prepare(work):
        rules_files(work)
        work.system.rules(count)
        # The first ones after a policy was applied find nothing cached.
        opening(work, 2)

    def opening(work, times):
        paths = [work.path("rules", f"file-{n}") for n in range(100)]
        began = time.monotonic()
        for _ in range(times):
            for path in paths:
                os.close(os.open(path, os.O_RDONLY))
        return times * len(paths), time.monotonic() - began

    return prepare, lambda work: opening(work, work.count(300, 3))


def rules_check(work):
    for n in range(100):
        with open(work.path("rules", f"file-{n}"), "rb") as f:
            if f.read() != BASE[:BLOCK]:
                raise Wrong(f"rules/file-{n} is not what was written")
