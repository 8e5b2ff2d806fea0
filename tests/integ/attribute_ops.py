#!/usr/bin/python3
"""What stat(2) tells whom, when the kernel has cached what somebody entitled asked for. attribute_ops.py ROUNDS SEED, as root; AT: the mount,
BOUND: an empty directory for bind mounts, APPLY: a command that puts the policy on its standard input in force.

Random policies over a small tree, random changes of it; then root looks at everything, and each user asks for each name twice: as one does, and with
AT_STATX_FORCE_SYNC, for which the kernel has to ask tenantfs in any case. By path, from a working directory and through a descriptor that root
got for him, and through a bind mount of the directory. Both answers must be the same."""
import ctypes
import errno
import os
import random
import shlex
import struct
import subprocess
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
FORCE, NOFOLLOW, STATX = 0x2000, 0x100, {"x86_64": 332}.get(os.uname().machine, 291)
MNT_DETACH, MS_BIND = 2, 4096
top, bound, apply_command = os.environ["AT"], os.environ["BOUND"], shlex.split(os.environ["APPLY"])
rounds, seed = int(sys.argv[1]), int(sys.argv[2])
dice = random.Random(seed)
USERS = [(61001, [61001]), (61002, [61002, 61050]), (61003, [])]
DIRS = ["a", "b", "pub"]
FILES = ["f", "g", "x.csv", "y.csv"]
counts = {"checks": 0, "seen": 0, "hidden": 0, "late": 0, "policies": 0, "changes": 0, "refused": 0}


def stat(dirfd, name, flags):
    """What is told, or the errno."""
    b = ctypes.create_string_buffer(256)
    if libc.syscall(STATX, dirfd, os.fsencode(name), flags | NOFOLLOW, 0x7FF, b):
        return errno.errorcode[ctypes.get_errno()]
    _, _, _, nlink, uid, gid, mode, _, _, size = struct.unpack_from("<IIQIIIHHQQ", b, 0)
    return oct(mode), nlink, uid, gid, size, struct.unpack_from("<qI", b, 112)


def become(user):
    os.seteuid(0)
    if user:
        os.setgroups(user[1])
        os.setegid(user[0])
        os.seteuid(user[0])
    else:
        os.setgroups([])
        os.setegid(0)


def look():
    found = {}
    for path, dirs, files in os.walk(top):
        found[path] = dirs + files
        for name in dirs + files:
            try:
                os.lstat(os.path.join(path, name))
            except OSError:
                pass
    return found


def tree():
    """All directories and their names, as root finds them. Then others look, too: of who is not the owner the kernel also asks for a directory's
    ACL, and keeps that there is none until it asks for its attributes."""
    found = look()
    for user in USERS:
        become(user)
        look()
    become(None)
    return found


class Policy:
    def __init__(self):
        self.ends = []
        lines = ["tenant acme", "permit admin: user:root to any on /**"]
        for n in range(dice.choice([0, 1, 1, 2, 2, 3, 5])):
            lines.append(self.rule(n))
        self.text = "\n".join(lines) + "\n"
        done = subprocess.run(apply_command, input=self.text, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr + self.text
        counts["policies"] += 1

    def rule(self, n):
        who = dice.choice(["user:#61001", "user:#61001", "user:#61002", "user:#61002 user:#61003", "group:#61050", "anyone", "anyone except user:#61001 user:root"])
        forbid = dice.random() < 0.25
        if forbid and who == "anyone":
            who = "anyone except user:root"
        acts = dice.choice(["any", "any", "list", "read", "read,write", "write", "create,delete"])
        steps = [dice.choice(DIRS + ["*", "**"]) for _ in range(dice.choice([0, 1, 1, 2, 2, 3]))]
        last = dice.choice(["**"] * 5 + FILES[:2] + ["*.csv", "*", DIRS[0]])
        paths = "/" + "/".join([s for k, s in enumerate(steps + [last]) if not (s == "**" and (steps + [last])[k - 1:k] == ["**"])])
        clause = ""
        if dice.random() < 0.15:
            end = int(time.time()) + dice.choice([1, 2, 3])
            clause = time.strftime(" until %Y-%m-%d %H:%M:%S" if dice.random() < 0.7 else " from %Y-%m-%d %H:%M:%S", time.gmtime(end))
            self.ends.append(end)
        return f"{'forbid' if forbid else 'permit'} r{n}: {who} to {acts} on {paths}{clause}"


def put(path, how):
    """A fifo does not wait for a reader."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK | how, 0o666)
    os.write(fd, bytes(dice.randrange(1, 5000)))
    os.close(fd)


def change(found):
    """Something that root does; what is not possible is passed over."""
    dirs = list(found)
    files = [os.path.join(d, n) for d in found for n in found[d] if os.path.join(d, n) not in found]
    target = os.path.join(dice.choice(dirs), dice.choice(FILES))
    kind = dice.choice(["write", "write", "move", "move", "move", "link", "link", "symlink", "unlink", "mkdir", "movedir", "movedir", "rmdir", "swap", "fifo", "chmod", "replace"])
    one = dice.choice(files) if files else target
    if kind == "write":
        put(target, os.O_APPEND)
    elif kind == "move":
        os.rename(one, target)
    elif kind == "link":
        os.link(one, target, follow_symlinks=False)
    elif kind == "symlink":
        os.symlink("f", target)
    elif kind == "unlink" and len(files) > 4:
        os.unlink(one)
    elif kind == "mkdir" and len(dirs) < 12:
        os.mkdir(os.path.join(dice.choice(dirs), dice.choice(DIRS)), 0o777)
    elif kind == "movedir":
        os.rename(dice.choice(dirs), os.path.join(dice.choice(dirs), dice.choice(DIRS)))
    elif kind == "rmdir":
        os.rmdir(dice.choice(dirs))
    elif kind == "swap":
        other = dice.choice(files + dirs)
        if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
            raise OSError(ctypes.get_errno(), "swap")
    elif kind == "fifo":
        os.mkfifo(target, 0o666)
    elif kind == "chmod":
        os.chmod(one, 0o666)
    elif kind == "replace":
        put(target + ".new", os.O_TRUNC)
        os.rename(target + ".new", target)


def ask(way, fd, path, name, user):
    """(as one asks, as it is)"""
    if way == "bind":
        at, where = -100, os.path.join(bound, name)
    elif way == "descriptor":
        at, where = fd, name
    elif way == "cwd":
        os.seteuid(0)
        os.fchdir(fd)
        at, where = -100, name
    else:
        at, where = -100, os.path.join(path, name)
    become(user)
    got, real = stat(at, where, 0), stat(at, where, FORCE)
    become(None)
    os.chdir("/")
    return got, real


def compare(found, history):
    for path, names in found.items():
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        binds = dice.random() < 0.3
        if binds and libc.mount(os.fsencode(path), os.fsencode(bound), None, MS_BIND, None):
            raise OSError(ctypes.get_errno(), "bind mount")
        for name in names + ["absent"]:
            for user in USERS:
                way = dice.choice(["path", "cwd", "descriptor", "bind"] if binds else ["path", "cwd", "descriptor"])
                for pause in (0, 0.05, 1.2):
                    time.sleep(pause)
                    if pause:
                        counts["late"] += 1
                        tree()
                    got, real = ask(way, fd, path, name, user)
                    if got == real:
                        break
                else:
                    print(f"{user[0]} by {way}: {os.path.join(path, name)[len(top):]} is {got}, not {real}; seed {seed}, the latest:")
                    print("\n".join(history[-8:]))
                    sys.exit(1)
                counts["checks"] += 1
                counts["hidden" if isinstance(real, str) else "seen"] += name != "absent"
        os.close(fd)
        if binds and libc.umount2(os.fsencode(bound), MNT_DETACH):
            raise OSError(ctypes.get_errno(), "unmount")


os.umask(0)
history = []
for name in ("a", "a/b", "b", "pub"):
    os.makedirs(os.path.join(top, name), 0o777, exist_ok=True)
    for f in FILES[:3]:
        with open(os.path.join(top, name, f), "wb") as g:
            g.write(bytes(dice.randrange(9000)))
policy = Policy()
for n in range(rounds):
    found = tree()
    if n % 4 == 0:
        policy = Policy()
        history.append(policy.text)
    for _ in range(dice.randrange(1, 4)):
        state = dice.getstate()
        try:
            change(found)
            counts["changes"] += 1
            history.append(f"change of round {n}")
        except OSError:
            counts["refused"] += 1
        # Between what is cached now and the answers nothing else asks.
        found = tree() if dice.random() < 0.5 else found
    compare(tree() if dice.random() < 0.8 else {p: found[p] for p in found if os.path.isdir(p)}, history)
print(" ".join(f"{k} {v}" for k, v in counts.items()))
