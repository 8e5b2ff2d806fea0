#!/usr/bin/python3
# tests/run: core timeout=240
"""The README's own tenant in five commands, as they stand there, typed at a terminal as root: in a mount namespace where
/srv, /mnt and /var/lib are empty."""
import ctypes
import os
import pty
import re
import select
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("TENANTFS_BUILD", os.path.join(ROOT, "build", "gcc"))
failed = False


def verdict(good, name, output=""):
    global failed
    failed = failed or not good
    print(("ok - readme: " if good else "not ok - readme: ") + name)
    if not good:
        print("\n".join("  " + line for line in output.splitlines()))


def typed(command):
    """Status and output of a command line; each prompt for a passphrase gets one."""
    pid, tty = pty.fork()
    if pid == 0:
        os.environ["PATH"] = ":".join(os.path.join(BUILD, d) for d in ("fs", "keymgmt", "tools")) + ":" + os.environ["PATH"]
        os.environ.pop("USER", None)  # a container's shell has none
        os.execvp("bash", ["bash", "-c", command])
    seen, answered, end = b"", 0, time.monotonic() + 100
    while time.monotonic() < end:
        if tty in select.select([tty], [], [], 0.1)[0]:
            try:
                seen += os.read(tty, 4096)
            except OSError:
                break
            prompts = len(re.findall(rb"assphrase for [^\r\n]*: ", seen))
            if prompts > answered:
                answered += 1
                os.write(tty, b"correct horse\n")
    else:
        os.kill(pid, 9)
    os.close(tty)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode("utf-8", "replace")


def main():
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        print("skip - readme: the five commands: needs root and /dev/fuse")
        return
    text = open(os.path.join(ROOT, "README.md"), encoding="utf-8").read()
    block = text.split("## A tenant of your own")[1].split("\n\n")[1]
    commands = [re.sub(r"  +#.*", "", line.strip()) for line in block.splitlines()]
    commands = [c for c in commands if not c.startswith("PATH=")]
    verdict(len(commands) == 5, "there are five", block)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x20000) != 0:
        print("skip - readme: the five commands: no mount namespace of its own")
        return
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    # Copies of what tests beside this one have mounted would keep it alive after they unmount it.
    with open("/proc/self/mounts", encoding="utf-8") as f:
        copies = [line.split()[1] for line in f]
    for path in reversed(copies):
        if "/tenantfs-" in path:
            libc.umount2(path.encode(), 2)
    for place in ("/srv", "/mnt", "/var/lib"):
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    for number, command in enumerate(commands, 1):
        status, output = typed(command)
        verdict(status == 0, f"command {number}: {command}", output)
        if "tenantfs '" in command:
            where = command.split()[-1]
            verdict(os.path.ismount(where), "it is mounted")
            with open(os.path.join(where, "file"), "w", encoding="utf-8") as f:
                f.write("data")
            verdict(open(os.path.join(where, "file"), encoding="utf-8").read() == "data", "and works")
        if "audit show" in command:
            verdict("/file" in output, "the log has what was done", output)


main()
sys.exit(failed)
