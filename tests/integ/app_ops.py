#!/usr/bin/python3
"""What mail programs, editors, writers of maps and watchers do, told as lines that are the same on any filesystem.

    app_ops.py mail DIRECTORY WRITERS MESSAGES UID READER-UID     as root, which becomes these users
    app_ops.py mbox DIRECTORY WRITERS MESSAGES
    app_ops.py save DIRECTORY
    app_ops.py map DIRECTORY PROCESSES ROUNDS
    app_ops.py watch DIRECTORY [UID]                              UID: it is he who changes, as root
"""
import ctypes, fcntl, hashlib, mmap, os, random, re, stat, struct, subprocess, sys, time, traceback


def put(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o666, sync=True):
    fd = os.open(path, flags, mode)
    try:
        while data:
            data = data[os.write(fd, data):]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def flush(folder):
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def children(works):
    """Each in a process of its own; all must end well."""
    pids = []
    for work in works:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        pids.append(pid)
    return pids


def wait(pids):
    bad = [pid for pid in pids if os.waitpid(pid, 0)[1]]
    if bad:
        sys.exit(f"{len(bad)} processes did not end well")


def become(uid, group):
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(uid, uid, uid)
    os.umask(0o007)


def message(writer, n):
    body = random.Random(f"{writer} {n}").randbytes((50, 700, 4096, 9000, 70_000)[(writer + n) % 5]).hex().encode()
    return b"%s\n%s\n" % (hashlib.sha256(body).hexdigest().encode(), body)


def whole(data):
    head, _, rest = data.partition(b"\n")
    return rest.endswith(b"\n") and hashlib.sha256(rest[:-1]).hexdigest().encode() == head


def mail(top, writers, messages, uid, reader_uid):
    """Writers of one user deliver, by link and by rename; a reader of another moves what is new to cur, with a flag, changes flags, removes."""
    box, group = top + "/box", 61009
    for folder in (box, box + "/tmp", box + "/new", box + "/cur"):
        os.mkdir(folder)
        os.chown(folder, uid, group)
        os.chmod(folder, 0o2770)

    def write(writer):
        become(uid, group)
        for n in range(messages):
            name = f"{n}.{writer}.host"
            put(f"{box}/tmp/{name}", message(writer, n), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660)
            if n % 2:
                os.link(f"{box}/tmp/{name}", f"{box}/new/{name}")
                os.unlink(f"{box}/tmp/{name}")
            else:
                os.rename(f"{box}/tmp/{name}", f"{box}/new/{name}")
            flush(box + "/new")

    def read():
        become(reader_uid, group)
        seen, end = set(), time.monotonic() + 240
        while len(seen) < writers * messages:
            if time.monotonic() > end:
                raise RuntimeError(f"{len(seen)} of {writers * messages} came")
            for name in os.listdir(box + "/new"):
                if name in seen:
                    raise RuntimeError(f"{name} came twice")
                seen.add(name)
                if not whole(get(f"{box}/new/{name}")):
                    raise RuntimeError(f"{name} is not whole")
                at = f"{box}/cur/{name}:2,"
                os.rename(f"{box}/new/{name}", at)
                if len(seen) % 3 == 0:
                    os.rename(at, at + "S")
                if len(seen) % 7 == 0:
                    os.utime(at + ("S" if len(seen) % 3 == 0 else ""))
                if int(name.split(".")[0]) % 5 == 4:
                    os.unlink(at + ("S" if len(seen) % 3 == 0 else ""))
            time.sleep(0.01)

    pids = children([lambda w=w: write(w) for w in range(writers)] + [read])
    wait(pids)
    for folder in ("tmp", "new", "cur"):
        names = sorted(re.sub(":2,.*", "", n) for n in os.listdir(f"{box}/{folder}"))
        print(folder, len(names), hashlib.sha256(repr(names).encode()).hexdigest())
    for name in os.listdir(box + "/cur"):
        n, writer, _ = name.split(".")
        s = os.stat(f"{box}/cur/{name}")
        if get(f"{box}/cur/{name}") != message(int(writer), int(n)) or (s.st_nlink, s.st_uid, s.st_gid) != (1, uid, group):
            print(name, "differs", s)


def mbox(top, writers, messages):
    """One file for all, with a lock of fcntl and a dotlock made by link."""
    box = top + "/mbox"
    put(box, b"")

    def write(writer):
        for n in range(messages):
            mine = f"{top}/lock.{writer}"
            put(mine, b"%d\n" % os.getpid(), sync=False)
            while True:
                try:
                    os.link(mine, box + ".lock")
                    break
                except FileExistsError:
                    time.sleep(0.002)
            fd = os.open(box, os.O_RDWR | os.O_APPEND)
            fcntl.lockf(fd, fcntl.LOCK_EX)
            text = message(writer, n)
            os.write(fd, b"From %d\n" % len(text) + text)
            if n % 4 == 0:
                os.fsync(fd)
            os.close(fd)
            os.unlink(box + ".lock")
            os.unlink(mine)

    wait(children([lambda w=w: write(w) for w in range(writers)]))
    data, at, found = get(box), 0, []
    while at < len(data):
        line = data[at:data.index(b"\n", at)]
        start = at + len(line) + 1
        at = start + int(line.split()[1])
        found.append((whole(data[start:at]), hashlib.sha256(data[start:at]).hexdigest()))
    expected = sorted((True, hashlib.sha256(message(w, n)).hexdigest()) for w in range(writers) for n in range(messages))
    print("mbox", len(found), sorted(found) == expected, sorted(os.listdir(top)))


class Saves:
    """Each way to save a file; told is what another program sees of it then."""

    def __init__(self, top):
        self.top = top

    def tell(self, step, folder, before):
        lines = []
        for name in sorted(os.listdir(folder)):
            at = f"{folder}/{name}"
            s = os.lstat(at)
            name = re.sub("^tmp.*", "tmp", name)
            words = [name, oct(s.st_mode), s.st_nlink, s.st_size, "the same inode" if s.st_ino == before else "another"]
            if stat.S_ISREG(s.st_mode):
                # These have times and process numbers in them.
                words += ["-" if name.endswith((".un~", ".swp")) else hashlib.sha256(get(at)).hexdigest()[:12], sorted((n, os.getxattr(at, n).hex()) for n in os.listxattr(at))]
            lines.append(" ".join(map(str, words)))
        print(step, *lines, sep="\n  ")

    def fresh(self, step, mode=0o640):
        folder = f"{self.top}/{step}"
        os.mkdir(folder)
        put(folder + "/file", b"one\ntwo\nthree\n" * 500)
        os.setxattr(folder + "/file", "user.note", b"kept?")
        os.chmod(folder + "/file", mode)
        # Held open, that nothing else gets its number.
        os.open(folder + "/file", os.O_PATH)
        return folder, os.stat(folder + "/file").st_ino

    def rename(self, f):
        put(f + "/tmp1", b"new\n" * 900, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.chmod(f + "/tmp1", 0o640)
        os.rename(f + "/tmp1", f + "/file")
        flush(f)

    def backup_by_rename(self, f):
        os.rename(f + "/file", f + "/file~")
        put(f + "/file", b"new\n" * 900, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def backup_by_link(self, f):
        os.link(f + "/file", f + "/file~")
        put(f + "/tmp1", b"new\n" * 900)
        os.rename(f + "/tmp1", f + "/file")

    def backup_by_copy(self, f):
        put(f + "/file~", get(f + "/file"))
        put(f + "/file", b"new\n" * 900, os.O_WRONLY | os.O_TRUNC)

    def exchange(self, f):
        put(f + "/tmp1", b"new\n" * 900)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(-100, (f + "/tmp1").encode(), -100, (f + "/file").encode(), 2):
            raise OSError(ctypes.get_errno(), "renameat2")
        os.unlink(f + "/tmp1")

    def in_place(self, f):
        fd = os.open(f + "/file", os.O_RDWR)
        os.pwrite(fd, b"NEW", 4)
        os.ftruncate(fd, 6000)
        os.fdatasync(fd)
        os.close(fd)

    def run(self, *words):
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            print(words[0], "status", done.returncode, (done.stdout + done.stderr).replace(self.top, "TOP"))

    def all(self):
        for step in ("rename", "backup_by_rename", "backup_by_link", "backup_by_copy", "exchange", "in_place"):
            folder, before = self.fresh(step)
            getattr(self, step)(folder)
            self.tell(step, folder, before)
        tools = [("sed -i", ["sed", "-i", "s/two/2/"]), ("sed -i.bak", ["sed", "-i.bak", "s/two/2/"]), ("perl -i", ["perl", "-i", "-pe", "s/two/2/"]),
                 ("perl -i~", ["perl", "-i~", "-pe", "s/two/2/"]), ("sort -o", ["sort", "-o"])]
        vim = ["vim", "-u", "NONE", "-es"]
        for name, settings in (("default", ""), ("backup", "backup"), ("copy", "backup backupcopy=yes"), ("rename", "backup backupcopy=no"), ("nowritebackup", "nobackup nowritebackup"),
                               ("undo", "undofile backupcopy=auto fsync")):
            tools.append((f"vim {name}", vim + [f"+set {settings}" if settings else "+set nocompatible", "+%s/two/2/", "+wq"]))
        for name, words in tools:
            if subprocess.run(["which", words[0]], capture_output=True).returncode:
                continue
            for kind in ("plain", "linked", "symlink", "read-only"):
                folder, before = self.fresh(re.sub("\\W", "-", f"{name} {kind}"), 0o440 if kind == "read-only" else 0o640)
                if kind == "linked":
                    os.link(folder + "/file", folder + "/other")
                if kind == "symlink":
                    os.rename(folder + "/file", folder + "/target")
                    os.symlink("target", folder + "/file")
                self.run(*words, *([folder + "/file"] * (2 if words[0] == "sort" else 1)))
                self.tell(f"{name}, {kind}", folder, before)
        self.swap()

    def swap(self):
        """Killed in the middle: what it kept in its swap file comes back."""
        if subprocess.run(["which", "vim"], capture_output=True).returncode:
            return
        folder, before = self.fresh("swap")
        v = subprocess.Popen(["vim", "-u", "NONE", "-es", "+set directory=. swapfile", folder + "/file"], cwd=folder, stdin=subprocess.PIPE)
        v.stdin.write(b"%s/two/kept/\npreserve\nwrite! done\n")
        v.stdin.flush()
        end = time.monotonic() + 30
        while not os.path.exists(folder + "/done") and time.monotonic() < end:
            time.sleep(0.02)
        v.kill()
        v.wait()
        os.unlink(folder + "/done")
        self.run("vim", "-u", "NONE", "-es", "-r", folder + "/file", "+wq! " + folder + "/recovered")
        self.tell("vim killed and recovered", folder, before)


def maps(top, processes, rounds):
    """Each process has every n-th byte of a shared map: no write of another is lost, each is seen at once; with msync, growth, and read(2) beside."""
    path, size = top + "/map", 1 << 20
    put(path, bytes(size))
    turn = [os.pipe() for _ in range(processes)]

    def work(me):
        fd = os.open(path, os.O_RDWR)
        m = mmap.mmap(fd, size)
        rng = random.Random(me)
        for n in range(rounds):
            for _ in range(200):
                at = rng.randrange(size // processes - 1) * processes + me
                m[at] = rng.randrange(256)
            if n % 3 == 0:
                m.flush()
            # Ping, pong: what one has put there the next sees.
            os.read(turn[me][0], 1)
            count = struct.unpack("<Q", m[size - 4096:size - 4088])[0]
            if struct.unpack("<Q", os.pread(fd, 8, size - 4096))[0] != count:
                raise RuntimeError("read(2) differs from the map")
            m[size - 4096:size - 4088] = struct.pack("<Q", count + 1)
            os.write(turn[(me + 1) % processes][1], b"x")
        m.flush()
        m.close()
        os.close(fd)

    os.write(turn[0][1], b"x")
    pids = children([lambda i=i: work(i) for i in range(processes)])
    wait(pids)
    data = bytearray(get(path))
    print("map", struct.unpack("<Q", data[size - 4096:size - 4088])[0] == processes * rounds, hashlib.sha256(bytes(data[:size - 8192])).hexdigest())
    # It grows under a map, is written by both ways, is cut, is removed while it is mapped.
    fd = os.open(path, os.O_RDWR)
    os.ftruncate(fd, size + 8192)
    m = mmap.mmap(fd, size + 8192)
    m[size + 5000:size + 5003] = b"new"
    os.pwrite(fd, b"by write", size + 100)
    print("both ways", m[size + 100:size + 108], os.pread(fd, 3, size + 5000))
    private = mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE)
    private[0:7] = b"private"
    print("private", get(path)[0:7] != b"private")
    os.link(path, path + ".kept")
    os.unlink(path)
    m[1:5] = b"gone"
    m.flush()
    print("removed", get(path + ".kept")[1:5])
    os.ftruncate(fd, 5000)
    pid = os.fork()
    if not pid:
        try:
            m[4999] = 1
            m[9000]
        finally:
            os._exit(0)
    print("behind the end: signal", os.waitpid(pid, 0)[1] & 127)
    m2 = mmap.mmap(fd, 5000)
    m2[4990:4995] = b"after"
    m2.close()
    os.close(fd)
    print("at last", hashlib.sha256(get(path + ".kept")).hexdigest())


NAMES = {1: "access", 2: "modify", 4: "attrib", 8: "close_write", 0x10: "close_nowrite", 0x20: "open", 0x40: "moved_from", 0x80: "moved_to", 0x100: "create",
         0x200: "delete", 0x400: "delete_self", 0x800: "move_self", 0x2000: "unmount", 0x8000: "ignored", 0x40000000: "dir"}


def watch(top, uid=None):
    """What inotify tells of each step, in its order."""
    libc = ctypes.CDLL(None, use_errno=True)
    d, e = top + "/d", top + "/e"
    for folder in (d, e):
        os.mkdir(folder)
        os.chmod(folder, 0o777)
    put(d + "/old", b"content")
    os.chmod(d + "/old", 0o666)
    fd = libc.inotify_init1(os.O_NONBLOCK)
    watched = {libc.inotify_add_watch(fd, at.encode(), 0xFFF): name for name, at in (("d", d), ("e", e), ("old", d + "/old"))}
    cookies = {}

    def events():
        time.sleep(0.05)
        out = []
        while True:
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                return out
            at = 0
            while at < len(data):
                wd, mask, cookie, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16:at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length
                words = "+".join(v for k, v in NAMES.items() if mask & k)
                pair = f" #{cookies.setdefault(cookie, len(cookies))}" if cookie else ""
                out.append(f"{watched.get(wd)}/{name} {words}{pair}")

    def step(name, work):
        def by_him():
            if uid:
                become(uid, uid)
            work()
        wait(children([by_him]))
        print(name, *events(), sep="\n  ")

    def mapped():
        f = os.open(d + "/old", os.O_RDWR)
        m = mmap.mmap(f, 5)
        m[0:3] = b"MAP"
        m.flush()
        os.close(f)

    steps = [
        ("create", lambda: put(d + "/new", b"x" * 10)), ("append", lambda: put(d + "/new", b"y", os.O_WRONLY | os.O_APPEND)), ("read", lambda: get(d + "/new")),
        ("overwrite", lambda: put(d + "/old", b"other")), ("map", mapped), ("truncate", lambda: os.truncate(d + "/new", 3)), ("times", lambda: os.utime(d + "/new", (1, 2))),
        ("chmod", lambda: os.chmod(d + "/new", 0o600)), ("attribute", lambda: os.setxattr(d + "/new", "user.a", b"b")), ("link", lambda: os.link(d + "/new", e + "/linked")),
        ("rename", lambda: os.rename(d + "/new", d + "/renamed")), ("move", lambda: os.rename(d + "/renamed", e + "/moved")),
        ("replace", lambda: (put(d + "/tmp", b"r"), os.rename(d + "/tmp", d + "/old"))), ("mkdir", lambda: os.mkdir(d + "/sub")), ("symlink", lambda: os.symlink("x", d + "/sym")),
        ("fifo", lambda: os.mkfifo(d + "/fifo")), ("move a directory", lambda: os.rename(d + "/sub", e + "/sub")), ("rmdir", lambda: os.rmdir(e + "/sub")),
        ("unlink one of two", lambda: os.unlink(e + "/linked")), ("unlink", lambda: [os.unlink(p) for p in (e + "/moved", d + "/sym", d + "/fifo", d + "/old")]),
        ("the watched directory goes", lambda: os.rename(e, top + "/e2") if not uid else None),
    ]
    for name, work in steps:
        step(name, work)
    os.close(fd)


if __name__ == "__main__":
    what, top, *rest = sys.argv[1:]
    os.umask(0o022)
    if what == "save":
        Saves(top).all()
    else:
        {"mail": mail, "mbox": mbox, "map": maps, "watch": watch}[what](top, *map(int, rest))
