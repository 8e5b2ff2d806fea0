#!/bin/bash
# tests/run: core timeout=60
# A listing is on its way to the kernel when what it says of a file's size changes, and the kernel drops the file's inode.
# With the writeback cache it would take the old size for ever: data is not seen any more, and an append overwrites it.
# And an answer is given when a new policy comes, and taken by its caller only afterwards.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
[ -w /proc/sys/vm/drop_caches ] || skip_all "the kernel's caches cannot be dropped here"

late=$build/tests/integ/liblate_answers.so
[ -f "$late" ] || { not_ok "liblate_answers.so was built"; exit 1; }
make_store || exit 1
make_tenant acme --owner root || exit 1
mounting() {
	local -x LD_PRELOAD=$late LATE_ANSWER=$S/late LATE_ENTRY=$S/entry ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
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
# Its caller is kept from the processor, and so from taking the answer, until the policy is another; tenantfs has the other processor.
cat >"$S/hog.py" <<'H'
import os, sys, time
while os.path.exists(sys.argv[1]):
    time.sleep(0.005)
end = time.monotonic() + 0.9
while time.monotonic() < end:
    pass
H
now() { date +%s%N | cut -c 1-13; }
policy() { taskset -c 1 tenantctl policy apply "$STORE#acme" "$1" --keys "$K" --passphrase-file "$(passphrase acme)" >/dev/null || not_ok "applies"; }
taken_late() {
	local hog caller applied
	printf '%s\n' "tenant acme" "permit admin: user:root to any on /**" "permit first: user:#$user1 to any on /area/**" >"$S/before"
	printf '%s\n' "tenant acme" "permit admin: user:root to any on /**" "permit first: user:#$user2 to read on /area/deep/**" >"$S/after"
	chmod 755 "$M"
	mkdir -m 755 "$M/area"
	echo 1 >"$M/area/f"
	policy "$S/before"
	umount_tenant "$M" "$daemon"
	mounting || { not_ok "mounts"; exit 1; }
	taskset -apc 1 "$daemon" >/dev/null
	cd "$M/area" || exit 1
	touch "$S/entry"
	taskset -c 0 chrt -f 1 /usr/bin/python3 "$S/hog.py" "$S/entry" &
	hog=$!
	our_pids+=("$hog")
	sleep 0.5
	{
		taskset -c 0 stat f >/dev/null
		now >"$S/taken"
	} &
	caller=$!
	sleep 0.3
	policy "$S/after"
	applied=$(now)
	wait "$caller" "$hog"
	if [ "$applied" -lt "$(cat "$S/taken")" ]; then
		sleep 1.2
		check_errno "an answer that is taken after the policy it was given under is forgotten" ENOENT as "$user2" stat f
	else
		skip "an answer that is taken after the policy it was given under" "the caller was not kept from it"
	fi
	check "whose directory may be passed" as "$user2" stat "$M/area"
	cd / || exit 1
}
if [ "$(nproc)" -ge 2 ] && taskset -c 0 chrt -f 1 true; then
	taken_late
else
	skip "an answer that is taken after the policy it was given under" "needs two processors and real time"
fi
check_same "no alarm, no complaint" "" "$(cat "$S/log-acme")"
check_umount "unmounts" "$M" "$daemon"
check "the log verifies" audit verify acme
