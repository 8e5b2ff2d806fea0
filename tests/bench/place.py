"""Where it is measured: scratch space that is gone afterwards whatever happens, a tmpfs and an ext4 in an image, processes that end with this one."""
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
CLONE_NEWNS = 0x20000
MNT_DETACH = 2
STUCK_SECONDS = 60


class Trouble(Exception):
    """One sentence for whoever runs this."""


def sh(*command, timeout=600, **options):
    """Output of a command that must succeed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", timeout=timeout,
                          preexec_fn=die_with_parent, **options)
    if done.returncode:
        raise Trouble(f"{os.path.basename(command[0])} ends with status {done.returncode}: {' '.join((done.stderr or done.stdout).split())[-400:]}")
    return done.stdout


def die_with_parent(how=signal.SIGKILL):
    libc.prctl(PR_SET_PDEATHSIG, int(how), 0, 0, 0)


def is_mounted(path):
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as f:
        return any(line.split()[1] == path for line in f)


def unmount(path):
    """What is busy for long is detached: it ends with its last user."""
    end = time.monotonic() + 20
    while is_mounted(path):
        if subprocess.run(["umount", path], capture_output=True).returncode == 0:
            continue
        if time.monotonic() > end:
            subprocess.run(["umount", "-l", path], capture_output=True)
        time.sleep(0.05)


def own_mounts():
    """A mount namespace of its own: even when this is killed by SIGKILL no mount stays, and no loop device."""
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Trouble("A mount namespace of its own is refused; please run this as root outside a container.")
    sh("mount", "--make-rprivate", "/")
    # Copies of what others have mounted would keep it alive after they unmount it.
    with open("/proc/self/mounts", encoding="utf-8") as f:
        copies = [line.split()[1] for line in f if "/tenantfs-" in line.split()[1] or line.split()[2].startswith("fuse")]
    for path in reversed(copies):
        libc.umount2(path.encode().decode("unicode_escape").encode("latin-1"), MNT_DETACH)


class Scratch:
    """A folder, and what must be undone before it can go; use `with`."""

    def __init__(self):
        self.path = os.path.realpath(tempfile.mkdtemp(prefix="tenantfs-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))
        os.chmod(self.path, 0o755)
        self.undo = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A second interruption must not leave half of it behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.chdir("/")
        for step in reversed(self.undo):
            try:
                step()
            except (OSError, Trouble, subprocess.SubprocessError) as e:
                print(f"bench: while cleaning up: {e}", flush=True)
        # What was mounted in the very moment of an interruption.
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as f:
            left = [line.split()[1] for line in f if line.split()[1].startswith(self.path + "/")]
        for path in reversed(left):
            subprocess.run(["umount", "-l", path], capture_output=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def folder(self, *names):
        path = os.path.join(self.path, *names)
        os.makedirs(path, exist_ok=True)
        return path

    def tmpfs(self, name):
        path = self.folder(name)
        sh("mount", "-t", "tmpfs", "-o", "mode=755,size=90%", "none", path)
        self.undo.append(lambda: unmount(path))
        return path

    def ext4(self, name, size):
        """As mkfs.ext4 makes it by default, but with its tables written at once and not in the middle of a measurement."""
        path, image = self.folder(name), f"{self.path}/{name}.img"
        free = shutil.disk_usage(self.path).free
        with open(image, "wb") as f:
            f.truncate(min(size, free * 9 // 10))
        sh("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", image)
        device = sh("losetup", "-f", "--show", image).strip()
        try:
            sh("mount", device, path)
        finally:
            # Detached with the last use, which is the mount's.
            sh("losetup", "-d", device)
        self.undo.append(lambda: unmount(path))
        return path


class Daemon:
    """A process that serves a mount in the foreground."""

    def __init__(self, command, mountpoint, log, env=None):
        self.mountpoint, self.log = mountpoint, log
        os.makedirs(mountpoint, exist_ok=True)
        with open(log, "ab") as out:
            # A session of its own: Control-C of the terminal is this program's business.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=env, start_new_session=True,
                                            preexec_fn=die_with_parent)
        try:
            end = time.monotonic() + STUCK_SECONDS
            while not is_mounted(mountpoint):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Trouble(f"{os.path.basename(command[0])} does not mount: {self.said()}")
                time.sleep(0.01)
        except BaseException:
            self.process.kill()
            self.end()
            raise

    def said(self):
        with open(self.log, errors="replace", encoding="utf-8") as f:
            return " ".join(f.read()[-400:].split()) or "it says nothing"

    def end(self):
        unmount(self.mountpoint)
        try:
            return self.process.wait(STUCK_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def settle(path):
    """What is dirty there goes to the disk now, not in somebody else's measurement."""
    fd = os.open(path, os.O_RDONLY)
    try:
        libc.syncfs(fd)
    finally:
        os.close(fd)


def drop_caches():
    """Pages, names and inodes, of every mount and of what lies below. What is dirty stays: settle first."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3\n")
