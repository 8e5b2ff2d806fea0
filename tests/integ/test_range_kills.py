#!/usr/bin/python3
# tests/run: slow timeout=900
"""The daemon killed at each call that changes a file while a part of a file is freed, then perhaps the power cut: the next mount finishes
erasing. Each block of the part is what it was or is gone, and of those that are gone nothing is on the raw image; what stays is as it was.
Usage: test_range_kills.py BUILDDIR"""
import glob, json, os, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/../golden")
import rawimage, read_journal
from erasing import BUILD, TENANT, Tenant
from rawimage import Image, report
from test_erase_ranges import ALL, BLOCKS, KEEP, PAGE, PUNCH, ZERO, change, o_trunc, samples_of

NAME = "range_kills"
KILL = BUILD + "/tests/integ/kill_at"
HOLE = (3 * PAGE, 153 * PAGE)

# What is done; blocks that go; what the file is then.
CASES = [
    ("punch", lambda p: change(p, PUNCH | KEEP, HOLE[0], HOLE[1] - HOLE[0]), range(3, 153), HOLE, ALL),
    ("zero range", lambda p: change(p, ZERO | KEEP, HOLE[0], HOLE[1] - HOLE[0]), range(3, 153), HOLE, ALL),
    ("truncate to less", lambda p: os.truncate(p, 100 * PAGE), range(100, BLOCKS), None, 100 * PAGE),
    ("truncate to nothing", lambda p: os.truncate(p, 0), None, None, 0),
    ("O_TRUNC", o_trunc, None, None, 0),
]


def wanted(data, zeroed, size):
    want = bytearray(data[:size])
    if zeroed:
        want[zeroed[0] : zeroed[1]] = bytes(zeroed[1] - zeroed[0])
    return bytes(want)


def in_part(got, data, blocks, left):
    """Whether only some of the blocks went: the others are there, byte for byte and on the image."""
    if len(got) != len(data) or blocks is None:
        return False
    here = lambda text, block: text[block * PAGE : (block + 1) * PAGE]
    still = [b for b in range(BLOCKS) if here(got, b) == here(data, b)]
    gone = [b for b in range(BLOCKS) if b not in still]
    return all(b in blocks and here(got, b) == bytes(PAGE) for b in gone) and left == 8 * sum(b in blocks for b in still)


def act_killed(tenant, act, path, step, gate):
    """Whether the daemon was killed."""
    with open(gate, "w"):
        pass
    try:
        act(path)
        killed = False
    except OSError:
        killed = True
    os.unlink(gate)
    # Another thread's call may have been the last one before the gate went.
    time.sleep(0.1)
    killed = killed or tenant.daemon.poll() is not None
    if killed:
        tenant.daemon.wait(60)
        rawimage.sh("umount", "-l", tenant.mnt)
    else:
        tenant.unmount()
    return killed


def announced(tenant, lower, blocks):
    """What a reader written from docs/format.md finds in the journal that a killed daemon left: nothing, or this file and these blocks."""
    (ring,) = glob.glob(f"{tenant.keys}/*/{TENANT}.json")
    entries = [e for e in read_journal.read(tenant.folder, ring, tenant.pass_file).entries() if e["kind"] == "erase"]
    with open(lower, "rb") as f:
        file_id, ino = f.read(24)[8:].hex(), os.fstat(f.fileno()).st_ino
    first = blocks[0] if blocks else 0
    good = not entries or (len(entries) == 1 and entries[0]["file_id"] == file_id and entries[0]["ino"] == ino and entries[0]["first"] == first
        and entries[0]["end"] > (blocks[-1] if blocks else BLOCKS - 1))
    return good, len(entries)


def read_back(tenant, name):
    tenant.mount()
    with open(f"{tenant.mnt}/{name}", "rb") as f:
        got = f.read()
    state = json.loads(tenant.ask("status", f"{tenant.store}#{TENANT}", "--json"))["journal"]
    os.unlink(f"{tenant.mnt}/{name}")
    tenant.unmount()
    return got, state


def test_case(image, tenant, label, act, blocks, zeroed, size, power):
    gate, step, old, new, part, on_record, bad = image.scratch + "/now", 0, 0, 0, 0, 0, []
    while True:
        step += 1
        name, data = f"file-{step}", os.urandom(ALL)
        before = tenant.lower_files()
        tenant.mount(through=(KILL, "-n", str(step), "-f", gate))
        with open(f"{tenant.mnt}/{name}", "wb", buffering=0) as f:
            f.write(data)
            os.fsync(f.fileno())
        (lower,) = tenant.lower_files() - before
        image.sync()
        samples = samples_of(lower, blocks)
        found = image.found(samples)
        killed = act_killed(tenant, act, f"{tenant.mnt}/{name}", step, gate)
        if power:
            image.power_cut()
        good, count = announced(tenant, lower, blocks)
        on_record += count
        if not good:
            bad.append((step, "another entry in the journal"))
        tenant.mount()
        image.sync()
        with open(lower, "rb") as f:
            length = os.fstat(f.fileno()).st_size
        left = image.found(samples)
        tenant.unmount()
        got, state = read_back(tenant, name)
        is_new = got == wanted(data, zeroed, size)
        is_part = not is_new and got != data and in_part(got, data, blocks, left)
        old, new, part = old + (got == data), new + is_new, part + is_part
        if found != len(samples) or not (is_new or got == data or is_part) or (is_new and left) or state["unfinished"]:
            bad.append((step, found, len(samples), left, length, is_new, got == data, state))
        if not killed:
            break
    report(not bad and step > 5 and old > 1 and new > 1 and on_record > 3,
        f"{NAME}: {image.kind} {label} {'and a power cut' if power else 'killed'} at each call of the daemon", f"{step} steps, {old} old {new} new {part} in part {bad}")
    print(f"# {image.kind} {label}: {step - 1} calls, {old} times what it was, {new} times what it was to be, {part} in part, {on_record} times on record", flush=True)


def main():
    rawimage.need_root_and_loops(NAME)
    if not os.path.exists("/dev/fuse"):
        rawimage.skip(NAME, "needs /dev/fuse")
        sys.exit(77)
    for kind in rawimage.filesystems():
        with Image(kind) as image:
            tenant = Tenant(image, NAME)
            for case in CASES:
                test_case(image, tenant, *case, power=kind == "xfs")
    return 1 if rawimage.failures else 0


sys.exit(main())
