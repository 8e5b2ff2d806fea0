#!/bin/bash
# tests/run: core timeout=180
# The disk fails to write what is flushed: from then on the mount is read-only and says so, until it is mounted anew; what was synced is there then.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
faults=$build/tests/integ/liblower_faults.so
[ -f "$faults" ] || { not_ok "liblower_faults.so was built"; exit 1; }
sentence='failed \(Input/output error\): this mount is read-only now, and what was not synced before may be lost; see .* unmount, run tenantctl fsck'

mounting() {
	local -x LD_PRELOAD=$faults LOWER_FAULTS=$S/faults ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
	mount_tenant acme "$M"
}
fsck() { tenantctl fsck "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" "$@"; }
new_store() { # disk kind
	loop_fs "$1" 320M "$2" || exit 1
	STORE=$S/$1/store
	make_store || exit 1
	make_tenant acme --owner root || exit 1
	apply_policy acme >/dev/null <<-E || exit 1
		tenant acme
		permit all: user:root user:#$user1 to any on /**
	E
}
# The log on a disk of its own: a mount in the tenant's folder.
log_elsewhere() {
	mkdir "$S/log-$1" && cp -a "$STORE/t/acme/audit/." "$S/log-$1" && mount --bind "$S/log-$1" "$STORE/t/acme/audit" || exit 1
	our_mountpoints+=("$STORE/t/acme/audit")
}
says_so() { # name
	check "$1: the message is in the system log" grep -qE "Disk trouble: .*$sentence" "$S/log-acme"
	check_same "$1: once" 1 "$(grep -c 'Disk trouble' "$S/log-acme")"
	tenantctl status "$STORE#acme" >"$S/status"
	check "$1: status says so" grep -qE 'READ-ONLY: .+ failed \(Input/output error\); what was not synced before may be lost' "$S/status"
	tenantctl status "$STORE#acme" --json >"$S/status.json"
	check "$1: status --json says so" /usr/bin/python3 -c 'import json, sys; s = json.load(open(sys.argv[1]))["store"]
assert s["read_only"] is True and s["failed"] and s["why"] == "Input/output error", s' "$S/status.json"
}
on_log() { # name
	audit export acme >"$S/export"
	check_same "$1: it is on the audit log, once" 1 "$(grep -cE "$sentence" "$S/export")"
}
kept() { # name
	local u n
	for u in 0 $user1; do
		for n in file other victim target; do
			cmp -s <(/usr/bin/python3 -c 'import sys; sys.stdout.buffer.write(bytes(i * 7 % 251 for i in range(65536)))') "$M/user$u/$n" || { not_ok "$1: user$u/$n"; return; }
		done
		[ "$(cat "$M/user$u/folder/inside" "$M/user$u/link" | head -c 6)" = inside ] && [ -d "$M/user$u/empty" ] && [ ! -e "$M/user$u/new" ] || { not_ok "$1: user$u"; return; }
	done
	ok "$1"
}
session() { # name reads|dies trouble...
	local name=$1
	shift
	WHAT=$name timeout 120 /usr/bin/python3 "$(dirname "$0")/trouble_ops.py" "$M" "$2" "$1" "${@:3}" || failures=$((failures + 1))
}

for kind in ext4 xfs; do
	name="$kind gone"
	: >"$S/log-acme"
	new_store "dead-$kind" $kind
	# On ext4 with its log on the disk that goes: then nothing can be read, either.
	[ $kind = ext4 ] || log_elsewhere $kind
	mounting || { not_ok "$name: mounts"; exit 1; }
	session "$name" dies shutdown "$S/dead-$kind"
	says_so "$name"
	check_umount "$name: unmounts" "$M" "$daemon"
	[ $kind = ext4 ] || umount "$STORE/t/acme/audit"
	umount "$S/dead-$kind" && mount -o nodiscard "${our_loops[-1]}" "$S/dead-$kind" || exit 1
	[ $kind = ext4 ] || mount --bind "$S/log-$kind" "$STORE/t/acme/audit"
	fsck --repair >"$S/fsck" 2>&1
	check "$name: fsck finds nothing that it cannot put right" test $? -le 1
	check "$name: the next fsck is clean" fsck
	mounting || { not_ok "$name: mounts again"; exit 1; }
	kept "$name: what was synced is there"
	check "$name: it can be written again" cp "$S/fsck" "$M/again"
	check_umount "$name: unmounts again" "$M" "$daemon"
	[ $kind = ext4 ] || on_log "$name"
done

# One flush fails, then the disk works again as if nothing had been.
name="one flush"
: >"$S/log-acme"
new_store soft ext4
mounting || { not_ok "$name: mounts"; exit 1; }
session "$name" reads fsync "$S/faults" "fsync 5 /root/"
says_so "$name"
check_umount "$name: unmounts" "$M" "$daemon"
on_log "$name"
check "$name: the log is whole" audit verify acme
mounting || { not_ok "$name: mounts again"; exit 1; }
kept "$name: what was synced is there"
tenantctl status "$STORE#acme" >"$S/status"
check_not "$name: status says nothing then" grep -q READ-ONLY "$S/status"
check "$name: it can be written again" cp "$S/status" "$M/again"

# A folder's flush: by whoever asks for it, and by what erases.
name="a folder's flush"
: >"$S/log-acme"
echo "fsync 5 /root" >"$S/faults"
check_errno "$name: is EIO" EIO sync "$M"
rm "$S/faults"
check_errno "$name: then all is read-only" EROFS mkdir "$M/new"
says_so "$name"
check_umount "$name: unmounts" "$M" "$daemon"
mounting || { not_ok "$name: mounts again"; exit 1; }
name="a removal's flush"
: >"$S/log-acme"
head -c 100000 /dev/urandom >"$M/removed"
sync "$M/removed" "$M"
echo "fsync 5 /trash" >"$S/faults"
check "$name: the removal works" rm "$M/removed"
read_only() { ! touch "$M/new" 2>/dev/null; }
check "$name: but nothing after it" wait_for 10 read_only
rm -f "$S/faults"
says_so "$name"
check "$name: what was removed is not erased" test -n "$(ls "$STORE/t/acme/trash")"
check_umount "$name: unmounts" "$M" "$daemon"
mounting || { not_ok "$name: mounts again"; exit 1; }
erased() { [ -z "$(ls "$STORE/t/acme/trash")" ]; }
check "$name: it is erased by the next mount" wait_for 10 erased
check_not "$name: and has no name" test -e "$M/removed"
check_umount "$name: unmounts again" "$M" "$daemon"
on_log_times=$(audit export acme | grep -cE "$sentence")
check_same "each trouble is on the audit log" 3 "$on_log_times"
