#!/usr/bin/python3
"""Many files, and what they cost.
  create DIR COUNT BYTES       COUNT files of BYTES bytes, a thousand a folder
  walk DIR COUNT               lists all and asks for each one's status; there are COUNT
"""
import os
import stat
import sys


def name(top, k):
    return "%s/d%04d/file-%07d.txt" % (top, k // 1000, k)


def create(top, count, size):
    os.mkdir(top)
    content = b"x" * size
    for k in range(count):
        if k % 1000 == 0:
            os.mkdir(os.path.dirname(name(top, k)))
        fd = os.open(name(top, k), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        if content:
            os.write(fd, content)
        os.close(fd)


def walk(top, count):
    found = 0
    for folder in os.scandir(top):
        for entry in os.scandir(folder.path):
            if not stat.S_ISREG(os.lstat(entry.path).st_mode):
                sys.exit("%s is no file" % entry.path)
            found += 1
    if found != count:
        sys.exit("%d files, not %d" % (found, count))


if __name__ == "__main__":
    what, top, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if what == "create":
        create(top, count, int(sys.argv[4]))
    else:
        walk(top, count)
