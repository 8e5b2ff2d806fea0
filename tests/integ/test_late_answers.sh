#!/bin/bash
# tests/run: core timeout=60
# A listing is on its way to the kernel when what it says of a file's size changes, and the kernel drops the file's inode.
# With the writeback cache it would take the old size for ever: data is not seen any more, and an append overwrites it.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
[ -w /proc/sys/vm/drop_caches ] || skip_all "the kernel's caches cannot be dropped here"

late=$build/tests/integ/liblate_answers.so
[ -f "$late" ] || { not_ok "liblate_answers.so was built"; exit 1; }
make_store || exit 1
make_tenant acme --owner root || exit 1
mounting() {
	local -x LD_PRELOAD=$late LATE_ANSWER=$S/late ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
	mount_tenant acme "$M"
}
mounting || { not_ok "mounts"; exit 1; }

cat >"$S/ops.py" <<'E'
import os, subprocess, sys, time

top, flag, what = sys.argv[1:]
path = f"{top}/file"

def forget():
    """Times too must be written, and the close be through, before the inode can go."""
    os.sync()
    for _ in range(5):
        time.sleep(0.1)
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")

def listing():
    open(flag, "w").close()
    p = subprocess.Popen(["ls", top], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while os.path.exists(flag):
        assert time.monotonic() < end, "nobody waits"
        time.sleep(0.01)
    return p

os.mkdir(top)
fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
expected = b"x" * 4800
if what == "unknown":
    # Listed before anybody else looks it up, which then happens under its other name.
    other = f"{top}2"
    os.mkdir(other)
    os.write(fd, b"x" * 10)
    os.close(fd)
    os.link(path, f"{other}/file")
    forget()
    p = listing()
    fd = os.open(f"{other}/file", os.O_WRONLY | os.O_APPEND)
    expected += b"x" * 10
else:
    p = listing()
os.write(fd, b"x" * 4800)
os.close(fd)
forget()
p.wait()
size = os.stat(path).st_size
assert size == len(expected), f"{size} bytes, not {len(expected)}"
with open(path, "rb") as f:
    assert f.read() == expected, "not what was written"
with open(path, "ab") as f:
    f.write(b"y" * 100)
with open(path, "rb") as f:
    assert f.read() == expected + b"y" * 100, "the append went elsewhere"
os.chmod(path, 0o600)
E
check "a listing that comes late does not undo what was written to a known file" \
	timeout 20 /usr/bin/python3 "$S/ops.py" "$M/known" "$S/late" known
check "nor to a file that the kernel came to know only then" \
	timeout 20 /usr/bin/python3 "$S/ops.py" "$M/unknown" "$S/late" unknown
check_same "no alarm, no complaint" "" "$(cat "$S/log-acme")"
check_umount "unmounts" "$M" "$daemon"
check "the log verifies" audit verify acme
