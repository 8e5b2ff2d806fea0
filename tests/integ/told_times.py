#!/usr/bin/python3
"""Files that are changed past the kernel's cache, or cut to the size they have, while it writes inodes back; told_times.py DIR: prints the modification time of each."""
import ctypes
import mmap
import os
import signal
import sys
import time

PUNCH_KEEP = 3
libc = ctypes.CDLL(None, use_errno=True)


def cut_to_its_size(path, flush):
    """A file that was changed through a map, and told; then truncate(2) to the size that it has. The time may have gone with
    the record of a flush, or wait for one."""
    with open(path, "w+b") as f:
        f.write(bytes(9000))
        f.flush()
        with mmap.mmap(f.fileno(), 9000) as m:
            m[0:3] = b"abc"
            flush(f.fileno())
            time.sleep(0.012)
            os.truncate(path, 9000)


top = os.open(sys.argv[1], os.O_RDONLY)
helpers = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        while True:
            libc.syncfs(top)
    helpers.append(pid)
paths = [f"{sys.argv[1]}/{how}{number}" for number in range(40) for how in ("punch", "direct", "copy", "same", "wait")]
for path in paths:
    if "same" in path or "wait" in path:
        cut_to_its_size(path, os.fsync if "same" in path else libc.syncfs)
        continue
    direct = os.O_DIRECT if "direct" in path else 0
    fd = os.open(path, os.O_RDWR | os.O_CREAT | direct, 0o600)
    os.write(fd, bytes(40960))
    for turn in range(4):
        if direct:
            os.pwrite(fd, b"y" * 10000, 4096 * turn)
        elif "copy" in path:
            os.copy_file_range(fd, fd, 9000, 20000, 0)
        elif libc.fallocate(fd, PUNCH_KEEP, ctypes.c_long(4096 * turn + 100), ctypes.c_long(8200)):
            sys.exit("fallocate: " + os.strerror(ctypes.get_errno()))
    os.close(fd)
for pid in helpers:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
libc.syncfs(top)
for path in paths:
    print(os.path.basename(path), os.stat(path).st_mtime_ns)
