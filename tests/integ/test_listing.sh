#!/bin/bash
# tests/run: slow timeout=120
# What a listing asks of the store: attributes cost three times what a name does.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
command -v strace >/dev/null || { skip "a listing" "strace is not installed"; exit 0; }

make_store || exit 1
make_tenant acme --owner root || exit 1
remount() { mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }; }
# How many attributes the daemon reads while the command runs.
reads() {
	strace -f -qq -e trace=newfstatat,statx -o "$S/trace" -p "$daemon" >/dev/null 2>&1 &
	local tracer=$!
	our_pids+=("$tracer")
	wait_for 5 grep -q "TracerPid:[[:space:]]*$tracer" "/proc/$daemon/status"
	"$@" >"$S/out"
	kill "$tracer" && wait "$tracer" 2>/dev/null
	grep -c 'AT_SYMLINK_NOFOLLOW) = 0' "$S/trace"
}

remount
mkdir "$M/large" "$M/small"
/usr/bin/python3 - "$M" <<'E'
import os, sys
for folder, count in (("large", 8000), ("small", 1000)):
    for number in range(count):
        with open(f"{sys.argv[1]}/{folder}/{number}", "w") as f:
            f.write("x" * (number % 50))
E
umount_tenant "$M" "$daemon"
# Another test may have the kernel drop what it knows: as often as five times.
remount
names=$(reads /usr/bin/python3 -c 'import os, sys; print(len(os.listdir(sys.argv[1])))' "$M/large")
check_same "a large directory is listed whole" 8000 "$(cat "$S/out")"
check "and costs attributes of its beginning alone ($names)" test "$names" -lt 3000
for _ in 1 2 3 4 5; do
	again=$(reads /usr/bin/python3 -c 'import os, sys; print(len(os.listdir(sys.argv[1])))' "$M/large")
	[ "$again" -ge 100 ] || break
done
check "what the kernel knows is asked for no second time ($again)" test "$again" -lt 100
umount_tenant "$M" "$daemon"
# Who looks at each name as it comes is listed attributes again and again: few names are looked up one by one.
lookups() {
	strace -f -qq -e trace=read -e read=all -o "$S/trace" -p "$daemon" >/dev/null 2>&1 &
	local tracer=$!
	our_pids+=("$tracer")
	wait_for 5 grep -q "TracerPid:[[:space:]]*$tracer" "/proc/$daemon/status"
	"$@" >"$S/out"
	kill "$tracer" && wait "$tracer" 2>/dev/null
	# A request says at its fifth byte what it asks for: 1 is LOOKUP.
	grep -cE '\| 00000  .. .. .. .. 01 00 00 00 ' "$S/trace"
}
remount
looked=$(lookups /usr/bin/python3 -c 'import os, sys
print(sum(os.lstat(e.path).st_size >= 0 for e in os.scandir(sys.argv[1])))' "$M/large")
check_same "a large directory is looked at whole" 8000 "$(cat "$S/out")"
check "and few of its names are looked up one by one ($looked)" test "$looked" -lt 2000
umount_tenant "$M" "$daemon"
remount
check_same "with its attributes each file has its size" 0 \
	"$(ls -l "$M/large" | awk 'NR > 1 && $5 != $9 % 50' | wc -l)"
umount_tenant "$M" "$daemon"
mount_tenant acme "$M" no_allow_other || { not_ok "mounts"; exit 1; }
for _ in 1 2 3 4 5; do
	reads /usr/bin/python3 -c 'import os, sys; print(len(os.listdir(sys.argv[1])))' "$M/small" >/dev/null
	after=$(reads /usr/bin/python3 -c 'import os, sys
print(sum(os.lstat(f"{sys.argv[1]}/{n}").st_size == n % 50 for n in range(1000)))' "$M/small")
	[ "$after" -ge 500 ] || break
done
check_same "a small directory is listed with all of them" 1000 "$(cat "$S/out")"
check "so that its files are not looked up ($after)" test "$after" -lt 500
umount_tenant "$M" "$daemon"
