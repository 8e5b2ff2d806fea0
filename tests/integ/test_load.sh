#!/bin/bash
# tests/run: core timeout=120
# Sixteen processes of two users do everything at once to the same files and directories, while the policy changes, keys are to be rotated and
# the mount goes away under them. LOAD_SECONDS=n: so long each time.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
ops=$(dirname "$0")/load_ops.py
seconds=${LOAD_SECONDS:-8}

make_store || exit 1
make_tenant acme --owner root || exit 1
# Everybody everywhere; the second user sometimes nothing in /b, sometimes only to read there.
policy() { # who may do what in /b
	apply_policy acme <<P >/dev/null
tenant acme
permit admin: user:root to any on /**
permit everybody: user:#$user1 user:#$user2 to any on /s*/**
permit maps: user:#$user1 user:#$user2 to any on /m/**
permit root: user:#$user1 user:#$user2 to list on /
permit first: user:#$user1 to any on /b/**
permit second: $1 on /b/**
P
}
mount_all() {
	mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
	chmod 777 "$M"
}
begin() { # [option]: the load goes to the background
	timeout $((seconds + 60)) /usr/bin/python3 "$ops" "$M" 16 "$seconds" "$user1" "$user2" "$@" >"$S/load" 2>&1 &
	load=$!
	our_pids+=("$load")
	sleep 1
}
check_load() { # name: it ends well
	local status
	wait "$load"
	status=$?
	if [ $status -eq 0 ]; then ok "$1 ($(sed -n 's/^# //p' "$S/load"))"; else
		not_ok "$1"
		head -n 60 "$S/load" | sed 's/^/  /'
	fi
}
under_load() { kill -0 "$load" 2>/dev/null; }

policy "user:#$user2 to any" || { not_ok "a policy"; exit 1; }
mount_all
begin
changes=0 refused=0
while under_load; do
	for who in "user:root to any" "user:#$user2 to list,read" "user:#$user2 to any"; do
		policy "$who" || not_ok "applies a policy under load"
		changes=$((changes + 1))
	done
	tenantkey rotate "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" --no-progress >"$S/rotate" 2>&1
	[ $? -eq 5 ] && refused=$((refused + 1))
	tenantctl status "$STORE#acme" --json >"$S/status" 2>&1 || not_ok "status under load"
done
check_load "what is read was written there, one's own is what one wrote"
check "the policy changed under it ($changes times)" test $changes -gt 5
check "keys of a mounted tenant are not rotated ($refused times, status 5)" test $refused -gt 0
check "all of it reads well" /usr/bin/python3 "$ops" --check "$M"
forgotten() {
	echo 2 >/proc/sys/vm/drop_caches
	tenantctl status "$STORE#acme" --json >"$S/status" 2>&1 &&
		/usr/bin/python3 -c 'import json,sys; s=json.load(open(sys.argv[1])); sys.exit(s["inodes"] > 8 or s["handles"] > 0)' "$S/status"
}
check "no inode or handle is kept that nobody needs" wait_for 15 forgotten || cat "$S/status"
ls -R "$M" >"$S/before"
check_umount "unmounts" "$M" "$daemon"
check "rotates then" tenantkey rotate "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" --no-progress

mount_all
check_same "a new mount sees the same" "$(cat "$S/before")" "$(ls -R "$M")"
check "and reads it" /usr/bin/python3 "$ops" --check "$M"
begin
check "is detached under load" umount -l "$M"
check_load "who was inside goes on until he leaves"
check "then the process ends" wait_for 60 process_ended "$daemon"
wait "$daemon"
check_same "with status 0" 0 $?

mount_all
check "all of it reads well" /usr/bin/python3 "$ops" --check "$M"
begin --may-end
kill -TERM "$daemon"
check "is ended under load" wait_for 60 process_ended "$daemon"
wait "$daemon"
check_same "with status 0" 0 $?
check_load "who was inside gets no wrong data"
umount -l "$M" 2>/dev/null

mount_all
check "all of it reads well" /usr/bin/python3 "$ops" --check "$M"
check_umount "unmounts at last" "$M" "$daemon"
check_same "no alarm, no complaint" "" "$(grep -v 'Not everything could be written' "$S/log-acme")"
check "the log verifies" audit verify acme
