#!/usr/bin/python3
# tests/run: slow timeout=300 once
"""Deletion through the mount leaves nothing on the raw image: ext4 and xfs, unlink and rename-over, 1 B to 16 MiB and sparse,
also when the daemon is killed right after the unlink. Usage: test_erase_raw.py BUILDDIR [table]"""
import os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rawimage
from erasing import TENANT, Tenant
from rawimage import Image, Samples, report

NAME = "erase_raw"
SIZES = [("1 B", 1, 1), ("4 KiB", 4096, 1), ("64 KiB", 65536, 1), ("1 MiB", 1 << 20, 1), ("16 MiB", 16 << 20, 1), ("sparse", 1 << 20, 4)]


def start(image, options=""):
    tenant = Tenant(image, NAME).mount(options)
    _, samples = tenant.write("other", 3, 1)
    tenant.common = samples.pieces
    return tenant


def test_deletion(image, sync):
    """All sizes at once, so that the unmounted image is scanned only twice."""
    tenant = start(image, "erase=sync" if sync else "")
    kind, rows, cases = image.kind, [], []
    for label, size, spread in SIZES:
        victims = {how: tenant.create(how, size, spread) for how in ("unlink", "rename-over")}
        # What the journal holds is written to its place later, once.
        tenant.wait_journal()
        for how, lower in victims.items():
            samples = tenant.sample(lower)
            before = image.found(samples)
            if how == "rename-over":
                with open(tenant.mnt + "/new", "wb") as f:
                    f.write(b"new")
                os.rename(tenant.mnt + "/new", f"{tenant.mnt}/{how}")
            else:
                os.unlink(f"{tenant.mnt}/{how}")
            left = len(tenant.trash()) if sync else 0
            tenant.wait_empty()
            erase = tenant.wait_erased()
            report(before == len(samples) and not tenant.trash() and not left and erase["failed_files"] == 0,
                f"{NAME}: {kind} {how} {label}: found before, erased{' at once' if sync else ''}", f"{before}/{len(samples)} {erase}")
            # Now, since later files may take the same blocks; again below when everything is unmounted.
            image.sync()
            after = image.found(samples)
            report(after == 0, f"{NAME}: {kind} {how} {label}: none on the image", f"{after}/{len(samples)}")
            cases.append((label, how, before, samples))
            if how == "rename-over":
                report(open(f"{tenant.mnt}/{how}", "rb").read() == b"new", f"{NAME}: {kind} rename-over {label}: the new file is there")
                os.unlink(f"{tenant.mnt}/{how}")
    plain, plain_samples = tenant.write("plain", 70000, 1) # of no size above
    tenant.unmount()
    os.unlink(plain)
    image.sync()
    image.unmount()
    for label, how, before, samples in cases:
        after = image.found(samples)
        report(after == 0, f"{NAME}: {kind} {how} {label}: none on the unmounted image", f"{after}/{len(samples)}")
        rows.append(f"{kind} {how} {label} | {before}/{len(samples)} | {after}")
    found = image.found(plain_samples)
    report(found > 0, f"{NAME}: {kind} control: plain unlink of the lower file is found", f"{found}/{len(plain_samples)}")
    rows.append(f"{kind} plain unlink of the lower file | | {found}/{len(plain_samples)}")
    return rows


def test_killed(image):
    tenant = start(image)
    _, samples = tenant.write("victim", 4 << 20, 1)
    known = tenant.lower_files()
    held = open(tenant.mnt + "/held", "wb+", buffering=0)
    held.write(os.urandom(70000))
    os.fsync(held.fileno())
    (held_lower,) = tenant.lower_files() - known
    image.sync()
    held_samples = Samples().add_file(held_lower)
    held_samples.pieces -= tenant.common
    before = image.found(samples), image.found(held_samples)
    os.unlink(tenant.mnt + "/held")  # still open, so only in the trash
    os.unlink(tenant.mnt + "/victim")
    tenant.kill()
    try:
        held.close()
    except OSError:
        pass
    waiting = len(tenant.trash())
    tenant.mount()
    erase = tenant.wait_erased()
    gone = os.listdir(tenant.mnt) == ["other"]
    tenant.unmount()
    image.sync()
    image.unmount()
    after = image.found(samples), image.found(held_samples)
    report(before == (len(samples), len(held_samples)) and waiting >= 1 and gone and after == (0, 0) and erase["failed_files"] == 0,
        f"{NAME}: {image.kind} killed right after the unlink, erased after the next mount", f"{before} {waiting} {after} {erase}")


def test_clone(image):
    tenant = start(image)
    lower, samples = tenant.write("victim", 300000, 1)
    rawimage.sh("cp", "--reflink=always", lower, image.path + "/clone")
    os.unlink(tenant.mnt + "/victim")
    tenant.wait_empty()
    tenant.wait_erased()
    shown = tenant.ask("audit", "show", f"{tenant.store}#{TENANT}", secret=True)
    tenant.unmount()
    report(any("erase" in line and "assurance C" in line for line in shown.splitlines()), f"{NAME}: {image.kind} the receipt of a cloned file says assurance C", shown[-2000:])
    report(image.found(samples) > 0, f"{NAME}: {image.kind} and its old blocks are in the clone")


def main():
    rawimage.need_root_and_loops(NAME)
    if not os.path.exists("/dev/fuse"):
        rawimage.skip(NAME, "needs /dev/fuse")
        sys.exit(77)
    rows = []
    for kind in rawimage.filesystems():
        with Image(kind) as image:
            rows += test_deletion(image, sync=kind == "xfs")
        with Image(kind) as image:
            test_killed(image)
        if kind == "xfs":
            with Image(kind) as image:
                test_clone(image)
    if "table" in sys.argv:
        print("\n".join(rows))
    return 1 if rawimage.failures else 0


sys.exit(main())
