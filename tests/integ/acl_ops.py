#!/usr/bin/python3
"""What is inherited and who gets in: acl_ops.py DIRECTORY.

Makes a file, a directory, a fifo, a socket, a device node and a symlink under each umask, in directories with and without a default
ACL, as three callers; then five others try them, and fifos, sockets and device nodes that lost their name while they are held. Prints a line for each: mode, owner and ACLs of what was made, and what each may do. On any
two filesystems that keep POSIX ACLs the lines must be the same."""
import errno
import itertools
import os
import socket
import stat
import struct
import sys
import time

OWNER, FRIEND, GROUP, TEAM = 61001, 61002, 61010, 61011  # ids without an account: OWNER's group is GROUP
USER_OBJ, USER, GROUP_OBJ, NAMED_GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NOBODY = 0xFFFFFFFF
# Entries: tag, permissions, id.
LISTS = {
    "none": [],
    "short": [(USER_OBJ, 7, NOBODY), (GROUP_OBJ, 4, NOBODY), (OTHER, 1, NOBODY)],
    "user": [(USER_OBJ, 7, NOBODY), (USER, 6, FRIEND), (GROUP_OBJ, 0, NOBODY), (MASK, 7, NOBODY), (OTHER, 0, NOBODY)],
    "group": [(USER_OBJ, 6, NOBODY), (GROUP_OBJ, 4, NOBODY), (NAMED_GROUP, 7, TEAM), (MASK, 6, NOBODY), (OTHER, 4, NOBODY)],
    "both": [(USER_OBJ, 7, NOBODY), (USER, 4, FRIEND), (GROUP_OBJ, 5, NOBODY), (NAMED_GROUP, 2, TEAM), (MASK, 7, NOBODY), (OTHER, 5, NOBODY)],
    "masked": [(USER_OBJ, 7, NOBODY), (USER, 7, FRIEND), (GROUP_OBJ, 7, NOBODY), (MASK, 4, NOBODY), (OTHER, 7, NOBODY)],
}
UMASKS = (0o000, 0o022, 0o077)
KINDS = {"file": 0o666, "program": 0o750, "directory": 0o777, "fifo": 0o666, "private fifo": 0o600, "socket": 0o777, "symlink": 0, "device": 0o660}
# Who: uid, gid, further groups.
MAKERS = {"root": (0, 0, []), "owner": (OWNER, GROUP, []), "other": (61003, 61003, [GROUP])}
ASKERS = {"owner": (OWNER, GROUP, []), "friend": (FRIEND, FRIEND, []), "group": (61004, GROUP, []), "team": (61005, 61005, [TEAM]), "nobody": (61006, 61006, [])}


def pack(entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def text(path, name, follow=False):
    try:
        value = os.getxattr(path, "system.posix_acl_" + name, follow_symlinks=follow)
    except OSError as e:
        return errno.errorcode[e.errno]
    return ",".join("%d:%s:%d" % (tag, who if who != NOBODY else "", perms) for tag, perms, who in struct.iter_unpack("<HHI", value[4:]))


def as_other(who, work):
    """What work() printed as that user, in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            uid, gid, groups = who
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            with os.fdopen(write, "w") as out:
                for line in work():
                    print(line, file=out)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as lines:
        got = lines.read().splitlines()
    if os.waitpid(pid, 0)[1]:
        sys.exit(f"as {who}: failed")
    return got


def make(path, kind):
    mode = KINDS[kind]
    if kind in ("file", "program"):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    elif kind == "directory":
        os.mkdir(path, mode)
    elif kind in ("fifo", "private fifo"):
        os.mkfifo(path, mode)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
    elif kind == "symlink":
        os.symlink("target", path)
    else:
        os.mknod(path, mode | stat.S_IFCHR, os.makedev(1, 3))


def answer(call, *args, **named):
    try:
        got = call(*args, **named)
        if call is os.open:
            os.close(got)
        return "ok" if got is None or call is os.open else str(got)
    except OSError as e:
        return errno.errorcode[e.errno]


def cases():
    for (acl, mask, group), maker in itertools.product(itertools.product(LISTS, UMASKS, (False, True)), MAKERS):
        yield f"{acl}-{mask:03o}{'-setgid' if group else ''}-{maker}", acl, mask, group, maker


def made_by(maker):
    for name, _, mask, _, who in cases():
        if who != maker:
            continue
        for kind in KINDS:
            os.umask(mask)
            yield f"{name}: {kind}: {answer(make, f'{name}/{kind}', kind)}"


def looked_at():
    for name, *_ in cases():
        for kind in KINDS:
            path = f"{name}/{kind}"
            try:
                st = os.lstat(path)
            except OSError as e:
                yield f"{path}: {errno.errorcode[e.errno]}"
                continue
            yield f"{path}: mode {st.st_mode:o}, owner {st.st_uid}:{st.st_gid}, access {text(path, 'access')}, default {text(path, 'default')}"


def asked_by(asker):
    for name, *_ in cases():
        for kind in KINDS:
            path = f"{name}/{kind}"
            if kind == "symlink" or not os.path.lexists(path):
                continue
            may = "".join(c if os.access(path, m, effective_ids=True) else "-" for c, m in (("r", os.R_OK), ("w", os.W_OK), ("x", os.X_OK)))
            opens = [answer(os.open, path, how | os.O_NONBLOCK) for how in (os.O_RDONLY, os.O_WRONLY)] if "fifo" in kind or "file" in kind else ""
            yield f"{path}: {asker} may {may} {opens}"


def changed():
    """A mode that is set on what has a list, and the list taken away; by the owner."""
    for name, *_ in cases():
        for kind in ("file", "fifo", "socket"):
            path = f"{name}/{kind}"
            if not os.path.lexists(path):
                continue
            said = answer(os.chmod, path, 0o640), text(path, "access"), oct(os.lstat(path).st_mode)
            yield f"{path}: chmod: {said}"
            said = answer(os.removexattr, path, "system.posix_acl_access"), text(path, "access"), oct(os.lstat(path).st_mode), os.listxattr(path)
            yield f"{path}: without its list: {said}"


def held():
    """Fifos, sockets and device nodes without a name: an O_PATH descriptor of each, which children have, too."""
    fds = {}
    for name, _, mask, _, maker in cases():
        for kind in ("fifo", "socket", "device") if not mask and maker == "root" else ():
            path = f"{name}/held {kind}"
            make(path, kind)
            os.chown(path, OWNER, GROUP)
            fds[path] = os.open(path, os.O_PATH | os.O_NOFOLLOW)
            os.unlink(path)
    return fds


def asked_of(fds, asker):
    for path, fd in fds.items():
        link = f"/proc/self/fd/{fd}"
        may = "".join(c if os.access(link, m, effective_ids=True) else "-" for c, m in (("r", os.R_OK), ("w", os.W_OK), ("x", os.X_OK)))
        opens = [answer(os.open, link, how | os.O_NONBLOCK) for how in (os.O_RDONLY, os.O_RDWR)] if "fifo" in path else ""
        yield f"{path}: without a name: {asker} may {may} {opens}, access {text(link, 'access', True)}, {answer(os.listxattr, link)}"


def moving():
    """A fifo that is renamed all the time, looked at by who holds it: nothing but what it is."""
    os.mkfifo("moving")
    os.chmod("moving", 0o664)
    fd = os.open("moving", os.O_PATH)
    end = time.monotonic() + 1
    pid = os.fork()
    if pid == 0:
        while time.monotonic() < end:
            os.rename("moving", "moved")
            os.rename("moved", "moving")
        os._exit(0)

    def look():
        link, seen = f"/proc/self/fd/{fd}", set()
        while time.monotonic() < end:
            seen.add((text(link, "access", True), answer(os.open, link, os.O_RDONLY | os.O_NONBLOCK), answer(os.listxattr, link)))
        yield f"moving: {seen}"
    lines = as_other(ASKERS["nobody"], look)
    os.waitpid(pid, 0)
    os.close(fd)
    os.unlink("moving")
    return lines


def main():
    os.chdir(sys.argv[1])
    os.umask(0)
    for name, acl, _, group, _ in cases():
        os.mkdir(name, 0o777)
        os.chown(name, OWNER, TEAM if group else GROUP)
        os.chmod(name, 0o2777 if group else 0o777)
        if LISTS[acl]:
            os.setxattr(name, "system.posix_acl_default", pack(LISTS[acl]))
    for maker, who in MAKERS.items():
        print("\n".join(as_other(who, lambda m=maker: made_by(m))))
    print("\n".join(looked_at()))
    for asker, who in ASKERS.items():
        print("\n".join(as_other(who, lambda a=asker: asked_by(a))))
    print("\n".join(as_other(MAKERS["owner"], changed)))
    print("\n".join(looked_at()))
    os.umask(0)
    fds = held()
    for asker, who in ASKERS.items():
        print("\n".join(as_other(who, lambda a=asker: asked_of(fds, a))))
    print("\n".join(moving()))


main()
