#!/bin/bash
# tests/run: slow timeout=600 once
# Content goes through the mount while daemon and writers together have 96 MiB, the kernel's pages of both sides of the mount
# among it: no deadlock, nothing killed, every byte there. SHORT_MEGABYTES=n: so much in all (512). The limit is a memory
# cgroup's, version 2 or 1, whichever this machine has.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
case ${TENANTFS_VARIANT:-} in asan | tsan) skip_all "a sanitizer needs more memory than there is here" ;; esac
total=${SHORT_MEGABYTES:-512}
limit=${SHORT_LIMIT:-96} # MiB
round=$((total < 2048 ? total / 2 : 1024))

# $group: a folder of the memory controller, its limit set, and what it counts.
make_group() {
	local v1 v2
	v2=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/self/mounts)
	v1=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ {print $2; exit}' /proc/self/mounts)
	if [ -n "$v2" ] && grep -qw memory "$v2/cgroup.controllers" 2>/dev/null; then
		echo +memory >"$v2/cgroup.subtree_control" 2>/dev/null
		group=$v2/tenantfs-short-$$
		mkdir "$group" 2>/dev/null && echo "${limit}M" >"$group/memory.max" 2>/dev/null || return 1
		[ ! -e "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
		taken_back() { awk '$1 == "pgsteal" {print $2}' "$group/memory.stat"; }
		killed() { awk '$1 == "oom_kill" {print $2}' "$group/memory.events"; }
	elif [ -n "$v1" ]; then
		group=$v1/tenantfs-short-$$
		mkdir "$group" 2>/dev/null && echo "${limit}M" >"$group/memory.limit_in_bytes" 2>/dev/null || return 1
		[ ! -e "$group/memory.memsw.limit_in_bytes" ] || echo "${limit}M" >"$group/memory.memsw.limit_in_bytes" 2>/dev/null
		taken_back() { awk '$1 == "pgpgout" {print $2}' "$group/memory.stat"; }
		killed() { awk '$1 == "oom_kill" {print $2}' "$group/memory.oom_control"; }
	else
		return 1
	fi
}
group=
remove_group() {
	cd / # whoever is still in it ends with the test
	[ -z "$group" ] || wait_for 10 rmdir "$group"
}
end() {
	local status=$?
	(exit $status)
	trap - EXIT
	[ -z "$daemon" ] || umount "$M" 2>/dev/null
	remove_group
	[ $status -eq 0 ] || failures=$((failures + 1))
	finish
}
daemon=
make_group || { group=; skip_all "no memory cgroup can be made here"; }
trap end EXIT

within() { bash -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' within "$group" "$@"; }
ops=$repo/tests/integ/short_ops.py

make_store || exit 1
make_tenant acme --owner root --journal-size 16M || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
echo "$daemon" >"$group/cgroup.procs" || { not_ok "the daemon is in the group"; exit 1; }

# Two at once, one by write(2), one through a map; then both are read, at once, too.
done_mib=0 wrong=0 seed=1
begun=$SECONDS
while [ $done_mib -lt "$total" ] && [ $wrong -eq 0 ]; do
	half=$((round / 2))
	within timeout 1800 "$ops" write "$M/a$seed" $half $seed >"$S/a" 2>"$S/a.err" &
	a=$!
	within timeout 1800 "$ops" map "$M/b$seed" $half $((seed + 1000)) >"$S/b" 2>"$S/b.err" &
	b=$!
	wait $a || { not_ok "write: status $? $(tail -n 1 "$S/a.err")"; wrong=1; }
	wait $b || { not_ok "map: status $? $(tail -n 1 "$S/b.err")"; wrong=1; }
	within timeout 1800 "$ops" read "$M/a$seed" >"$S/ra" 2>&1 &
	a=$!
	within timeout 1800 "$ops" read "$M/b$seed" >"$S/rb" 2>&1 &
	wait $a $! || wrong=1
	cmp "$S/a" "$S/ra" || wrong=1
	cmp "$S/b" "$S/rb" || wrong=1
	[ -s "$S/a" ] && [ -s "$S/b" ] || wrong=1
	rm -f "$M/a$seed" "$M/b$seed"
	done_mib=$((done_mib + round)) seed=$((seed + 1))
done
check "$total MiB are written and read in $limit MiB of memory, by write(2) and through maps" test $wrong -eq 0
echo "# $done_mib MiB written and read: $((SECONDS - begun)) s, the kernel took back $(($(taken_back) / 256)) MiB of their pages"
check "memory was short all the time" test "$(taken_back)" -gt $((total * 256))
check_same "nobody was killed for want of it" 0 "$(killed)"
check "the daemon had few of these pages: below 48 MiB resident" test "$(awk '/^VmHWM/ {print $2}' "/proc/$daemon/status")" -lt 49152
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
check_umount "unmounts again" "$M" "$daemon"
daemon=
check "fsck finds nothing" tenantctl fsck "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" --no-progress
