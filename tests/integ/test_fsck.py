#!/usr/bin/python3
# tests/run: core timeout=400
"""tenantctl fsck: a store after a busy session is clean; every row of the storage attacker's table (test_attacker.py) is found, in the
right place; nothing on the disk changes without --repair; with it the rest of the tree reads byte for byte and a second run is clean.
Usage: test_fsck.py [BUILDDIR]"""
import atexit, hashlib, json, os, pty, re, shutil, signal, stat, subprocess, sys, time

import test_attacker as attacker
from test_attacker import PAGE, KEYS, STORE, Tenant, flip, patch, program, rows, sh

CLEAN, CORRECTED, LEFT, FAILED, USAGE, CANCELLED = 0, 1, 4, 8, 16, 32
failures = 0


def report(good, name, detail=""):
    global failures
    failures += not good
    print(f"{'ok' if good else 'not ok'} - fsck: {name}" + (f"\n  {detail}" if detail and not good else ""), flush=True)
    return good


def words(tenant, *more):
    return [program("tenantctl"), "fsck", tenant.spec, "--keys", KEYS, "--passphrase-file", tenant.secret, *more]


def fsck(tenant, *more):
    """Exit status, findings, the whole answer."""
    done = subprocess.run(words(tenant, "--json", *more), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return done.returncode, [], {"error": done.stderr + done.stdout[-300:]}
    if answer["status"] != done.returncode:
        report(False, "the answer names the exit status", f"{answer['status']} {done.returncode}")
    return done.returncode, answer["findings"], answer


def snapshot(top):
    """Everything that stat, readlink and the content tell, of all but the lock."""
    seen = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files + ["."]:
            path = os.path.join(folder, name)
            if os.path.relpath(path, top).split("/")[2:] == ["lock"]:
                continue
            st = os.lstat(path)
            what = [st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_nlink, st.st_ino, st.st_blocks, st.st_mtime_ns, st.st_ctime_ns]
            if stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(path))
            elif stat.S_ISREG(st.st_mode) and st.st_size < 8 << 20:
                with open(path, "rb") as f:
                    what.append(hashlib.sha256(f.read()).hexdigest())
            seen[path] = what
    return seen


def contents(mnt, errors):
    """What an application reads, path by path."""
    seen = {}

    def failed(e):
        errors[os.path.relpath(e.filename, mnt)] = e.errno
    for folder, folders, files in os.walk(mnt, onerror=failed):
        for name in folders + files:
            path = os.path.join(folder, name)
            short = os.path.relpath(path, mnt)
            try:
                st = os.lstat(path)
                if stat.S_ISLNK(st.st_mode):
                    seen[short] = os.readlink(path)
                elif stat.S_ISREG(st.st_mode) and st.st_size < 8 << 20:
                    with open(path, "rb") as f:
                        seen[short] = hashlib.sha256(f.read()).hexdigest()
                else:
                    seen[short] = stat.S_IFMT(st.st_mode)
                for attribute in os.listxattr(path, follow_symlinks=False):
                    os.getxattr(path, attribute, follow_symlinks=False)
            except OSError as e:
                errors[short] = e.errno
    return seen


def busy(mnt):
    """A session with everything in it that a tree can have."""
    top = mnt + "/whole"
    os.mkdir(top)
    for i in range(40):
        os.makedirs(f"{top}/d{i % 7}/e{i % 3}", exist_ok=True)
        with open(f"{top}/d{i % 7}/e{i % 3}/file {i}", "wb") as f:
            f.write(os.urandom(i * 3000))
    for i in range(0, 40, 3):
        path = f"{top}/d{i % 7}/e{i % 3}/file {i}"
        with open(path, "r+b") as f:
            f.seek(i * 100)
            f.write(b"changed")
            os.fsync(f.fileno())
        os.setxattr(path, "user.one", b"1" * i)
        os.link(path, f"{top}/d0/link {i}")
        os.link(path, f"{top}/d{i % 7}/near {i}")
    for i in range(0, 40, 6):
        os.rename(f"{top}/d{i % 7}/e{i % 3}/file {i}", f"{top}/d1/moved {i}")
        os.unlink(f"{top}/d0/link {i}")
    many = f"{top}/many"
    with open(many, "wb") as f:
        f.write(b"many homes" * 1000)
    for i in range(7):
        os.link(many, f"{top}/d{i}/many")
    for i in range(6):
        os.unlink(f"{top}/d{i}/many")
    os.unlink(many)
    os.rename(f"{top}/d2", f"{top}/d1/inside")
    os.mkdir(f"{top}/empty")
    os.setxattr(f"{top}/empty", "user.dir", b"d")
    os.mkfifo(f"{top}/fifo")
    for i in range(10):
        os.symlink(f"target {i}" * (1 + 50 * i), f"{top}/link{i}")
        os.rename(f"{top}/link{i}", f"{top}/d1/{'L' * 250}{i}")
        os.link(f"{top}/d1/{'L' * 250}{i}", f"{top}/again{i}", follow_symlinks=False)
    for i in range(0, 10, 2):
        os.unlink(f"{top}/again{i}")
    with open(f"{top}/sparse", "wb") as f:
        for at in (0, 70 * PAGE, attacker.SPARSE_AT, 1 << 34):
            f.seek(at)
            f.write(b"island")
        f.truncate((1 << 34) + 100 * PAGE)
    with open(f"{top}/cut", "wb") as f:
        f.write(os.urandom(300 * PAGE))
        f.truncate(100 * PAGE + 7)
    sh("fallocate", "-p", "-o", str(10 * PAGE), "-l", str(20 * PAGE), f"{top}/cut")
    for i in range(20):
        with open(f"{top}/gone{i}", "wb") as f:
            f.write(os.urandom(20000))
        os.unlink(f"{top}/gone{i}")
    open(f"{top}/nothing", "w").close()
    os.chmod(f"{top}/d3", 0o500)


# What version 1 does not notice when a file is opened, and fsck does.
NOTICED = {"a file linked over another one of its directory": "homes", "a directory emptied, record and all": "directory",
    "a link deleted": "sidecar", "blocks of a file above 256 KiB as they were before, with their entries": "tags",
    "both slots of a file above 256 KiB as they were before: size, homes and times with them": "tags",
    "an orphaned sidecar and a half-made record": "sidecar", "random bytes behind the end: the content is what it was": "length",
    "a longer lower file: the content is what it was": "length", "a longer lower file: its size is right once it was opened": "length",
    "a longer lower file: what is appended comes behind the right end": "length",
    "a longer lower file: truncate(2) and attributes work": "length", "a lower file with a byte more": "length",
    "a record removed from an empty directory: it gets a new one": "directory"}


def make_rows(acme):
    acme.mount()
    busy(acme.mnt)
    for r in rows:
        os.mkdir(f"{acme.mnt}/{r.base}")
        r.make(r.base)
    acme.unmount()
    for r in rows:
        if r.old:
            r.old(r)
    sh(program("tenantkey"), "rotate", acme.spec, "--keys", KEYS, "--passphrase-file", acme.secret, "--no-progress")
    acme.load_keys()
    for r in rows:
        if r.save:
            r.save(r)
    acme.mount()
    for r in rows:
        if r.change:
            r.change(r.base)
    acme.unmount()


def run_clean(acme, beta):
    for tenant in (acme, beta):
        before = snapshot(STORE)
        status, findings, answer = fsck(tenant)
        report(status == CLEAN and not findings, f"{tenant.name} is clean after a busy session", f"{status} {findings[:3]} {answer.get('error')}")
        changed = [p for p, what in snapshot(STORE).items() if before.get(p) != what]
        report(not changed, f"{tenant.name}: nothing changed, times included", changed[:5])
    n = answer = fsck(acme)[2]["counts"]
    report(n["files"] > 300 and n["links"] > 20 and n["directories"] > 100 and n["blocks"] > 5000 and n["attributes"] > 100, "it looked at all of it", n)
    print(f"  {n['files']} files, {n['blocks']} blocks, {n['holes']} holes, {n['attributes']} attributes")
    done = subprocess.run(words(acme), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    report(done.returncode == 0 and "is clean" in done.stdout and "audit verify" in done.stdout and not done.stderr,
        "people are told so, and where the log is verified", done.stdout + done.stderr)


def run_rows(acme):
    acme.mount()
    right = contents(acme.mnt, {})
    acme.unmount()
    places = {}
    for r in rows:
        lower = r.L()
        places[os.path.relpath(lower, acme.folder)] = r
        r.tamper(r)
    before = snapshot(STORE)
    status, findings, answer = fsck(acme)
    report(status == LEFT, "a tampered tree: errors are left", f"{status} {answer.get('error')}")
    changed = [p for p, what in snapshot(STORE).items() if before.get(p) != what]
    report(not changed, "nothing of it changed, times included", changed[:5])
    found, strays = {r: [] for r in rows}, []
    for f in findings:
        r = places.get("/".join(f["lower"].split("/")[:2]))
        (found[r] if r else strays).append(f)
    report(not strays, "every finding is in one of the rows", strays[:5])
    for r in rows:
        name = r.name.removeprefix("not noticed: ")
        kinds = [f["kind"] for f in found[r]]
        if r.alarm:
            good = any(f["severity"] == "damage" for f in found[r])
        elif name in NOTICED:
            good = set(kinds) == {NOTICED[name]}
        else:
            good = not kinds
        if good and r.about_f:
            good = any(f.get("path") == f"/{r.base}/f" for f in found[r])
        report(good, f"finds: {r.name}" if r.alarm or name in NOTICED else f"cannot find: {name}", f"{found[r][:3]}")
    repair_rows(acme, right, {r for r in rows if found[r]})


def repair_rows(acme, right, touched):
    alarms = len(acme.alarms())
    status, findings, answer = fsck(acme, "--repair")
    left = [f for f in findings if not f["corrected"]]
    report(status == CORRECTED and not left, "--repair puts all of it right", f"{status} {left[:5]} {answer.get('error')}")
    status, again, answer2 = fsck(acme)
    report(status == CLEAN, "a second run is clean", f"{status} {again[:5]} {answer2.get('error')}")
    lost = acme.folder + "/lost+found"
    names = set(os.listdir(lost)) - {"report"}
    with open(lost + "/report", encoding="utf-8") as f:
        lines = f.read().splitlines()
    told = {line.split()[1] for line in lines}
    report(len(names) == answer["counts"]["moved"] and told == names, "lost+found has what was moved, and a line for each",
        f"{len(names)} {answer['counts']['moved']} {len(told)}")
    report(stat.S_IMODE(os.stat(lost).st_mode) == 0o700 and not any(re.search("whole|/row[0-9]+[/:]", line) for line in lines),
        "the report has no plaintext names", lines[:3])
    acme.mount()
    errors = {}
    now = contents(acme.mnt, errors)
    acme.unmount()
    report(not errors and len(acme.alarms()) == alarms, "after it everything that is listed reads, without an alarm", list(errors.items())[:5])
    silent = {r.base for r in rows if not r.alarm}
    wrong = [p for p, what in now.items() if right.get(p) != what and p.split("/")[0] not in silent]
    report(not wrong, "and reads byte for byte as before", wrong[:5])
    bases = {r.base for r in touched} | silent
    missing = [p for p in right if p not in now and p.split("/")[0] not in bases]
    report(not missing and any(p.startswith("whole/") for p in now), "nothing else is missing", missing[:5])
    shown = acme.ctl("audit", "show").stdout
    report("fsck --repair begins" in shown and "moved to lost+found" in shown, "the log says that it was done")


def restored(acme, what, tamper, kind, after_repair, name=None, lower=None):
    """One thing of the tenant's folder, then put back."""
    kept = attacker.SCRATCH + "/folder-kept"
    sh("cp", "-a", acme.folder, kept)
    tamper()
    status, findings, answer = fsck(acme)
    good = status == LEFT and [f["kind"] for f in findings] == [kind] and (not lower or findings[0]["lower"] == lower)
    report(good, f"{what}: it is found", f"{status} {findings[:3]} {answer.get('error')}")
    status, findings, answer = fsck(acme, "--repair")
    report(status == after_repair, f"{what}: --repair ends with {after_repair}", f"{status} {findings[:3]} {answer.get('error')}")
    if after_repair == CORRECTED:
        status, findings, _ = fsck(acme)
        report(status == CLEAN and acme.refusal()[0] == 0, f"{what}: then it is clean and mounts", f"{status} {findings[:3]}")
    shutil.rmtree(acme.folder)
    os.rename(kept, acme.folder)


def run_rest(acme, beta):
    journal, policy, audit_next = (f"{acme.folder}/{n}" for n in ("journal", "policy", "audit/next"))
    with open(attacker.SCRATCH + "/policy-text", "w") as f:
        f.write("tenant acme\npermit all: user:root to any on /**\n")
    acme.ctl("policy", "apply", attacker.SCRATCH + "/policy-text")
    restored(acme, "both superblocks of the journal", lambda: patch(journal, 0, bytes(8 * PAGE)), "journal", CORRECTED, lower="journal")
    restored(acme, "no journal", lambda: os.unlink(journal), "journal", CORRECTED)
    restored(acme, "a bit of the policy", lambda: flip(policy, 50), "policy", LEFT, lower="policy")
    restored(acme, "no policy", lambda: os.unlink(policy), "policy", LEFT)
    restored(acme, "audit/next zeroed", lambda: patch(audit_next, 0, bytes(os.path.getsize(audit_next))), "log", FAILED, lower="audit/next")
    restored(acme, "a bit of the root's record", lambda: attacker.relink(acme.root + "/.dir", attacker.changed(os.readlink(
        acme.root + "/.dir"), 20)), "directory", LEFT, lower="root")
    restored(acme, "no trash", lambda: os.rmdir(acme.folder + "/trash"), "trash", CORRECTED)
    victim = acme.lower("whole/cut")
    receipts = lambda: acme.ctl("audit", "show").stdout.count("overwritten, ")
    before = receipts()

    def trashed():
        os.rename(victim, acme.folder + "/trash/waiting")
    restored(acme, "a file in the trash", trashed, "trash", CORRECTED)
    shutil.copyfile(victim, acme.folder + "/trash/waiting")
    fsck(acme, "--repair")
    report(os.listdir(acme.folder + "/trash") == [] and receipts() == before + 1, "the trash is emptied, with a receipt on the log")
    two = acme.lower("whole/d4") + "/.dir"

    def cut_rename():
        text = attacker.read_store.unb64(os.readlink(two))
        attacker.relink(two, attacker.b64(text + bytes(16)))
    restored(acme, "a directory with two bindings", cut_rename, "directory", CORRECTED)


def run_refusals(acme, beta):
    acme.mount()
    done = subprocess.run(words(acme, "--repair"), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    report(done.returncode == FAILED and acme.mnt in done.stderr and "unmount" in done.stderr, "mounted: --repair is refused, with the mount point",
        done.stderr)
    acme.unmount()
    for what, argv, status in (("no operand", ["fsck"], USAGE), ("no tenant", ["fsck", STORE], USAGE), ("an unknown option",
            ["fsck", acme.spec, "--what"], USAGE), ("another tenant's name", ["fsck", STORE + "#none", "--keys", KEYS], FAILED)):
        done = subprocess.run([program("tenantctl"), *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        report(done.returncode == status and done.stderr.startswith("tenantctl: "), f"{what}: status {status}", f"{done.returncode} {done.stderr}")
    done = subprocess.run([program("tenantctl"), "fsck", acme.spec, "--keys", KEYS, "--passphrase-file", beta.secret],
        stdin=subprocess.DEVNULL, capture_output=True, text=True)
    report(done.returncode == FAILED and done.stderr.count("\n") == 1, "a wrong passphrase: status 8 and a sentence", done.stderr)


def on_terminal(argv):
    """The process, its standard error on a terminal, and the terminal's other side."""
    main, side = pty.openpty()
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=side, text=True)
    os.close(side)
    return process, main


def read_all(main):
    shown = b""
    try:
        while part := os.read(main, 4096):
            shown += part
    except OSError: # the other side is closed
        pass
    os.close(main)
    return shown


def run_large(beta):
    """A sparse TiB with 10,000 islands; stopped on the way; a terminal's progress bar."""
    beta.mount()
    with open(beta.mnt + "/tebibyte", "wb") as f:
        f.truncate(1 << 40)
        for i in range(10000):
            f.seek(i * ((1 << 40) // 10000) // PAGE * PAGE)
            f.write(b"island")
    with open(beta.mnt + "/large", "wb") as f:
        for _ in range(16):
            f.write(os.urandom(1 << 20) * 16)
    os.mkdir(beta.mnt + "/many")
    for i in range(2000):
        with open(f"{beta.mnt}/many/{i}", "wb") as f:
            f.write(b"x" * (i * 5))
    beta.unmount()
    begun = time.monotonic()
    status, findings, answer = fsck(beta)
    took = time.monotonic() - begun
    report(status == CLEAN and took < 60, "10,000 islands in a TiB and 256 MiB take seconds", f"{status} {findings[:3]} {took:.1f} s")
    print(f"  {took:.1f} s")
    for more in ((), ("--repair",)):
        process, main = on_terminal(words(beta, "--json", *more))
        os.read(main, 1) # the bar: it has begun
        process.send_signal(signal.SIGTERM)
        out, shown = process.communicate(timeout=100)[0], read_all(main)
        report(process.returncode == CANCELLED and json.loads(out)["status"] == CANCELLED and b"interrupted" in shown,
            f"SIGTERM {'with --repair ' if more else ''}ends it with {CANCELLED} and a whole answer", f"{process.returncode} {shown[-200:]} {out[-200:]}")
    process, main = on_terminal(words(beta))
    shown = read_all(main)
    process.communicate()
    report(process.returncode == 0 and b" files  " in shown and b"MB/s" in shown, "a terminal has a progress bar", shown[-200:])
    flip(beta.lower("large"), 3 * PAGE + (64 + 3 * 129) * PAGE)
    done = subprocess.run(words(beta), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    line = done.stdout.splitlines()[0]
    report(done.returncode == LEFT and line.startswith("/large (root/") and ": block" in line and "--repair" in line and "backup" in line,
        "a sentence for people: which file, which block, what can be done", done.stdout)


def run_figures(beta):
    beta.mount()
    os.mkdir(beta.mnt + "/figures")
    for i in range(10000):
        with open(f"{beta.mnt}/figures/{i}", "wb") as f:
            f.write(b"y" * 1000)
    beta.unmount()
    print("  " + subprocess.run(words(beta), stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.strip())


def main():
    atexit.register(lambda: os.environ.get("KEEP") or shutil.rmtree(attacker.SCRATCH, ignore_errors=True))
    sh(program("tenantkey"), "init", STORE, "--keys", KEYS)
    acme, beta = attacker.acme, attacker.beta = Tenant("acme"), Tenant("beta")
    beta.mount()
    with open(beta.mnt + "/theirs", "wb") as f:
        f.write(b"x" * (3 * PAGE + 100))
    os.mkdir(beta.mnt + "/theirs.d")
    with open(beta.mnt + "/theirs.d/f", "wb") as f:
        f.write(b"x" * 100)
    os.symlink("theirs", beta.mnt + "/theirs.l")
    beta.unmount()
    for group in (attacker.header_rows, attacker.block_rows, attacker.place_rows, attacker.name_rows, attacker.link_rows, attacker.xattr_rows,
            attacker.silent_rows):
        first = len(rows)
        group()
        for r in rows[first:]:
            r.about_f = group in (attacker.header_rows, attacker.block_rows)
    make_rows(acme)
    run_clean(acme, beta)
    run_rows(acme)
    run_rest(acme, beta)
    run_refusals(acme, beta)
    run_large(beta)
    if os.environ.get("FSCK_FIGURES"):
        run_figures(beta)


main()
sys.exit(failures != 0)
