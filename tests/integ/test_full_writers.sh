#!/bin/bash
# tests/run: core timeout=240 alone
# Writers on a full disk, of two users, on ext4 and xfs, and over a quota: no block is cut, nothing acknowledged is lost, journal and log stay whole,
# everything can be deleted, and it all goes on when space comes back. Not every kernel has quotas: lower_faults.c plays one, for the daemon alone.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
faults=$build/tests/integ/liblower_faults.so
[ -f "$faults" ] || { not_ok "liblower_faults.so was built"; exit 1; }
mounting() {
	local -x LD_PRELOAD=$faults LOWER_FAULTS=$S/faults ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
	mount_tenant acme "$M"
}
ops() { # name verb
	WHAT=$1 timeout 200 /usr/bin/python3 "$(dirname "$0")/full_ops.py" "$M" "$S/state-$kind" "$2" ${SEED:+"$SEED"} || failures=$((failures + 1))
}
fsck() { tenantctl fsck "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" "$@"; }
erased() { tenantctl status "$STORE#acme" --json | /usr/bin/python3 -c 'import json, sys; e = json.load(sys.stdin)["erase"]; assert e["files"] == 0 and e["failed_files"] == 0, e'; }
empty() { [ -z "$(ls "$M")" ]; }
for kind in ext4 xfs quota; do
	loop_fs "disk-$kind" 320M ${kind/quota/ext4} || exit 1
	STORE=$S/disk-$kind/store
	make_store || exit 1
	make_tenant acme --owner root || exit 1
	apply_policy acme >/dev/null <<-E || exit 1
		tenant acme
		permit all: user:root user:#$user1 to any on /**
	E
	mounting || { not_ok "$kind: mounts"; exit 1; }
	ops $kind make
	hog=$S/disk-$kind/hog
	if [ $kind = quota ]; then
		echo "quota 122" >"$S/faults"
		check_errno "quota: nothing new can be made" EDQUOT mkdir "$M/new"
	else
		# All but nothing is taken, by somebody beside the store who takes whatever becomes free, too.
		fallocate -l "$(($(df --output=avail -B1 "$S/disk-$kind" | tail -1) - 3000000))" "$hog"
		dd if=/dev/zero bs=4k >>"$hog" 2>/dev/null
		: >"$S/greedy"
		while [ -e "$S/greedy" ]; do dd if=/dev/zero bs=4k 2>/dev/null; sleep 0.05; done >>"$hog" 2>/dev/null &
		greedy=$!
		our_pids+=("$greedy")
	fi
	ops "$kind, full" fill
	ops "$kind, full" check
	check "$kind: an ordinary user can list on it" as $user1 ls -l "$M/user$user1"
	[ $kind = quota ] || { rm "$S/greedy" && wait "$greedy"; }
	tenantctl status "$STORE#acme" >"$S/status"
	check_not "$kind: the mount is not read-only for it" grep -q READ-ONLY "$S/status"
	check "$kind: the log is not broken for it" grep -qE '^log: +[0-9]+ records$' "$S/status"
	check_umount "$kind: unmounts on a full disk" "$M" "$daemon"
	fsck >"$S/fsck" 2>&1
	status=$?
	check "$kind: fsck finds nothing there" test $status = 0 || sed 's/^/  /' "$S/fsck" | head -n 20
	# The log gives blocks back at its end to have them again: lower_faults.c does not know of that.
	rm -f "$S/faults"
	mounting || { not_ok "$kind: mounts again"; sed 's/^/  /' "$S/log-acme"; exit 1; }
	ops "$kind, full, mounted anew" check
	[ $kind != quota ] || echo "quota 122" >"$S/faults"
	# Everything goes, while there is no space at all, each user's own by himself.
	check "$kind: the ordinary user can delete all that is his" as $user1 find "$M/user$user1" -mindepth 1 -delete
	check "$kind: root the rest" rm -r "$M/user0" "$M/user$user1"
	check "$kind: and then nothing is left" empty
	check "$kind: what was deleted is erased" wait_for 20 erased
	rm -f "$hog" "$S/faults"
	room() { head -c 20000000 /dev/zero | tr '\0' x >"$M/room" && sync "$M/room" && [ "$(tr -d x <"$M/room" | wc -c)" = 0 ]; }
	check "$kind: there is space again" wait_for 20 room
	ops "$kind, again" make
	ops "$kind, again" check
	check_umount "$kind: unmounts" "$M" "$daemon"
	check "$kind: the log of it all is whole" audit verify acme
	check "$kind: fsck finds nothing" fsck
	umount "$S/disk-$kind"
done
