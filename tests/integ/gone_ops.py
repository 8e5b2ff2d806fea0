#!/usr/bin/python3
"""What is removed or replaced while somebody else is at it: directories that are somebody's working directory or are being listed, links and files
that are replaced again and again under who follows, opens or looks at them. As root; calls.py says how it is run (MANY: so many looks of each kind)."""
import collections
import ctypes
import errno
import os
import signal
import stat
import struct
import time

from calls import *

O_PATH = os.O_PATH


def entries(fd):
    """All of a directory from its beginning, by getdents64: names."""
    os.lseek(fd, 0, os.SEEK_SET)
    buffer, names = ctypes.create_string_buffer(32768), []
    while True:
        n = libc.syscall(217, fd, buffer, len(buffer))
        if n < 0:
            raise OSError(ctypes.get_errno(), "getdents64")
        if n == 0:
            return names
        at = 0
        while at < n:
            length = struct.unpack_from("H", buffer, at + 16)[0]
            names.append(buffer[at + 19:at + length].split(b"\0")[0])
            at += length


def listed_or_gone(fd):
    """Nothing is listed of a directory that is gone; a plain ext4 says ENOENT, others an empty list."""
    try:
        return [n for n in entries(fd) if n not in (b".", b"..")]
    except OSError as e:
        assert e.errno == errno.ENOENT, e
        return []


class Pair:
    """The two users take turns: step() of one lets the other go on."""

    def __init__(self):
        self.ends = os.pipe(), os.pipe()

    def tell(self, which):
        os.write(self.ends[which][1], b"x")

    def wait(self, which):
        assert os.read(self.ends[which][0], 1) == b"x"


def nothing_can_be_made_here(fd):
    expect(errno.ENOENT, os.mkdir, "new")
    expect(errno.ENOENT, put, "new", b"")
    expect(errno.ENOENT, os.symlink, "x", "new")
    expect(errno.ENOENT, os.mkfifo, "new")
    expect(errno.ENOENT, os.mkdir, "new", dir_fd=fd)
    expect(errno.ENOENT, os.open, "new", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    expect(errno.ENOENT, os.lstat, "new")
    expect(errno.ENOENT, os.lstat, "new", dir_fd=fd)
    expect(errno.ENOENT, os.getcwd)


def in_a_removed_directory(how):
    """User 1 stands in it and has it open; user 2 makes it go; a new one comes to its name."""
    os.mkdir("top")
    os.chmod("top", 0o777)
    turns = Pair()

    def one():
        os.mkdir("top/dir")
        os.chmod("top/dir", 0o777)
        put("top/file", b"x")
        os.setxattr("top/dir", "user.a", b"1")
        inode = os.stat("top/dir").st_ino
        fd = os.open("top/dir", os.O_RDONLY | os.O_DIRECTORY)
        path = os.open("top/dir", O_PATH)
        top = os.open("top", os.O_RDONLY)
        os.chdir("top/dir")
        assert entries(fd) in ([b".", b".."], [b"..", b"."])
        turns.tell(0)
        turns.wait(1)
        assert listed_or_gone(fd) == []
        for _ in range(2):
            nothing_can_be_made_here(fd)
            expect(errno.ENOENT, os.rename, "../file", "new")
            expect(errno.ENOENT, os.link, "../file", "new")
            assert os.fstat(fd).st_nlink == 0 or MOUNT
            assert os.fstat(fd).st_ino == inode and os.stat(".").st_ino == inode
            # what is at the name now is another one
            turns.tell(0)
            turns.wait(1)
        os.chdir("/")
        assert [n for n in os.listdir(os.open("dir", os.O_RDONLY, dir_fd=top))] == ["of the new one"]
        assert os.fstat(path).st_ino == inode
        for f in (fd, path, top):
            os.close(f)

    def two():
        turns.wait(0)
        if how == "rmdir":
            os.rmdir("top/dir")
            expect(errno.ENOENT, os.lstat, "top/dir")
        else:
            os.mkdir("top/other")
            os.setxattr("top/other", "user.b", b"2")
            os.rename("top/other", "top/dir")
            assert os.listxattr("top/dir") == ["user.b"]
        turns.tell(1)
        turns.wait(0)
        if how == "rmdir":
            os.mkdir("top/dir")
            assert os.listxattr("top/dir") == []
        put("top/dir/of the new one", b"")
        turns.tell(1)
        turns.wait(0)
        turns.tell(1)

    wait(child(USER1, one), child(USER2, two))


@test
def a_removed_directory_that_another_user_stands_in():
    in_a_removed_directory("rmdir")


@test
def the_replaced_directory_that_another_user_stands_in():
    in_a_removed_directory("rename")


@test
def a_directory_that_is_removed_and_made_again_is_a_fresh_one():
    for n in range(200):
        os.mkdir("d")
        assert os.listxattr("d") == []
        os.setxattr("d", "user.n", b"%d" % n)
        if n % 2:
            os.mkdir("e")
            os.rename("e", "d")
            assert os.listxattr("d") == []
        os.rmdir("d")
    assert os.listdir(".") == []


@test
def a_link_that_was_removed_or_replaced_is_still_what_it_was():
    for n, length in enumerate((1, 60, 500, 4000)):
        target = "t" * length
        for how in ("unlink", "rename"):
            os.symlink(target, "link")
            fd = os.open("link", O_PATH | os.O_NOFOLLOW)
            assert os.readlink("", dir_fd=fd) == target
            if how == "unlink":
                os.unlink("link")
            else:
                os.symlink("other", "new")
                os.rename("new", "link")
            for _ in range(2):
                assert os.readlink("", dir_fd=fd) == target
                st = os.fstat(fd)
                assert stat.S_ISLNK(st.st_mode) and st.st_size == length and st.st_nlink == 0, st
            os.close(fd)
            if how == "rename":
                assert os.readlink("link") == "other"
                os.unlink("link")


@test
def a_file_that_was_removed_or_replaced_is_still_what_it_was():
    for size in (0, 5, 5000):
        for how in ("unlink", "rename"):
            put("file", b"x" * size)
            os.chmod("file", 0o640)
            fd = os.open("file", O_PATH)
            before = os.fstat(fd)
            if how == "unlink":
                os.unlink("file")
            else:
                put("new", b"other")
                os.rename("new", "file")
            st = os.fstat(fd)
            assert (st.st_nlink, st.st_ino, st.st_size, st.st_mode) == (0, before.st_ino, size, before.st_mode), st
            assert st.st_mtime_ns == before.st_mtime_ns
            os.close(fd)
            if how == "rename":
                os.unlink("file")


def stress(looks, replace, rate, users=(USER1, USER2), many=MANY):
    """Two users look, each kind `many` times, while root replaces; every error counts."""
    os.chmod(".", 0o755)
    replace(0)
    ends = os.pipe()

    def look():
        seen = collections.Counter()
        for _ in range(many // 2):
            for what, function in looks.items():
                try:
                    function()
                except OSError as e:
                    seen[f"{what}: {errno.errorcode[e.errno]}"] += 1
        os.write(ends[1], (" ".join(f"{k} {v}," for k, v in seen.items()) + "\n").encode())

    lookers = [child(user, look) for user in users]
    n = 0
    begun = time.monotonic()
    while lookers:
        n += 1
        replace(n)
        if rate:
            time.sleep(1 / rate)
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            lookers.remove(done)
            assert status == 0
    took = time.monotonic() - begun
    os.close(ends[1])
    said = b""
    while more := os.read(ends[0], 4096):
        said += more
    os.close(ends[0])
    said = said.decode().strip().replace("\n", " ")
    print(f"# {label}: {many} of each look while it was replaced {n} times in {took:.1f} s; errors: {said or 'none'}", flush=True)
    assert not said, said


def read_some(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.read(fd, 10) in (b"one", b"two")
    finally:
        os.close(fd)


def link_looks():
    put("v1", b"one")
    put("v2", b"two")

    def replace(n):
        os.symlink(f"v{1 + n % 2}", f"tmp{n % 2}")
        os.rename(f"tmp{n % 2}", "current")

    looks = {"open": lambda: read_some("current"), "readlink": lambda: os.readlink("current"), "lstat": lambda: os.lstat("current"),
             "stat": lambda: os.stat("current")}
    return looks, replace


def file_looks():
    def replace(n):
        put("tmp", (b"one", b"two")[n % 2])
        os.rename("tmp", "config")

    looks = {"open": lambda: read_some("config"), "lstat": lambda: os.lstat("config"), "stat": lambda: os.stat("config"),
             "listxattr": lambda: os.listxattr("config"), "access": lambda: os.access("config", os.R_OK)}
    return looks, replace


@test
def a_link_is_followed_while_it_is_replaced():
    stress(*link_looks(), 100)


@test
def a_link_is_followed_while_it_is_replaced_without_pause():
    stress(*link_looks(), 0)


@test
def a_file_is_opened_while_it_is_replaced():
    stress(*file_looks(), 100)


@test
def a_file_is_opened_while_it_is_replaced_without_pause():
    stress(*file_looks(), 0)


@test
def a_file_is_changed_while_it_is_replaced_without_pause():
    _, replace = file_looks()
    looks = {"chmod": lambda: os.chmod("config", 0o600), "chown": lambda: os.chown("config", USER1, USER1), "utime": lambda: os.utime("config"),
             "setxattr": lambda: os.setxattr("config", "user.a", b"1"), "truncate": lambda: os.truncate("config", 2)}
    stress(looks, replace, 0, (0, 0), MANY // 10)


@test
def a_link_is_changed_while_it_is_replaced_without_pause():
    _, replace = link_looks()
    stress({"lchown": lambda: os.lchown("current", USER1, USER1), "utime": lambda: os.utime("current", follow_symlinks=False)}, replace, 0, (0, 0), MANY // 10)


run()
