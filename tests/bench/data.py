"""Content: sequential, random, and what is flushed at once."""
import json
import os
import random
import shutil
import struct
import subprocess
import time

from place import Trouble, die_with_parent

MIB = 1 << 20
BLOCK = 4096
BASE = random.Random(6).randbytes(MIB)


class Wrong(Exception):
    """What was read is not what was written."""


def piece(number):
    """The content of a MiB, which tells where it belongs."""
    return struct.pack("<Q", number) + BASE[8:]


def put(path, mib):
    """The seconds that writing it took, with the flush at the end."""
    data = bytearray(BASE)
    began = time.monotonic()
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    for n in range(mib):
        struct.pack_into("<Q", data, 0, n)
        if os.write(fd, data) != MIB:
            raise Wrong(f"{path}: a write was cut short")
    os.fsync(fd)
    os.close(fd)
    return time.monotonic() - began


def check(path, mib):
    fd = os.open(path, os.O_RDONLY)
    try:
        if os.fstat(fd).st_size != mib * MIB:
            raise Wrong(f"{path} has {os.fstat(fd).st_size} bytes, not {mib * MIB}")
        for n in range(mib):
            data = os.pread(fd, MIB, n * MIB)
            if data[:8] != struct.pack("<Q", n) or not data.endswith(BASE[8:]):
                raise Wrong(f"{path}: MiB {n} is not what was written")
    finally:
        os.close(fd)


# Sequential

def sequential_mib(work):
    return work.count(1024, 4)


def sequential_write(work):
    mib = sequential_mib(work)
    path = work.path("sequential", "file")
    if os.path.exists(path):
        os.unlink(path)
    return mib, put(path, mib)


def sequential_read(work):
    mib = sequential_mib(work)
    buffer = bytearray(MIB)
    began = time.monotonic()
    fd = os.open(work.path("sequential", "file"), os.O_RDONLY)
    for n in range(mib):
        if os.readv(fd, [buffer]) != MIB or buffer[:8] != struct.pack("<Q", n):
            raise Wrong(f"sequential read: MiB {n} is not what was written")
    took = time.monotonic() - began
    os.close(fd)
    return mib, took


def sequential_check(work):
    check(work.path("sequential", "file"), sequential_mib(work))


# Random, by fio

def random_mib(work):
    return work.count(256, 4)


def fio_missing():
    return None if shutil.which("fio") else "fio is not installed"


def random_file(work):
    put(work.path("random", "file"), random_mib(work))


def random_file_once(work):
    if not os.path.exists(work.path("random", "file")):
        random_file(work)


def fio(work, kind, *options):
    """Operations and seconds; every block of the file once for each job. fio's seconds have the flush at the end in them."""
    command = ["fio", "--name=job", "--filename=" + work.path("random", "file"), f"--size={random_mib(work)}m", "--bs=4k", "--rw=" + kind, "--ioengine=psync",
               "--thread", "--group_reporting", "--fallocate=none", "--randseed=6", "--output-format=json", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=work.material, preexec_fn=die_with_parent, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Trouble("fio says: " + " ".join((done.stderr or done.stdout).split())[:300])
    told = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0][kind.replace("rand", "")]
    return told["total_ios"], max(told["runtime"], 1) / 1000


def random_read(*options):
    return lambda work: fio(work, "randread", *options)


def random_write(*options):
    return lambda work: fio(work, "randwrite", "--end_fsync=1", "--verify=pattern", "--verify_pattern=%o", "--do_verify=0", *options)


def random_check(work):
    check(work.path("random", "file"), random_mib(work))


def random_write_check(work):
    """Every block has its own offset in it now."""
    path = work.path("random", "file")
    with open(path, "rb") as f:
        for at in range(0, random_mib(work) * MIB, BLOCK):
            if f.read(BLOCK) != struct.pack("<Q", at) * (BLOCK // 8):
                raise Wrong(f"{path}: the block at {at} is not what fio wrote")
        if f.read(1):
            raise Wrong(f"{path} is longer than it was")


# Flushed at once

def record(number):
    return struct.pack("<Q", number) + BASE[:BLOCK - 8]


def append(work):
    count = work.count(2000, 20)
    records = [record(n) for n in range(count)]
    path = work.path("flushed", "log")
    if os.path.exists(path):
        os.unlink(path)
    fd = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    began = time.monotonic()
    for data in records:
        os.write(fd, data)
        os.fsync(fd)
    took = time.monotonic() - began
    os.close(fd)
    return count, took


def append_check(work):
    with open(work.path("flushed", "log"), "rb") as f:
        for n in range(work.count(2000, 20)):
            if f.read(BLOCK) != record(n):
                raise Wrong(f"append: record {n} is not what was written")
        if f.read(1):
            raise Wrong("append: there is more than was written")


def overwrite_mib(work):
    return work.count(64, 1)


def overwrite_prepare(work):
    put(work.path("flushed", "table"), overwrite_mib(work))


def overwrite_places(work):
    places = random.Random(66)
    return [places.randrange(overwrite_mib(work) * MIB // BLOCK) for _ in range(work.count(2000, 20))]


def overwrite(work):
    changes = [(at * BLOCK, record(n)) for n, at in enumerate(overwrite_places(work))]
    fd = os.open(work.path("flushed", "table"), os.O_WRONLY)
    began = time.monotonic()
    for at, data in changes:
        os.pwrite(fd, data, at)
        os.fdatasync(fd)
    took = time.monotonic() - began
    os.close(fd)
    return len(changes), took


def overwrite_check(work):
    mib = overwrite_mib(work)
    expected = bytearray(b"".join(map(piece, range(mib))))
    for n, at in enumerate(overwrite_places(work)):
        expected[at * BLOCK:(at + 1) * BLOCK] = record(n)
    with open(work.path("flushed", "table"), "rb") as f:
        if f.read() != bytes(expected):
            raise Wrong("overwrite: the file is not what was written")
