"""Rounds of power cuts and kills under a mounted tenant. A story: a fresh copy of a store on a filesystem of its own, on which workloads
(cut_work.py, cut_oracle.py, cut_apps.py) run, life after life, each ended by a cut or a kill and followed by a check of everything. A round
is one life. A story's seed decides what is written and when it ends; `--seed` tells it again, though not in the same order among processes."""
import argparse, ctypes, fcntl, json, os, random, shutil, signal, struct, subprocess, sys, tempfile, threading, time

import rawimage
from cut_apps import Git, Sqlite
from cut_oracle import Closed, Overwriter
from cut_work import Deletions, Log, Moves, NewDirs, Replace, flush, libc, PR_SET_PDEATHSIG, read_all
from rawimage import FS_IOC_SHUTDOWN, Image, report, sh

TENANT = "t"
WORKLOADS = [Sqlite, Git, Log, Replace, NewDirs, Moves, Deletions, Overwriter, Closed]
TREE, QUIET, ENDS, FSCK = "tree", "quiet", "ends", "fsck"
PROMISES = {
    TREE: "every name in the tree opens and reads",
    QUIET: "no integrity alarm, nothing a sanitizer says",
    ENDS: "it mounts by itself, nothing fails before the end, and it unmounts",
    FSCK: "fsck finds nothing, and the log's chain is whole",
}
LIVES = 3  # at most, in a story
STUCK_SECONDS = 60
SYNC_FILE_RANGE_ALL = 7
MKFS = {"ext4": [("-b", "4096"), ("-b", "1024")], "xfs": [()]} # stories take turns
NOT_ONE = -1 # no process


class Failed(Exception):
    """This story cannot go on: what failed (a key of PROMISES), and how."""


class Disk(Image):
    """A copy of a template: rawimage.Image without mkfs."""

    def __init__(self, template, scratch):
        self.kind, self.options, self.scratch = template.kind, "", scratch
        self.path, self.file = scratch + "/disk", f"{template.file}-{os.getpid()}"
        os.makedirs(self.path, exist_ok=True)
        self.copy(template.file, self.file)
        self.mount()

    @staticmethod
    def copy(source, target):
        sh("cp", "--sparse=always", "--reflink=auto", source, target)

    def cut(self):
        """The power goes: what was not flushed will not be there."""
        fd = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", 2))
        os.close(fd)

    def back(self):
        """The filesystem as it comes back: really unmounted, or its pages would still be there."""
        end = time.monotonic() + 20
        while subprocess.run(["umount", self.path], capture_output=True).returncode:
            if time.monotonic() > end:
                raise RuntimeError("the lower filesystem stays busy")
            time.sleep(0.01)
        self.mount()

    def done(self):
        if os.path.ismount(self.path):
            subprocess.run(["umount", "-l", self.path], capture_output=True)
        if os.path.exists(self.file):
            os.unlink(self.file)


class Daemon:
    """tenantfs on a disk's store."""

    def __init__(self, programs, disk, scratch):
        self.programs, self.store, self.scratch = programs, disk.path + "/store", scratch
        self.mnt, self.log, self.process = scratch + "/mnt", scratch + "/log", None
        os.makedirs(self.mnt, exist_ok=True)
        self.secrets = ["--keys", scratch + "/keys", "--passphrase-file", scratch + "/pass"]

    def start(self):
        with open(self.log, "ab") as log:
            self.log_from = log.tell()
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", self.programs["tenantfs"], "-f", f"{self.store}#{TENANT}", self.mnt, "-o",
                f"keys={self.scratch}/keys,passfile={self.scratch}/pass"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_mounted(self):
        with open("/proc/self/mounts") as f:
            return any(line.split()[1] == self.mnt for line in f)

    def mount(self):
        self.start()
        began = time.monotonic()
        end = began + STUCK_SECONDS
        while not self.is_mounted():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed(ENDS, f"it does not mount: {self.said()[-600:]}")
            time.sleep(0.005)
        self.mount_seconds = time.monotonic() - began
        return self

    def said(self, ever=False):
        """Its messages since the last start."""
        with open(self.log, errors="replace") as f:
            f.seek(0 if ever else self.log_from)
            return f.read()

    def kill(self):
        """Its status if it had ended by itself."""
        status = self.process.poll()
        self.process.kill()
        self.process.wait(STUCK_SECONDS)
        while self.is_mounted():
            sh("umount", "-l", self.mnt)
        return status

    def unmount(self):
        end = time.monotonic() + 10
        while subprocess.run(["umount", self.mnt], capture_output=True).returncode:
            if time.monotonic() > end:
                raise Failed(ENDS, "it does not unmount")
            time.sleep(0.02)
        if self.process.wait(STUCK_SECONDS):
            raise Failed(ENDS, f"unmounted, it ends with status {self.process.returncode}: {self.said()[-600:]}")

    def ask(self, *words):
        done = subprocess.run([self.programs["tenantctl"], *words, *self.secrets], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=STUCK_SECONDS)
        return done.returncode, (done.stdout + done.stderr).strip()


class Plain(Daemon):
    """No daemon: the filesystem itself, to see what it keeps and whether the checks are fair."""

    def mount(self):
        self.mnt = os.path.dirname(self.store) + "/plain"
        os.makedirs(self.mnt, exist_ok=True)
        self.log_from = self.mount_seconds = 0
        open(self.log, "ab").close()
        return self

    def start(self):
        pass

    def kill(self):
        return None

    unmount = start


class Template:
    """A store on a new filesystem, from which stories take copies."""

    def __init__(self, kind, programs, mkfs=()):
        self.kind, self.programs = kind, programs
        self.image = Image(kind, "", mkfs)
        self.scratch, self.file = self.image.scratch, self.image.file
        secret = self.scratch + "/pass"
        with open(secret, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write("correct horse\n")
        store, keys = self.image.path + "/store", self.scratch + "/keys"
        sh(programs["tenantkey"], "init", store, "--keys", keys)
        sh(programs["tenantkey"], "create", f"{store}#{TENANT}", "--keys", keys, "--owner", "root", "--new-passphrase-file", secret,
            "--pbkdf-memory", "64", "--pbkdf-force-iterations", "1", "--journal-size", "1M")
        self.image.unmount()

    def done(self):
        self.image.done()


def disturb(folder, seed):
    """In a process of its own: makes the lower filesystem write some pages of some files early, in any order, as memory pressure does."""
    pid = os.fork()
    if pid:
        return pid
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        rng, paths, read_at = random.Random(seed), [], 0
        while True:
            if time.monotonic() - read_at > 0.05:
                paths, read_at = [os.path.join(d, f) for d, _, files in os.walk(folder + "/root") for f in files], time.monotonic()
                paths += [folder + "/journal"] * (1 + len(paths) // 10)
            time.sleep(rng.choice((0.001, 0.005, 0.02)))
            try:
                fd = os.open(rng.choice(paths), os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:
                continue
            page = rng.randrange(1 + os.fstat(fd).st_size // 4096)
            libc.sync_file_range(fd, ctypes.c_longlong(page * 4096), ctypes.c_longlong(rng.choice((1, 1, 2, 16)) * 4096), SYNC_FILE_RANGE_ALL)
            os.close(fd)
    finally:
        os._exit(0)


class Story:
    def __init__(self, template, seed, killed, chosen, plain):
        self.template, self.seed, self.killed = template, seed, killed
        self.rng = random.Random(f"story {seed}")
        self.lives = self.rng.randrange(1, LIVES + 1)
        self.scratch = tempfile.mkdtemp(prefix="story-", dir=template.scratch)
        self.notes = tempfile.mkdtemp(prefix="tenantfs-notes-", dir=rawimage.roomy("/dev/shm", 64 << 20) or self.scratch)
        shutil.copytree(template.scratch + "/keys", self.scratch + "/keys")
        shutil.copy2(template.scratch + "/pass", self.scratch + "/pass")
        self.disk = Disk(template, self.scratch)
        self.daemon = (Plain if plain else Daemon)(template.programs, self.disk, self.scratch)
        self.top = (self.disk.path + "/plain" if plain else self.daemon.mnt) + "/work"
        self.workloads = [c(self.top, self.notes, seed, killed) for c in chosen]
        self.disturber, self.bad, self.rounds, self.names, self.told = NOT_ONE, [], 0, 0, []
        self.unfinished = {} # what fsck repaired: kind → how often

    def run(self, keep):
        """Its rounds; a problem ends it. keep: a folder for the image of the life that failed, as it was before it was mounted again, or None."""
        # A daemon that hangs would hold this process too, beyond any signal.
        watch = threading.Timer(STUCK_SECONDS * 4, self.give_up)
        watch.daemon = True
        watch.start()
        try:
            self.daemon.mount()
            self.prepare()
            for life in range(self.lives):
                self.live(keep)
                self.check()
                self.rounds += 1
                if self.bad:
                    break
            if not self.bad and self.daemon.process:
                self.daemon.unmount()
                self.examine()
        except Failed as e:
            self.bad.append((e.args[0], e.args[1]))
        except OSError as e:
            self.bad.append((ENDS, repr(e)))
        finally:
            watch.cancel()
            self.clean_up(keep)
        return self

    def give_up(self):
        self.bad.append((ENDS, "it hangs"))
        self.daemon.process.kill()

    def prepare(self):
        os.mkdir(self.top)
        for w in self.workloads:
            w.prepare()
        for folder, _, names in os.walk(self.top):
            for name in names:
                flush(f"{folder}/{name}")
            flush(folder)
        flush(self.daemon.mnt)

    def live(self, keep):
        disturbed = not self.killed and self.rng.random() < 0.6
        for w in self.workloads:
            w.start()
        if disturbed:
            self.disturber = disturb(f"{self.disk.path}/store/t/{TENANT}", self.rng.random())
        time.sleep(self.rng.choice((self.rng.uniform(0.02, 0.2), self.rng.uniform(0.1, 1.0))))
        if self.rng.random() < 0.25:
            self.wait_for_checkpoint()
        self.cut_at = time.monotonic()
        if self.killed:
            self.end_life(keep)
            if self.rng.random() < 0.3:
                self.begin_recovery()
                self.daemon.kill()
        else:
            if self.rng.random() < 0.2:
                self.end_daemon()
                self.begin_recovery()
            self.power_cut(keep)
            if self.rng.random() < 0.3:
                self.begin_recovery()
                self.power_cut(None)
        self.daemon.mount()

    def wait_for_checkpoint(self):
        """Everybody pauses until the daemon, idle, begins to empty its journal; then some moments of that."""
        for w in self.workloads:
            w.signal(signal.SIGSTOP)
        top = f"{self.disk.path}/store/t/{TENANT}"
        paths = [os.path.join(d, f) for d, _, files in os.walk(top + "/root") for f in files] + [top + "/journal"]
        looks = lambda: [os.stat(p, follow_symlinks=False).st_ctime_ns for p in paths if os.path.lexists(p)]
        time.sleep(0.1)
        before, stop = looks(), time.monotonic() + 2.5
        while looks() == before and time.monotonic() < stop:
            time.sleep(0.0005)
        time.sleep(self.rng.choice((0, self.rng.uniform(0, 0.005), self.rng.uniform(0, 0.04))))

    def begin_recovery(self):
        """Some moments of a mount, or all of it."""
        self.daemon.start()
        time.sleep(self.rng.uniform(0, 1.3 * self.daemon.mount_seconds))

    def power_cut(self, keep):
        self.disk.cut()
        if self.rng.random() < 0.5:
            time.sleep(self.rng.uniform(0, 0.05))
        self.end_life(keep)
        self.disk.back()

    def end_daemon(self):
        status = self.daemon.kill()
        if status is not None and (status < 0 or self.killed):
            self.bad.append((ENDS, f"the daemon ended by itself with status {status}: {self.daemon.said()[-600:]}"))

    def end_life(self, keep):
        self.end_daemon()
        if self.disturber != NOT_ONE:
            os.kill(self.disturber, signal.SIGKILL)
            os.waitpid(self.disturber, 0)
            self.disturber = NOT_ONE
        for w in self.workloads:
            w.signal(signal.SIGCONT)
        for w in self.workloads:
            if not w.ended(20):
                self.bad.append((ENDS, f"{w.name} does not end"))
        if keep:
            self.disk.copy(self.disk.file, keep + "/image")

    def check(self):
        names, bad = read_all(self.top)
        self.names += names
        self.bad += [(TREE, text) for text in bad]
        for w in self.workloads:
            early = w.ended_early(self.cut_at)
            if early:
                self.bad.append((ENDS, f"{w.name} {early}"))
            try:
                self.bad += [(w.name, text) for text in w.check(self.cut_at)]
            except Exception as e: # whatever a spoilt file makes of a check
                self.bad.append((w.name, repr(e)))
        said = self.daemon.said()
        self.told += [line for line in said.split("\n") if line]
        if "ntegrity alarm" in said or any(word in self.daemon.said(ever=True) for word in ("Sanitizer", "runtime error:")):
            alarms = {line for line in self.daemon.said(ever=True).split("\n") if any(word in line for word in ("alarm", "Sanitizer", "runtime error:"))}
            self.bad.append((QUIET, " / ".join(sorted(alarms)[:8])))

    def examine(self):
        self.check_fsck()
        status, text = self.daemon.ask("audit", "verify", f"{self.daemon.store}#{TENANT}")
        if status not in (0, 2):
            self.bad.append((FSCK, f"audit verify: status {status}: {text[-600:]}"))

    def check_fsck(self):
        """What a cut left unfinished may be there: homes that were not let go, a record that was to be renamed. Nothing is lost, a repair ends it."""
        store = f"{self.daemon.store}#{TENANT}"
        status, text = self.daemon.ask("fsck", store, "--json")
        try:
            found = json.loads(text)["findings"]
        except ValueError:
            found = [text]
        other = [f for f in found if isinstance(f, str) or f["severity"] != "unfinished"]
        for f in found:
            if f not in other:
                self.unfinished[f["kind"]] = self.unfinished.get(f["kind"], 0) + 1
        if other or (status and not found):
            self.bad.append((FSCK, f"fsck: status {status}: {len(other)} findings, first {other[:1]}"))
        elif found:
            repaired, text = self.daemon.ask("fsck", store, "--repair")
            status, _ = self.daemon.ask("fsck", store)
            if repaired != 1 or status:
                self.bad.append((FSCK, f"fsck --repair: status {repaired}, then {status}: {text[-600:]}"))

    def clean_up(self, keep):
        if self.disturber != NOT_ONE:
            os.kill(self.disturber, signal.SIGKILL)
            os.waitpid(self.disturber, 0)
        if self.daemon.process:
            self.daemon.kill()
        for w in self.workloads:
            w.ended(5)
        self.disk.done()
        if keep and self.bad:
            for name in ("keys", "pass", "log"):
                sh("cp", "-a", f"{self.scratch}/{name}", keep)
            sh("cp", "-a", self.notes, keep + "/notes")
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.rmtree(self.notes, ignore_errors=True)


def arguments(name, rounds, count):
    p = argparse.ArgumentParser(description=f"{name}: {count}=n rounds, {rounds} when it is not set.")
    p.add_argument("build", nargs="?", default=os.environ.get("TENANTFS_BUILD", "build/gcc"))
    p.add_argument("--fs", choices=("ext4", "xfs"), action="append")
    p.add_argument("--seed", type=int, help="only this story")
    p.add_argument("--times", type=int, default=1, help="tell it so often")
    p.add_argument("--first", action="store_true", help="end with the first that fails")
    p.add_argument("--only", default="", help="workloads, with commas")
    p.add_argument("--without", default="")
    p.add_argument("--keep", help="a folder for images, notes and messages of what failed")
    p.add_argument("--plain", action="store_true", help="on the filesystem itself, without tenantfs")
    p.add_argument("--verbose", action="store_true")
    o = p.parse_args()
    o.rounds = int(os.environ.get(count, rounds))
    o.build = os.path.abspath(o.build)
    o.chosen = [w for w in WORKLOADS if (not o.only or w.name in o.only.split(",")) and w.name not in o.without.split(",")]
    return o


def programs(build):
    found = {}
    for name, folder in (("tenantfs", "fs"), ("tenantctl", "tools"), ("tenantkey", "tools"), ("tenantkey", "keymgmt")):
        if os.access(f"{build}/{folder}/{name}", os.X_OK):
            found[name] = f"{build}/{folder}/{name}"
    if len(found) < 3:
        report(False, "the programs were built")
        sys.exit(1)
    return found


def campaign(name, kind, o, killed):
    """Stories until there are enough rounds; a result for each promise."""
    began, rounds, names, bad = time.monotonic(), 0, 0, {}
    counted, told, unfinished, seed = {}, set(), {}, o.seed if o.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"# {name}: {kind}: first seed {seed}", flush=True)
    templates, tellings = [Template(kind, programs(o.build), mkfs) for mkfs in MKFS[kind]], 0
    try:
        while (tellings < o.times) if o.seed is not None else (rounds < o.rounds and sum(map(len, bad.values())) < (1 if o.first else 20)):
            keep = tempfile.mkdtemp(prefix=f"{kind}-{seed}-", dir=o.keep) if o.keep else None
            story = Story(templates[seed % len(templates)], seed, killed, o.chosen, o.plain).run(keep)
            rounds, names, tellings = rounds + story.rounds, names + story.names, tellings + 1
            for w in story.workloads:
                counted[w.name] = counted.get(w.name, 0) + w.counted
            told |= {line for line in story.told}
            for key, n in story.unfinished.items():
                unfinished[key] = unfinished.get(key, 0) + n
            for what, text in story.bad:
                bad.setdefault(what, []).append(f"seed {seed}: {text}")
                print(f"# {kind}: seed {seed}: {what}: {text}", flush=True)
            if keep and not story.bad:
                shutil.rmtree(keep)
            if o.verbose:
                print(f"# {kind}: seed {seed}: {story.rounds} rounds, {time.monotonic() - began:.1f} s so far", flush=True)
            seed += o.seed is None
    finally:
        for template in templates:
            template.done()
    for key, promise in [(w.name, w.promise) for w in o.chosen] + list(PROMISES.items()):
        replay = f"; run it again: tests/integ/test_{name}.py --fs {kind} --seed {bad[key][0].split()[1][:-1]} --times 20" if key in bad else ""
        report(key not in bad, f"{name}: {kind}: {promise}", f"{len(bad.get(key, []))} times, first {bad.get(key, [''])[0][:250]}{replay}")
    print(f"# {name}: {kind}: {rounds} rounds, {time.monotonic() - began:.0f} s, {names} names read; acknowledged and looked for: "
        + ", ".join(f"{n} {c}" for n, c in counted.items()), flush=True)
    print(f"# {name}: {kind}: left unfinished, until fsck --repair: {unfinished}", flush=True)
    if o.verbose:
        print("\n".join(f"# said: {line}" for line in sorted(told)[:8]), flush=True)


def main(name, rounds, count, killed, kinds):
    o = arguments(name, rounds, count)
    rawimage.need_root_and_loops(name)
    if not os.path.exists("/dev/fuse"):
        rawimage.skip(name, "needs /dev/fuse")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for kind in o.fs or kinds:
        if kind not in rawimage.filesystems():
            rawimage.skip(f"{name}: {kind}", f"there is no mkfs.{kind}")
            continue
        campaign(name, kind, o, killed)
    return 1 if rawimage.failures else 0
