#!/usr/bin/python3
"""One file, written and read back by somebody who has little memory himself.
  write FILE MEGABYTES SEED    by write(2), fsync at the end; prints the digest of what was written
  map FILE MEGABYTES SEED      through a shared map, in pieces, synced at the end
  read FILE                    prints the digest
"""
import hashlib
import mmap
import os
import random
import sys

PIECE = 1 << 20


def pieces(megabytes, seed):
    """No two pages of it are alike."""
    body = random.Random(seed).randbytes(PIECE)
    for k in range(megabytes):
        bytes_ = bytearray(body)
        for page in range(0, PIECE, 4096):
            bytes_[page:page + 8] = ((seed << 40) + k * PIECE + page).to_bytes(8, "little")
        yield bytes_


def write(path, megabytes, seed):
    digest = hashlib.blake2b()
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    for piece in pieces(megabytes, seed):
        digest.update(piece)
        done = 0
        while done < PIECE:
            done += os.write(fd, memoryview(piece)[done:])
    os.fsync(fd)
    os.close(fd)
    return digest


def write_map(path, megabytes, seed):
    digest = hashlib.blake2b()
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.ftruncate(fd, megabytes * PIECE)
    with mmap.mmap(fd, megabytes * PIECE) as m:
        for k, piece in enumerate(pieces(megabytes, seed)):
            digest.update(piece)
            m[k * PIECE:(k + 1) * PIECE] = bytes(piece)
        m.flush()
    os.fsync(fd)
    os.close(fd)
    return digest


def read(path):
    digest = hashlib.blake2b()
    fd = os.open(path, os.O_RDONLY)
    while piece := os.read(fd, PIECE):
        digest.update(piece)
    os.close(fd)
    return digest


if __name__ == "__main__":
    if sys.argv[1] == "read":
        print(read(sys.argv[2]).hexdigest())
    else:
        how = write if sys.argv[1] == "write" else write_map
        print(how(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])).hexdigest())
