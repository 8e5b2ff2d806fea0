#!/usr/bin/python3
"""SQLite used by several processes of two users with a group in common; sqlite_ops.py DIR LABEL [SECONDS], as root. For each journal mode four
writers move money between accounts, each noting outside what was committed to him; readers look at the sum; two writers are killed in the middle.
sqlite_ops.py DIR --dump: a digest of each database that is there. Exit status 1 and a line "not ok" for each finding."""
import hashlib
import os
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time

USERS, GROUP = (61001, 61002), 61100
ACCOUNTS, MONEY = 100, 1000
MODES = ("delete", "truncate", "persist", "wal", "wal-mapped")
WRITERS, READERS = 4, 2


def open_base(path, mode):
    base = sqlite3.connect(path, timeout=60, isolation_level=None)
    base.execute(f"pragma journal_mode={mode.split('-')[0]}")
    if mode == "wal-mapped":
        base.execute("pragma mmap_size=33554432")
    return base


def become(uid):
    os.setgroups([GROUP])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.umask(0o007)


def child(uid, function, *args):
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        become(uid)
        function(*args)
        os._exit(0)
    except Exception as e:  # whatever goes wrong is told, and by the status
        print(f"  user {uid}: {type(e).__name__} {e}", flush=True)
    finally:
        os._exit(1)


def prepare(path, mode):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.chmod(path, 0o660)  # what SQLite makes beside it has its mode
    base = open_base(path, mode)
    base.execute("create table accounts(id integer primary key, balance integer not null, note text)")
    base.execute("create table done(writer integer, number integer, primary key(writer, number)) without rowid")
    base.execute("begin")
    base.executemany("insert into accounts values(?, ?, ?)", [(i, MONEY, "x" * 500) for i in range(ACCOUNTS)])
    base.execute("commit")
    base.close()


def write(path, mode, writer, notes, end):
    base, r, number, told = open_base(path, mode), random.Random(writer), 0, 0
    while time.monotonic() < end or told < 2:
        number += 1
        a, b = r.sample(range(ACCOUNTS), 2)
        base.execute("begin immediate")
        base.execute("update accounts set balance = balance - ?, note = ? where id = ?", (number, "y" * r.randrange(900), a))
        base.execute("update accounts set balance = balance + ? where id = ?", (number, b))
        base.execute("insert into done values(?, ?)", (writer, number))
        if r.random() < 0.1:
            base.execute("rollback")
            continue
        base.execute("commit")
        os.write(notes, b"%d %d\n" % (writer, number))
        told += 1
    base.close()


def read(path, mode, end):
    base, looks = open_base(path, mode), 0
    while time.monotonic() < end or looks < 2:
        base.execute("begin")
        first = base.execute("select sum(balance), (select count(*) from done) from accounts").fetchone()
        time.sleep(0.002)
        again = base.execute("select sum(balance), (select count(*) from done) from accounts").fetchone()
        base.execute("commit")
        assert first[0] == ACCOUNTS * MONEY, f"the sum is {first[0]}"
        assert first == again, f"{first} became {again} in one transaction"
        looks += 1
        time.sleep(0.005)
    base.close()


def whole(path, mode):
    base = open_base(path, mode)
    assert base.execute("pragma integrity_check").fetchall() == [("ok",)], "integrity_check"
    assert base.execute("select sum(balance) from accounts").fetchone()[0] == ACCOUNTS * MONEY, "the sum"
    assert mode != "wal-mapped" or ".base" in maps_of(os.getpid()), "the base is not mapped"
    base.close()


def maps_of(pid):
    with open(f"/proc/{pid}/maps") as f:
        return set(re.findall(r"(?:-shm|\.base)$", f.read(), re.M))


def story(mode, seconds):
    """Ends with a list of what was wrong, and the transactions told."""
    path = os.path.join(top, mode, "x.base")
    os.mkdir(os.path.dirname(path))
    os.chown(os.path.dirname(path), USERS[0], GROUP)
    os.chmod(os.path.dirname(path), 0o2770)
    wrong, notes = [], tempfile.TemporaryFile()
    fd = os.open(f"/proc/self/fd/{notes.fileno()}", os.O_WRONLY | os.O_APPEND)
    if os.waitpid(child(USERS[0], prepare, path, mode), 0)[1]:
        return ["cannot make it"], 0, 0
    end = time.monotonic() + seconds
    writers = {child(USERS[n % 2], write, path, mode, n, fd, end): n for n in range(WRITERS)}
    readers = [child(USERS[n % 2], read, path, mode, end) for n in range(READERS)]
    time.sleep(seconds * 0.4)
    if mode.startswith("wal"):
        maps = set()
        while "-shm" not in maps and time.monotonic() < end + 10:
            maps |= set.union(*[maps_of(p) for p in list(writers) + readers])
            time.sleep(0.01)
        if "-shm" not in maps:
            wrong.append(f"mapped are {maps}")
    # One of each user goes in the middle of whatever it is at, and what it left is another one's to roll back.
    killed = list(writers)[:2]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
        time.sleep(seconds * 0.05)
        n = len(writers)
        writers[child(USERS[(n + 1) % 2], write, path, mode, n, fd, end)] = n
    for pid in list(writers) + readers:
        status = os.waitpid(pid, 0)[1]
        if status and not (pid in killed and status == signal.SIGKILL):
            wrong.append(f"{'reader' if pid in readers else 'writer'} ended with {status}")
    for uid in USERS:
        if os.waitpid(child(uid, whole, path, mode), 0)[1]:
            wrong.append(f"it is not whole for {uid}")
    notes.seek(0)
    told = {tuple(map(int, line.split())) for line in notes}
    base = open_base(path, mode)
    kept = set(base.execute("select writer, number from done"))
    base.close()
    if told - kept:
        wrong.append(f"{len(told - kept)} transactions are lost: {sorted(told - kept)[:5]}")
    # A killed one may have had no time to say it.
    if len(kept - told) > len(killed) or {w for w, _ in kept - told} - {writers[p] for p in killed}:
        wrong.append(f"nobody committed {sorted(kept - told)[:5]}")
    silent = set(writers.values()) - {w for w, _ in told} - {writers[p] for p in killed}
    if silent:
        wrong.append(f"writers {silent} did nothing")
    return wrong, len(told), len({w for w, _ in told})


def digests():
    for mode in sorted(os.listdir(top)):
        base = sqlite3.connect(os.path.join(top, mode, "x.base"))
        print(mode, base.execute("pragma integrity_check").fetchone()[0], hashlib.sha256("\n".join(base.iterdump()).encode()).hexdigest())
        base.close()


top, label = sys.argv[1], sys.argv[2]
if label == "--dump":
    digests()
    sys.exit(0)
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 2
failed = False
for mode in MODES:
    wrong, told, writers = story(mode, seconds)
    failed |= bool(wrong)
    print(f"{'not ok' if wrong else 'ok'} - {label}: SQLite, {mode}: no transaction lost, none half ({told} by {writers} writers)")
    for w in wrong:
        print("  " + w)
    sys.stdout.flush()
sys.exit(failed)
