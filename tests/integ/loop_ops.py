#!/usr/bin/python3
"""What test_loop.sh does in a mount, many at once.

loop_ops.py stuck DIR COUNT GO   opens COUNT files, prints "open"; when the file GO is there, writes and syncs each in a thread of
                                 its own, and prints "synced"
loop_ops.py ask FILE COUNT GO    opens FILE, prints "open"; when the file GO is there, COUNT direct reads of it and as many statfs;
                                 prints the longest pair in milliseconds
loop_ops.py crowd DIR THREADS N  each thread makes, syncs, reads, renames and removes N files
loop_ops.py load DIR SECONDS     three threads that write, read and list until it ends or the mount does
"""
import mmap
import os
import sys
import threading
import time


def in_threads(count, what):
    failed = []

    def one(k):
        try:
            what(k)
        except OSError as e:
            failed.append(e)
    threads = [threading.Thread(target=one, args=(k,)) for k in range(count)]
    for t in threads:
        t.start()
    return threads, failed


def stuck(root, count, go):
    files = [os.open(f"{root}/stuck{k}", os.O_RDWR | os.O_CREAT) for k in range(count)]
    print("open", flush=True)
    while not os.path.exists(go):
        time.sleep(0.01)

    def one(k):
        os.pwrite(files[k], b"%d\n" % k * 1000, 0)
        os.fsync(files[k])
    threads, failed = in_threads(count, one)
    for t in threads:
        t.join()
    assert not failed, failed
    print("synced", flush=True)


def ask(path, count, go):
    """The file is opened at once, and asked when GO is there."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    print("open", flush=True)
    while not os.path.exists(go):
        time.sleep(0.01)
    longest = 0
    for _ in range(count):
        began = time.monotonic()
        assert os.preadv(fd, [page], 0) == 4096
        os.fstatvfs(fd)
        longest = max(longest, time.monotonic() - began)
    print(f"{longest * 1000:.0f}", flush=True)


def crowd(root, count, rounds):
    def one(k):
        data = os.urandom(20000)
        for n in range(rounds):
            a, b = f"{root}/crowd{k}-{n}", f"{root}/moved{k}-{n}"
            with open(a, "xb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.rename(a, b)
            os.stat(b)
            with open(b, "rb") as f:
                assert f.read() == data
            os.unlink(b)
    threads, failed = in_threads(count, one)
    for t in threads:
        t.join()
    assert not failed, failed


def load(root, seconds):
    end = time.monotonic() + seconds

    def one(k):
        n = 0
        while time.monotonic() < end:
            n += 1
            with open(f"{root}/load{k}-{n % 20}", "wb") as f:
                f.write(b"x" * 300000)
            os.listdir(root)
            with open(f"{root}/load{k}-{n % 20}", "rb") as f:
                f.read()
    threads, _ = in_threads(3, one)  # the end of the mount is theirs
    print("running", flush=True)
    for t in threads:
        t.join()


def main():
    what, where, *rest = sys.argv[1:]
    if what == "stuck":
        stuck(where, int(rest[0]), rest[1])
    elif what == "ask":
        ask(where, int(rest[0]), rest[1])
    elif what == "crowd":
        crowd(where, int(rest[0]), int(rest[1]))
    elif what == "load":
        load(where, float(rest[0]))


main()
