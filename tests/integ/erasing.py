"""A tenant on an image (rawimage.py), mounted by the real daemon. For the proofs that erasing works (docs/erase.md)."""
import atexit, json, os, signal, subprocess, sys, threading, time

import rawimage
from rawimage import Samples, report

BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TENANTFS_BUILD", "build/gcc"))
TENANT = "t"
LIFE_SECONDS = 100 # of one mount


def program(name):
    for folder in ("fs", "keymgmt", "tools"):
        path = f"{BUILD}/{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    report(False, f"{name} was built")
    sys.exit(1)


class Tenant:
    """One tenant of a store on the image, mounted by the real daemon."""

    def __init__(self, image, name, keys=None):
        self.image, self.name = image, name
        self.store, self.keys = image.path + "/store", keys or image.scratch + "/keys"
        self.mnt, self.pass_file = image.scratch + "/tenant", image.scratch + "/pass"
        self.folder, self.daemon, self.common = f"{self.store}/t/{TENANT}", None, set()
        atexit.register(lambda: self.daemon and self.daemon.kill())
        os.mkdir(self.mnt)
        with open(self.pass_file, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write("correct horse\n")
        rawimage.sh(program("tenantkey"), "init", self.store, "--keys", self.keys)
        rawimage.sh(program("tenantkey"), "create", f"{self.store}#{TENANT}", "--keys", self.keys, "--owner", "root",
            "--new-passphrase-file", self.pass_file, "--pbkdf-memory", "64", "--pbkdf-force-iterations", "1", "--journal-size", "1M")

    def mount(self, options="", through=()):
        """through: words before the program's own, of one that starts it."""
        words = f"keys={self.keys},passfile={self.pass_file}" + ("," + options if options else "")
        self.daemon = subprocess.Popen([*through, program("tenantfs"), "-f", f"{self.store}#{TENANT}", self.mnt, "-o", words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        # A daemon that hangs would hold this process too, beyond any signal.
        threading.Thread(target=self.watch, args=(self.daemon, self.name), daemon=True).start()
        for _ in range(1500):
            if self.is_mounted():
                return self
            if self.daemon.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError("the tenant does not mount")

    @staticmethod
    def watch(daemon, name):
        try:
            daemon.wait(LIFE_SECONDS)
        except subprocess.TimeoutExpired:
            report(False, f"{name}: the daemon answers")
            daemon.kill()

    def is_mounted(self):
        with open("/proc/self/mounts") as f:
            return any(line.split()[1] == self.mnt for line in f)

    def unmount(self):
        rawimage.sh("umount", self.mnt)
        if self.daemon.wait(60):
            report(False, f"{self.name}: the daemon ends well", self.daemon.returncode)

    def kill(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait(60)
        rawimage.sh("umount", "-l", self.mnt)

    def ask(self, *words, secret=False):
        more = ["--keys", self.keys, "--passphrase-file", self.pass_file] if secret else []
        return rawimage.sh(program("tenantctl"), *words, *more)

    def wait_empty(self):
        """Until nothing is in the trash: the kernel tells of a last close after close(2) has returned. At most 30 s."""
        for _ in range(1500):
            if not self.trash() or self.daemon.poll() is not None:
                return
            time.sleep(0.02)

    def wait_erased(self):
        """The status, once nothing waits."""
        for _ in range(1500):
            erase = json.loads(self.ask("status", f"{self.store}#{TENANT}", "--json"))["erase"]
            if erase["files"] == 0 and erase["bytes"] == 0:
                return erase
            time.sleep(0.02)
        raise RuntimeError("erasing does not end")

    def wait_journal(self):
        """Until the journal is empty."""
        for _ in range(1500):
            if not json.loads(self.ask("status", f"{self.store}#{TENANT}", "--json"))["journal"]["used"]:
                return
            time.sleep(0.02)
        raise RuntimeError("the journal does not become empty")

    def lower_files(self):
        return {os.path.join(d, f) for d, _, files in os.walk(self.folder + "/root") for f in files}

    def create(self, name, size, spread):
        """A file through the mount; its lower file."""
        before = self.lower_files()
        with open(f"{self.mnt}/{name}", "wb", buffering=0) as f:
            data = os.urandom(size)
            for i in range(0, size, 64 << 10):
                f.seek(i * spread * spread)
                f.write(data[i : i + (64 << 10)])
            os.fsync(f.fileno())
        (lower,) = self.lower_files() - before
        return lower

    def sample(self, lower):
        """What to look for of a lower file."""
        self.image.sync()
        samples = Samples().add_file(lower)
        # Headers also say what every file here says: tenant, directory.
        samples.pieces -= self.common
        return samples

    def write(self, name, size, spread):
        """A file through the mount; its lower file and what to look for."""
        lower = self.create(name, size, spread)
        return lower, self.sample(lower)

    def trash(self):
        return os.listdir(self.folder + "/trash")
