#!/usr/bin/python3
"""operations.py DIRECTORY LABEL [MANY]: operations beyond the everyday ones, each compared with what POSIX and Linux say.

Run over a plain directory first (the control), then over the mount, as root. Where the mount is known to differ
(docs/posix.md), the test asks for the difference exactly: MOUNT is true there. MANY: entries of the large directory."""
import ctypes
import ctypes.util
import errno
import fcntl
import mmap
import os
import random
import resource
import signal
import socket
import stat
import struct
import sys
import time

top, label = sys.argv[1], sys.argv[2]
MANY = int(sys.argv[3]) if len(sys.argv) > 3 else 20000
MOUNT = label != "plain directory"
KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
PAGE = 4096
USER1, USER2 = 61001, 61002
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = libc.closedir.argtypes = libc.telldir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
failed = False
tests = []


def test(function):
    tests.append(function)
    return function


def put(path, data, flags=os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def expect(number, call, *args, **words):
    try:
        call(*args, **words)
    except OSError as e:
        assert e.errno == number, f"{errno.errorcode[e.errno]}, not {errno.errorcode[number]}"
        return
    raise AssertionError(f"succeeded, expected {errno.errorcode[number]}")


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length):
        raise OSError(ctypes.get_errno(), "fallocate")


def child(uid, function, *args, gid=None, groups=()):
    """Starts function in a process of its own, as that user; wait() says whether it was right."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if uid:
            os.setgroups(list(groups))
            os.setresgid(gid or uid, gid or uid, gid or uid)
            os.setresuid(uid, uid, uid)
        function(*args)
        code = 0
    except (AssertionError, OSError) as e:
        line = e.__traceback__
        while line.tb_next and line.tb_next.tb_frame.f_code.co_filename == __file__:
            line = line.tb_next
        print(f"  child, line {line.tb_lineno}: {type(e).__name__} {e}", flush=True)
    finally:
        os._exit(code)


def wait(*pids):
    bad = [p for p in pids if os.waitstatus_to_exitcode(os.waitpid(p, 0)[1])]
    assert not bad, "a child failed"


def as_user(uid, function, *args, **words):
    wait(child(uid, function, *args, **words))


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@test
def fallocate_keeps_to_its_modes():
    r = random.Random(5)
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    want = bytearray(r.randbytes(1500000))
    os.write(fd, want)
    for n in range(120):
        at, length = r.randrange(0, 1600000), r.choice([1, 100, PAGE, 5 * PAGE, 70000, 600000])
        if r.random() < 0.5:
            at -= at % PAGE
        mode = r.choice([0, KEEP, PUNCH | KEEP, ZERO, ZERO | KEEP])
        fallocate(fd, mode, at, length)
        end = at + length
        if mode & (PUNCH | ZERO) and at < len(want):
            want[at:min(end, len(want))] = bytes(min(end, len(want)) - at)
        if not mode & KEEP and end > len(want):
            want.extend(bytes(end - len(want)))
        assert os.fstat(fd).st_size == len(want), (n, mode, at, length)
        if n % 3 == 0:
            data, at = r.randbytes(9000), r.randrange(len(want) - 9000)
            os.pwrite(fd, data, at)
            want[at:at + 9000] = data
        if n % 10 == 0:
            assert os.pread(fd, 3000000, 0) == want, (n, mode, at, length)
    os.close(fd)
    assert get("f") == want
    fd = os.open("f", os.O_RDWR)
    expect(errno.EINVAL, fallocate, fd, 0, 0, 0)
    expect(errno.EINVAL, fallocate, fd, 0, -1, 10)
    expect(errno.EOPNOTSUPP, fallocate, fd, PUNCH, 0, 10)
    if MOUNT:
        for mode in (COLLAPSE, INSERT, UNSHARE):
            expect(errno.EOPNOTSUPP, fallocate, fd, mode, 0, PAGE)
    os.close(fd)
    fd = os.open("f", os.O_RDONLY)
    expect(errno.EBADF, fallocate, fd, 0, 0, 10)
    os.close(fd)
    assert get("f") == want


@test
def fallocate_gives_and_takes_space():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    fallocate(fd, KEEP, 0, 8 << 20)
    st = os.fstat(fd)
    assert st.st_size == 0 and 8 << 20 <= st.st_blocks * 512 <= 9 << 20, (st.st_size, st.st_blocks)
    fallocate(fd, 0, 0, 8 << 20)
    assert os.fstat(fd).st_size == 8 << 20
    assert os.pread(fd, 100000, 5 << 20) == bytes(100000)
    os.pwrite(fd, os.urandom(8 << 20), 0)
    os.fsync(fd)
    fallocate(fd, PUNCH | KEEP, 0, 7 << 20)
    assert os.fstat(fd).st_blocks * 512 < 2 << 20, os.fstat(fd).st_blocks
    os.posix_fallocate(fd, 0, 9 << 20)
    assert os.fstat(fd).st_size == 9 << 20 and os.fstat(fd).st_blocks * 512 >= 9 << 20
    old = os.fstat(fd).st_mtime_ns
    time.sleep(0.02)
    fallocate(fd, ZERO | KEEP, 0, PAGE)
    assert os.fstat(fd).st_mtime_ns > old
    os.close(fd)


@test
def fallocate_and_mmap_agree():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"a" * 5 * PAGE)
    with mmap.mmap(fd, 5 * PAGE) as m:
        m[PAGE:3 * PAGE] = b"b" * 2 * PAGE
        fallocate(fd, PUNCH | KEEP, PAGE + 1, PAGE)
        assert m[PAGE:PAGE + 1] == b"b" and m[PAGE + 1:2 * PAGE + 1] == bytes(PAGE) and m[2 * PAGE + 1] == ord("b")
        m[PAGE + 5:PAGE + 6] = b"c"
        m.flush()
    assert os.pread(fd, 10, PAGE) == b"b\0\0\0\0c\0\0\0\0"
    os.close(fd)


def extents(fd):
    """Where data is, as SEEK_DATA and SEEK_HOLE say."""
    found, at, size = [], 0, os.fstat(fd).st_size
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO
            break
        at = os.lseek(fd, data, os.SEEK_HOLE)
        assert at > data
        found.append((data, at))
    return found


@test
def seek_data_and_hole_see_what_is_only_in_the_cache_too():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    expect(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
    expect(errno.ENXIO, os.lseek, fd, 0, os.SEEK_HOLE)
    os.pwrite(fd, b"x" * 70000, 1 << 20)
    os.pwrite(fd, b"y", 9 << 20)
    os.ftruncate(fd, 20 << 20)
    want = [(1 << 20, (1 << 20) + 18 * PAGE), (9 << 20, (9 << 20) + PAGE)]
    assert extents(fd) == want, extents(fd)
    os.fsync(fd)
    assert extents(fd) == want, extents(fd)
    assert os.lseek(fd, (1 << 20) + 5, os.SEEK_DATA) == (1 << 20) + 5
    assert os.lseek(fd, 5, os.SEEK_HOLE) == 5
    assert os.lseek(fd, 10 << 20, os.SEEK_HOLE) == 10 << 20
    expect(errno.ENXIO, os.lseek, fd, 10 << 20, os.SEEK_DATA)
    expect(errno.ENXIO, os.lseek, fd, 20 << 20, os.SEEK_HOLE)
    expect(errno.ENXIO, os.lseek, fd, -5, os.SEEK_DATA)
    fallocate(fd, PUNCH | KEEP, (1 << 20) + PAGE, PAGE)
    os.ftruncate(fd, (9 << 20) + 1)
    want = [(1 << 20, (1 << 20) + PAGE), ((1 << 20) + 2 * PAGE, (1 << 20) + 18 * PAGE), (9 << 20, (9 << 20) + 1)]
    assert extents(fd) == want, extents(fd)
    with mmap.mmap(fd, 9 << 20) as m:
        m[5 << 20] = 1
        assert ((5 << 20), (5 << 20) + PAGE) in extents(fd), extents(fd)
    os.close(fd)
    fd = os.open("f", os.O_RDONLY)
    assert len(extents(fd)) == 4, extents(fd)
    os.close(fd)
    # many at a time, with writers
    fd = os.open("g", os.O_CREAT | os.O_RDWR)

    def seeker(k):
        for i in range(40):
            at = (k * 40 + i) * 3 * PAGE
            os.pwrite(fd, b"z", at)
            assert os.lseek(os.open("g", os.O_RDONLY), at, os.SEEK_DATA) == at
    wait(*[child(0, seeker, k) for k in range(16)])
    assert len(extents(fd)) == 16 * 40
    os.close(fd)


@test
def copy_file_range_copies_what_was_written():
    data = os.urandom(40 << 20)
    a = os.open("a", os.O_CREAT | os.O_RDWR)
    b = os.open("b", os.O_CREAT | os.O_RDWR)
    os.write(a, data)  # not synced: it must be seen
    os.write(b, b"old" * 1000)
    done = 0
    while done < len(data):
        n = os.copy_file_range(a, b, len(data) - done, done, done)
        assert n > 0
        done += n
    assert os.copy_file_range(a, b, 100, len(data), 0) == 0
    assert os.pread(b, len(data), 0) == data and os.fstat(b).st_size == len(data)
    assert os.copy_file_range(a, b, 1000, 77, 12345) == 1000
    assert os.pread(b, 1002, 12344) == data[12344:12345] + data[77:1077] + data[13345:13346]
    assert os.copy_file_range(a, a, 5000, 0, 100000) == 5000
    assert os.pread(a, 5000, 100000) == data[:5000]
    expect(errno.EINVAL, os.copy_file_range, a, a, 5000, 0, 100)
    c = os.open("b", os.O_RDONLY)
    expect(errno.EBADF, os.copy_file_range, a, c, 10, 0, 0)
    for fd in (a, b, c):
        os.close(fd)
    assert get("b")[:1000] == data[:1000]


def lock(fd, kind, start=0, length=0, command=fcntl.F_SETLK):
    fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0))


def lock_owner(fd, kind, start=0, length=0):
    """Pid of who stands in the way, 0: nobody."""
    got = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0))
    kind, _, _, _, pid = struct.unpack("hhqqi4x", got)
    return 0 if kind == fcntl.F_UNLCK else pid


@test
def posix_locks_hold_between_processes_and_users():
    put("l", b"x" * 100)
    os.chmod("l", 0o666)
    fd = os.open("l", os.O_RDWR)
    lock(fd, fcntl.F_WRLCK, 10, 10)
    parent = os.getpid()

    def other():
        mine = os.open("l", os.O_RDWR)
        assert lock_owner(mine, fcntl.F_WRLCK, 15, 1) == parent
        for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK):
            expect(errno.EAGAIN, lock, mine, kind, 15, 10)
        lock(mine, fcntl.F_WRLCK, 20, 10)
        lock(mine, fcntl.F_RDLCK, 0, 10)
        # what the parent holds is not inherited
        expect(errno.EAGAIN, lock, fd, fcntl.F_WRLCK, 10, 1)
    as_user(USER1, other)
    as_user(USER2, other)
    lock(fd, fcntl.F_UNLCK, 10, 10)
    lock(fd, fcntl.F_RDLCK, 0, 100)

    def readers():
        mine = os.open("l", os.O_RDWR)
        lock(mine, fcntl.F_RDLCK, 0, 100)
        expect(errno.EAGAIN, lock, mine, fcntl.F_WRLCK, 0, 1)
    wait(child(USER1, readers), child(USER2, readers))
    # any close of the file in the process gives them back
    os.close(os.open("l", os.O_RDONLY))

    def free():
        lock(os.open("l", os.O_RDWR), fcntl.F_WRLCK, 0, 100)
    as_user(USER1, free)
    # and the end of a process does; a waiter gets it then
    r, w = os.pipe()

    def holder():
        lock(os.open("l", os.O_RDWR), fcntl.F_WRLCK)
        os.write(w, b"h")
        time.sleep(0.2)
    pid = child(USER1, holder)
    os.read(r, 1)
    expect(errno.EAGAIN, lock, fd, fcntl.F_WRLCK)
    lock(fd, fcntl.F_WRLCK, command=fcntl.F_SETLKW)
    wait(pid)
    os.close(fd)
    os.close(r)
    os.close(w)


@test
def ofd_locks_belong_to_the_open_file():
    F_OFD_SETLK = 37
    put("l", b"x")
    os.chmod("l", 0o666)
    a, b = os.open("l", os.O_RDWR), os.open("l", os.O_RDWR)
    lock(a, fcntl.F_WRLCK, command=F_OFD_SETLK)
    expect(errno.EAGAIN, lock, b, fcntl.F_WRLCK, command=F_OFD_SETLK)
    expect(errno.EAGAIN, lock, b, fcntl.F_RDLCK)

    def inherited():
        lock(a, fcntl.F_WRLCK, command=F_OFD_SETLK)  # the same open file: it is ours
        expect(errno.EAGAIN, lock, os.open("l", os.O_RDWR), fcntl.F_WRLCK, command=F_OFD_SETLK)
    as_user(USER1, inherited)
    os.close(os.open("l", os.O_RDONLY))
    expect(errno.EAGAIN, lock, b, fcntl.F_WRLCK, command=F_OFD_SETLK)
    os.close(a)
    lock(b, fcntl.F_WRLCK, command=F_OFD_SETLK)
    os.close(b)


@test
def flock_holds_between_processes_and_users():
    put("l", b"x")
    os.chmod("l", 0o666)
    a = os.open("l", os.O_RDONLY)
    fcntl.flock(a, fcntl.LOCK_EX)

    def other(kind):
        expect(errno.EAGAIN, fcntl.flock, os.open("l", os.O_RDONLY), kind | fcntl.LOCK_NB)
    wait(child(USER1, other, fcntl.LOCK_SH), child(USER2, other, fcntl.LOCK_EX))

    def inherited():
        fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    as_user(USER1, inherited)
    fcntl.flock(a, fcntl.LOCK_SH)
    wait(child(USER1, lambda: fcntl.flock(os.open("l", os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)))
    d = os.dup(a)
    os.close(a)
    wait(child(USER2, other, fcntl.LOCK_EX))
    os.close(d)
    wait(child(USER2, lambda: fcntl.flock(os.open("l", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)))


@test
def locked_mmap_counts_right_with_four_writers():
    put("c", bytes(PAGE))
    os.chmod("c", 0o666)

    def count():
        fd = os.open("c", os.O_RDWR)
        with mmap.mmap(fd, PAGE) as m:
            for _ in range(300):
                lock(fd, fcntl.F_WRLCK, command=fcntl.F_SETLKW)
                m[0:8] = struct.pack("q", struct.unpack("q", m[0:8])[0] + 1)
                lock(fd, fcntl.F_UNLCK)
    wait(*[child(uid, count) for uid in (USER1, USER2, USER1, USER2)])
    assert struct.unpack("q", get("c")[:8])[0] == 1200


@test
def concurrent_appends_lose_nothing():
    put("log", b"")
    os.chmod("log", 0o666)

    def append(who):
        fd = os.open("log", os.O_WRONLY | os.O_APPEND)
        for i in range(400):
            line = b"%d %d %s\n" % (who, i, b"x" * (i % 200))
            assert os.write(fd, line) == len(line)
    wait(child(USER1, append, 1), child(USER2, append, 2), child(USER1, append, 3))
    got = get("log").splitlines(keepends=True)
    assert len(got) == 1200
    for who in (1, 2, 3):
        assert [x for x in got if x.startswith(b"%d " % who)] == [b"%d %d %s\n" % (who, i, b"x" * (i % 200)) for i in range(400)]
    fd = os.open("log", os.O_RDWR | os.O_APPEND)
    os.pwrite(fd, b"end", 0)  # Linux: O_APPEND wins
    os.close(fd)
    assert get("log").endswith(b"end")
    # several handles of one process, while somebody truncates
    a, b = os.open("t", os.O_CREAT | os.O_WRONLY | os.O_APPEND), os.open("t", os.O_WRONLY | os.O_APPEND)
    os.write(a, b"1")
    os.ftruncate(b, 0)
    os.write(a, b"2")
    os.write(b, b"3")
    assert get("t") == b"23"
    os.close(a)
    os.close(b)


@test
def exclusive_create_has_one_winner():
    os.chmod(".", 0o777)
    for n in range(20):
        r, w = os.pipe()

        def race():
            try:
                os.close(os.open(f"x{n}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                os.write(w, b"w")
            except FileExistsError:
                pass
        wait(*[child(uid, race) for uid in (USER1, USER2, USER1, USER2)])
        os.close(w)
        assert os.read(r, 10) == b"w"
        os.close(r)
    os.symlink("nowhere", "dangling")
    expect(errno.EEXIST, os.open, "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    expect(errno.ELOOP, os.open, "dangling", os.O_RDONLY | os.O_NOFOLLOW)
    expect(errno.ENOTDIR, os.open, "x0", os.O_RDONLY | os.O_DIRECTORY)


@test
def direct_io_reads_and_writes():
    fd = os.open("d", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    m = mmap.mmap(-1, 64 * PAGE)
    data = os.urandom(64 * PAGE)
    m[:] = data
    assert os.pwrite(fd, m, 0) == len(data)
    assert os.pwrite(fd, m, 256 * PAGE) == len(data)
    back = mmap.mmap(-1, 64 * PAGE)
    assert os.preadv(fd, [back], 256 * PAGE) == len(data) and back[:] == data
    assert get("d")[:64 * PAGE] == data
    # what lies in the cache is seen, and what is written is seen by the cache
    put("d", b"cached", os.O_WRONLY)
    assert os.preadv(fd, [back], 0) == len(data) and back[:8] == b"cached" + data[6:8]
    if MOUNT:  # any offset and length will do; a plain filesystem may refuse
        assert os.pwrite(fd, b"unaligned", 12345) == 9
        assert os.pread(fd, 11, 12344) == data[12344:12345] + b"unaligned" + data[12354:12355]
    os.close(fd)


@test
def synchronous_files_are_as_others():
    for flag in (os.O_SYNC, os.O_DSYNC, os.O_NONBLOCK, os.O_NOCTTY, os.O_CLOEXEC):
        fd = os.open("s", os.O_CREAT | os.O_RDWR | flag)
        data = os.urandom(100000)
        assert os.write(fd, data) == len(data)
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.read(fd, 200000) == data
        os.close(fd)
    fd = os.open("s", os.O_PATH)
    expect(errno.EBADF, os.read, fd, 1)
    assert os.fstat(fd).st_size == 100000
    os.close(fd)


@test
def noatime_and_atimes():
    put("a", b"x")
    fd = os.open("a", os.O_RDONLY | os.O_NOATIME)
    os.utime("a", ns=(10**18, 10**18 + 5))
    assert os.read(fd, 1) == b"x"
    assert os.stat("a").st_atime_ns == 10**18
    os.close(fd)
    os.chmod("a", 0o644)
    as_user(USER1, expect, errno.EPERM, os.open, "a", os.O_RDONLY | os.O_NOATIME)


@test
def tmpfile_is_refused_on_the_mount():
    if MOUNT:
        expect(errno.EOPNOTSUPP, os.open, ".", os.O_TMPFILE | os.O_RDWR)
        return
    os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))


@test
def what_is_not_carried_is_refused():
    """docs/posix.md; a plain filesystem may have it."""
    put("f", b"x")
    fd = os.open("f", os.O_RDWR)
    if MOUNT:
        for call, argument in ((0x40049409, fd), (0x40086602, b"\0" * 8)):  # FICLONE, FS_IOC_SETFLAGS
            try:
                fcntl.ioctl(fd, call, argument)
                raise AssertionError(f"ioctl {call:x} succeeded")
            except OSError as e:
                assert e.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS), errno.errorcode[e.errno]
        expect(errno.EOPNOTSUPP, os.setxattr, "f", "trusted.x", b"y")
        expect(errno.EOPNOTSUPP, os.setxattr, "f", "security.x", b"y")
        expect(errno.EFBIG, os.truncate, "f", 17455283699713)
        os.pwrite(fd, b"x", 17455283699712)  # into the cache
        expect(errno.EFBIG, os.fsync, fd)
        os.ftruncate(fd, 1)
    os.close(fd)
    assert get("f") == b"x"


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

    for mode, want in ((0o4777, 0o777), (0o2777, 0o777), (0o6777, 0o777), (0o2767, 0o2767 if MOUNT else 0o767)):
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
    OWNER, USER, GROUP, MASK, OTHER = 1, 2, 4, 0x10, 0x20
    os.mkdir("d")
    os.setxattr("d", "system.posix_acl_default",
        acl((OWNER, 7, -1), (USER, 7, USER1), (GROUP, 5, -1), (MASK, 7, -1), (OTHER, 0, -1)))
    old = os.umask(0o077)
    put("d/file", b"secret", mode=0o666)
    os.mkdir("d/sub", 0o777)
    os.mkfifo("d/fifo", 0o666)
    os.umask(old)
    assert mode_of("d/file") == 0o660, oct(mode_of("d/file"))
    assert mode_of("d/sub") == 0o770, oct(mode_of("d/sub"))
    assert mode_of("d/fifo") == 0o660, oct(mode_of("d/fifo"))
    assert os.getxattr("d/file", "system.posix_acl_access") == \
        acl((OWNER, 6, -1), (USER, 7, USER1), (GROUP, 5, -1), (MASK, 6, -1), (OTHER, 0, -1))
    assert os.getxattr("d/sub", "system.posix_acl_default") == os.getxattr("d", "system.posix_acl_default")
    expect(errno.ENODATA, os.getxattr, "d/file", "system.posix_acl_default")
    os.chmod("d", 0o755)
    as_user(USER1, get, "d/file")
    as_user(USER2, expect, errno.EACCES, get, "d/file")
    os.chmod("d/file", 0o600)  # the mask goes down
    as_user(USER1, expect, errno.EACCES, get, "d/file")
    os.setxattr("d/file", "system.posix_acl_access", acl((OWNER, 6, -1), (USER, 4, USER2), (GROUP, 0, -1), (MASK, 4, -1), (OTHER, 0, -1)))
    assert mode_of("d/file") == 0o640
    as_user(USER2, get, "d/file")
    os.removexattr("d", "system.posix_acl_default")
    put("d/later", b"", mode=0o666)
    assert mode_of("d/later") == 0o644


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


@test
def files_beyond_four_gibibytes():
    fd = os.open("big", os.O_CREAT | os.O_RDWR)
    places = [(1 << 31) - 3, (1 << 32) - 3, (1 << 32) + 5 * PAGE, (1 << 33) + 1, 5 << 32]
    for at in places:
        assert os.pwrite(fd, b"%020d" % at, at) == 20
    os.close(fd)
    fd = os.open("big", os.O_RDWR)
    assert os.fstat(fd).st_size == (5 << 32) + 20
    for at in places:
        assert os.pread(fd, 22, at - 1) in (b"\0%020d\0" % at, b"\0%020d" % at), at
    os.ftruncate(fd, (1 << 32) - 1)
    os.ftruncate(fd, 6 << 32)
    assert os.pread(fd, 40, (1 << 32) - 4) == b"\x000" + b"0" + bytes(37), os.pread(fd, 40, (1 << 32) - 4)
    assert os.pread(fd, 20, 5 << 32) == bytes(20)
    os.close(fd)
    os.unlink("big")


@test
def a_sparse_tebibyte_with_islands():
    count, r = 10000, random.Random(9)
    places = sorted(r.sample(range((1 << 40) // PAGE), count))
    begin = time.monotonic()
    fd = os.open("sparse", os.O_CREAT | os.O_RDWR)
    for at in places:
        os.pwrite(fd, b"%020d" % at, at * PAGE)
    os.ftruncate(fd, 1 << 40)
    os.fsync(fd)
    wrote = time.monotonic()
    os.close(fd)
    fd = os.open("sparse", os.O_RDONLY)
    found = extents(fd)
    # neighbours are one extent
    blocks = {b for s, e in found for b in range(s // PAGE, e // PAGE)}
    assert blocks == set(places), (len(blocks), len(found))
    for at in r.sample(places, 500):
        assert os.pread(fd, 20, at * PAGE) == b"%020d" % at
    sought = time.monotonic()
    os.close(fd)
    assert os.stat("sparse").st_size == 1 << 40
    fd = os.open("sparse", os.O_RDWR)
    cut = places[count // 2] * PAGE
    os.ftruncate(fd, cut)
    fallocate(fd, PUNCH | KEEP, 0, places[count // 4] * PAGE)
    assert len(extents(fd)) > count // 4 - 5
    assert os.lseek(fd, 0, os.SEEK_DATA) == places[count // 4] * PAGE
    os.close(fd)
    os.unlink("sparse")
    print(f"# {label}: {count} islands in 1 TiB: written {wrote - begin:.1f} s, sought {sought - wrote:.1f} s, "
        f"cut and punched {time.monotonic() - sought:.1f} s", flush=True)


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


os.umask(0o022)
signal.alarm(500)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
only = sys.argv[4:]
for function in tests:
    name = function.__name__.replace("_", " ")
    where = os.path.join(top, function.__name__[:40])
    if only and not any(o in function.__name__ for o in only):
        continue
    try:
        os.mkdir(where)
        os.chdir(where)
        begin = time.monotonic()
        function()
        print(f"ok - {label}: {name}", flush=True)
        if time.monotonic() - begin > 2:
            print(f"# {label}: {time.monotonic() - begin:.1f} s: {name}", flush=True)
    except (AssertionError, OSError) as e:
        failed = True
        line = e.__traceback__
        while line.tb_next and line.tb_next.tb_frame.f_code.co_filename == __file__:
            line = line.tb_next
        print(f"not ok - {label}: {name}\n  line {line.tb_lineno}: {type(e).__name__} {e}", flush=True)
    os.chdir(top)
sys.exit(failed)
