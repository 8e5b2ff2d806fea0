#!/bin/bash
# tests/run: core timeout=120 clang
# The log of a live mount: written before the open returns, fail closed, verifiable.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<E || exit 1
tenant acme
permit admin: user:root to any on /**
E
L=$STORE/t/acme/audit
segments() { ls "$L" | grep -E '^[0-9]{8}\.seg$'; }
remount() { mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }; }

remount
echo one >"$M/file"
before=$(audit export acme | wc -l)
cat "$M/file" >/dev/null
after=$(audit export acme | wc -l)
check "an open is on the log while the file system is mounted" test "$after" -gt "$before"
# The descriptor goes when the process becomes another program.
closes() { audit export acme | grep '"kind":"close"'; }
before=$(closes | wc -l)
/usr/bin/python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDONLY); os.execv("/usr/bin/sleep", ["sleep", "2"])' "$M/file" &
sleeper=$!
our_pids+=("$sleeper")
one_more() { [ "$(closes | wc -l)" -gt "$before" ]; }
check "a close is on the log while the process lives" wait_for 10 one_more
check_same "and does not say what the process is by now" "" "$(closes | grep -e sleep -e login)"
wait "$sleeper"
# The kernel tells the times of what a name comes to or leaves, as if that user had asked for it.
echo two >"$M/other"
mkdir "$M/dir"
before=$(audit export acme | wc -l)
/usr/bin/python3 - "$M" <<'E'
import os, sys
os.chdir(sys.argv[1])
for turn in range(5):
    os.rename("other", "renamed")
    os.rename("renamed", "dir/renamed")
    os.rename("dir/renamed", "other")
    os.link("other", "linked")
    os.unlink("linked")
    os.rename("dir", "dir2")
    os.rename("dir2", "dir")
os.unlink("other")
E
audit export acme | tail -n "+$((before + 1))" >"$S/names"
check_same "what changes names is on the log once, and nothing else" "$(printf '%s\n' link:5 rename:25 unlink:6)" \
	"$(grep -o '"operation":"[a-z]*"' "$S/names" | sort | uniq -c | awk '{gsub(/.*:"|"/, "", $2); print $2 ":" $1}')"
check "a verifier finds the live log intact or not yet ended" bash -c '"$@"; s=$?; [ $s = 0 ] || [ $s = 2 ]' _ \
	tenantctl audit verify "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)"
if command -v strace >/dev/null; then
	strace -f -y -qq -s 8 -e trace=write,pwrite64,pwritev,writev -o "$S/trace" -p "$daemon" >/dev/null 2>&1 &
	tracer=$!
	our_pids+=("$tracer")
	wait_for 5 grep -q "TracerPid:[[:space:]]*$tracer" "/proc/$daemon/status"
	cat "$M/file" >/dev/null
	kill "$tracer" && wait "$tracer" 2>/dev/null
	# 32 bytes: the reply to an open.
	order=$(awk '/write.*audit\/[0-9]+\.seg>/ {printf "L"} /write.*<\/dev\/fuse>.* = 32$/ {printf "r"}' "$S/trace")
	check "seen by strace: the record is written before the reply ($order)" grep -q '^Lr' <<<"$order"
else
	skip "seen by strace: the record is written before the reply" "strace is not installed"
fi
# utimensat(2) can say the same.
echo three >"$M/other"
lower=$(find "$STORE/t/acme" -inum "$(stat -c %i "$M/other")")
modified=$(stat -c %y "$M/other")
sleep 2 # until what was written is in its place, which moves the lower file's change time
utimens() { audit export acme | grep -c '"operation":"utim'; }
before="$(utimens) $(stat -c %z "$lower")"
touch -c -m -d "$modified" "$M/other"
check_same "a time that a file has already is not set once more" "$before" "$(utimens) $(stat -c %z "$lower")"
before=$(utimens)
touch -c -m -d "2020-01-02" "$M/other"
check_same "another one is, and is on the log" "$((before + 1))" "$(utimens)"
rm "$M/other"
umount_tenant "$M" "$daemon"
audit verify acme >"$S/out" 2>&1
check_same "verify after an orderly end: 0" 0 $?

# Fail closed.
closed() { # name: after this nothing opens any more
	check_errno "$1: an open gets EIO" EIO cat "$M/file"
	check_errno "$1: a create gets EIO" EIO touch "$M/new-$RANDOM"
	check_errno "$1: and it stays so" EIO cat "$M/file"
	umount "$M"
	wait_for 20 process_ended "$daemon"
}
live() { segments | tail -n 1; }
cp -a "$L" "$S/log-good"
restore() { rm -rf "$L" && cp -a "$S/log-good" "$L"; }

remount
rm "$L/$(live)"
closed "the live segment deleted"
audit verify acme >"$S/out" 2>&1
check "verify afterwards is not 0" test $? -ne 0
restore
# What was written before comes to the disk all the same, with its time.
remount
check "what was written when the log fails can be flushed" /usr/bin/python3 - "$M/file" "$L/$(live)" "$S/told" <<'E'
import os, sys
path, segment, told = sys.argv[1:]
fd = os.open(path, os.O_RDWR)
os.pwrite(fd, b"late", 0)
with open(told, "w") as f:
    print(os.fstat(fd).st_mtime_ns, file=f)
os.unlink(segment)
try:
    os.open(path, os.O_RDONLY)
    sys.exit("an open was still allowed")
except OSError:
    pass
os.fsync(fd)
os.close(fd)
E
closed "flushed"
restore
remount
check_same "and it is there afterwards, with its time" "late $(cat "$S/told")" "$(head -c 4 "$M/file") $(date -r "$M/file" +%s%N)"
mv "$L/$(live)" "$L/moved"
closed "the live segment renamed"
restore
remount
s=$(live)
mv "$L/$s" "$L/moved" && cp "$L/moved" "$L/$s"
closed "the live segment replaced by a copy"
restore
remount
ln "$L/$(live)" "$L/second"
closed "a second link to the live segment"
restore

# verify: 0 intact, 1 broken, 2 unclean end.
remount
echo two >"$M/file2"
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null
umount "$M"
audit verify acme >"$S/out" 2>&1
check_same "verify after SIGKILL: 2, unclean end" 2 $?
remount
echo three >"$M/file3"
umount_tenant "$M" "$daemon"
audit verify acme >"$S/out" 2>&1
check "verify after the next mount: the unclean end was signed for" test $? -ne 1
cp -a "$L" "$S/log-later"
broken() { # name command...: damages and restores
	local name=$1
	shift
	"$@"
	audit verify acme >"$S/out" 2>&1
	check_same "verify: 1, $name" 1 $?
	rm -rf "$L" && cp -a "$S/log-later" "$L"
}
flip_at() { printf '\xff' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
one=$L/$(segments | head -n 1)
size=$(stat -c %s "$one")
broken "a changed byte in the middle" flip_at "$one" $((size / 2))
broken "a changed byte in the header" flip_at "$one" 40
broken "a segment cut off" truncate -s $((size - 100)) "$one"
broken "a segment removed" rm "$L/$(segments | sed -n 2p)"
broken "the first segment removed" rm "$one"
swap() { mv "$1" "$S/x" && mv "$2" "$1" && mv "$S/x" "$2"; }
broken "two segments swapped" swap "$one" "$L/$(segments | sed -n 2p)"
audit verify acme >"$S/out" 2>&1
check "verify: what was put back is not broken" test $? -ne 1
audit export acme >"$S/ocsf" && check "export is JSON Lines of OCSF" /usr/bin/python3 - "$S/ocsf" <<'E'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
files = [r for r in rows if r["class_uid"] == 1001]
assert files
for r in rows:
    assert r["type_uid"] == r["class_uid"] * 100 + r["activity_id"], r
    assert r["metadata"]["version"].startswith("1."), r["metadata"]
    assert isinstance(r["time"], int) and isinstance(r["metadata"]["sequence"], int)
for r in files:
    assert "file" in r and "actor" in r, r
E
