"""What test_disk_trouble.sh does in a mount whose disk goes: trouble_ops.py MOUNT TROUBLE READS FILE...
Everything is made and synced, handles are opened, FILE... are told to go wrong by TROUBLE; then each changing call is tried.
    TROUBLE  shutdown FOLDER      the lower filesystem at FOLDER goes, as with the last word of its disk
             fsync CONTROL LINE   LINE is written to CONTROL (lower_faults.c)
    READS    whether reading must still work"""
import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import sys

top, trouble, reads = sys.argv[1], sys.argv[2], sys.argv[3] == "reads"
words = sys.argv[4:]
FS_IOC_SHUTDOWN = 0x8004587D
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
failed = 0
CONTENT = bytes(i * 7 % 251 for i in range(65536))


def say(good, name, why=""):
    global failed
    failed += not good
    print(f"{'ok' if good else 'not ok'} - test_disk_trouble.sh: {label}: {name}{'' if good else ': ' + why}", flush=True)


def outcome(call):
    """errno names that a call or any of its steps ends with."""
    try:
        call()
    except OSError as e:
        return errno.errorcode[e.errno]
    return "done"


def as_user(uid):
    os.setegid(0)
    os.seteuid(0)
    os.setegid(uid)
    os.seteuid(uid)


def put(path, data, sync=True):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, data)
    if sync:
        os.fsync(fd)
    os.close(fd)


def check_errno(number):
    if number:
        raise OSError(ctypes.get_errno(), "call")


class Session:
    """One user's files and open handles."""

    def __init__(self, uid):
        self.uid = uid
        self.dir = d = f"{top}/user{uid}"
        as_user(0)
        os.mkdir(d)
        os.chown(d, uid, uid)
        as_user(uid)
        for name in ("file", "other", "victim", "target"):
            put(f"{d}/{name}", CONTENT)
        os.mkdir(f"{d}/empty")
        os.mkdir(f"{d}/folder")
        put(f"{d}/folder/inside", b"inside")
        os.symlink("file", f"{d}/link")
        os.setxattr(f"{d}/file", "user.a", b"value")
        for p in ("empty", "folder", ""):
            self.sync_dir(f"{d}/{p}")
        self.clean = os.open(f"{d}/file", os.O_RDWR)
        self.spare = os.open(f"{d}/victim", os.O_RDWR)
        self.reader = os.open(f"{d}/other", os.O_RDONLY)
        self.direct = os.open(f"{d}/target", os.O_RDWR | os.O_DIRECT)
        put(f"{d}/dirty", CONTENT)
        self.dirty = os.open(f"{d}/dirty", os.O_RDWR)
        put(f"{d}/mapped", CONTENT)
        self.map_fd = os.open(f"{d}/mapped", os.O_RDWR)
        self.map = mmap.mmap(self.map_fd, 65536)
        self.page = mmap.mmap(-1, 4096)
        os.sync()

    @staticmethod
    def sync_dir(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)

    def soil(self):
        """Unsaved data in the kernel's cache."""
        as_user(self.uid)
        os.pwrite(self.dirty, b"unsaved" * 100, 5000)
        self.map[:7] = b"unsaved"

    def open_close(self, name, flags):
        os.close(os.open(f"{self.dir}/{name}", flags, 0o644))

    def rename(self, old, new, flags=0):
        check_errno(libc.renameat2(-100, f"{self.dir}/{old}".encode(), -100, f"{self.dir}/{new}".encode(), flags))

    def changing(self):
        d = self.dir
        return {
            # First: nobody but the fsync that met it has told anything.
            "direct write": lambda: os.pwrite(self.direct, self.page, 0),
            "creat": lambda: self.open_close("new", os.O_CREAT | os.O_WRONLY),
            "open to write": lambda: self.open_close("file", os.O_WRONLY),
            "open to read and write": lambda: self.open_close("file", os.O_RDWR),
            "open with O_TRUNC": lambda: self.open_close("file", os.O_WRONLY | os.O_TRUNC),
            "open to append": lambda: self.open_close("file", os.O_WRONLY | os.O_APPEND),
            "mkdir": lambda: os.mkdir(f"{d}/new"),
            "mkfifo": lambda: os.mkfifo(f"{d}/new"),
            "symlink": lambda: os.symlink("file", f"{d}/new"),
            "link": lambda: os.link(f"{d}/file", f"{d}/new"),
            "unlink": lambda: os.unlink(f"{d}/victim"),
            "unlink of a link": lambda: os.unlink(f"{d}/link"),
            "rmdir": lambda: os.rmdir(f"{d}/empty"),
            "rename": lambda: self.rename("file", "new"),
            "rename over": lambda: self.rename("file", "victim"),
            "exchange": lambda: self.rename("file", "victim", 2),
            "rename of a folder": lambda: self.rename("folder", "empty"),
            "chmod": lambda: os.chmod(f"{d}/file", 0o600),
            "chown": lambda: os.chown(f"{d}/file", self.uid, self.uid),
            "utimensat": lambda: os.utime(f"{d}/file", (1, 1)),
            "truncate": lambda: os.truncate(f"{d}/file", 10),
            "truncate to more": lambda: os.truncate(f"{d}/file", 1000000),
            "punch": lambda: check_errno(libc.fallocate(self.clean, 3, 0, 4096)),
            "ftruncate": lambda: os.ftruncate(self.clean, 10),
            "fallocate": lambda: check_errno(libc.fallocate(self.map_fd, 0, 0, 1 << 20)),
            "copy_file_range": lambda: os.copy_file_range(self.reader, self.spare, 4096, 0, 0),
            "setxattr": lambda: os.setxattr(f"{d}/file", "user.b", b"1"),
            "setxattr of a folder": lambda: os.setxattr(f"{d}/folder", "user.b", b"1"),
            "removexattr": lambda: os.removexattr(f"{d}/file", "user.a"),
        }

    def unsaved(self):
        def buffered():
            os.pwrite(self.clean, b"later", 0)
            os.fsync(self.clean)

        return {
            "a buffered write and fsync": buffered,
            "fsync of what was clean": lambda: os.fsync(self.reader),
            "fsync of unsaved data": lambda: os.fsync(self.dirty),
            "msync of a map": lambda: self.map.flush(),
            "fsync of a folder": lambda: self.sync_dir(self.dir),
        }

    def read_all(self):
        d = self.dir
        fd = os.open(f"{d}/victim", os.O_RDONLY)
        assert os.read(fd, 70000) == CONTENT, "content"
        os.close(fd)
        assert os.pread(self.reader, 70000, 0) == CONTENT, "content of an open file"
        assert sorted(os.listdir(f"{d}/folder")) == ["inside"], "list"
        assert os.readlink(f"{d}/link") == "file", "link"
        assert os.getxattr(f"{d}/file", "user.a") == b"value", "attribute"
        assert os.stat(f"{d}/target").st_size == 65536, "stat"
        os.statvfs(d)

    def after(self):
        global label
        as_user(self.uid)
        label = f"{what}, {'root' if self.uid == 0 else 'a user'}"
        # Of a disk that is gone the kernel may learn nothing of what it is asked to change.
        good, said = (("EROFS",), "EROFS") if reads else (("EROFS", "EIO"), "EROFS or EIO")
        wrong = [f"{name}: {got}" for name, call in self.changing().items() if (got := outcome(call)) not in good]
        say(not wrong, f"{len(self.changing())} changing calls are {said}", ", ".join(wrong))
        wrong = [f"{name}: {got}" for name, call in self.unsaved().items() if (got := outcome(call)) != "EIO"]
        say(not wrong, "flushes are EIO", ", ".join(wrong))
        got = outcome(self.read_all)
        say(got == "done" if reads else got in ("done", "EIO"), "reading goes on" if reads else "reading works or is EIO", got)
        accepted = outcome(lambda: os.pwrite(self.clean, b"unsaved", 100))
        got = outcome(lambda: os.close(self.clean))
        say(got == "EIO" or accepted == "EIO", "a close with unsaved data is EIO", got)
        got = outcome(lambda: os.close(self.reader))
        say(got == "done", "a close without is fine", got)
        self.map.close()
        for fd in (self.dirty, self.map_fd, self.direct, self.spare):
            outcome(lambda fd=fd: os.close(fd))


def go():
    """The trouble, seen first by a write and its fsync, as root."""
    as_user(0)
    if trouble == "shutdown":
        fd = os.open(words[0], os.O_RDONLY)
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", 2))
        os.close(fd)
    else:
        with open(words[0], "w") as f:
            f.write(words[1])

    def first():
        os.pwrite(first_fd, b"first" * 1000, 0)
        os.fsync(first_fd)

    return outcome(first)


signal.alarm(100)  # nothing may hang
os.chmod(top, 0o755)
what = label = os.environ["WHAT"]
sessions = [Session(0), Session(61001)]
as_user(0)
first_fd = os.open(f"{top}/first", os.O_CREAT | os.O_RDWR)
os.pwrite(first_fd, b"before", 0)
os.fsync(first_fd)
for s in sessions:
    s.soil()
got = go()
say(got == "EIO", "the fsync that meets it is EIO", got)
if trouble == "fsync":
    os.unlink(words[0])  # the disk works again: nobody may believe it
for s in sessions:
    s.after()
as_user(0)
outcome(lambda: os.close(first_fd))
sys.exit(failed != 0)
