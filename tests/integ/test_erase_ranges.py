#!/usr/bin/python3
# tests/run: core timeout=120
"""What is freed inside a file leaves nothing on the raw image: punch, zero range, truncate to less and to nothing, O_TRUNC, on ext4
and xfs; what stays of the file is there, and the same calls on a plain lower file are found. Usage: test_erase_ranges.py BUILDDIR"""
import ctypes, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rawimage
from erasing import Tenant
from rawimage import Image, Samples, report

NAME = "erase_ranges"
PAGE, BLOCKS = 4096, 200 # group 0, all of group 1, some of group 2
KEEP, PUNCH, ZERO = 1, 2, 16
rawimage.libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def change(path, mode, offset, length):
    fd = os.open(path, os.O_RDWR)
    if rawimage.libc.fallocate(fd, mode, offset, length):
        raise OSError(ctypes.get_errno(), "fallocate")
    os.close(fd)


def lower_offset(block):
    """docs/format.md, "Blocks and tags"."""
    if block < 64:
        return PAGE * (1 + block)
    group, index = 1 + (block - 64) // 128, (block - 64) % 128
    return PAGE * (65 + 129 * (group - 1) + 1 + index)


def o_trunc(path):
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


# what is done; blocks whose ciphertext must go; size afterwards; plain bytes that read as zeros
ALL = BLOCKS * PAGE
CASES = [
    ("punch of whole blocks", lambda p: change(p, PUNCH | KEEP, 3 * PAGE, 150 * PAGE), range(3, 153), ALL, (3 * PAGE, 153 * PAGE)),
    ("punch inside of one block", lambda p: change(p, PUNCH | KEEP, 70 * PAGE + 100, 50), range(70, 71), ALL, (70 * PAGE + 100, 70 * PAGE + 150)),
    ("punch across blocks", lambda p: change(p, PUNCH | KEEP, 60 * PAGE + 9, 9 * PAGE), range(60, 70), ALL, (60 * PAGE + 9, 69 * PAGE + 9)),
    ("punch of everything", lambda p: change(p, PUNCH | KEEP, 0, ALL), range(BLOCKS), ALL, (0, ALL)),
    ("zero range", lambda p: change(p, ZERO | KEEP, 5, 100 * PAGE), range(101), ALL, (5, 100 * PAGE + 5)),
    ("zero range beyond the end", lambda p: change(p, ZERO, 190 * PAGE, 20 * PAGE), range(190, 200), 210 * PAGE, (190 * PAGE, 210 * PAGE)),
    ("truncate to less", lambda p: os.truncate(p, 100 * PAGE + 7), range(100, BLOCKS), 100 * PAGE + 7, None),
    ("truncate to one block", lambda p: os.truncate(p, PAGE), range(1, BLOCKS), PAGE, None),
    ("truncate to nothing", lambda p: os.truncate(p, 0), None, 0, None),
    ("O_TRUNC", o_trunc, None, 0, None),
]


def samples_of(lower, blocks):
    """Ciphertext of these blocks; of none: the whole lower file with keys and tags."""
    samples = Samples()
    if blocks is None:
        samples.add_file(lower)
        with open(lower, "rb") as f:
            header = f.read(PAGE)
        # Id, tenant, home and the sealed key for attributes stay.
        for slot in (0, 1024):
            for at in list(range(0, 452, rawimage.STRIDE)) + list(range(512, 1024, rawimage.STRIDE)):
                samples.pieces.discard(header[slot + at : slot + at + rawimage.TAKE])
        return samples
    with open(lower, "rb") as f:
        for block in blocks:
            page = os.pread(f.fileno(), PAGE, lower_offset(block))
            for at in range(0, PAGE, rawimage.SECTOR):
                samples.add(page[at : at + rawimage.TAKE], 0)
    return samples


def test_ranges(image):
    tenant, checked = Tenant(image, NAME).mount(), []
    for label, act, blocks, size, zeroed in CASES:
        name = label.replace(" ", "-")
        path = f"{tenant.mnt}/{name}"
        data = os.urandom(ALL)
        before = tenant.lower_files()
        with open(path, "wb", buffering=0) as f:
            f.write(data)
            os.fsync(f.fileno())
        (lower,) = tenant.lower_files() - before
        image.sync()
        samples = samples_of(lower, blocks)
        found = image.found(samples)
        act(path)
        image.sync()
        left = image.found(samples)
        report(found == len(samples) > 0, f"{NAME}: {image.kind} {label}: found before", f"{found}/{len(samples)}")
        report(left == 0, f"{NAME}: {image.kind} {label}: none on the image", f"{left}/{len(samples)}")
        want = bytearray(data.ljust(size, b"\0")[:size])
        if zeroed:
            want[zeroed[0] : zeroed[1]] = bytes(zeroed[1] - zeroed[0])
        checked.append((label, path, samples, bytes(want)))
    for again in (False, True):
        if again:
            tenant.unmount()
            tenant.mount()
        for label, path, _, want in checked:
            with open(path, "rb") as f:
                report(f.read() == want, f"{NAME}: {image.kind} {label}: the rest stays{', after a remount too' if again else ''}")
    tenant.unmount()
    image.sync()
    image.unmount()
    for label, _, samples, _ in checked:
        left = image.found(samples)
        report(left == 0, f"{NAME}: {image.kind} {label}: none on the unmounted image", f"{left}/{len(samples)}")


def test_control(image):
    """The same calls on a plain file leave what was there."""
    for label, act, blocks, _, _ in CASES:
        if label == "punch inside of one block":
            continue # no block is freed
        path = image.path + "/plain"
        with open(path, "wb", buffering=0) as f:
            f.write(os.urandom(ALL))
            os.fsync(f.fileno())
        image.sync()
        samples = Samples().add_file(path)
        act(path)
        image.sync()
        found = image.found(samples)
        inside = len(blocks or range(BLOCKS)) * 8
        report(found >= len(samples) - inside and found > len(samples) - inside // 2,
            f"{NAME}: {image.kind} control: {label} of a plain file is found", f"{found}/{len(samples)}")
        os.unlink(path)
    image.unmount()


def main():
    rawimage.need_root_and_loops(NAME)
    if not os.path.exists("/dev/fuse"):
        rawimage.skip(NAME, "needs /dev/fuse")
        sys.exit(77)
    for kind in rawimage.filesystems():
        with Image(kind) as image:
            test_ranges(image)
        with Image(kind) as image:
            test_control(image)
    return 1 if rawimage.failures else 0


if __name__ == "__main__":
    sys.exit(main())
