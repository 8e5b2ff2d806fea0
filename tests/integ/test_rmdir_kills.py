#!/usr/bin/python3
# tests/run: slow timeout=300
"""The daemon killed (ext4) or the power cut (xfs) at each call that changes something while an empty directory with attributes is removed or
replaced by another one: the next mount finds the one that it was, or none, and no damage. And nothing of names and attributes of removed directories is on
the raw image in the clear. Usage: test_rmdir_kills.py BUILDDIR [WORD [ext4|xfs]]"""
import json, os, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rawimage
from erasing import BUILD, Tenant
from rawimage import Image, report, sh

NAME = "rmdir_kills"
KILL = BUILD + "/tests/integ/kill_at"
LONG_AGO = 1_234_567_890_123_456_789
MARK = b"in the clear "


def made(top):
    """dir: empty, with an attribute and a time; other: with a file."""
    os.mkdir(top + "dir")
    os.setxattr(top + "dir", "user.a", MARK + b"a")
    os.utime(top + "dir", ns=(LONG_AGO, LONG_AGO))
    os.mkdir(top + "other")
    os.setxattr(top + "other", "user.b", MARK + b"b")
    with open(top + "other/file", "w") as f:
        f.write("x")


def state(top):
    """What is there, told as one of the known states, or in full."""
    found = {}
    for name in sorted(os.listdir(top)):
        try:
            found[name] = (os.listdir(top + name), {n: os.getxattr(top + name, n)[-1:] for n in os.listxattr(top + name)})
        except OSError as e:
            found[name] = str(e)
    old = ([], {"user.a": b"a"})
    new = (["file"], {"user.b": b"b"})
    if found.get("dir") == old and os.stat(top + "dir").st_mtime_ns != LONG_AGO:
        return "another time"
    return {str({"dir": old, "other": new}): "old", str({"other": new}): "removed", str({"dir": new}): "replaced"}.get(str(found), found)


def killed_at_each_call(image, label, act, done_state, power):
    tenant = Tenant(image, NAME)
    gate, step, bad, old, new = image.scratch + "/now", 0, [], 0, 0
    while True:
        step += 1
        tenant.mount(through=(KILL, "-n", str(step), "-f", gate))
        top = tenant.mnt + "/"
        made(top)
        image.sync()
        with open(gate, "w"):
            pass
        try:
            act(top)
            said = True
        except OSError:
            said = False
        os.unlink(gate)
        for _ in range(20): # what it does behind the answer
            if tenant.daemon.poll() is not None:
                break
            time.sleep(0.01)
        killed = tenant.daemon.poll() is not None
        if killed:
            sh("umount", "-l", tenant.mnt)
        else:
            tenant.unmount()
        if power:
            image.power_cut()
        tenant.mount()
        now = state(top)
        old, new = old + (now == "old"), new + (now == done_state)
        if now not in ("old", done_state) or (said and not power and now != done_state):
            bad.append((step, said, now))
        sh("find", tenant.mnt, "-mindepth", "1", "-delete")
        tenant.unmount()
        if os.listdir(tenant.folder + "/root") != [".dir"] or tenant.trash():
            bad.append((step, "left behind", os.listdir(tenant.folder + "/root"), tenant.trash()))
        if not killed:
            break
    log = tenant.ask("audit", "export", f"{tenant.store}#{os.path.basename(tenant.folder)}", secret=True).splitlines()
    alarms = [r["message"] for r in map(json.loads, log) if r.get("severity_id") == 5]
    report(not bad and not alarms and step > 4 and old > 1 and new > 0,
        f"{NAME}: {image.kind} an empty directory {label} {'and a power cut' if power else 'killed'} at each call of the daemon", f"{step} steps, old {old} new {new} alarms {alarms} {bad}")
    print(f"# {image.kind} {label}: {step - 1} calls, {old} times as it was, {new} times {done_state}", flush=True)
    image.sync()
    with open(image.file, "rb") as f:
        clear = f.read().count(MARK)
    report(clear == 0, f"{NAME}: {image.kind} {label}: no attribute of it is in the clear on the image", clear)


def main():
    rawimage.need_root_and_loops(NAME)
    if not os.path.exists("/dev/fuse"):
        rawimage.skip(NAME, "needs /dev/fuse")
        sys.exit(77)
    acts = (("removed", lambda top: os.rmdir(top + "dir"), "removed"), ("replaced", lambda top: os.rename(top + "other", top + "dir"), "replaced"))
    for kind in rawimage.filesystems():
        for label, act, done_state in acts:
            if (len(sys.argv) > 3 and sys.argv[3] != kind) or (len(sys.argv) > 2 and sys.argv[2] not in label):
                continue
            with Image(kind) as image:
                killed_at_each_call(image, label, act, done_state, power=kind == "xfs")
    return 1 if rawimage.failures else 0


sys.exit(main())
