#!/usr/bin/python3
"""Names beyond the everyday: directories read while they change, long names, paths and link targets, renames of every kind, links, watches;
each compared with what POSIX and Linux say. As root; calls.py says how it is run."""
import ctypes
import errno
import mmap
import os
import random
import stat
import struct
import time

from calls import *

libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = libc.closedir.argtypes = libc.telldir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


@test
def paths_of_4095_bytes_work():
    here = os.getcwd()
    room = 4095 - len(here)
    steps = ["/" + "p" * 254] * ((room - 1) // 255)
    path = here + "".join(steps)
    rest = 4095 - len(path)
    for i in range(len(steps)):
        os.mkdir(here + "".join(steps[:i + 1]))
    if rest > 1:
        path += "/" + "q" * (rest - 1)
    else:
        path = path[:-1]
    assert len(path) == 4095
    put(path, b"deep")
    assert get(path) == b"deep"
    expect(errno.ENAMETOOLONG, get, path + "x")
    os.symlink(path, "link")
    assert get("link") == b"deep" and os.readlink("link") == path
    os.unlink(path)
    for i in range(len(steps), 0, -1):
        os.rmdir(here + "".join(steps[:i]))


class Listing:
    """A directory by the C library: readdir, telldir, seekdir."""

    def __init__(self, path):
        self.dir = libc.opendir(path.encode())
        assert self.dir

    def next(self):
        entry = libc.readdir(self.dir)
        return ctypes.string_at(entry + 19) if entry else None  # d_ino 8, d_off 8, d_reclen 2, d_type 1

    def tell(self):
        return libc.telldir(self.dir)

    def seek(self, at):
        libc.seekdir(self.dir, at)

    def close(self):
        libc.closedir(self.dir)


@test
def offsets_in_a_large_directory_stay_while_it_changes():
    os.mkdir("many")
    begin = time.monotonic()
    here = os.open("many", os.O_RDONLY | os.O_DIRECTORY)
    for i in range(MANY):
        os.close(os.open(b"entry %06d" % i, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    made = time.monotonic()
    d = Listing("many")
    order, marks = [], []
    while True:
        at = d.tell()
        name = d.next()
        if name is None:
            break
        order.append(name)
        marks.append(at)
    assert len(order) == MANY + 2 and len(set(order)) == MANY + 2
    listed = time.monotonic()
    r = random.Random(13)
    # back to any place: the same entry
    for k in r.sample(range(len(order)), 300):
        d.seek(marks[k])
        assert d.next() == order[k], k
    # a tenth goes, as many come: whoever was there all the time comes once from the middle on and at its offset
    count = MANY // 10
    gone = set(r.sample([n for n in order if n.startswith(b"entry")], count))
    middle = len(order) // 2
    d.seek(marks[middle])
    seen = [d.next() for _ in range(100)]
    for name in gone:
        os.unlink(name, dir_fd=here)
    for i in range(count):
        os.close(os.open(b"new %06d" % i, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    while (name := d.next()) is not None:
        seen.append(name)
    assert len(seen) == len(set(seen)), "an entry came twice"
    stay = [n for n in order[middle:] if n not in gone]
    assert set(stay) <= set(seen), len(set(stay) - set(seen))
    assert not set(seen) & (set(order[:middle]) - gone), "an entry from before came again"
    for k in r.sample(range(len(order)), 100):
        if order[k] not in gone:
            d.seek(marks[k])
            rest = [d.next() for _ in range(3)]
            assert order[k] in rest or any(n and n.startswith(b"new") for n in rest), k
    d.close()
    left = os.listdir("many")
    assert len(left) == len(set(left)) == MANY
    removing = time.monotonic()
    for name in left[:MANY // 20]:
        os.unlink(name, dir_fd=here)
    os.close(here)
    print(f"# {label}: {MANY} entries: made {made - begin:.1f} s, listed {listed - made:.1f} s, "
        f"{MANY // 20} removed {time.monotonic() - removing:.1f} s", flush=True)


@test
def hard_links_by_the_thousand():
    put("one", b"content")
    for k in range(6):
        os.mkdir(f"d{k}")
    for i in range(1500):
        os.link("one", f"d{i % 6}/link {i}")
    assert os.stat("one").st_nlink == 1501
    with open("d3/link 3", "ab") as f:
        f.write(b" and more")
    assert get("d5/link 1499") == b"content and more"
    os.rename("d1/link 1", "d2/moved")
    os.unlink("one")
    for i in range(2, 1500):
        os.unlink(f"d{i % 6}/link {i}")
    assert os.stat("d2/moved").st_nlink == 2 and get("d2/moved") == b"content and more"
    os.unlink("d0/link 0")
    assert os.stat("d2/moved").st_nlink == 1 and get("d2/moved") == b"content and more"


class Walk:
    """A directory read by another process, as another user, on command."""

    def __init__(self, uid, path):
        (self.asks, w1), (r2, self.says) = os.pipe(), os.pipe()
        self.pid = child(uid, self.serve, path)
        self.w, self.r = w1, r2

    def serve(self, path):
        d, marks = Listing(path), {}
        while (word := os.read(self.asks, 16).strip()) != b"end":
            if word.startswith(b"seek"):
                d.seek(marks[int(word[4:])])
            elif word == b"rewind":
                libc.rewinddir(d.dir)
            else:
                lines = []
                for _ in range(int(word)):
                    mark, name = d.tell(), d.next()
                    lines.append(b"%d %s" % (len(marks), name) if name is not None else b"")
                    marks[len(marks)] = mark
                    if name is None:
                        break
                data = b"\n".join(lines)
                os.write(self.says, b"%08d" % len(data) + data)

    def tell(self, word):
        os.write(self.w, word.encode().ljust(16))

    def take(self, count):
        """[(mark, name)], and whether that was the end."""
        self.tell(str(count))
        length, data = int(os.read(self.r, 8)), b""
        while len(data) < length:
            data += os.read(self.r, length - len(data))
        lines = data.split(b"\n")
        found = [(int(n), name) for n, name in (x.split(b" ", 1) for x in lines if x)]
        return found, lines[-1] == b""

    def end(self):
        self.tell("end")
        wait(self.pid)


@test
def directories_are_read_by_three_processes_while_they_change():
    os.mkdir("d")
    os.chmod("d", 0o777)
    names = [b"entry %04d %s" % (i, b"x" * (i % 3 * 100)) for i in range(1200)]
    for name in names:
        put(b"d/" + name, b"")
    walks = [Walk(uid, "d") for uid in (USER1, USER2, 0)]
    firsts = [w.take(k) for w, k in zip(walks, (100, 600, 1100))]
    assert not any(end for _, end in firsts)
    order = [name for _, name in firsts[2][0]]
    assert [n for _, n in firsts[0][0]] == order[:100] and [n for _, n in firsts[1][0]] == order[:600]
    # what two others remove, make and rename between the calls
    gone, moved = set(names[5::10]), set(names[6::10])

    def remove():
        for name in gone:
            os.unlink(b"d/" + name)

    def rename():
        for name in moved:
            os.rename(b"d/" + name, b"d/moved" + name)
        for i in range(100):
            os.mkdir(b"d/new %04d" % i)
    wait(child(USER1, remove), child(USER2, rename))
    stay = [n for n in order if n not in gone and n not in moved]
    rests = []
    for w, before in zip(walks, (100, 600, 1100)):
        found, end = w.take(5000)
        rests.append([n for _, n in found])
        assert end and len(rests[-1]) == len(set(rests[-1]))
        assert set(n for n in order[before:] if n in stay) <= set(rests[-1])
        assert not set(rests[-1]) & set(order[:before]) & set(stay), "an entry from before came again"
    # back to saved places: what stands there now and is not new comes as it came then
    for w, first in zip(walks, firsts):
        for mark, name in first[0][::37]:
            w.tell(f"seek{mark}")
            got = [n for _, n in w.take(400)[0] if n in stay]
            then = [n for n in order[order.index(name):] if n in stay]
            assert got == (then + [n for n in rests[2] if n in stay])[:len(got)] and got, name
    # from the beginning: all of today, once
    for w in walks:
        w.tell("rewind")
        found, end = w.take(5000)
        today = [n for _, n in found]
        assert end and len(today) == len(set(today)) == 1200 - len(gone) + 100 + 2
        assert not set(today) & (gone | moved) and {b"moved" + n for n in moved} <= set(today)
        w.end()
    # a descriptor that is inherited is one position, whoever reads; what was read says type and number
    with os.scandir("d") as it:
        for e in it:
            st = e.stat(follow_symlinks=False)
            assert e.inode() == st.st_ino and e.is_dir(follow_symlinks=False) == stat.S_ISDIR(st.st_mode)
    fd = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
    ours = set(os.listdir(fd))
    wait(child(0, lambda: set(os.listdir(fd)) == ours or 1 / 0))
    assert set(os.listdir(fd)) == ours and len(ours) == 1200 - len(gone) + 100
    os.close(fd)


LONG = "L" * 255  # as no lower filesystem has them when they are sealed
MIDDLE = "m" * 176


@test
def names_of_255_bytes_in_every_operation():
    """From and to each length, within a directory and across, over nothing and over what is there."""
    here = lambda d: sorted(os.listdir(d))
    os.mkdir("a")
    os.mkdir(f"b{'b' * 254}")
    a, b = "a", f"b{'b' * 254}"
    for one in ("s", MIDDLE, LONG):
        for other in ("t", "M" * 176, "N" * 255):
            for d in (a, b):
                old, new, second = f"{a}/{one}", f"{d}/{other}", f"{d}/{other[:-1]}2" if len(other) > 1 else f"{d}/2"
                put(old, b"1")
                os.link(old, new)
                assert os.stat(new).st_nlink == 2 and here(a) == sorted({one, other} if d == a else {one})
                os.rename(new, second)
                expect(errno.ENOENT, os.stat, new)
                put(new, b"over")
                os.rename(old, new)  # over one that is there
                assert get(new) == b"1" and os.stat(second).st_nlink == 2
                put(old, b"3")
                renameat2(old, new, EXCHANGE)
                assert get(old) == b"1" and get(new) == b"3"
                expect(errno.EEXIST, renameat2, old, new, NOREPLACE)
                expect(errno.EEXIST, os.link, old, new)
                for call in (os.mkdir, os.mkfifo):
                    expect(errno.EEXIST, call, new)
                expect(errno.EEXIST, os.symlink, "x", new)
                expect(errno.EEXIST, os.open, new, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                os.setxattr(new, "user.x", b"y")
                os.chmod(new, 0o604)
                os.utime(new, ns=(1, 2))
                os.truncate(new, 1)
                assert os.getxattr(new, "user.x") == b"y" and mode_of(new) == 0o604
                for name in {old, new, second}:
                    os.unlink(name)
                os.mkdir(old)
                put(old + "/" + LONG, b"in")
                os.mkdir(new)
                os.rename(old, new)  # over an empty directory
                assert get(new + "/" + LONG) == b"in" and not os.path.exists(old)
                expect(errno.ENOTEMPTY, os.rmdir, new)
                os.symlink(LONG, old)
                renameat2(old, new, EXCHANGE)
                assert os.readlink(new) == LONG and get(old + "/" + LONG) == b"in"
                os.unlink(old + "/" + LONG)
                os.unlink(new)
                os.rmdir(old)
                os.mkfifo(old)
                os.rename(old, new)
                assert stat.S_ISFIFO(os.stat(new).st_mode)
                os.unlink(new)
                assert here(a) == here(b) == [], (one, other, here(a), here(b))
    put("f", b"")
    for call in (os.mkdir, os.mkfifo, os.unlink, os.rmdir, os.stat, os.readlink, get, lambda n: os.link("f", n), lambda n: os.symlink("x", n),
            lambda n: os.rename("f", n), lambda n: os.rename(n, "g"), lambda n: put(n, b""), lambda n: renameat2("f", n, EXCHANGE)):
        expect(errno.ENAMETOOLONG, call, "n" * 256)
    os.rmdir(a)
    os.rmdir(b)


@test
def link_targets_of_4095_bytes_in_every_operation():
    os.mkdir("d")
    targets = [("u" * 254 + "/") * 16 + "v" * n for n in (0, 14, 15)] + ["x", "y" * 700, "z" * 1100]
    for target in targets:
        for old, new in (("l", "d/" + LONG), (LONG, "d/l"), ("d/l", "d/" + LONG)):
            os.symlink(target, old)
            os.link(old, new, follow_symlinks=False)
            assert os.lstat(new).st_nlink == 2 and os.lstat(new).st_size == len(target)
            os.rename(old, "moved")
            assert os.readlink("moved") == os.readlink(new) == target
            os.chown("moved", 7, 8, follow_symlinks=False)
            os.utime("moved", ns=(3, 4), follow_symlinks=False)
            st = os.lstat(new)
            assert (st.st_uid, st.st_gid, st.st_mtime_ns) == (7, 8, 4)
            os.unlink("moved")
            assert os.readlink(new) == target and os.lstat(new).st_nlink == 1
            other = targets[0] if target != targets[0] else "short"
            os.symlink(other, "other")
            renameat2("other", new, EXCHANGE)
            assert os.readlink("other") == target and os.readlink(new) == other
            os.rename("other", new)
            assert os.readlink(new) == target
            put("file", b"over a link")
            os.rename("file", new)
            assert get(new) == b"over a link"
            os.symlink(target, "again")
            os.rename("again", new)  # and a link over a file
            assert os.readlink(new) == target
            os.unlink(new)
    assert os.listdir("d") == [] and os.listdir(".") == ["d"]
    expect(errno.ENAMETOOLONG, os.symlink, "t" * 4096, "l")
    os.symlink("./" * 2040 + "d", "around")
    put("around/through", b"followed")
    assert get("d/through") == b"followed"


def make_kind(kind, path):
    """Something to be renamed; how to see that it is this one."""
    tag = os.urandom(6).hex()
    if kind == "file":
        put(path, tag.encode())
        return lambda p: get(p) == tag.encode()
    if kind == "empty":
        put(path, b"")
        os.chmod(path, 0o600 + int(tag[0], 16) % 8)
        number = os.stat(path).st_ino
        return lambda p: os.stat(p).st_ino == number and get(p) == b""
    if kind == "directory":
        os.mkdir(path)
        put(f"{path}/{tag}", b"in")
        os.mkdir(f"{path}/sub")
        return lambda p: sorted(os.listdir(p)) == sorted([tag, "sub"]) and get(f"{p}/{tag}") == b"in"
    if kind == "link":
        os.symlink(tag * 300, path)
        return lambda p: os.readlink(p) == tag * 300
    os.mkfifo(path)
    number = os.lstat(path).st_ino
    return lambda p: os.lstat(p).st_ino == number and stat.S_ISFIFO(os.lstat(p).st_mode)


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        for name in os.listdir(path):
            remove(f"{path}/{name}")
        os.rmdir(path)
    else:
        os.unlink(path)


KINDS = ("file", "empty", "directory", "link", "fifo")


@test
def exchanging_and_not_replacing_of_every_kind():
    os.mkdir("x")
    os.mkdir("y")
    for one in KINDS:
        for other in KINDS:
            for old, new in (("x/a", "x/b"), ("x/a", "y/b"), ("x/" + LONG, "y/b"), ("x/a", "y/" + LONG)):
                is_one, is_other = make_kind(one, old), make_kind(other, new)
                expect(errno.EEXIST, renameat2, old, new, NOREPLACE)
                assert is_one(old) and is_other(new), ("not replaced", one, other, old, new)
                renameat2(old, new, EXCHANGE)
                assert is_one(new) and is_other(old), ("exchanged", one, other, old, new)
                remove(old)
                renameat2(new, old, NOREPLACE)
                assert is_one(old) and not os.path.lexists(new)
                expect(errno.ENOENT, renameat2, old, new, EXCHANGE)
                expect(errno.ENOENT, renameat2, new, old, EXCHANGE)
                expect(errno.EINVAL, renameat2, old, new, EXCHANGE | NOREPLACE)
                remove(old)
    assert os.listdir("x") == os.listdir("y") == []
    os.mkdir("x/in")
    expect(errno.EINVAL, renameat2, "x", "x/in", EXCHANGE)
    expect(errno.EINVAL, renameat2, "x/in", "x", EXCHANGE)
    put("one", b"1")
    os.link("one", "two")
    renameat2("one", "two", EXCHANGE)
    assert get("one") == get("two") == b"1" and os.stat("one").st_nlink == 2
    expect(errno.EEXIST, renameat2, "one", "two", NOREPLACE)


@test
def exchanging_is_seen_by_who_holds_them_open():
    """Another user's open files, maps, directories and working directory go along; what he had looked up is new."""
    os.chmod(".", 0o755)
    for d in ("p", "q"):
        os.mkdir(d)
        os.chmod(d, 0o777)
    put("p/f", b"first", mode=0o666)
    put("q/g", b"other", mode=0o666)
    for name in ("p/f", "q/g"):
        os.chmod(name, 0o666)
    for name in ("p/dir", "q/dir2"):
        os.mkdir(name)
        os.chmod(name, 0o777)
        put(name + "/who", name.encode())
    (r1, w1), (r2, w2) = os.pipe(), os.pipe()
    here, back = os.getcwd(), os.open(".", os.O_RDONLY)  # the way to it may be closed to another user

    def holder():
        fd = os.open("p/f", os.O_RDWR)
        directory = os.open("p/dir", os.O_RDONLY | os.O_DIRECTORY)
        assert get("q/g") == b"other" and get("q/dir2/who") == b"q/dir2"
        m = mmap.mmap(fd, 5)
        os.chdir("p/dir")
        os.write(w2, b"x")
        os.read(r1, 1)
        assert os.getcwd() == here + "/q/dir2" and get("who") == b"p/dir"
        put("made", b"made here")
        assert sorted(os.listdir(directory)) == ["made", "who"]
        assert os.pread(fd, 9, 0) == b"first" and m[:5] == b"first"
        m[0] = ord("F")
        os.pwrite(fd, b"!", 5)
        os.fchdir(back)
        assert get("q/g") == b"First!" and get("p/f") == b"other"
        assert get("p/dir/who") == b"q/dir2" and get("q/dir2/made") == b"made here"
        os.unlink("q/dir2/made")
    pid = child(USER1, holder)
    os.read(r2, 1)
    mine = os.open("q/g", os.O_RDWR)
    renameat2("p/f", "q/g", EXCHANGE)
    renameat2("p/dir", "q/dir2", EXCHANGE)
    os.write(w1, b"x")
    wait(pid)
    assert os.pread(mine, 9, 0) == b"other" and os.fstat(mine).st_ino == os.stat("p/f").st_ino
    os.pwrite(mine, b"O", 0)
    assert get("p/f") == b"Other" and get("q/g") == b"First!"
    for fd in (mine, back, r1, w1, r2, w2):
        os.close(fd)


@test
def a_link_that_is_held_keeps_its_target_through_exchanges():
    """Read by descriptor while another process exchanges it with another link: never the other one's target."""
    os.symlink("one", "a")
    os.symlink("two", "b")
    held = os.open("a", os.O_PATH | os.O_NOFOLLOW)
    pid = os.fork()
    if pid == 0:
        try:
            for _ in range(2000):
                renameat2("a", "b", EXCHANGE)
        finally:
            os._exit(0)
    reads = wrong = 0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        reads += 1
        wrong += os.readlink("", dir_fd=held) != "one"
    assert reads > 100 and wrong == 0, f"{wrong} of {reads} were wrong"
    os.close(held)


@test
def watches_tell_what_happens_here():
    """inotify: what is done on this machine is told, whoever does it, with the names and in order."""
    bits = {1: "ACCESS", 2: "MODIFY", 4: "ATTRIB", 8: "CLOSE_WRITE", 0x10: "CLOSE", 0x20: "OPEN", 0x40: "FROM", 0x80: "TO", 0x100: "CREATE",
        0x200: "DELETE", 0x400: "DELETE_SELF", 0x800: "MOVE_SELF"}
    os.mkdir("w")
    os.chmod("w", 0o777)
    put("w/file", b"old")
    os.chmod("w/file", 0o666)
    fd = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
    watched = {libc.inotify_add_watch(fd, b"w", 0xfff & ~0x11): "", libc.inotify_add_watch(fd, b"w/file", 0xfff & ~0x11): "!"}

    def told():
        found, cookies = [], {}
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            data = b""
        while data:
            wd, mask, cookie, length = struct.unpack("iIII", data[:16])
            name, data = data[16:16 + length].rstrip(b"\0").decode(), data[16 + length:]
            kind = bits.get(mask & 0xfff)
            if kind in ("FROM", "TO"):
                cookies.setdefault(cookie, []).append(kind)
            if kind:
                found.append(f"{watched[wd]}{kind} {name}".strip())
        assert all(c == ["FROM", "TO"] for c in cookies.values()), cookies
        return found

    def act():
        put("w/new", b"x")
        os.chmod("w/new", 0o600)
        os.rename("w/new", "w/" + LONG)
        os.unlink("w/" + LONG)
        os.mkdir("w/sub")
        os.rmdir("w/sub")
        os.symlink("t" * 3000, "w/link")
        os.unlink("w/link")
        put("w/file", b"new", os.O_WRONLY)
    as_user(USER1, act)
    want = ["CREATE new", "OPEN new", "MODIFY new", "CLOSE_WRITE new", "ATTRIB new", "FROM new", "TO " + LONG, "DELETE " + LONG, "CREATE sub",
        "DELETE sub", "CREATE link", "DELETE link", "OPEN file", "!OPEN", "MODIFY file", "!MODIFY", "CLOSE_WRITE file", "!CLOSE_WRITE"]
    got = told()
    assert got == want, got
    as_user(USER1, os.unlink, "w/file")
    got = told()
    assert "DELETE file" in got and "!DELETE_SELF" in got, got
    os.close(fd)


run()
