"""Filesystems in image files, and looking for bytes on the raw image. For the proofs that erasing works (docs/erase.md)."""
import ctypes, fcntl, os, shutil, struct, subprocess, sys, tempfile

libc = ctypes.CDLL("libc.so.6", use_errno=True)
SECTOR, PAGE, TAKE, STRIDE = 512, 4096, 16, 32
EACH = f"{TAKE}s{SECTOR - TAKE}x"
ZEROS = bytes(16 << 10)
SIZES = {"ext4": 128 << 20, "xfs": 320 << 20}
FS_IOC_SHUTDOWN = 0x8004587D
FICLONE = 0x40049409
MNT_DETACH = 2

failures = 0


def report(good, name, detail=""):
    global failures
    failures += not good
    print(("ok - " if good else "not ok - ") + name + (f": {str(detail)[:400]}" if detail and not good else ""), flush=True)
    return good


def skip(name, reason):
    print(f"skip - {name}: {reason}", flush=True)


def need_root_and_loops(name):
    """Own mount namespace, so that nothing stays mounted when the script dies. Exits 77 where that is impossible."""
    if os.geteuid() != 0:
        skip(name, "needs root")
        sys.exit(77)
    if not os.path.exists("/dev/loop-control") or not shutil.which("mkfs.ext4"):
        skip(name, "needs loop devices and e2fsprogs")
        sys.exit(77)
    if libc.unshare(0x00020000) or libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None):
        skip(name, "needs a mount namespace of its own")
        sys.exit(77)
    # Copies of what tests beside this one have mounted would keep it alive after they unmount it.
    with open("/proc/self/mounts") as f:
        copies = [line.split()[1] for line in f]
    for path in reversed(copies):
        if "/tenantfs-" in path:
            libc.umount2(path.encode(), MNT_DETACH)


def sh(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def roomy(folder, need):
    try:
        st = os.statvfs(folder)
    except OSError:
        return None
    return folder if st.f_bavail * st.f_frsize >= need else None


def filesystems():
    return [f for f in ("ext4", "xfs") if shutil.which("mkfs." + f)]


class Image:
    """A loop-mounted filesystem at .path, without discard: a freed block keeps its bytes."""

    def __init__(self, kind, options="", mkfs=()):
        self.kind, self.options = kind, options
        self.scratch = tempfile.mkdtemp(prefix="tenantfs-raw-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.path = self.scratch + "/mnt"
        os.mkdir(self.path)
        # In memory where there is room: hundreds of flushes a test, and the image shows the same.
        fd, self.file = tempfile.mkstemp(prefix="tenantfs-raw-", dir=roomy("/dev/shm", 2 * SIZES[kind]) or self.scratch)
        os.truncate(fd, SIZES[kind])
        os.close(fd)
        quiet = ["-q", "-F"] if kind == "ext4" else ["-q", "-f"]
        sh("mkfs." + kind, *quiet, *mkfs, self.file)
        self.mount()

    def mount(self):
        options = ",".join(o for o in ("loop", "nodiscard", self.options) if o)
        sh("mount", "-t", self.kind, "-o", options, self.file, self.path)

    def unmount(self):
        sh("umount", self.path)

    def sync(self):
        fd = os.open(self.path, os.O_RDONLY)
        libc.syncfs(fd)
        os.close(fd)

    def power_cut(self):
        """Forgets what was not flushed, then comes back as after a power cut."""
        fd = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", 2))
        os.close(fd)
        self.unmount()
        self.mount()

    def done(self):
        subprocess.run(["umount", self.path], capture_output=True)
        os.unlink(self.file)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.done()

    def found(self, samples):
        """How many of the samples are on the raw image."""
        hits = set()
        fd = os.open(self.file, os.O_RDONLY)
        at, end = 0, os.fstat(fd).st_size
        while at < end:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA) // SECTOR * SECTOR
            except OSError:
                break
            stop = min(os.lseek(fd, at, os.SEEK_HOLE), at + (8 << 20))
            stop += -stop % SECTOR
            chunk = os.pread(fd, stop - at, at)
            for block in range(0, len(chunk), len(ZEROS)):
                piece = chunk[block : block + len(ZEROS)]
                if piece == ZEROS:
                    continue
                for offset in samples.offsets:
                    for (key,) in struct.iter_unpack(EACH, piece[offset:] + ZEROS[:offset]):
                        if key in samples.pieces:
                            hits.add(key)
            at = stop
        os.close(fd)
        return len(hits)


class Samples:
    """16 bytes of every sector of a lower file, and every 32 bytes of its header page (so of each wrapped key)."""

    def __init__(self):
        self.pieces, self.offsets = set(), {0}

    def add(self, piece, offset):
        # Repeating bytes are padding, which other files have too.
        if len(piece) == TAKE and len(set(piece)) >= 8:
            self.pieces.add(piece)
            self.offsets.add(offset % SECTOR)

    def add_file(self, path):
        with open(path, "rb") as f:
            size, at = os.fstat(f.fileno()).st_size, 0
            header = f.read(PAGE)
            for i in range(0, len(header), STRIDE):
                # At 32 of a header slot are tenant, epoch and size, which other files have too.
                if i not in (32, 1024 + 32):
                    self.add(header[i : i + TAKE], i)
            while at < size:
                try:
                    at = os.lseek(f.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                stop = min(os.lseek(f.fileno(), at, os.SEEK_HOLE), at + (8 << 20))
                chunk = os.pread(f.fileno(), stop - at, at)
                for i in range(0, len(chunk), SECTOR):
                    self.add(chunk[i : i + TAKE], 0)
                at = stop
        return self

    def __len__(self):
        return len(self.pieces)


def write_like_sealed(path, size, holes=False):
    """A file as the store makes them, for the eraser: header page and random bytes. Its file id in hex."""
    file_id = os.urandom(16)
    header = bytearray(os.urandom(PAGE))
    header[0:24] = b"TFSH\1\0\1\0" + file_id
    with open(path, "wb", buffering=0) as f:
        f.write(header)
        at, body = PAGE, os.urandom(size)
        for i in range(0, size, 64 << 10):
            f.seek(at + i * (4 if holes else 1))
            f.write(body[i : i + (64 << 10)])
        os.fsync(f.fileno())
    return file_id.hex()
