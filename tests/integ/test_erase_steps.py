#!/usr/bin/python3
# tests/run: slow timeout=300
"""The eraser alone, on raw ext4 and xfs images: nothing that was erased is on the disk, also after the process or the power
goes away at every step of the procedure. No mount of tenantfs. Usage: test_erase_steps.py BUILDDIR [table]"""
import ctypes, fcntl, hashlib, os, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rawimage
from rawimage import FICLONE, Image, Samples, libc, report, write_like_sealed

NAME = "erase_steps"
BUILD = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TENANTFS_BUILD", "build/gcc")
TOOL = BUILD + "/tests/integ/erase_tool"
SIZES = [("1 B", 1, False), ("4 KiB", 4096, False), ("64 KiB", 65536, False), ("1 MiB", 1 << 20, False),
    ("16 MiB", 16 << 20, False), ("sparse", 2 << 20, True)]
CRASHED = 9


def tool(image, *words, crash_at=0, sync=False):
    """Its exit status, receipts as dicts, status words and number of calls."""
    command = [TOOL] + (["-c", str(crash_at)] if crash_at else []) + (["-s"] if sync else []) + [image.path, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    receipts, status, calls = [], None, 0
    for line in done.stdout.splitlines():
        w = line.split()
        if w[0] == "receipt":
            receipts.append(dict(id=w[1], bytes=int(w[2]), method=w[3], assurance=w[4], error=int(w[5])))
        elif w[0] == "calls":
            calls = int(w[1])
        elif w[0] == "status":
            status = dict(waiting=int(w[1]), failed=int(w[2]), done=int(w[3]), assurance=w[4], why=" ".join(w[5:]))
    return done.returncode, receipts, status, calls


def prepare(image):
    for d in ("root", "trash"):
        os.makedirs(f"{image.path}/{d}", exist_ok=True)
    image.sync()


def sealed(image, name, size, holes=False):
    path = f"{image.path}/root/{name}"
    file_id = write_like_sealed(path, size, holes)
    return path, file_id, Samples().add_file(path)


def allocated(path):
    return os.stat(path).st_blocks * 512


def test_sizes(image):
    table = []
    for label, size, holes in SIZES:
        row = [label]
        for how in ("unlink", "replace", "sync"):
            path, file_id, samples = sealed(image, "victim", size, holes)
            space = allocated(path)
            image.sync()
            before = image.found(samples)
            if how == "replace":
                write_like_sealed(f"{image.path}/root/new", 100)
                status, receipts, _, _ = tool(image, "replace", "new", "victim")
            else:
                status, receipts, _, _ = tool(image, "unlink", "victim", sync=how == "sync")
            image.sync()
            after = image.found(samples)
            r = receipts[0] if receipts else {}
            report(status == 0 and before == len(samples) and after == 0 and r.get("id") == file_id
                and r["bytes"] >= 4096 + size and r["bytes"] <= space and r["method"] == "overwritten" and r["assurance"] in "AB"
                and r["error"] == 0 and len(receipts) == 1 and not os.listdir(image.path + "/trash"),
                f"{NAME}: {image.kind} {how} {label}", f"{before}/{len(samples)} then {after}, {status} {r}")
            row += [f"{before}/{len(samples)}", str(after)]
        path, _, samples = sealed(image, "plain", size, holes)
        image.sync()
        os.unlink(path)
        image.sync()
        plain = image.found(samples)
        report(plain > 0, f"{NAME}: {image.kind} control: plain unlink of {label} is found", f"{plain}/{len(samples)}")
        table.append(row + [f"{plain}/{len(samples)}"])
    return table


def test_unflushed(image):
    """What is deleted before it was flushed: in memory only, being written, or written without its extent saying so."""
    for label, preallocate, start, methods in (("just written", False, False, ("never_on_disk", "overwritten")),
            ("being written", False, True, ("overwritten",)), ("being written, preallocated", True, True, ("overwritten",))):
        path = f"{image.path}/root/victim"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if preallocate:
            libc.fallocate(fd, 0, ctypes.c_long(0), ctypes.c_long(9 << 20))
        os.fsync(fd)
        os.pwrite(fd, os.urandom(8 << 20), 0)
        samples = Samples().add_file(path)
        if start:
            libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 2)
        os.close(fd)
        status, receipts, _, _ = tool(image, "unlink", "victim", sync=True)
        image.sync()
        after = image.found(samples)
        report(status == 0 and after == 0 and receipts[0]["method"] in methods, f"{NAME}: {image.kind} {label}",
            f"{after}/{len(samples)} found, {receipts}")


def test_unwritten(image):
    """The power goes after the data reached the disk and before the extent says so: the bytes lie in an unwritten extent."""
    path = f"{image.path}/root/victim"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    data = os.urandom(1 << 20)
    libc.fallocate(fd, 0, ctypes.c_long(0), ctypes.c_long(len(data)))
    os.ftruncate(fd, len(data))
    image.sync()
    os.pwrite(fd, data, 0)
    samples = Samples().add_file(path)
    libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 7)
    os.close(fd)
    image.power_cut()
    lost = open(path, "rb").read() == bytes(len(data))
    before = image.found(samples)
    _, receipts, _, _ = tool(image, "unlink", "victim")
    image.sync()
    after = image.found(samples)
    report(lost and before == len(samples) and after == 0 and receipts[0]["method"] == "overwritten",
        f"{NAME}: {image.kind} written, but marked unwritten after a power cut", f"{lost} {before} then {after} of {len(samples)} {receipts}")


def test_links(image):
    path, file_id, _ = sealed(image, "one", 5000)
    content = open(path, "rb").read()
    os.link(path, f"{image.path}/root/two")
    status, receipts, _, _ = tool(image, "unlink", "one")
    kept = open(f"{image.path}/root/two", "rb").read() == content
    report(status == 0 and not receipts and kept and not os.listdir(image.path + "/trash"),
        f"{NAME}: {image.kind} a file with another name is kept")
    os.link(f"{image.path}/root/two", f"{image.path}/root/three")
    samples = Samples().add_file(f"{image.path}/root/two")
    for sync in (True, False):
        names = ("two", "three") if sync else ("four", "five")
        if not sync:
            path, _, samples = sealed(image, "four", 5000)
            os.link(path, f"{image.path}/root/five")
        status, receipts, _, _ = tool(image, "unlink", *names, sync=sync)
        image.sync()
        report(len(receipts) == 1 and image.found(samples) == 0, f"{NAME}: {image.kind} both names at once, sync={sync}", receipts)


def test_clone(image):
    path, _, samples = sealed(image, "cloned", 300000)
    other = os.open(f"{image.path}/root/clone", os.O_RDWR | os.O_CREAT, 0o600)
    with open(path, "rb") as f:
        fcntl.ioctl(other, FICLONE, f.fileno())
    os.fsync(other)
    os.close(other)
    status, receipts, _, _ = tool(image, "unlink", "cloned")
    image.sync()
    r = receipts[0]
    report(status == 0 and r["assurance"] == "C" and r["method"] == "key_destroyed" and image.found(samples) > 0,
        f"{NAME}: {image.kind} a clone keeps the old blocks, the receipt says C", r)


def test_crashes(image, power):
    """Ends the tool at each of its calls, then perhaps the power; the file is whole under its name, or erased for good."""
    how = "power cut" if power else "kill"
    cases = [("unlink", 20000, False), ("replace", 20000, False), ("unlink", 1 << 20, True)]
    for verb, size, holes in cases:
        step, outcomes, bad = 0, {"kept": 0, "erased": 0}, []
        while True:
            step += 1
            path, _, samples = sealed(image, "victim", size, holes)
            digest = hashlib.sha256(open(path, "rb").read()).digest()
            words = ("victim",)
            if verb == "replace":
                write_like_sealed(f"{image.path}/root/new", 100)
                words = ("new", "victim")
            image.sync()
            status, _, _, _ = tool(image, verb, *words, crash_at=step)
            if power and status == CRASHED:
                image.power_cut()
            resumed, receipts, state, _ = tool(image, "resume")
            image.sync()
            there = os.path.exists(path) and hashlib.sha256(open(path, "rb").read()).digest() == digest
            found = image.found(samples)
            if there:
                outcomes["kept"] += 1
                good = found > 0
                os.unlink(path)
            else:
                outcomes["erased"] += 1
                good = found == 0
            if not good or resumed or state["failed"] or os.listdir(image.path + "/trash"):
                bad.append((step, there, found, resumed, receipts))
            for leftover in os.listdir(image.path + "/root"):
                os.unlink(f"{image.path}/root/{leftover}")
            if status != CRASHED:
                break
        report(not bad and step > 6 and outcomes["erased"] > 3 and outcomes["kept"] > 0,
            f"{NAME}: {image.kind} {how} at each of {step - 1} calls of {verb} {size}", f"{outcomes} {bad}")


def test_crash_in_resume(image):
    step, bad = 0, []
    while True:
        step += 1
        path, _, samples = sealed(image, "victim", 20000)
        tool(image, "move", "victim")
        status, _, _, _ = tool(image, "resume", crash_at=step)
        if status == CRASHED:
            image.power_cut()
        tool(image, "resume")
        image.sync()
        if os.path.exists(path):  # the move was never durable
            os.unlink(path)
        elif image.found(samples):
            bad.append(step)
        if status != CRASHED:
            break
    report(not bad and step > 6, f"{NAME}: {image.kind} power cut at each of {step - 1} calls of resume", bad)


def main():
    rawimage.need_root_and_loops(NAME)
    tables = {}
    for kind in rawimage.filesystems():
        with Image(kind) as image:
            prepare(image)
            tables[kind] = test_sizes(image)
            test_unflushed(image)
            test_unwritten(image)
            test_links(image)
            if kind == "xfs":
                test_clone(image)
        with Image(kind) as image:
            prepare(image)
            if kind == "ext4":
                test_crashes(image, power=False)
            test_crashes(image, power=True)
            test_crash_in_resume(image)
    with Image("ext4", "data=journal") as image:
        prepare(image)
        sealed(image, "victim", 5000)
        _, receipts, state, _ = tool(image, "unlink", "victim")
        report(receipts[0]["assurance"] == "C" and state["assurance"] == "C" and "data=journal" in state["why"],
            f"{NAME}: data=journal is C", state)
    with Image("ext4", mkfs=("-E", "nodiscard")) as image:
        image.unmount()
        rawimage.sh("tune2fs", "-o", "journal_data", image.file)
        image.mount()
        prepare(image)
        _, _, state, _ = tool(image, "resume")
        report(state["assurance"] == "C", f"{NAME}: data=journal set in the superblock is C", state)
    if "table" in sys.argv:
        for kind, rows in tables.items():
            for row in rows:
                print(kind, " | ".join(row))
    return 1 if rawimage.failures else 0


sys.exit(main())
