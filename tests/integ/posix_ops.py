#!/usr/bin/python3
"""File operations that an application uses every day, each compared with what POSIX says. calls.py says how it is run."""
import errno
import hashlib
import mmap
import os
import random
import stat
import time

from calls import *


@test
def lookup_and_getattr_tell_what_is_there():
    put("a", b"hello")
    st = os.stat("a")
    assert stat.S_ISREG(st.st_mode) and st.st_size == 5 and st.st_nlink == 1
    assert st.st_uid == os.getuid() and st.st_gid == os.getgid(), (st.st_uid, st.st_gid)
    expect(errno.ENOENT, os.stat, "absent")
    expect(errno.ENOTDIR, os.stat, "a/b")
    expect(errno.ENOENT, os.stat, "absent/b")
    assert os.stat("a").st_ino == st.st_ino


@test
def create_open_read_write_at_all_offsets():
    put("f", b"")
    assert os.stat("f").st_size == 0
    fd = os.open("f", os.O_RDWR)
    want = bytearray()
    r = random.Random(7)
    for _ in range(300):
        at, n = r.randrange(0, 40000), r.randrange(1, 9000)
        data = r.randbytes(n)
        assert os.pwrite(fd, data, at) == n
        if len(want) < at + n:
            want.extend(bytes(at + n - len(want)))
        want[at:at + n] = data
        if r.random() < 0.2:
            at, n = r.randrange(0, 45000), r.randrange(1, 9000)
            assert os.pread(fd, n, at) == bytes(want[at:at + n])
        if r.random() < 0.1:
            os.close(fd)
            fd = os.open("f", os.O_RDWR)
    assert os.fstat(fd).st_size == len(want)
    assert os.pread(fd, 100000, 0) == bytes(want)
    os.close(fd)
    assert get("f") == bytes(want)
    expect(errno.EEXIST, os.open, "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    expect(errno.ENOENT, os.open, "absent", os.O_RDONLY)
    expect(errno.EISDIR, os.open, ".", os.O_WRONLY)
    fd = os.open("f", os.O_RDONLY)
    expect(errno.EBADF, os.write, fd, b"x")
    os.close(fd)


@test
def append_always_goes_to_the_end():
    fd1 = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    fd2 = os.open("log", os.O_WRONLY | os.O_APPEND)
    for i in range(50):
        os.write(fd1, b"one %d\n" % i)
        os.write(fd2, b"two %d\n" % i)
    os.close(fd1)
    os.close(fd2)
    assert get("log") == b"".join(b"one %d\ntwo %d\n" % (i, i) for i in range(50))


@test
def truncate_cuts_and_extends_with_zeros():
    data = random.Random(3).randbytes(20000)
    for size in (0, 1, 4095, 4096, 4097, 8192, 19999, 20000, 20001, 70000, 300000):
        put("t", data)
        os.truncate("t", size)
        want = data[:size] + bytes(max(0, size - len(data)))
        assert os.stat("t").st_size == size
        assert get("t") == want, size
    put("t", data)
    os.truncate("t", 100)
    os.truncate("t", 5000)
    assert get("t") == data[:100] + bytes(4900), "what was cut off came back"
    put("t", b"new")
    assert get("t") == b"new"
    fd = os.open("t", os.O_RDWR)
    os.ftruncate(fd, 1)
    os.pwrite(fd, b"z", 10000)
    os.close(fd)
    assert get("t") == b"n" + bytes(9999) + b"z"


@test
def sparse_files_read_zeros_and_stay_small():
    fd = os.open("sparse", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"end", 1 << 30)
    os.close(fd)
    assert os.stat("sparse").st_size == (1 << 30) + 3
    with open("sparse", "rb") as f:
        assert f.read(65536) == bytes(65536)
        f.seek((1 << 30) - 4096)
        assert f.read() == bytes(4096) + b"end"
    assert os.stat("sparse").st_blocks * 512 < 64 << 20
    os.unlink("sparse")


@test
def setattr_changes_modes_owners_and_times():
    put("m", b"x")
    for mode in (0o600, 0o644, 0o755, 0o400, 0o000, 0o640):
        os.chmod("m", mode)
        assert stat.S_IMODE(os.stat("m").st_mode) == mode
    os.utime("m", ns=(1234567890123456789, 1500000000987654321))
    st = os.stat("m")
    assert st.st_atime_ns == 1234567890123456789 and st.st_mtime_ns == 1500000000987654321
    if os.getuid() == 0:
        os.chown("m", 1234, 2345)
        st = os.stat("m")
        assert (st.st_uid, st.st_gid) == (1234, 2345)
        os.chown("m", 0, 0)
    before = os.stat("m").st_mtime_ns
    time.sleep(0.02)
    put("m", b"y")
    assert os.stat("m").st_mtime_ns > before
    fd = os.open("m", os.O_RDONLY)
    os.fchmod(fd, 0o604)
    os.close(fd)
    assert stat.S_IMODE(os.stat("m").st_mode) == 0o604


@test
def mkdir_and_rmdir_count_links_and_refuse_what_is_full():
    os.mkdir("d", 0o750)
    st = os.stat("d")
    assert stat.S_ISDIR(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o750
    assert os.listdir("d") == []
    expect(errno.EEXIST, os.mkdir, "d")
    os.mkdir("d/e")
    expect(errno.ENOTEMPTY, os.rmdir, "d")
    assert os.listdir("d") == ["e"]
    os.mkdir("d/e/f")
    os.rmdir("d/e/f")
    os.rmdir("d/e")
    os.rmdir("d")
    expect(errno.ENOENT, os.rmdir, "d")
    put("file", b"")
    expect(errno.ENOTDIR, os.rmdir, "file")
    os.mkdir("dd")
    try:
        os.unlink("dd")
        raise AssertionError("unlink of a directory")
    except (IsADirectoryError, PermissionError):
        pass


@test
def readdir_lists_each_entry_once():
    os.mkdir("many")
    want = {f"entry {i:04d} é" for i in range(1500)}
    for name in want:
        put("many/" + name, b"")
    got = os.listdir("many")
    assert len(got) == len(want) and set(got) == want
    with os.scandir("many") as it:
        assert all(e.is_file(follow_symlinks=False) for e in it)
    # removing while reading loses none of the others
    seen = []
    with os.scandir("many") as it:
        for e in it:
            seen.append(e.name)
            os.unlink("many/" + e.name)
    assert set(seen) == want
    assert os.listdir("many") == []
    os.rmdir("many")


@test
def symlinks_hold_targets_up_to_4095_bytes():
    for n in (1, 10, 255, 600, 700, 1000, 1023, 1024, 2000, 3000, 4000, 4094, 4095):
        target = ("t" * 254 + "/") * 17
        target = target[:n]
        os.symlink(target, "link")
        assert os.readlink("link") == target, n
        assert os.lstat("link").st_size == n, (os.lstat("link").st_size, n)
        assert stat.S_ISLNK(os.lstat("link").st_mode)
        assert [e for e in os.listdir(".") if e.startswith("link")] == ["link"]
        os.unlink("link")
    expect(errno.ENAMETOOLONG, os.symlink, "t" * 4096, "link")
    put("aim", b"hit")
    os.symlink("aim", "via")
    assert get("via") == b"hit"
    os.rename("via", "via2")
    assert os.readlink("via2") == "aim"
    os.mkdir("sub")
    os.symlink("../" + "x/" * 1500, "sub/long")
    os.rename("sub/long", "longer")
    assert os.readlink("longer") == "../" + "x/" * 1500
    os.unlink("longer")
    os.rmdir("sub")


@test
def links_stay_what_they_are_through_renames():
    os.mkdir("sub")
    for target in ("short", "x/" * 1500):
        os.symlink(target, "link")
        os.symlink("another", "other")
        os.chown("link", 61001, 61002, follow_symlinks=False)
        os.utime("link", ns=(10 ** 18 + 1, 10 ** 18 + 2), follow_symlinks=False)
        before = os.lstat("link")
        fd = os.open("link", os.O_PATH | os.O_NOFOLLOW)
        for old, new in (("link", "link2"), ("link2", "sub/link3"), ("sub/link3", "other")):
            os.rename(old, new)
            for field in ("ino", "mode", "nlink", "uid", "gid", "size", "mtime_ns"):
                assert getattr(os.lstat(new), "st_" + field) == getattr(before, "st_" + field), (new, field)
            assert os.readlink(new) == os.readlink("", dir_fd=fd) == target
        os.link("other", "sub/second", follow_symlinks=False)
        assert os.lstat("sub/second").st_ino == before.st_ino and os.lstat("other").st_nlink == 2
        os.unlink("other")
        assert os.readlink("sub/second") == os.readlink("", dir_fd=fd) == target
        os.close(fd)
        os.unlink("sub/second")
    os.rmdir("sub")


@test
def hard_links_are_one_file():
    put("one", b"first")
    os.mkdir("other")
    os.link("one", "two")
    os.link("one", "other/three")
    assert {os.stat(n).st_nlink for n in ("one", "two", "other/three")} == {3}
    assert len({os.stat(n).st_ino for n in ("one", "two", "other/three")}) == 1
    put("two", b"second", os.O_WRONLY | os.O_TRUNC)
    assert get("one") == get("other/three") == b"second"
    os.unlink("one")
    assert get("two") == b"second" and os.stat("two").st_nlink == 2
    expect(errno.EEXIST, os.link, "two", "other/three")
    os.unlink("two")
    assert get("other/three") == b"second" and os.stat("other/three").st_nlink == 1
    os.unlink("other/three")
    os.rmdir("other")


@test
def names_of_255_bytes_work():
    for n in (1, 140, 143, 144, 145, 160, 175, 176, 177, 200, 240, 255):
        name = "n" * n
        put(name, b"x%d" % n)
        assert name in os.listdir(".")
        assert get(name) == b"x%d" % n
        os.rename(name, "M" * n)
        assert get("M" * n) == b"x%d" % n
        os.link("M" * n, "L" * n)
        os.unlink("M" * n)
        assert sorted(e for e in os.listdir(".") if e[0] in "ML") == ["L" * n]
        os.unlink("L" * n)
        os.mkdir(name)
        put(name + "/in", b"")
        expect(errno.ENOTEMPTY, os.rmdir, name)
        os.rename(name, "R" * n)
        os.unlink("R" * n + "/in")
        os.symlink("t", name)
        os.unlink(name)
        os.rmdir("R" * n)
    expect(errno.ENAMETOOLONG, put, "n" * 256, b"")
    put("ü" * 127, b"")
    assert "ü" * 127 in os.listdir(".")
    raw = b"\xff\xfe not utf-8"
    put(raw, b"raw")
    assert raw in os.listdir(b".") and get(raw) == b"raw"
    os.unlink(raw)
    for name in (".dir", "~tilde", "~a.n", "x.0", "..x", "-", ".n", "a b\nc"):
        put(name, name.encode())
        assert get(name) == name.encode()
        assert name in os.listdir(".")
        os.unlink(name)


@test
def rename_moves_replaces_and_refuses():
    put("a1", b"a")
    put("b1", b"b")
    os.rename("a1", "b1")
    assert get("b1") == b"a" and not os.path.exists("a1")
    os.mkdir("d1")
    os.mkdir("d2")
    os.rename("b1", "d1/c1")
    assert get("d1/c1") == b"a"
    os.rename("d1/c1", "d2/c2")
    assert get("d2/c2") == b"a"
    os.rename("d2", "d1/moved")
    assert get("d1/moved/c2") == b"a"
    expect(errno.EINVAL, os.rename, "d1", "d1/moved/inside")
    os.mkdir("empty")
    os.rename("d1/moved", "empty")
    assert get("empty/c2") == b"a"
    os.mkdir("full")
    put("full/x", b"")
    expect(errno.ENOTEMPTY, os.rename, "empty", "full")
    assert get("empty/c2") == b"a" and os.listdir("full") == ["x"]
    put("plain", b"p")
    expect(errno.ENOTDIR, os.rename, "full", "plain")
    expect(errno.EISDIR, os.rename, "plain", "full")
    expect(errno.ENOENT, os.rename, "absent", "x")
    os.rename("plain", "plain")
    assert get("plain") == b"p"
    os.link("plain", "same")
    os.rename("plain", "same")  # two names of one file: nothing happens
    assert get("plain") == get("same") == b"p"
    put("open1", b"old")
    fd = os.open("open1", os.O_RDWR)
    put("new1", b"new")
    os.rename("new1", "open1")
    assert os.pread(fd, 10, 0) == b"old" and get("open1") == b"new"
    os.close(fd)


@test
def rename_without_replacing_and_exchanging():
    put("p", b"p")
    put("q", b"q")
    expect(errno.EEXIST, renameat2, "p", "q", 1)
    assert get("p") == b"p" and get("q") == b"q"
    renameat2("p", "r", 1)
    assert get("r") == b"p"
    try:
        renameat2("q", "r", 2)
    except OSError as e:
        assert e.errno == errno.EINVAL  # a filesystem may decline to exchange
        return
    assert get("q") == b"p" and get("r") == b"q"
    os.mkdir("xd")
    put("xd/in", b"in")
    renameat2("xd", "r", 2)
    assert get("r/in") == b"in" and get("xd") == b"q"


@test
def unlinked_but_open_files_live_until_the_last_close():
    put("gone", b"still here")
    fd = os.open("gone", os.O_RDWR)
    os.unlink("gone")
    expect(errno.ENOENT, os.stat, "gone")
    assert os.fstat(fd).st_nlink == 0
    assert os.pread(fd, 100, 0) == b"still here"
    os.pwrite(fd, b"X" * 10000, 5)
    assert os.pread(fd, 20000, 0) == b"still" + b"X" * 10000
    os.ftruncate(fd, 7)
    assert os.fstat(fd).st_size == 7
    os.fsync(fd)
    put("gone", b"another")
    assert os.pread(fd, 100, 0) == b"stillXX" and get("gone") == b"another"
    os.close(fd)


@test
def writable_shared_maps_reach_the_file_and_each_other():
    size = 3 * 4096 + 100
    put("map", bytes(size))
    fd = os.open("map", os.O_RDWR)
    m1 = mmap.mmap(fd, size)
    m2 = mmap.mmap(fd, size)
    m1[5000:5010] = b"0123456789"
    assert m2[5000:5010] == b"0123456789"
    assert os.pread(fd, 10, 5000) == b"0123456789"
    os.pwrite(fd, b"written", 9000)
    assert m1[9000:9007] == b"written"
    m2[size - 1:size] = b"!"
    m1.flush()
    m1.close()
    m2.close()
    os.fsync(fd)
    os.close(fd)
    data = get("map")
    assert data[5000:5010] == b"0123456789" and data[9000:9007] == b"written" and data[-1:] == b"!"
    assert len(data) == size


@test
def xattrs_are_set_read_listed_and_removed():
    put("x", b"")
    os.setxattr("x", "user.empty file", b"on a file without content")
    assert os.getxattr("x", "user.empty file") == b"on a file without content"
    assert os.stat("x").st_size == 0 and get("x") == b""
    put("y", b"data")
    os.setxattr("y", "user.one", b"1" * 1000)
    os.setxattr("y", "user.two", b"")
    assert sorted(n for n in os.listxattr("y") if n.startswith("user.")) == ["user.one", "user.two"]
    assert os.getxattr("y", "user.two") == b""
    expect(errno.EEXIST, os.setxattr, "y", "user.one", b"", os.XATTR_CREATE)
    expect(errno.ENODATA, os.setxattr, "y", "user.three", b"", os.XATTR_REPLACE)
    expect(errno.ENODATA, os.getxattr, "y", "user.three")
    os.setxattr("y", "user.one", b"changed")
    assert os.getxattr("y", "user.one") == b"changed"
    os.removexattr("y", "user.one")
    assert [n for n in os.listxattr("y") if n.startswith("user.")] == ["user.two"]
    expect(errno.ENODATA, os.removexattr, "y", "user.one")
    os.rename("y", "z")
    assert os.getxattr("z", "user.two") == b""
    os.mkdir("xd2")
    os.setxattr("xd2", "user.dir", b"on a directory")
    os.rename("xd2", "xd3")
    assert os.getxattr("xd3", "user.dir") == b"on a directory"


@test
def fsync_flush_and_release_report_success():
    fd = os.open("s", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"data" * 5000)
    os.fsync(fd)
    os.fdatasync(fd)
    copy = os.dup(fd)
    os.close(copy)
    os.write(fd, b"more")
    os.close(fd)
    assert get("s") == b"data" * 5000 + b"more"
    d = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(d)
    os.close(d)


@test
def statfs_tells_space():
    st = os.statvfs(".")
    assert st.f_blocks > 0 and 0 < st.f_bavail <= st.f_blocks and st.f_namemax == 255, st


@test
def permissions_bits_are_enforced():
    put("prog", b"#!/bin/sh\nexit 7\n")
    os.chmod("prog", 0o755)
    pid = os.spawnv(os.P_NOWAIT, "/bin/sh", ["sh", "-c", "./prog"])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (7, 126)
    if os.getuid() != 0:
        os.chmod("prog", 0o000)
        expect(errno.EACCES, open, "prog", "rb")


@test
def write_a_temporary_then_rename_as_editors_do():
    for i in range(20):
        fd = os.open("doc.tmp", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(fd, b"version %d\n" % i * 500)
        os.fsync(fd)
        os.close(fd)
        os.rename("doc.tmp", "doc")
        assert get("doc") == b"version %d\n" % i * 500
        assert "doc.tmp" not in os.listdir(".")


@test
def large_files_keep_every_byte():
    r = random.Random(11)
    digest = hashlib.sha256()
    with open("large", "wb") as f:
        for _ in range(40):
            chunk = r.randbytes(1 << 20)[:(1 << 20) - 13]
            digest.update(chunk)
            f.write(chunk)
    got = hashlib.sha256()
    with open("large", "rb") as f:
        while chunk := f.read(1 << 20):
            got.update(chunk)
    assert got.digest() == digest.digest()
    assert os.stat("large").st_size == 40 * ((1 << 20) - 13)


run()
