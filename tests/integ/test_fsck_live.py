#!/usr/bin/python3
# tests/run: slow timeout=400
"""tenantctl fsck beside a mount: while eight processes of two users change everything that can be changed, twenty runs in a row find
nothing; what is really damaged in files that nobody touches is found and named, the load going on elsewhere.
Usage: test_fsck_live.py [BUILDDIR]; FSCK_LIVE_SECONDS, FSCK_LIVE_SEED."""
import atexit, ctypes, errno, fcntl, hashlib, json, os, pty, random, shutil, signal, struct, subprocess, sys, time, traceback

import test_attacker as attacker
from test_attacker import PAGE, KEYS, STORE, Tenant, entry_at, flip, program, sh

CLEAN, CORRECTED, LEFT, FAILED, CANCELLED = 0, 1, 4, 8, 32
SECONDS = float(os.environ.get("FSCK_LIVE_SECONDS", 20))
SEED = int(os.environ.get("FSCK_LIVE_SEED", time.time()))
RUNS, KILLS, PROCESSES, USERS = 20, 5, 8, (40001, 40002)
libc = ctypes.CDLL(None, use_errno=True)
failures = 0


def report(good, name, detail=""):
    global failures
    failures += not good
    print(f"{'ok' if good else 'not ok'} - fsck live: {name}" + (f"\n  {detail}" if detail and not good else ""), flush=True)
    return good


# ---- The load.

class Worker:
    """Whatever fails because another one was faster is no matter."""
    LONG = "n" * 240

    def __init__(self, top, number):
        self.top, self.random = top, random.Random(SEED * 100 + number)
        self.held = []

    def folder(self):
        r = self.random
        return self.top + "/d%d" % r.randrange(4) + ("/s%d" % r.randrange(4) if r.random() < 0.3 else "")

    def name(self, kind):
        r = self.random
        return f"{self.folder()}/{kind}{r.randrange(8)}" + (self.LONG if r.random() < 0.1 else "")

    def bytes(self):
        return os.urandom(self.random.choice((1, 700, 4096, 9000, 60000, 400000)))

    def create(self):
        with open(self.name("f"), "wb") as f:
            f.write(self.bytes())

    def overwrite(self):
        r = self.random
        fd = os.open(self.name("f"), os.O_RDWR)
        try:
            size = os.fstat(fd).st_size
            for _ in range(r.randrange(1, 20)):
                os.pwrite(fd, os.urandom(r.choice((10, 4096, 20000))), r.randrange(size + 1))
                if r.random() < 0.1:
                    os.fsync(fd)
        finally:
            os.close(fd)

    def hold(self):
        """Written through to the daemon, and not committed for a while."""
        fd = os.open(self.name("f"), os.O_RDWR)
        os.pwrite(fd, self.bytes()[:20000], self.random.randrange(os.fstat(fd).st_size + 1))
        libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 7)
        self.held.append(fd)
        if len(self.held) > 3:
            os.close(self.held.pop(0))

    def append(self):
        with open(self.name("f"), "ab") as f:
            for _ in range(self.random.randrange(1, 10)):
                f.write(self.bytes()[:5000])
                f.flush()

    def truncate(self):
        path = self.name("f")
        os.truncate(path, self.random.choice((0, 1, 4096, self.random.randrange(os.stat(path).st_size + 5000))))

    def sparse(self):
        fd = os.open(self.name("f"), os.O_RDWR | os.O_CREAT, 0o666)
        os.pwrite(fd, b"island" * 500, self.random.randrange(1 << 32))
        if self.random.random() < 0.5:
            os.ftruncate(fd, 30000)
        os.close(fd)

    def punch(self):
        fd = os.open(self.name("f"), os.O_RDWR)
        libc.fallocate(fd, 3, ctypes.c_long(self.random.randrange(50000)), ctypes.c_long(30000))
        os.close(fd)

    def rename(self):
        kind = self.random.choice("ffflls")
        os.rename(self.name(kind) if kind != "s" else self.subfolder(), self.name(kind) if kind != "s" else self.subfolder())

    def exchange(self):
        libc.renameat2(-100, self.name(self.random.choice("fl")).encode(), -100, self.name(self.random.choice("fl")).encode(), 2)

    def link(self):
        kind = self.random.choice("fl")
        os.link(self.name(kind), self.name(kind), follow_symlinks=False)

    def unlink(self):
        os.unlink(self.name(self.random.choice("ffl")))

    def subfolder(self):
        return f"{self.top}/d{self.random.randrange(4)}/s{self.random.randrange(4)}"

    def mkdir(self):
        os.mkdir(self.subfolder())

    def rmdir(self):
        path = self.subfolder()
        if self.random.random() < 0.5:
            for name in os.listdir(path):
                os.unlink(f"{path}/{name}")
        os.rmdir(path)

    def symlink(self):
        os.symlink("target/" * self.random.choice((1, 10, 400)), self.name("l"))

    def setxattr(self):
        path = self.random.choice((self.name("f"), self.folder()))
        os.setxattr(path, "user.%d" % self.random.randrange(4), os.urandom(self.random.choice((1, 100, 1000))))

    def removexattr(self):
        os.removexattr(self.random.choice((self.name("f"), self.folder())), "user.%d" % self.random.randrange(4))

    def replace(self):
        own = f"{self.folder()}/own{os.getpid()}"
        with open(own, "wb") as f:
            f.write(self.bytes())
            if self.random.random() < 0.3:
                os.fsync(f.fileno())
        os.rename(own, self.name("f"))

    def run(self, stop):
        calls = [self.create] * 3 + [self.overwrite] * 4 + [self.hold] * 2 + [self.append] * 2 + [self.truncate, self.sparse, self.punch] + \
            [self.rename] * 4 + [self.exchange] + [self.link] * 2 + [self.unlink] * 3 + [self.mkdir, self.rmdir] + [self.symlink] * 2 + \
            [self.setxattr] * 2 + [self.removexattr] + [self.replace] * 2
        done = 0
        while not os.path.exists(stop):
            try:
                self.random.choice(calls)()
                done += 1
            except OSError as e:
                if e.errno == errno.EIO:
                    raise
        return done


def restless(path, stop):
    """One file that never holds still, and is hardly ever committed."""
    fd, at = os.open(path, os.O_RDWR | os.O_CREAT, 0o666), 0
    os.pwrite(fd, os.urandom(1 << 20), 0)
    while not os.path.exists(stop):
        os.pwrite(fd, os.urandom(PAGE), random.randrange(256) * PAGE)
        libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 7)
        at += 1
    return at


def start_load(top, stop, dies=False):
    """Process ids. dies: the mount will go, which is no matter then."""
    started = []
    for number in range(PROCESSES + 1):
        pid = os.fork()
        if pid:
            started.append(pid)
            continue
        status = 1
        try:
            libc.prctl(1, signal.SIGKILL) # with us
            uid = USERS[number % len(USERS)]
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.umask(0)
            done = Worker(top, number).run(stop) if number < PROCESSES else restless(top + "/d0/restless", stop)
            status = 0 if done > 20 else 2
        except BaseException:
            if not dies:
                traceback.print_exc()
        finally:
            os._exit(status)
    return started


# ---- fsck.

def words(tenant, *more):
    return [program("tenantctl"), "fsck", tenant.spec, "--keys", KEYS, "--passphrase-file", tenant.secret, *more]


def fsck(tenant, *more):
    """Exit status, findings, objects in use, the whole answer."""
    done = subprocess.run(words(tenant, "--json", *more), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return done.returncode, [], [], {"error": done.stderr + done.stdout[-300:], "counts": {}}
    found = answer["findings"]
    return done.returncode, [f for f in found if f["severity"] != "in use"], [f for f in found if f["severity"] == "in use"], answer


def run_under_load(acme, wanted, seconds, what):
    begun, times, used, checked = time.monotonic(), [], 0, 0
    wrong = []
    runs = 0
    while runs < wanted or time.monotonic() - begun < seconds:
        at = time.monotonic()
        status, findings, in_use, answer = fsck(acme)
        times.append(time.monotonic() - at)
        runs += 1
        used += len(in_use)
        checked += answer["counts"].get("files", 0)
        if status != CLEAN or findings or not answer.get("mounted"):
            wrong.append((status, [(f["kind"], f["severity"], f["lower"], f["what"]) for f in findings][:3], answer.get("error")))
    report(not wrong, what, f"seed {SEED}: {len(wrong)} of {runs}: {wrong[:4]}")
    report(checked > runs * 20 and used < checked / 10, f"and nearly all of it was checked{': without a journal' if wanted < RUNS else ''}",
        f"{checked} {used}")
    print(f"  {runs} runs, {checked} files checked, {used} in use, {sum(times) / runs:.1f} s each, at most {max(times):.1f} s")


# ---- Damage where nobody is.

def make_quiet(acme):
    top = acme.mnt + "/quiet"
    os.mkdir(top)
    for name, size in (("block", 5), ("header", 2), ("tags", 300), ("good", 10)):
        with open(f"{top}/{name}", "wb") as f:
            f.write(os.urandom(size * PAGE))
    os.mkdir(top + "/record")
    with open(top + "/record/inside", "w") as f:
        f.write("x")
    with open(f"{top}/{'L' * 240}", "w") as f:
        f.write("long")
    os.symlink("target", top + "/link")
    with open(top + "/attribute", "w") as f:
        f.write("x")
    os.setxattr(top + "/attribute", "user.a", b"value")
    os.mkdir(top + "/away")
    with open(top + "/moved", "w") as f:
        f.write("moved")
    with open(top + "/shorter", "wb") as f:
        f.write(os.urandom(7 * PAGE))


def damage(acme):
    """What is expected: kind and path of each."""
    at = lambda name: acme.lower("quiet/" + name)
    flip(at("block"), entry_at(3)[1] + 100)
    flip(at("header"), attacker.newest_slot(at("header")) * 1024 + 50)
    flip(at("tags"), entry_at(70)[0])
    attacker.relink(at("record") + "/.dir", attacker.changed(os.readlink(at("record") + "/.dir"), 5))
    os.unlink(at("L" * 240) + ".n")
    os.unlink(os.path.join(os.path.dirname(at("link")), link_record(os.path.basename(at("link")))))
    attribute = next(a for a in os.listxattr(at("attribute")) if a.startswith("user.tfs."))
    value = os.getxattr(at("attribute"), attribute)
    os.setxattr(at("attribute"), attribute, value[:-1] + bytes([value[-1] ^ 1]))
    os.rename(at("moved"), acme.lower("quiet/away") + "/" + acme.name_in(acme.lower("quiet/away"), "moved"))
    os.truncate(at("shorter"), 3 * PAGE)
    return {("block", "/quiet/block"), ("header", "/quiet/header"), ("block", "/quiet/tags"), ("directory", "/quiet/record"),
        ("name", "/quiet/"), ("link", "/quiet/link"), ("attribute", "/quiet/attribute"), ("home", "/quiet/away/moved"), ("size", "/quiet/shorter")}


def link_record(lower):
    return "~" + attacker.b64(hashlib.blake2b(lower.encode(), digest_size=16).digest()) + ".b"


def places(findings):
    return {(f["kind"], f.get("path")) for f in findings}


def run_damage(acme, when, expected):
    status, findings, in_use, answer = fsck(acme)
    wrong = [f for f in findings if (f["kind"], f.get("path")) not in expected]
    missing = expected - places(findings)
    report(status == LEFT and not wrong and not missing and all(f["severity"] == "damage" for f in findings),
        f"real damage is found and named {when}, and nothing else", f"{status} missing {missing} wrong {wrong[:3]} {answer.get('error')}")
    return in_use


# ---- The rest.

def run_refusals(acme):
    done = subprocess.run(words(acme, "--repair"), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    report(done.returncode == FAILED and acme.mnt in done.stderr and "unmount" in done.stderr and done.stderr.count("\n") == 1,
        "--repair beside a mount is refused with a sentence", done.stderr)
    before = snapshot_quiet(acme)
    fsck(acme)
    report(snapshot_quiet(acme) == before, "what is checked is not changed, times included")
    shown = acme.ctl("audit", "show").stdout
    report("fsck beside the mount begins" in shown and "of damage" in shown, "the log says that it was done, and what came of it")


def run_bar(acme):
    for more, shown in (((), True), (("--no-progress",), False)):
        main, side = pty.openpty()
        process = subprocess.Popen(words(acme, *more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=side, text=True)
        os.close(side)
        seen = b""
        try:
            while part := os.read(main, 4096):
                seen += part
        except OSError: # the other side is closed
            pass
        os.close(main)
        process.communicate(timeout=60)
        report(process.returncode == LEFT and (b" files  " in seen) == shown, f"{'a' if shown else 'no'} progress bar on a terminal{' with ' + more[0] if more else ''}",
            f"{process.returncode} {seen[-200:]}")


def snapshot_quiet(acme):
    seen = {}
    for folder, folders, files in os.walk(acme.lower("quiet")):
        for name in folders + files + ["."]:
            st = os.lstat(os.path.join(folder, name))
            seen[os.path.join(folder, name)] = (st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_mode, st.st_nlink)
    return seen


def begun(acme):
    """fsck in the midst of its work, stopped: it has the tenant's tree open."""
    process = subprocess.Popen(words(acme, "--json"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = f"/proc/{process.pid}/fd"
    for _ in range(10000):
        try:
            if any(os.readlink(f"{folder}/{fd}").endswith("/root") for fd in os.listdir(folder)):
                break
        except OSError:
            pass
        time.sleep(0.002)
    process.send_signal(signal.SIGSTOP)
    return process


def run_ends(acme):
    """The mount goes while it is looked at what is not finished, which takes seconds; and a signal."""
    os.symlink("x", os.path.dirname(acme.lower("quiet/good")) + "/.dir.new")
    process = begun(acme)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    out, shown = process.communicate(timeout=60)
    report(process.returncode == CANCELLED and json.loads(out)["status"] == CANCELLED, "SIGTERM ends it with a whole answer",
        f"{process.returncode} {out[-200:]} {shown}")
    process = begun(acme)
    acme.unmount()
    process.send_signal(signal.SIGCONT)
    out, shown = process.communicate(timeout=60)
    report(process.returncode == FAILED and "unmounted meanwhile" in shown and json.loads(out)["status"] == FAILED,
        "when it is unmounted meanwhile: a sentence and status 8", f"{process.returncode} {out[-200:]} {shown}")
    os.unlink(os.path.dirname(acme.lower("quiet/good")) + "/.dir.new")
    lock = os.open(acme.folder + "/lock", os.O_RDWR)
    fcntl.fcntl(lock, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)) # F_OFD_SETLK
    done = subprocess.run(words(acme), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    os.close(lock)
    report(done.returncode == FAILED and done.stderr.count("\n") == 1, "beside another tool it is refused", f"{done.returncode} {done.stderr}")


def run_without_journal(acme, hot, stop):
    """Then what is open must be committed for it."""
    shutil.rmtree(acme.lower("quiet"))
    os.unlink(stop)
    acme.mount(",journal=off")
    load = start_load(hot, stop)
    run_under_load(acme, RUNS // 4, SECONDS / 4, "no finding beside a mount without a journal")
    open(stop, "w").close()
    for pid in load:
        os.waitpid(pid, 0)
    acme.unmount()
    status, findings, _, answer = fsck(acme)
    report(status == CLEAN and not findings, "and none off-line", f"{status} {findings[:3]} {answer.get('error')}")


def run_killed(acme, hot, stop):
    """What a kill leaves is in the journal: it is told as that, and --repair brings it to its place."""
    waiting = unclean = filled = 0
    for _ in range(KILLS):
        os.unlink(stop)
        acme.mount()
        load = start_load(hot, stop, True)
        time.sleep(1.5)
        acme.daemon.kill()
        acme.daemon.wait()
        open(stop, "w").close()
        for pid in load:
            os.waitpid(pid, 0)
        sh("umount", "-l", acme.mnt)
        status, findings, _, answer = fsck(acme)
        wrong = [f for f in findings if f["severity"] == "damage"]
        told = [f for f in findings if f["kind"] == "journal" and "not unmounted orderly" in f["what"]]
        unclean += bool(told)
        filled += any("for the next mount" in f["what"] for f in told)
        waiting += answer["counts"].get("waiting", 0)
        if wrong or status != (LEFT if findings else CLEAN) or (answer["counts"].get("waiting") and not told):
            report(False, "after a kill nothing is damage", f"seed {SEED}: {status} {wrong[:3]} {told} {answer.get('error')}")
        status, findings, _, answer = fsck(acme, "--repair")
        left = [f for f in findings if not f["corrected"]]
        if status not in (CLEAN, CORRECTED) or left or answer["counts"].get("moved"):
            report(False, "--repair after a kill", f"seed {SEED}: {status} {left[:3]} {answer.get('error')}")
        status, findings, _, answer = fsck(acme)
        if status != CLEAN or findings:
            report(False, "after a kill and --repair it is clean", f"seed {SEED}: {status} {findings[:3]} {answer.get('error')}")
    report(unclean == KILLS and filled > 0 and waiting > 0, "after a kill: not unmounted orderly, and what waits for the journal is no damage", f"{unclean} {filled} {waiting}")
    print(f"  {KILLS} kills: {filled} journals with entries, {waiting} files that waited for them")


def main():
    atexit.register(lambda: os.environ.get("KEEP") or shutil.rmtree(attacker.SCRATCH, ignore_errors=True))
    attacker.LIFE_SECONDS = 380
    sh(program("tenantkey"), "init", STORE, "--keys", KEYS)
    acme = Tenant("acme")
    policy = attacker.SCRATCH + "/policy"
    with open(policy, "w") as f:
        f.write(f"tenant acme\npermit all: user:root user:#{USERS[0]} user:#{USERS[1]} to any on /**\n")
    acme.ctl("policy", "apply", policy)
    os.chmod(attacker.SCRATCH, 0o711)
    acme.mount()
    os.chmod(acme.mnt, 0o755)
    make_quiet(acme)
    hot, stop = acme.mnt + "/hot", attacker.SCRATCH + "/stop"
    os.mkdir(hot)
    for i in range(4):
        os.mkdir(f"{hot}/d{i}")
        os.chmod(f"{hot}/d{i}", 0o777)
    print(f"  seed {SEED}")
    load = start_load(hot, stop)
    run_under_load(acme, RUNS, SECONDS, "no finding in all runs under load")
    expected = damage(acme)
    run_damage(acme, "beside the load", expected)
    run_damage(acme, "once more", expected)
    open(stop, "w").close()
    ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in load]
    report(not any(ended), "the load did its work", f"{ended}")
    in_use = run_damage(acme, "when it is quiet", expected)
    report(not in_use, "and then nothing is in use", in_use[:3])
    run_refusals(acme)
    run_bar(acme)
    run_ends(acme)
    run_damage(acme, "when it is unmounted", expected)
    run_without_journal(acme, hot, stop)
    run_killed(acme, hot, stop)


main()
sys.exit(failures != 0)
