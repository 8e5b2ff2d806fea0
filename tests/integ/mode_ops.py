#!/usr/bin/python3
"""Who a file belongs to and who may use it, beyond the everyday: nodes, groups handed down, sticky and set-id bits, ACLs, times; each compared
with what POSIX and Linux say. As root; calls.py says how it is run."""
import ctypes
import errno
import mmap
import os
import socket
import stat
import struct
import time

from calls import *

OWNER, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 0x10, 0x20
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER3 = 61003


@test
def mknod_makes_fifos_sockets_and_devices():
    os.mkfifo("fifo", 0o640)
    assert stat.S_ISFIFO(os.stat("fifo").st_mode) and mode_of("fifo") == 0o640

    def writer():
        with open("fifo", "wb") as f:
            f.write(b"through")
    pid = child(0, writer)
    assert get("fifo") == b"through"
    wait(pid)
    s = socket.socket(socket.AF_UNIX)
    s.bind("socket")
    s.listen()
    assert stat.S_ISSOCK(os.stat("socket").st_mode)

    def speak():
        c = socket.socket(socket.AF_UNIX)
        c.connect("socket")
        c.send(b"hello")
    pid = child(0, speak)
    peer = s.accept()[0]
    assert peer.recv(10) == b"hello"
    wait(pid)
    peer.close()
    s.close()
    os.umask(0)
    os.mknod("zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod("block", 0o600 | stat.S_IFBLK, os.makedev(7, 250))
    st = os.stat("zero")
    assert stat.S_ISCHR(st.st_mode) and st.st_rdev == os.makedev(1, 5) and mode_of("zero") == 0o666
    st = os.stat("block")
    assert stat.S_ISBLK(st.st_mode) and st.st_rdev == os.makedev(7, 250)
    if MOUNT:  # nodev
        expect(errno.EACCES, os.open, "zero", os.O_RDONLY)
    os.umask(0o022)
    os.mknod("regular", 0o600 | stat.S_IFREG)
    assert stat.S_ISREG(os.stat("regular").st_mode)
    os.chmod(".", 0o777)
    as_user(USER1, expect, errno.EPERM, os.mknod, "mine", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    as_user(USER1, os.mkfifo, "userfifo")
    assert os.stat("userfifo").st_uid == USER1
    os.rename("fifo", "moved")
    os.link("zero", "zero2")
    assert os.stat("zero2").st_rdev == os.makedev(1, 5) and os.stat("zero").st_nlink == 2
    for name in os.listdir("."):
        os.unlink(name)


@test
def setgid_directories_hand_their_group_down():
    os.mkdir("g")
    os.chown("g", 0, 4321)
    os.chmod("g", 0o2777)

    def make():
        os.umask(0o022)
        put("g/file", b"")
        os.mkdir("g/dir")
        os.mkfifo("g/fifo")
        os.symlink("t", "g/link")
        put("g/exec", b"", mode=0o2775)
    as_user(USER1, make)
    for name in ("file", "dir", "fifo", "link", "exec"):
        st = os.lstat("g/" + name)
        assert (st.st_uid, st.st_gid) == (USER1, 4321), (name, st.st_uid, st.st_gid)
    assert mode_of("g/dir") == 0o2755, oct(mode_of("g/dir"))
    assert mode_of("g/file") == 0o644
    # a set-group-id program for a group that is not one's own
    assert mode_of("g/exec") == 0o755, oct(mode_of("g/exec"))
    put("g/root", b"")
    assert os.stat("g/root").st_gid == 4321


@test
def sticky_directories_let_only_owners_remove():
    os.mkdir("s")
    os.chmod("s", 0o1777)
    as_user(USER1, put, "s/one", b"1")

    def thief():
        expect(errno.EPERM, os.unlink, "s/one")
        expect(errno.EPERM, os.rename, "s/one", "s/two")
        put("s/mine", b"2")
        expect(errno.EPERM, os.rename, "s/mine", "s/one")
        os.rename("s/mine", "s/mine2")
    as_user(USER2, thief)
    as_user(USER1, os.unlink, "s/one")
    os.unlink("s/mine2")
    os.rmdir("s")


@test
def set_id_bits_go_when_they_must():
    def fresh(mode, uid=0):
        put("p", b"program")
        os.chown("p", uid, uid)
        os.chmod("p", mode)

    def write():
        fd = os.open("p", os.O_WRONLY)
        os.write(fd, b"P")
        os.close(fd)

    def mapped():
        fd = os.open("p", os.O_RDWR)
        with mmap.mmap(fd, 7) as m:
            m[0] = 65
        os.close(fd)

    for mode, want in ((0o4777, 0o777), (0o2777, 0o777), (0o6777, 0o777), (0o2767, 0o767)):
        fresh(mode)
        as_user(USER1, write)
        assert mode_of("p") == want, (oct(mode), oct(mode_of("p")))
        fresh(mode)
        as_user(USER1, os.truncate, "p", 3)
        assert mode_of("p") == want, ("truncate", oct(mode), oct(mode_of("p")))
        fresh(mode)
        as_user(USER1, lambda: os.close(os.open("p", os.O_WRONLY | os.O_TRUNC)))
        assert mode_of("p") == want, ("O_TRUNC", oct(mode), oct(mode_of("p")))
        fresh(mode)

        def punch():
            fallocate(os.open("p", os.O_RDWR), PUNCH | KEEP, 0, 4)
        as_user(USER1, punch)
        assert mode_of("p") == want, ("fallocate", oct(mode), oct(mode_of("p")))
        fresh(mode)
        write()
        assert mode_of("p") == mode, ("root", oct(mode_of("p")))
    fresh(0o6755, USER1)
    as_user(USER1, write)
    assert mode_of("p") == 0o755, oct(mode_of("p"))
    fresh(0o6755)
    os.chown("p", USER1, USER1)
    assert mode_of("p") == 0o755, ("chown", oct(mode_of("p")))
    fresh(0o6755, USER1)
    as_user(USER1, os.chown, "p", USER1, USER2, groups=(USER2,))
    assert mode_of("p") == 0o755, ("chown by its owner", oct(mode_of("p")))
    # chmod g+s by somebody who is not in the group
    fresh(0o755, USER1)
    os.chown("p", USER1, 4321)
    as_user(USER1, os.chmod, "p", 0o2755)
    assert mode_of("p") == 0o755, ("chmod", oct(mode_of("p")))


@test
def times_have_nanoseconds():
    put("t", b"x")
    os.mkdir("d")
    os.symlink("t", "l")
    os.mkfifo("p")
    for name in ("t", "d", "l", "p"):
        for a, m in ((1, 2), (1234567890123456789, 1500000000987654321), (4102444800000000001, 4102444800999999999)):
            os.utime(name, ns=(a, m), follow_symlinks=False)
            st = os.lstat(name)
            assert (st.st_atime_ns, st.st_mtime_ns) == (a, m), (name, st.st_atime_ns, st.st_mtime_ns)
    before = time.time_ns()
    os.utime("t")
    assert before - 20000000 <= os.stat("t").st_mtime_ns <= time.time_ns()
    fd = os.open("t", os.O_RDWR)
    os.write(fd, b"y")
    os.utime(fd, ns=(5, 6))
    os.close(fd)
    assert os.stat("t").st_mtime_ns == 6
    old = os.stat("d").st_mtime_ns
    put("d/x", b"")
    assert os.stat("d").st_mtime_ns != old
    old = os.stat("t").st_ctime_ns
    time.sleep(0.02)
    os.chmod("t", 0o600)
    assert os.stat("t").st_ctime_ns > old


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, perm, who & 0xffffffff) for tag, perm, who in entries)


@test
def default_acls_take_the_place_of_the_umask():
    os.mkdir("d")
    os.setxattr("d", DEFAULT,
        acl((OWNER, 7, -1), (USER, 7, USER1), (GROUP_OBJ, 5, -1), (MASK, 7, -1), (OTHER, 0, -1)))
    old = os.umask(0o077)
    put("d/file", b"secret", mode=0o666)
    os.mkdir("d/sub", 0o777)
    os.mkfifo("d/fifo", 0o666)
    os.umask(old)
    assert mode_of("d/file") == 0o660, oct(mode_of("d/file"))
    assert mode_of("d/sub") == 0o770, oct(mode_of("d/sub"))
    assert mode_of("d/fifo") == 0o660, oct(mode_of("d/fifo"))
    assert os.getxattr("d/file", ACCESS) == \
        acl((OWNER, 6, -1), (USER, 7, USER1), (GROUP_OBJ, 5, -1), (MASK, 6, -1), (OTHER, 0, -1))
    assert os.getxattr("d/sub", DEFAULT) == os.getxattr("d", DEFAULT)
    expect(errno.ENODATA, os.getxattr, "d/file", DEFAULT)
    os.chmod("d", 0o755)
    as_user(USER1, get, "d/file")
    as_user(USER2, expect, errno.EACCES, get, "d/file")
    os.chmod("d/file", 0o600)  # the mask goes down
    as_user(USER1, expect, errno.EACCES, get, "d/file")
    os.setxattr("d/file", ACCESS, acl((OWNER, 6, -1), (USER, 4, USER2), (GROUP_OBJ, 0, -1), (MASK, 4, -1), (OTHER, 0, -1)))
    assert mode_of("d/file") == 0o640
    as_user(USER2, get, "d/file")
    os.removexattr("d", DEFAULT)
    put("d/later", b"", mode=0o666)
    assert mode_of("d/later") == 0o644


def may(uid, path, read, write, **words):
    """What that user gets, of an object that he has not touched before and of one that he has."""
    def ask():
        for _ in range(2):
            for flags, good in ((os.O_RDONLY, read), (os.O_WRONLY, write)):
                if good:
                    os.close(os.open(path, flags))
                else:
                    expect(errno.EACCES, os.open, path, flags)
                assert os.access(path, os.R_OK if flags == os.O_RDONLY else os.W_OK) == good, (uid, path, flags)
    as_user(uid, ask, **words)


@test
def acls_decide_for_each_user_and_group():
    os.chmod(".", 0o755)
    put("f", b"x")
    entries = ((OWNER, 6, -1), (USER, 6, USER1), (USER, 4, USER2), (GROUP_OBJ, 0, -1), (GROUP, 4, 4321), (MASK, 6, -1), (OTHER, 0, -1))
    os.setxattr("f", ACCESS, acl(*entries))
    assert os.getxattr("f", ACCESS) == acl(*entries) and mode_of("f") == 0o660
    may(USER1, "f", True, True)
    may(USER2, "f", True, False)
    may(USER3, "f", False, False)
    may(USER3, "f", True, False, groups=(4321,))
    # chmod moves the mask, not the entries
    os.chmod("f", 0o640)
    assert os.getxattr("f", ACCESS) == acl(*entries[:5], (MASK, 4, -1), (OTHER, 0, -1))
    may(USER1, "f", True, False)
    may(USER3, "f", True, False, groups=(4321,))
    # who is named is not "others"
    os.chmod("f", 0o614)  # with no bit at all for the group Linux would not look at the list
    may(USER1, "f", False, False)
    may(USER2, "f", False, False)
    may(USER3, "f", True, False)
    may(USER3, "f", False, False, groups=(4321,))
    os.chmod("f", 0o660)
    may(USER1, "f", True, True)
    # only its owner may change it; what is none is refused
    as_user(USER1, expect, errno.EPERM, os.setxattr, "f", ACCESS, acl(*entries))
    expect(errno.EINVAL, os.setxattr, "f", ACCESS, acl((OWNER, 6, -1), (USER, 6, USER1), (GROUP_OBJ, 0, -1), (OTHER, 0, -1)))
    expect(errno.EACCES, os.setxattr, "f", DEFAULT, acl((OWNER, 6, -1), (GROUP_OBJ, 4, -1), (OTHER, 0, -1)))
    assert os.getxattr("f", ACCESS) == acl(*entries)
    # one that says no more than the mode is kept as the mode
    os.setxattr("f", ACCESS, acl((OWNER, 6, -1), (GROUP_OBJ, 4, -1), (OTHER, 4, -1)))
    assert mode_of("f") == 0o644 and ACCESS not in os.listxattr("f")
    may(USER3, "f", True, False)
    os.setxattr("f", ACCESS, acl(*entries))
    os.chmod("f", 0o600)
    os.removexattr("f", ACCESS)
    assert mode_of("f") == 0o600
    may(USER1, "f", False, False)
    # a right that goes does so for who has looked at it before, and one that comes too
    os.setxattr("f", ACCESS, acl(*entries))
    (r1, w1), (r2, w2) = os.pipe(), os.pipe()

    def watcher():
        for good in (True, False, True):
            os.read(r1, 1)
            if good:
                os.close(os.open("f", os.O_RDWR))
            else:
                expect(errno.EACCES, os.open, "f", os.O_RDONLY)
            os.write(w2, b"x")
    pid = child(USER1, watcher)
    for kept in (entries, [e for e in entries if e[2] != USER1], entries):
        os.setxattr("f", ACCESS, acl(*kept))
        os.write(w1, b"x")
        assert os.read(r2, 1) == b"x"
    wait(pid)
    for fd in (r1, w1, r2, w2):
        os.close(fd)


@test
def acls_of_directories_decide_and_are_inherited():
    os.chmod(".", 0o755)
    os.mkdir("d", 0o700)
    put("d/known", b"x")
    base = lambda one, two: acl((OWNER, 7, -1), (USER, one, USER1), (USER, two, USER2), (GROUP_OBJ, 0, -1), (MASK, 7, -1), (OTHER, 0, -1))
    os.setxattr("d", ACCESS, base(1, 0))
    as_user(USER1, get, "d/known")
    as_user(USER1, expect, errno.EACCES, os.listdir, "d")
    as_user(USER1, expect, errno.EACCES, put, "d/new", b"")
    for call in (os.listdir, os.chdir):
        as_user(USER2, expect, errno.EACCES, call, "d")
    as_user(USER2, expect, errno.EACCES, os.stat, "d/known")
    os.setxattr("d", ACCESS, base(7, 5))
    as_user(USER1, put, "d/new", b"1")
    as_user(USER2, lambda: sorted(os.listdir("d")) == ["known", "new"] or 1 / 0)
    as_user(USER2, expect, errno.EACCES, os.unlink, "d/new")
    as_user(USER3, expect, errno.EACCES, os.stat, "d/new")
    # defaults go down all levels, and what is made has them from the first moment on
    os.setxattr("d", DEFAULT, base(7, 5))
    as_user(USER1, os.makedirs, "d/a/b/c")
    as_user(USER1, put, "d/a/b/c/f", b"deep", os.O_CREAT | os.O_WRONLY, 0o666)
    as_user(USER1, os.symlink, "f", "d/a/b/c/l")
    for name in ("d/a", "d/a/b", "d/a/b/c"):
        assert os.getxattr(name, DEFAULT) == base(7, 5), name
        assert os.getxattr(name, ACCESS)[4 + 8:4 + 24] == base(7, 5)[4 + 8:4 + 24], name
    as_user(USER2, get, "d/a/b/c/f")
    as_user(USER2, expect, errno.EACCES, put, "d/a/b/c/f", b"", os.O_WRONLY)
    as_user(USER3, expect, errno.EACCES, get, "d/a/b/c/f")
    # a copy that is moved in keeps its own, a link too
    put("outside", b"o", mode=0o600)
    os.rename("outside", "d/outside")
    assert mode_of("d/outside") == 0o600 and ACCESS not in os.listxattr("d/outside")
    as_user(USER1, expect, errno.EACCES, get, "d/outside")
    os.removexattr("d/a", DEFAULT)
    old = os.umask(0o027)
    os.mkdir("d/a/plain")
    os.umask(old)
    assert mode_of("d/a/plain") == 0o750 and not os.listxattr("d/a/plain")
    assert os.getxattr("d/a/b", DEFAULT) == base(7, 5)


@test
def set_group_id_goes_with_an_acl_by_who_is_not_in_the_group():
    for groups, want in (((), 0o755), ((4321,), 0o2755)):
        put("p", b"x")
        os.chown("p", USER1, 4321)
        os.chmod("p", 0o2755)
        as_user(USER1, os.setxattr, "p", ACCESS, acl((OWNER, 7, -1), (GROUP_OBJ, 5, -1), (OTHER, 5, -1)), groups=groups)
        assert mode_of("p") == want, (groups, oct(mode_of("p")))


@test
def sticky_directories_with_directories_and_exchanges():
    os.mkdir("s")
    os.chown("s", USER3, USER3)
    os.chmod("s", 0o1777)
    as_user(USER1, os.mkdir, "s/dir", 0o777)
    as_user(USER1, put, "s/file", b"1")
    as_user(USER2, os.mkdir, "s/mine")

    def thief():
        expect(errno.EPERM, os.rmdir, "s/dir")
        expect(errno.EPERM, os.rename, "s/dir", "s/stolen")
        expect(errno.EPERM, os.rename, "s/mine", "s/dir")
        expect(errno.EPERM, renameat2, "s/mine", "s/file", EXCHANGE)
        expect(errno.EPERM, renameat2, "s/file", "s/mine", EXCHANGE)
    as_user(USER2, thief)
    # whoever has the directory may, though not its entries' owner
    as_user(USER3, os.rmdir, "s/dir")
    as_user(USER3, os.unlink, "s/file")
    as_user(USER2, os.rmdir, "s/mine")
    assert os.listdir("s") == []


@test
def times_can_be_left_and_set_to_now():
    OMIT, NOW = (1 << 30) - 2, (1 << 30) - 1

    def utimens(name, a, m, follow=False):
        if libc.utimensat(-100, os.fsencode(name), struct.pack("qqqq", *a, *m), 0 if follow else 0x100):
            raise OSError(ctypes.get_errno(), "utimensat")
    put("f", b"x")
    os.mkdir("d")
    os.symlink("f", "l")
    os.mkfifo("p")
    for name in ("f", "d", "l", "p"):
        utimens(name, (100, 1), (200, 999999999))
        utimens(name, (0, OMIT), (300, 3))
        st = os.lstat(name)
        assert (st.st_atime_ns, st.st_mtime_ns) == (100 * 10**9 + 1, 300 * 10**9 + 3), name
        utimens(name, (400, 4), (0, OMIT))
        before, old = time.time_ns() - 20000000, os.lstat(name).st_ctime_ns
        st = os.lstat(name)
        assert (st.st_atime_ns, st.st_mtime_ns) == (400 * 10**9 + 4, 300 * 10**9 + 3), name
        time.sleep(0.02)
        utimens(name, (0, OMIT), (0, NOW))
        st = os.lstat(name)
        assert st.st_atime_ns == 400 * 10**9 + 4 and before <= st.st_mtime_ns <= time.time_ns() and st.st_ctime_ns > old, name
        utimens(name, (0, NOW), (5, 5))
        st = os.lstat(name)
        assert before <= st.st_atime_ns <= time.time_ns() and st.st_mtime_ns == 5 * 10**9 + 5, name
        utimens(name, (0, OMIT), (0, OMIT))
        utimens(name, (-1, 7), (-86400, 8))  # before 1970
        st = os.lstat(name)
        assert (st.st_atime_ns, st.st_mtime_ns) == (-10**9 + 7, -86400 * 10**9 + 8), name
        expect(errno.EINVAL, utimens, name, (1, 10**9), (1, 1))
    utimens("f", (1, 1), (2, 2))
    utimens("l", (3, 3), (4, 4), follow=True)
    assert os.stat("f").st_mtime_ns == 4 * 10**9 + 4 and os.lstat("l").st_mtime_ns == -86400 * 10**9 + 8
    # who may write it may set it to now, and to nothing else
    os.chmod("f", 0o666)
    as_user(USER1, utimens, "f", (0, NOW), (0, NOW))
    assert os.stat("f").st_mtime_ns >= before
    as_user(USER1, expect, errno.EPERM, utimens, "f", (1, 1), (1, 1))
    as_user(USER1, expect, errno.EPERM, utimens, "f", (0, OMIT), (0, NOW))
    os.chmod("f", 0o644)
    as_user(USER1, expect, errno.EACCES, utimens, "f", (0, NOW), (0, NOW))
    # what lies in the cache does not set it again later
    fd = os.open("f", os.O_RDWR)
    os.write(fd, b"cached")
    utimens("f", (7, 7), (8, 8))
    os.fsync(fd)
    os.close(fd)
    assert os.stat("f").st_mtime_ns == 8 * 10**9 + 8
    fd = os.open("f", os.O_RDWR)
    with mmap.mmap(fd, 4) as m:
        m[0] = 65
        m.flush()
    os.close(fd)
    assert os.stat("f").st_mtime_ns > before
    # a directory's, by what happens in it
    for act in (lambda: put("d/a", b""), lambda: os.link("d/a", "d/b"), lambda: os.rename("d/b", "d/c"), lambda: os.unlink("d/c"),
            lambda: os.mkdir("d/d"), lambda: os.rmdir("d/d"), lambda: os.symlink("t" * 3000, "d/" + "s" * 255), lambda: os.unlink("d/" + "s" * 255)):
        utimens("d", (1, 1), (1, 1))
        act()
        assert os.stat("d").st_mtime_ns >= before
    utimens("d", (1, 1), (1, 1))
    put("d/a", b"content", os.O_WRONLY)
    assert os.stat("d").st_mtime_ns == 10**9 + 1


run()
