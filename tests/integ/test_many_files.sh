#!/bin/bash
# tests/run: slow timeout=900 once
# Many files: what the daemon keeps for each that the kernel knows, and that it goes back when the kernel drops it. Create,
# walk, remount, walk. MANY_FILES=n: so many (50,000). Drops the machine's names and inodes, as drop_caches does.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
case ${TENANTFS_VARIANT:-} in asan | tsan) skip_all "a sanitizer's own memory is all that would be measured" ;; esac
[ -w /proc/sys/vm/drop_caches ] || skip_all "may not drop the kernel's caches"
files=${MANY_FILES:-50000}
PER_INODE=300                 # bytes
STAYS=6144                    # kB that may be left of all of them
ops=$repo/tests/integ/scale_ops.py

resident() { awk '$1 == "Anonymous:" {print $2}' "/proc/$daemon/smaps_rollup"; } # kB; the pages of programs and libraries aside
below() { [ "$(resident)" -le "$1" ]; }
settled() { wait_for 40 below "$1" || { echo "$(resident) kB, more than $1"; return 1; }; }
dropped() { # kB: what may stay
	sync
	for _ in 1 2 3; do echo 2 >/proc/sys/vm/drop_caches; done
	settled "$1"
}
costs() { # the walk that has just been: bytes an inode
	local bytes=$((($(resident) - started) * 1024 / files))
	echo "# $1: $bytes bytes an inode, $(resident) kB of its own, $started at the start"
	check "$1: at most $PER_INODE bytes for each inode that the kernel knows" test "$bytes" -le $PER_INODE
}
walked() {
	local begun=$SECONDS
	check "$1: all are there" timeout 3000 "$ops" walk "$M/tree" "$files"
	echo "# $1: $((SECONDS - begun)) s"
}

make_store || exit 1
make_tenant acme --owner root --journal-size 16M || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
started=$(resident)
begun=$SECONDS
check "$files files are made" timeout 3000 "$ops" create "$M/tree" "$files" 0
echo "# made: $((SECONDS - begun)) s, $(resident) kB"
walked "after making them"
check "dropped by the kernel, they leave little" dropped $((started + STAYS))
echo "# dropped: $(resident) kB"
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
sleep 1
started=$(resident)
walked "after a remount"
costs "after a remount"
check "and leave little again" dropped $((started + STAYS))
echo "# dropped: $(resident) kB"
walked "once more"
costs "once more"
check "however often" dropped $((started + STAYS))
echo "# dropped: $(resident) kB"
check_umount "unmounts again" "$M" "$daemon"
