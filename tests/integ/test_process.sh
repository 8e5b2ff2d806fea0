#!/bin/bash
# tests/run: core timeout=60
# The running process: no dumps, locked memory, no inheritable descriptors, no secrets where others can look.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
phrase=$(cat "$(passphrase acme)")
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
echo data >"$M/file"
p=/proc/$daemon
check_same "core dumps are off" "0 0" "$(awk '/^Max core file size/ {print $5, $6}' "$p/limits")"
locked=$(awk '/^VmLck/ {print $2}' "$p/status")
sanitized=
[ "${TENANTFS_VARIANT:-}" = asan ] && sanitized="the address sanitizer locks no memory and keeps what was freed"
[ "${TENANTFS_VARIANT:-}" = tsan ] && sanitized="the thread sanitizer locks no memory and has terabytes of its own"
if [ -n "$sanitized" ]; then skip "memory is locked" "$sanitized"
else check "memory is locked (VmLck ${locked:-0} kB)" test "${locked:-0}" -gt 0; fi
check_same "it runs without a traced parent" 0 "$(awk '/^TracerPid/ {print $2}' "$p/status")"
# PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE (linux/sched.h): who waits for memory must not wait for a write through us.
without=$(cat "$p"/task/*/stat | sed 's/.*) //' | while read -r _ _ _ _ _ _ flags _; do [ $((flags & 0x180000)) = $((0x180000)) ] || echo no; done)
if /usr/bin/python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).prctl(57, 1, 0, 0, 0) != 0)'; then
	check_same "its threads do not wait for themselves when memory is short (PR_SET_IO_FLUSHER)" "" "$without"
else skip "its threads do not wait for themselves when memory is short" "no CAP_SYS_RESOURCE here"; fi
# What no other process of the machine may see: not dumpable processes belong to root in /proc, and no uid may trace.
U=$S/user
mkdir -m 755 "$U" && chown "$user1:$user1" "$U"
(umask 077 && echo pass >"$U/pass") && chown "$user1:$user1" "$U/pass"
dumpable() { # as an ordinary user tenantkey waits for its passphrase: who owns its /proc entry?
	as "$user1" tenantkey init -q "$U/store" || return 1
	mkfifo "$U/fifo" && chmod 666 "$U/fifo"
	setpriv --reuid="$user1" --regid="$user1" --clear-groups -- tenantkey create -q "$U/store#own" --keys "$U/keys" \
		"${cheap[@]}" "${small[@]}" --new-passphrase-fd 3 3<>"$U/fifo" >/dev/null 2>&1 &
	local child=$!
	our_pids+=("$child")
	wait_for 5 process_is "$child" tenantkey || return 1
	sleep 0.3
	local owner readable
	owner=$(stat -c %u "/proc/$child/mem")
	as "$user1" cat "/proc/$child/environ" >/dev/null 2>&1 && readable=yes
	echo "a passphrase" >"$U/fifo"
	wait_for 10 process_ended "$child" || kill -9 "$child"
	echo "owner of /proc/PID/mem: $owner; environ can be read: ${readable:-no}"
	[ "$owner" = 0 ] && [ -z "${readable:-}" ]
}
process_is() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ]; }
check "a process of an ordinary user is not dumpable, so not even he can look inside" dumpable
flags_of() {
	local f
	for f in "$p"/fdinfo/*; do
		local n=${f##*/} flags target
		flags=$(awk '/^flags/ {print $2}' "$f" 2>/dev/null) || continue
		[ -n "$flags" ] || continue
		[ "$n" -gt 2 ] || continue
		target=$(readlink "$p/fd/$n")
		[ $((flags & 02000000)) -ne 0 ] || echo "$n -> $target"
	done
}
check_same "every descriptor is O_CLOEXEC" "" "$(flags_of)"
check_not "the passphrase is not on the command line" grep -aqF "$phrase" "$p/cmdline"
check_not "nor in the environment" grep -aqF "$phrase" "$p/environ"
check "the process does not keep the passphrase file open" bash -c "! ls -l $p/fd | grep -q '$(passphrase acme)'"
check_not "a passphrase in the environment is not taken" env PASSPHRASE="$phrase" TENANTFS_PASSPHRASE="$phrase" \
	setsid -w tenantkey rotate "$STORE#acme" --keys "$K" </dev/null
check_not "a passphrase on the command line is not taken" tenantkey rotate "$STORE#acme" --keys "$K" --passphrase "$phrase"
# /proc/PID/mem as root: the passphrase was wiped after use.
cat >"$S/search.py" <<'E'
import sys
pid, needle = sys.argv[1], sys.argv[2].encode()
seen = 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
    for line in maps:
        span, rights = line.split()[:2]
        if "r" not in rights or "[v" in line:
            continue
        a, b = (int(x, 16) for x in span.split("-"))
        try:
            mem.seek(a)
            data = mem.read(b - a)
        except (OSError, ValueError):
            continue
        seen += len(data)
        if needle in data:
            sys.exit(f"found in {line.strip()}")
sys.exit(0 if seen > 100000 else "there was nothing to search")
E
if [ -n "$sanitized" ]; then
	skip "the passphrase is nowhere in the memory of the running process" "$sanitized"
else
	check "the passphrase is nowhere in the memory of the running process" /usr/bin/python3 "$S/search.py" "$daemon" "$phrase"
fi
check_umount "unmounts" "$M" "$daemon"
