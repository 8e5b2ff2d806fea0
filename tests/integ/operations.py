#!/usr/bin/python3
"""Operations on contents beyond the everyday ones: space, holes, locks, flags of open, large files; each compared with what POSIX and Linux
say. As root; calls.py says how it is run."""
import errno
import fcntl
import mmap
import os
import random
import signal
import struct
import time

from calls import *


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


@test
def locks_end_with_their_holder_however_he_ends():
    """POSIX, OFD and flock locks of a process that closes, exits or is killed; who waits gets them then."""
    F_OFD_SETLK, F_OFD_SETLKW = 37, 38
    put("l", b"x")
    os.chmod("l", 0o666)
    kinds = {
        "posix": (lambda fd: lock(fd, fcntl.F_WRLCK), lambda fd: lock(fd, fcntl.F_WRLCK, command=fcntl.F_SETLKW)),
        "ofd": (lambda fd: lock(fd, fcntl.F_WRLCK, command=F_OFD_SETLK), lambda fd: lock(fd, fcntl.F_WRLCK, command=F_OFD_SETLKW)),
        "flock": (lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda fd: fcntl.flock(fd, fcntl.LOCK_EX)),
    }
    for take, take_waiting in kinds.values():
        for how in ("close", "exit", "kill"):
            r, w = os.pipe()

            def holder():
                fd = os.open("l", os.O_RDWR)
                take(fd)
                os.write(w, b"h")
                time.sleep(0.1)
                if how == "close":
                    os.close(fd)
                    time.sleep(3)
                if how == "kill":
                    time.sleep(600)

            def waiter():
                take_waiting(os.open("l", os.O_RDWR))
                os.write(w, b"w")
            pid = child(USER1, holder)
            assert os.read(r, 1) == b"h"
            expect(errno.EAGAIN, take, os.open("l", os.O_RDWR))
            waiting = child(USER2, waiter)
            time.sleep(0.05)
            begin = time.monotonic()
            if how == "kill":
                os.kill(pid, signal.SIGKILL)
            assert os.read(r, 1) == b"w" and (how != "close" or time.monotonic() - begin < 2.5), how
            wait(waiting)
            os.kill(pid, signal.SIGKILL) if how == "close" else None
            os.waitpid(pid, 0)
            os.close(r)
            os.close(w)


@test
def direct_io_of_one_user_and_the_cache_of_another():
    data = bytearray(os.urandom(40 * PAGE + 77))
    put("f", data)
    os.chmod("f", 0o666)
    shared = mmap.mmap(-1, 1 << 20)
    (r1, w1), (r2, w2) = os.pipe(), os.pipe()

    def cached():
        fd = os.open("f", os.O_RDWR)
        with mmap.mmap(fd, len(data)) as m:
            for n in range(12):
                os.read(r1, 1)
                assert os.pread(fd, len(data), 0) == shared[:len(data)], n
                assert m[:] == shared[:len(data)], n
                m[n * 5000:n * 5000 + 3] = shared[n * 5000:n * 5000 + 3] = b"map"
                os.pwrite(fd, b"cache", n * 7000 + 4090)
                shared[n * 7000 + 4090:n * 7000 + 4095] = b"cache"
                os.write(w2, b"x")
    pid = child(USER2, cached)

    def direct():
        fd = os.open("f", os.O_RDWR | os.O_DIRECT)
        r, place, back = random.Random(3), mmap.mmap(-1, 64 * PAGE), mmap.mmap(-1, 64 * PAGE)
        shared[:len(data)] = bytes(data)
        for n in range(12):
            # any offset, length and address will do on the mount
            step = 1 if MOUNT else PAGE
            at, length, shift = r.randrange(0, 30 * PAGE // step) * step, r.randrange(1, 9 * PAGE // step) * step, r.randrange(0, 3 * PAGE // step) * step
            place[shift:shift + length] = r.randbytes(length)
            assert os.pwritev(fd, [memoryview(place)[shift:shift + length]], at) == length
            shared[at:at + length] = place[shift:shift + length]
            os.write(w1, b"x")
            os.read(r2, 1)
            at, length = r.randrange(0, 30 * PAGE // step) * step, r.randrange(1, 9 * PAGE // step) * step
            assert os.preadv(fd, [memoryview(back)[shift:shift + length]], at) == length
            assert back[shift:shift + length] == shared[at:at + length], (n, at, length)
    as_user(USER1, direct)
    wait(pid)
    assert get("f") == shared[:len(data)]
    if MOUNT:
        fd = os.open("f", os.O_RDWR | os.O_DIRECT)
        assert os.pread(fd, 1000, len(data) - 7) == shared[len(data) - 7:len(data)]
        assert os.pwrite(fd, b"beyond", len(data) + 10) == 6 and os.fstat(fd).st_size == len(data) + 16
        assert os.pread(fd, 50, len(data)) == bytes(10) + b"beyond"
        os.close(fd)


run()
