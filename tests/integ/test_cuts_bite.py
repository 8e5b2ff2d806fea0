#!/usr/bin/python3
# tests/run: slow timeout=300
"""The checks of test_power_cuts.py and test_kills.py find what is wrong: each is shown states that are (and one that is not), and a daemon whose
flushes do nothing is found out. Usage: test_cuts_bite.py [BUILDDIR]"""
import os, random, shutil, signal, sqlite3, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cuts, rawimage
from cut_apps import Git, Sqlite
from cut_oracle import Closed, Overwriter
from cut_work import Deletions, Log, Moves, NewDirs, Replace, get, put, read_all
from rawimage import report

NAME = "cuts_bite"
ROUNDS = 30 # at most, until all have noticed that nothing is flushed

NO_FLUSH = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
/* Flushes that do nothing, from when the first byte of a file is not 0: mapped early, since the daemon confines itself. */
static volatile const char *lie;
__attribute__((constructor)) static void begin(void)
{
	int fd = open(getenv("NO_FLUSH"), O_RDONLY);
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
	lie = p == MAP_FAILED ? NULL : p;
}
#define FLUSH(name) int name(int fd) { int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, #name); return lie && *lie ? 0 : real(fd); }
FLUSH(fsync)
FLUSH(fdatasync)
FLUSH(syncfs)
"""


def flip(path, at=None):
    data = bytearray(get(path))
    at = len(data) // 2 if at is None else at
    data[at] ^= 1
    put(path, bytes(data))


def shorten(path, by):
    os.truncate(path, os.path.getsize(path) - by)


def acknowledged(w, what):
    """Of the last things that were, the words."""
    return [words for words in w.noted(float("inf")) if words[0] == what]


def sql(w, line):
    db = sqlite3.connect(w.top + "/db", isolation_level=None)
    db.execute(line)
    db.close()


def an_object(w):
    commit = w.git("rev-parse", "HEAD").stdout.strip()
    return f"{w.top}/.git/objects/{commit[:2]}/{commit[2:]}"


def unwrite(path, length):
    """Zeros where something was flushed."""
    data = bytearray(get(path))
    data[-length:] = bytes(length)
    put(path, bytes(data))


def place(w, thing):
    return next(f"{w.top}/{f}/{thing}" for f in w.FOLDERS if os.path.lexists(f"{w.top}/{f}/{thing}"))


SPOILS = [
    (Sqlite, "a transaction is missing", lambda w: sql(w, f"DELETE FROM done WHERE n={acknowledged(w, 'ok')[-1][1]}")),
    (Sqlite, "a row has other bytes", lambda w: sql(w, "UPDATE rows SET content=x'00' WHERE id=(SELECT min(id) FROM rows)")),
    (Sqlite, "a page is torn", lambda w: unwrite(w.top + "/db", 3000)),
    (Git, "a commit is missing", lambda w: w.git("update-ref", "HEAD", "HEAD~1")),
    (Git, "an object is empty", lambda w: (os.chmod(an_object(w), 0o644), os.truncate(an_object(w), 0))),
    (Log, "the last record is missing", lambda w: os.truncate(w.top + "/log", len(w.whole(int(acknowledged(w, "ok")[-1][1]))) - 1)),
    (Log, "a record has another byte", lambda w: flip(w.top + "/log")),
    (Log, "something else is behind the records", lambda w: put(w.top + "/log", b"\0", os.O_APPEND)),
    (Replace, "an older version", lambda w: put(w.top + "/conf", w.content(int(acknowledged(w, "ok")[-1][1]) - 1))),
    (Replace, "a part of a version", lambda w: put(w.top + "/conf", b"version 1")),
    (NewDirs, "a file is missing", lambda w: os.unlink(f"{w.top}/{acknowledged(w, 'all')[-1][2]}")),
    (NewDirs, "a file is empty", lambda w: os.truncate(f"{w.top}/{acknowledged(w, 'all')[-1][2]}", 0)),
    (NewDirs, "an attribute is missing", lambda w: os.removexattr(f"{w.top}/{acknowledged(w, 'attribute')[0][2]}", "user.number")),
    (NewDirs, "a second name is missing", lambda w: [os.unlink(e.path) for e in os.scandir(w.top) if e.name.endswith("-too")]),
    (Moves, "a file is in two directories", lambda w: [shutil.copy(place(w, "file-1"), f"{w.top}/{f}") for f in "abc" if f != place(w, "file-1")[-8]]),
    (Moves, "a file is younger", lambda w: os.utime(place(w, "file-1"))),
    (Moves, "a file is nowhere", lambda w: os.unlink(place(w, "file-1"))),
    (Moves, "a directory is nowhere", lambda w: shutil.rmtree(place(w, "dir-1"))),
    (Moves, "what was renamed over another is older", lambda w: put(w.top + "/c/over", w.over(0))),
    (Deletions, "a deleted file is there", lambda w: put(f"{w.top}/{acknowledged(w, 'gone')[-1][1]}", w.content(int(acknowledged(w, "gone")[-1][1])))),
    (Deletions, "another file is missing", lambda w: os.unlink(f"{w.top}/{min(os.listdir(w.top), key=int)}")),
    (Deletions, "another file is half overwritten", lambda w: flip(max((e.path for e in os.scandir(w.top)), key=os.path.getsize))),
    (Overwriter, "a file is shorter", lambda w: os.truncate(w.top + "/1", 0)),
    (Overwriter, "a byte is another", lambda w: [flip(f"{w.top}/{i}") for i in range(4)]),
    (Overwriter, "what was there at first", lambda w: [put(f"{w.top}/{i}", w.data(-i - 1, os.path.getsize(f"{w.top}/{i}"))) for i in range(4)]),
    (Closed, "a byte is another", lambda w: flip(w.top + "/1")),
    (Closed, "after a kill a file is shorter", lambda w: shorten(w.top + "/1", 1)),
]


def shown(cls, what, spoil, folder, seed):
    """Whether the check of an undisturbed life finds nothing, and then something."""
    folder = tempfile.mkdtemp(dir=folder)
    w = cls(folder, tempfile.mkdtemp(dir=folder), seed, "kill" in what)
    w.prepare()
    w.start()
    time.sleep(0.6 if cls is Git else 0.25)
    w.kill()
    end = time.monotonic()
    problems = list(w.check(end))
    if not problems:
        spoil(w)
    try:
        found = list(w.check(end))
    except (OSError, RuntimeError, sqlite3.Error) as e:
        found = [repr(e)]
    report(not problems and found, f"{NAME}: {w.name} is told from a right state: {what}", f"seed {seed}: {problems}, then {found}")


def unreadable(folder):
    """A name that is there and does not open."""
    os.mkdir(folder + "/tree")
    os.symlink("nowhere", folder + "/tree/link")
    put(folder + "/tree/file", b"x")
    good = read_all(folder + "/tree")
    rawimage.sh("mount", "--bind", f"/proc/{os.getpid()}/mem", folder + "/tree/file") # EIO at 0
    bad = read_all(folder + "/tree")
    rawimage.sh("umount", folder + "/tree/file")
    report(good == (2, []) and bad == (2, ["/file: read: Input/output error"]), f"{NAME}: a name that does not read is found", (good, bad))


class Liar(cuts.Daemon):
    """Its flushes do nothing once `lie` is called."""

    library = switch = None

    def start(self):
        os.environ.update(LD_PRELOAD=self.library, NO_FLUSH=self.switch)
        try:
            super().start()
        finally:
            del os.environ["LD_PRELOAD"], os.environ["NO_FLUSH"]

    def lie(self, yes):
        put(self.switch, b"\1" if yes else b"\0")


class LyingStory(cuts.Story):
    def prepare(self):
        self.daemon.lie(False)
        super().prepare()
        self.lives = 1
        self.daemon.lie(True)

    def power_cut(self, keep):
        super().power_cut(keep)
        self.daemon.lie(False)


def unflushed(folder, build):
    """Everyone's check finds out that flushes do nothing."""
    Liar.library, Liar.switch = folder + "/no_flush.so", folder + "/switch"
    put(Liar.switch, b"\0")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", Liar.library, "-x", "c", "-"], input=NO_FLUSH.encode(), check=True)
    template = cuts.Template("ext4", cuts.programs(build))
    seed, missing, honest = random.SystemRandom().randrange(1 << 32), {w.name for w in cuts.WORKLOADS} - {"closed"}, cuts.Daemon
    rounds = 0
    try:
        cuts.Daemon = Liar
        while missing and rounds < ROUNDS:
            missing -= {what for what, _ in LyingStory(template, seed + rounds, False, cuts.WORKLOADS, False).run(None).bad}
            rounds += 1
    finally:
        cuts.Daemon = honest
        template.done()
    report(not missing, f"{NAME}: a daemon whose flushes do nothing is found out by every workload", f"not by {missing} in {rounds} rounds from seed {seed}")
    print(f"# {NAME}: {rounds} rounds until all had noticed", flush=True)


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TENANTFS_BUILD", "build/gcc"))
    rawimage.need_root_and_loops(NAME)
    folder = tempfile.mkdtemp(prefix="tenantfs-bite-", dir=rawimage.roomy("/dev/shm", 256 << 20) or os.environ.get("TMPDIR", "/var/tmp"))
    try:
        for cls, what, spoil in SPOILS:
            shown(cls, what, spoil, folder, random.SystemRandom().randrange(1 << 32))
        unreadable(folder)
        if os.path.exists("/dev/fuse"):
            unflushed(folder, build)
        else:
            rawimage.skip(f"{NAME}: a daemon whose flushes do nothing", "needs /dev/fuse")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if rawimage.failures else 0


sys.exit(main())
