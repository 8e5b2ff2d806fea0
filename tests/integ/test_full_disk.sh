#!/bin/bash
# tests/run: core timeout=120 alone
# A full disk: the application gets ENOSPC, nothing is lost, everything can be deleted, and it works again.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse

loop_fs disk 96M ext4 || exit 1
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
head -c 3000000 /dev/urandom >"$S/precious"
cp "$S/precious" "$M/precious"
check_errno "filling it ends in ENOSPC" ENOSPC dd if=/dev/zero of="$M/fill" bs=64k count=1600 conv=fsync
i=0
while cp "$S/precious" "$M/more$i" 2>/dev/null; do i=$((i + 1)); done
for n in a b c d; do echo small >"$M/small-$n" 2>/dev/null; done
# Without a record no access, and the log is on the same disk: but removals have a reserve.
check "a file can still be deleted" rm "$M/fill"
can_list() { ls -l "$M"; }
check "then everything can be listed" wait_for 30 can_list

# Many removals at once: each needs an entry in the trash, which needs a block now and then.
i=0
while head -c 60000 /dev/zero >"$M/many$i" 2>/dev/null && [ $i -lt 2000 ]; do i=$((i + 1)); done
dd if=/dev/zero of="$S/disk/hog" bs=4k 2>/dev/null
check "many files can be deleted at once while there is no space at all" rm -f "$M"/many*
rm -f "$S/disk/hog"
check "and deleted" find "$M" -name 'more*' -delete
check "what was there is unharmed" cmp "$S/precious" "$M/precious"
space() { head -c 5000000 /dev/zero >"$M/again"; }
check "then there is space again" wait_for 30 space
check "and it works again" cmp -n 5000000 /dev/zero "$M/again"
check_umount "unmounts" "$M" "$daemon"
# Full from outside while unmounted.
dd if=/dev/zero of="$S/disk/hog" bs=64k 2>/dev/null
if mount_tenant acme "$M" >"$S/out" 2>&1; then
	ok "it mounts on a full disk"
	check "and can be read" cmp "$S/precious" "$M/precious"
	check "and emptied" rm "$M/again" "$M/precious"
	check_umount "and unmounts" "$M" "$daemon"
else
	wait "$daemon"
	check_same "mounting on a full disk says so" 11 $?
	sed 's/^/  /' "$S/out"
fi
rm "$S/disk/hog"
mount_tenant acme "$M" || { not_ok "mounts when there is space"; exit 1; }
check "it works when there is space" space
umount_tenant "$M" "$daemon"
