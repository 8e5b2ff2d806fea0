"""The filesystems that are compared. Each has a folder of its own in a place (tmpfs or ext4), and `dir`, where the work is done."""
import os
import shutil
import subprocess
import time

from place import Daemon, Trouble, sh

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
EXAMPLE = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"
ERASED_SECONDS = 600
PASSPHRASE = "correct horse battery staple\n"


def first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        return ((done.stdout or done.stderr).strip().splitlines() or ["unknown"])[0]
    except OSError:
        return "unknown"


class System:
    """native: the place's own filesystem, without FUSE. The others override what differs."""
    name = "native"
    options = "none"
    peer = False  # one of those that tenantfs is measured against

    def __init__(self, scratch, place, build):
        self.scratch, self.build = scratch, build
        self.base = f"{place}/{self.name}"
        self.dir = f"{self.base}/dir"
        self.daemon = None

    @classmethod
    def missing(cls, build):
        """Why it cannot be measured here, or None."""
        return None

    @classmethod
    def version(cls, build):
        return os.uname().release

    def start(self):
        os.makedirs(self.dir)

    def stop(self):
        """Ends it."""

    def quiet(self):
        """Returns when it works no more in the background; the seconds that took."""
        return 0.0

    def rules(self, count):
        raise Trouble(f"{self.name} has no policy")

    def secret(self):
        path = f"{self.scratch.path}/secret"
        if not os.path.exists(path):
            with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as f:
                f.write(PASSPHRASE)
        return path


class Fuse(System):
    """A process that has a mount."""

    def __init__(self, scratch, place, build):
        super().__init__(scratch, place, build)
        self.at = f"{os.path.basename(place)}-{self.name}"
        self.dir = scratch.folder("mounts", self.at)

    def serve(self, *command):
        self.daemon = Daemon(command, self.dir, f"{self.scratch.path}/{self.at}.log")
        self.scratch.undo.append(self.stop)

    def stop(self):
        """Unmounts; one that ended as it should says so with status 0."""
        if self.daemon:
            daemon, self.daemon = self.daemon, None
            status = daemon.end()
            if status:
                raise Trouble(f"{self.name}, unmounted, ends with status {status}: {daemon.said()}")


class Passthrough(Fuse):
    """libfuse's example: what FUSE costs. As tenantfs it takes its tree for its own: the kernel keeps pages over opens (cache=always) and names and
    attributes for a day, collects writes (writeback), and each thread has a descriptor of its own (clone_fd)."""
    name = "passthrough"
    options = "cache=always,writeback,clone_fd,xattr"

    @classmethod
    def missing(cls, build):
        return None if os.path.exists(f"{build}/passthrough_ll") else "libfuse's example passthrough_ll.c is not there or does not compile"

    @classmethod
    def version(cls, build):
        return "libfuse " + first_line("pkg-config", "--modversion", "fuse3")

    def start(self):
        os.makedirs(self.base + "/source")
        self.serve(f"{self.build}/passthrough_ll", "-f", "-o", f"source={self.base}/source,{self.options}", self.dir)


class Gocryptfs(Fuse):
    name = "gocryptfs"
    options = "defaults"
    peer = True

    @classmethod
    def missing(cls, build):
        return None if shutil.which(cls.name) else "not installed"

    @classmethod
    def version(cls, build):
        return first_line("gocryptfs", "-version").split(";")[0]

    def start(self):
        os.makedirs(self.base + "/store")
        sh("gocryptfs", "-init", "-q", "-passfile", self.secret(), self.base + "/store")
        self.serve("gocryptfs", "-fg", "-q", "-nosyslog", "-passfile", self.secret(), self.base + "/store", self.dir)


class Securefs(Gocryptfs):
    name = "securefs"

    @classmethod
    def version(cls, build):
        return "securefs " + first_line("dpkg-query", "-W", "-f", "${Version}", "securefs")

    def start(self):
        os.makedirs(self.base + "/store")
        sh("securefs", "create", "--pass", PASSPHRASE.strip(), "-r", "1", self.base + "/store")
        self.serve("securefs", "mount", "--pass", PASSPHRASE.strip(), self.base + "/store", self.dir)


class Tenantfs(Fuse):
    """As shipped: a policy that permits root everything, the log, the journal and erasing with their defaults."""
    name = "tenantfs"
    options = "defaults: policy, log, journal and erase on"
    more = ""

    @classmethod
    def missing(cls, build):
        gone = [p for p in ("fs/tenantfs", "tools/tenantkey", "tools/tenantctl") if not os.path.exists(f"{build}/{p}")]
        return f"{gone[0]} was not built" if gone else None

    @classmethod
    def version(cls, build):
        return first_line(f"{build}/fs/tenantfs", "--version")

    def start(self):
        os.makedirs(self.base)
        self.store = f"{self.base}/store#bench"
        self.keys = ["--keys", f"{self.scratch.path}/keys-{self.at}"]
        sh(f"{self.build}/tools/tenantkey", "init", "-q", f"{self.base}/store")
        sh(f"{self.build}/tools/tenantkey", "create", "-q", self.store, *self.keys, "--new-passphrase-file", self.secret(), "--owner", "root",
           "--pbkdf-memory", "8192", "--pbkdf-force-iterations", "1")
        self.rules(1)
        self.serve(f"{self.build}/fs/tenantfs", "-f", self.store, self.dir, "-o", f"keys={self.keys[1]},passfile={self.secret()}{self.more}")

    def quiet(self):
        began = time.monotonic()
        while os.listdir(f"{self.base}/store/t/bench/trash"):
            if time.monotonic() > began + ERASED_SECONDS:
                raise Trouble(f"tenantfs has not erased everything after {ERASED_SECONDS} s")
            time.sleep(0.02)
        return time.monotonic() - began

    def rules(self, count):
        """A policy of so many rules; all but one are of other users and folders."""
        path = f"{self.scratch.path}/policy"
        with open(path, "w", encoding="ascii") as f:
            f.write("tenant bench\npermit bench: user:root to any on /**\n")
            f.writelines(f"permit r{n}: user:#{70000 + n % 500} to read,write on /areas/{n % 100}/desk-{n}/**\n" for n in range(1, count))
        sh(f"{self.build}/tools/tenantctl", "policy", "apply", self.store, path, *self.keys, "--passphrase-file", self.secret())


class Alone(Tenantfs):
    """No other user gets in, as with the peers' defaults: so the kernel may keep names and attributes whatever the policy says."""
    name = "tenantfs-alone"
    options = "no_allow_other, otherwise defaults"
    more = ",no_allow_other"
    hidden = True


class Damaged(System):
    """For the test of the harness: native, but after each piece of work a byte in the middle of each file is another."""
    name = "damaged"
    hidden = True

    def spoil(self):
        for where, _, names in os.walk(self.dir):
            for name in names:
                path = os.path.join(where, name)
                size = os.path.getsize(path)
                if size:
                    with open(path, "r+b") as f:
                        f.seek(size // 2)
                        byte = f.read(1)
                        f.seek(size // 2)
                        f.write(bytes([byte[0] ^ 1]))


SYSTEMS = {s.name: s for s in (System, Passthrough, Gocryptfs, Securefs, Tenantfs, Alone, Damaged)}
USUAL = [n for n, s in SYSTEMS.items() if not hasattr(s, "hidden")]


def prepare(build, log):
    """Builds what is compared, as a package would: tenantfs with meson's buildtype release, libfuse's example with -O2."""
    def step(*command):
        with open(log, "ab") as out:
            if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out).returncode:
                with open(log, errors="replace", encoding="utf-8") as f:
                    raise Trouble(f"{' '.join(command)} failed:\n{f.read()[-3000:]}")
    if not os.path.exists(f"{build}/build.ninja"):
        step("meson", "setup", "-Dbuildtype=release", build, REPO)
    step("ninja", "-C", build, "fs/tenantfs", "tools/tenantkey", "tools/tenantctl")
    passthrough(build, step)


def passthrough(build, step):
    """Debian may have the example compressed, and has its header beside it."""
    source = f"{build}/passthrough_ll.c"
    if os.path.exists(EXAMPLE):
        shutil.copy(EXAMPLE, source)
    elif os.path.exists(EXAMPLE + ".gz"):
        with open(source, "w", encoding="utf-8") as f:
            f.write(sh("gzip", "-dc", EXAMPLE + ".gz"))
    else:
        return
    flags = sh("pkg-config", "--cflags", "--libs", "fuse3").split()
    step("gcc", "-O2", "-D_GNU_SOURCE", "-o", f"{build}/passthrough_ll", source, f"-I{os.path.dirname(EXAMPLE)}", *flags)
