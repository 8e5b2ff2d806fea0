#!/usr/bin/python3
"""A service (service.js) logs as one user while its log is rotated and another user follows it; service_ops.py DIR LABEL [SECONDS], as root.
Rotation by rename and reopening, and by copy and truncate: with writers that wait meanwhile no line may be missing, without only those between
the two. Never a line torn, doubled, or out of its writer's order."""
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import time

USERS = (61001, 61002)
top, label = os.path.abspath(sys.argv[1]), sys.argv[2]
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 2
script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "service.js")


def become(uid):
    def act():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        os.umask(0o022)
    return act


class Service:
    def __init__(self, log):
        self.process = subprocess.Popen(["node", script, log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
                                        preexec_fn=become(USERS[0]), env={"PATH": os.environ["PATH"], "HOME": "/"})

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or '"it has ended"')


def follow(log, out):
    """As tail -F, but losing nothing: an old file is read until the end. Until SIGTERM, then once more."""
    become(USERS[1])()
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    files, rest = {}, collections.defaultdict(bytes)
    with open(out, "wb", buffering=0) as sink:
        while True:
            last = bool(ended)
            try:
                fd = os.open(log, os.O_RDONLY)
                number = os.fstat(fd).st_ino
                if number in files:
                    os.close(fd)
                else:
                    files[number] = fd
            except FileNotFoundError:
                pass
            for fd in files.values():
                while data := os.read(fd, 65536):
                    *lines, rest[fd] = (rest[fd] + data).split(b"\n")
                    sink.write(b"".join(line + b"\n" for line in lines))
            if last:
                os._exit(0)
            time.sleep(0.01)


def good(line):
    text, _, total = line.rpartition(b" ")
    value = 0
    for byte in text:
        value = (value * 31 + byte) & 0xffffffff
    return total == b"%d" % value


def numbers(data, wrong, what):
    """Lines of each writer in their order; what is torn or doubled goes to wrong."""
    lines = data.split(b"\n")
    if lines.pop():
        wrong.append(f"{what}: the last line has no end")
    found = collections.defaultdict(list)
    torn = [line for line in lines if not good(line)]
    if torn:
        wrong.append(f"{what}: {len(torn)} lines are torn: {torn[0][:60]}")
    for line in lines:
        if good(line):
            writer, number, _ = line.split(b" ", 2)
            found[writer.decode()].append(int(number))
    for writer, list_ in found.items():
        if len(set(list_)) != len(list_):
            wrong.append(f"{what}: {writer} has lines twice")
        if list_ != sorted(list_):
            wrong.append(f"{what}: {writer} is out of order")
    return found


def story(kind):
    where = os.path.join(top, kind)
    os.mkdir(where)
    os.chmod(where, 0o755)
    os.chown(where, USERS[0], USERS[0])
    log, wrong, rotations = os.path.join(where, "app.log"), [], 0
    followed = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"followed-{kind}-{os.getpid()}")
    open(followed, "w").close()
    os.chmod(followed, 0o666)
    service = Service(log)
    # Of what is cut off and grows again nobody can follow all, on any filesystem.
    pid = os.fork() if kind == "rename" else None
    if pid == 0:
        follow(log, followed)
    end = time.monotonic() + seconds
    while not os.path.exists(log):
        time.sleep(0.01)
    while time.monotonic() < end or rotations < 3:
        time.sleep(seconds / 8)
        rotations += 1
        if kind == "rename":
            os.rename(log, f"{log}.{rotations}")
            got = service.tell("reopen")
            if got != "reopen":
                wrong.append(f"the service: {got}")
                break
            continue
        if kind == "copytruncate-waiting":
            service.tell("pause")
        shutil.copyfile(log, f"{log}.{rotations}")
        os.truncate(log, 0)
        if kind == "copytruncate-waiting":
            service.tell("go")
    counts = service.tell("end")
    service.process.wait(10)
    if pid:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    data = [open(f"{log}.{n}", "rb").read() for n in range(1, rotations + 1)] + [open(log, "rb").read()]
    total = sum(counts.values())
    if kind == "copytruncate":
        # Who copies may see a line that is just being written: what is cut off the copy's end goes with the truncate.
        data = [d[:d.rfind(b"\n") + 1] for d in data]
    kept = numbers(b"".join(data), wrong, "the files")
    for writer, count in counts.items():
        missing = sorted(set(range(count)) - set(kept[writer]))
        if kind != "copytruncate" and missing:
            wrong.append(f"{writer}: {len(missing)} of {count} lines are lost: {missing[:3]}")
        if set(kept[writer]) - set(range(count)):
            wrong.append(f"{writer}: lines that it did not write")
    if pid:
        seen = numbers(open(followed, "rb").read(), wrong, "who follows")
        if {w: set(n) for w, n in seen.items()} != {w: set(n) for w, n in kept.items()}:
            wrong.append("who follows has not seen all of it")
    os.unlink(followed)
    stat = os.stat(log)
    if stat.st_uid != USERS[0]:
        wrong.append(f"the log belongs to {stat.st_uid}")
    print(f"{'not ok' if wrong else 'ok'} - {label}: a service logs, {kind}: no line lost, torn or doubled ({total} lines, {rotations} rotations)", flush=True)
    for w in wrong:
        print("  " + w, flush=True)
    return bool(wrong)


sys.exit(any([story(kind) for kind in ("rename", "copytruncate-waiting", "copytruncate")]))
