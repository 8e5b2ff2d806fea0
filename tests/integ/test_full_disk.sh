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
# Without a record no access, and the log is on the same disk: but it has a reserve there.
dd if=/dev/zero of="$S/disk/hog" bs=4k 2>/dev/null
check "what was there can be read on a full disk" cmp "$S/precious" "$M/precious"
check "and listed" ls -l "$M"
rm -f "$S/disk/hog"
check "a file can still be deleted" rm "$M/fill"
can_list() { ls -l "$M"; }
check "then everything can be listed" wait_for 30 can_list

# Many removals at once: each needs an entry in the trash, which needs a block now and then.
room() { head -c 40000000 /dev/zero >"$M/room" && rm "$M/room"; }
check "what was deleted is space again" wait_for 30 room
i=0
while head -c 60000 /dev/zero >"$M/many$i" 2>/dev/null && [ $i -lt 2000 ]; do i=$((i + 1)); done
many=$i
names=()
while [ $((i -= 1)) -ge 0 ]; do names+=("$M/many$i"); done
# Somebody takes whatever becomes free, and readers and renamers use up their part of the reserve.
: >"$S/greedy"
while [ -e "$S/greedy" ]; do dd if=/dev/zero bs=4k >>"$S/disk/hog"; done 2>/dev/null &
greedy=$!
our_pids+=("$greedy")
until_full() { # what python does with the path p, until an error; 20000 times at most
	timeout 60 /usr/bin/python3 -c "import os, sys; p = sys.argv[1]
for i in range(20000): $1" "$M/precious"
}
check_errno "readers come to an end of their part of the reserve" ENOSPC until_full 'os.close(os.open(p, os.O_RDONLY))'
check_errno "then nothing new is made" ENOSPC touch "$M/new"
check_errno "renaming comes to an end too" ENOSPC until_full 'os.rename(p, p + "2"); os.rename(p + "2", p)'
[ -e "$M/precious2" ] && lost=precious2 || lost=
check "there are many files ($many)" test "$many" -ge 100
check "many files can be deleted at once while there is no space at all" rm "${names[@]}"
rm "$S/greedy"
wait "$greedy"
rm -f "$S/disk/hog"
[ -z "$lost" ] || mv "$M/precious2" "$M/precious"
check "what was there can be listed and deleted" find "$M" -name 'more*' -delete
# A close may report what failed while the disk was full.
unharmed() { cmp "$S/precious" "$M/precious"; }
check "what was there is unharmed" wait_for 10 unharmed
space() { head -c 5000000 /dev/zero >"$M/again"; }
check "then there is space again" wait_for 30 space
check "and it works again" cmp -n 5000000 /dev/zero "$M/again"
check_umount "unmounts" "$M" "$daemon"
check "the log of it all is whole" audit verify acme
audit export acme >"$S/export"
check "with all removals in it" test "$(grep -c '"activity_name":"Delete".*/many' "$S/export")" -ge "$many"
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
