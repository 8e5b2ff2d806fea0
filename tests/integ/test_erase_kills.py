#!/usr/bin/python3
# tests/run: slow timeout=900
"""Programs killed at each call that changes a file, while they replace a keyring or a policy, or while the last close of an unlinked file is
erased: the next use finishes it, and nothing of the old is on the raw image. Usage: test_erase_kills.py BUILDDIR [WORD [ext4|xfs]]
ERASE_KILLS_STRIDE=n: of the many calls every n-th (1: all of them, in the campaigns), from one that the seed chooses."""
import os, random, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rawimage
from erasing import BUILD, TENANT
from rawimage import Image, Samples, report, sh
from test_erase_rest import CHEAP, Kept, lower_samples, made, only_old, policy_text, program, read, secrets_of

NAME = "erase_kills"
KILL = BUILD + "/tests/integ/kill_at"
KILLED = 137
STRIDE = int(os.environ.get("ERASE_KILLS_STRIDE", 2))
SEED = int(os.environ.get("ERASE_KILLS_SEED", time.time()))
CHANCE = random.Random(SEED)


def killed_at(step, words):
    """Whether it was killed; else it must have succeeded."""
    done = subprocess.run([KILL, "-n", str(step), *words], capture_output=True, text=True, timeout=60)
    if done.returncode not in (0, KILLED):
        raise RuntimeError(f"step {step}: {done.returncode} {done.stderr}")
    return done.returncode == KILLED


def update_killed(image, label, tenant, words, sampled, uses, power, stride=1):
    """words replaces files; sampled: their paths, each with how to sample it; uses: what finishes it, one of them after each kill."""
    stride *= STRIDE
    step, bad, new, old, policy = -CHANCE.randrange(stride), [], 0, 0, len(sampled) > 1
    while True:
        step += stride
        before = {path: (read(path), take(path)) for path, take in sampled}
        image.sync()
        whole = {path: image.found(s) == len(s) > 4 for path, (_, s) in before.items()}
        killed = killed_at(step, words(step))
        if power:
            image.power_cut()
        # what was being written and is not in force is to go too
        fresh = Samples()
        for folder in {os.path.dirname(p) for p, _ in sampled}:
            for name in os.listdir(folder):
                if name.endswith(".new"):
                    fresh = Samples().add_file(f"{folder}/{name}")
        uses[step % len(uses)]()
        image.sync()
        for path, (text, samples) in before.items():
            now = read(path)
            same = now == text
            new, old = new + (not same), old + same
            left = image.found(only_old(samples, now)) if not same else 0
            only_old(fresh, now)
            if not whole[path] or left or tenant.leftovers(policy):
                bad.append((step, os.path.basename(path), whole[path], left, tenant.leftovers(policy)))
        if not power and len(fresh) and image.found(fresh):
            bad.append((step, "what was never in force"))
        if not killed:
            break
    report(not bad and step > 10 and new > 1 and (old > 1 or label == "a rotation"), f"{NAME}: {image.kind} {label} {'and a power cut' if power else 'killed'} at each of its calls",
        f"{step} steps, new {new} old {old} {bad}")
    print(f"# {image.kind} {label}: {step - 1} calls, every {stride}.: {old} times the old one in force, {new} times the new one", flush=True)


def keyring_samples(path):
    return secrets_of(read(path).decode())


def use_tenant(tenant):
    tenant.mount()
    tenant.unmount()


def test_keyrings(image, power):
    tenant = Kept(image, NAME)
    listed = lambda: sh(program("tenantkey"), "slot", "list", tenant.argument, "--keys", tenant.keys)
    sampled = [(tenant.keyring, keyring_samples)]
    passwd = lambda _: tenant.key("passwd", "--new-passphrase-file", tenant.pass_file, *CHEAP)
    update_killed(image, "a passwd", tenant, passwd, sampled, [listed], power, 3 if power else 1)
    use_tenant(tenant)
    report(not tenant.leftovers(), f"{NAME}: {image.kind} and a mount finishes the rest", tenant.leftovers())


def test_rotate(image, power):
    tenant = Kept(image, NAME)
    tenant.mount()
    made(tenant, "file", 5000)
    tenant.unmount()
    rotate = lambda _: tenant.key("rotate")
    again = lambda: sh(*tenant.key("rotate"))
    update_killed(image, "a rotation", tenant, rotate, [(tenant.keyring, keyring_samples)], [again], power, 4)
    tenant.mount()
    report(len(read(tenant.mnt + "/file")) == 5000, f"{NAME}: {image.kind} and the file is there after all of these rotations")
    tenant.unmount()


def test_policies(image, power):
    tenant = Kept(image, NAME)
    sh(*tenant.policy(policy_text(0)))
    show = lambda: sh(program("tenantctl"), "policy", "show", tenant.argument, "--keys", tenant.keys, "--passphrase-file", tenant.pass_file)
    sampled = [(tenant.folder + "/policy", lambda p: Samples().add_file(p)), (tenant.keyring, keyring_samples)]
    update_killed(image, "a policy", tenant, lambda n: tenant.policy(policy_text(n)), sampled, [show, show, lambda: use_tenant(tenant)], power)


def test_last_close(image, power):
    """The daemon, from the last close of an unlinked file on."""
    tenant = Kept(image, NAME)
    gate = image.scratch + "/now"
    step, bad, erased = -CHANCE.randrange(STRIDE), [], 0
    while True:
        step += STRIDE
        tenant.mount(through=(KILL, "-n", str(step), "-f", gate))
        lower, data = made(tenant, f"file {step}", 20000)
        # Its header and tags are in the journal until then.
        tenant.wait_journal()
        fd = os.open(f"{tenant.mnt}/file {step}", os.O_RDONLY)
        os.unlink(f"{tenant.mnt}/file {step}")
        image.sync()
        (name,) = tenant.trash()
        samples = lower_samples(tenant, f"{tenant.folder}/trash/{name}")
        if step <= STRIDE:
            tenant.common = {p for p in samples.pieces if p in read(f"{tenant.folder}/tenant.json")}
        whole = image.found(samples) == len(samples) > 100 and os.pread(fd, 30000, 0) == data
        with open(gate, "w"):
            pass
        try:
            os.close(fd)
        except OSError:
            pass
        for _ in range(3000):
            if not tenant.trash() or tenant.daemon.poll() is not None:
                break
            time.sleep(0.01)
        time.sleep(0.3) # for the receipt
        killed = tenant.daemon.poll() is not None
        os.unlink(gate)
        if killed:
            sh("umount", "-l", tenant.mnt)
        else:
            tenant.unmount()
        if power:
            image.power_cut()
        tenant.mount()
        tenant.wait_erased()
        gone = not os.path.exists(f"{tenant.mnt}/file {step}") and not tenant.trash()
        tenant.unmount()
        image.sync()
        left = image.found(samples)
        erased += left == 0
        if not whole or left or not gone:
            bad.append((step, whole, left, gone))
        if not killed:
            break
    report(not bad and step > 5, f"{NAME}: {image.kind} the last close of an unlinked file {'and a power cut' if power else 'killed'} at each call of the daemon",
        f"{step} steps {bad}")
    print(f"# {image.kind} last close: {step - 1} calls, every {STRIDE}., {erased} times none left", flush=True)


def test_sidecars(image, power):
    """The daemon, while an entry goes that has sidecars: a long name, and a link with a long name and a long target."""
    tenant = Kept(image, NAME)
    gate, root = image.scratch + "/now", tenant.folder + "/root"
    inside = lambda: sorted(n for n in os.listdir(root) if n != ".dir" and n[-2:] not in (".b", ".c"))
    acts = {"a link unlinked": lambda p: os.unlink(p + "L" * 200), "a link renamed to a short name": lambda p: os.rename(p + "L" * 200, p + "s"),
        "a file unlinked": lambda p: os.unlink(p + "F" * 200), "a directory removed": lambda p: os.rmdir(p + "D" * 200)}
    for label, act in acts.items():
        step, bad, orphans = 0, [], 0
        while True:
            step += 1
            tenant.mount(through=(KILL, "-n", str(step), "-f", gate))
            top = tenant.mnt + "/"
            os.symlink("target/" * 300, top + "L" * 200)
            open(top + "F" * 200, "w").close()
            os.mkdir(top + "D" * 200)
            os.symlink("kept/" * 400, top + "kept" + "k" * 200)
            image.sync()
            with open(gate, "w"):
                pass
            try:
                act(top)
            except OSError:
                pass
            time.sleep(0.1)
            os.unlink(gate)
            killed = tenant.daemon.poll() is not None
            if killed:
                sh("umount", "-l", tenant.mnt)
            else:
                tenant.unmount()
            if power:
                image.power_cut()
            before = len(inside())
            tenant.mount()
            there = os.listdir(tenant.mnt)
            needed = sum(1 + (len(n) > 175) + (2 if n[0] in "Lks" else 0) for n in there)
            now = len(inside())
            orphans += before > now
            if now != needed or os.readlink(top + "kept" + "k" * 200) != "kept/" * 400:
                bad.append((step, before, now, needed, len(there)))
            for name in there:
                if name[0] == "D":
                    os.rmdir(top + name)
                else:
                    os.unlink(top + name)
            if inside():
                bad.append((step, "left at the end", inside()))
            tenant.unmount()
            if not killed:
                break
        report(not bad and step > 1 and (power or orphans > 0), f"{NAME}: {image.kind} sidecars: {label} {'and a power cut' if power else 'killed'} at each call of the daemon",
            f"{step} steps {bad}")
        print(f"# {image.kind} {label}: {step - 1} calls, {orphans} times something was left and went with the next listing", flush=True)


def main():
    rawimage.need_root_and_loops(NAME)
    if not os.path.exists("/dev/fuse"):
        rawimage.skip(NAME, "needs /dev/fuse")
        sys.exit(77)
    print(f"# seed {SEED}")
    for kind in rawimage.filesystems():
        if len(sys.argv) > 3 and sys.argv[3] != kind:
            continue
        for test in (test_keyrings, test_policies, test_rotate, test_last_close, test_sidecars):
            if len(sys.argv) > 2 and sys.argv[2] not in test.__name__:
                continue
            with Image(kind) as image:
                test(image, power=kind == "xfs")
    return 1 if rawimage.failures else 0


sys.exit(main())
