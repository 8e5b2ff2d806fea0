#!/bin/bash
# tests/run: slow timeout=240 once
# SQLite with rollback journals (DELETE, TRUNCATE, PERSIST) and WAL (its shared memory is a map), by processes of two users at once, some of which
# are killed; the same on a plain directory. SQLITE_SECONDS=n: so long in each mode (1).
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
ops=$repo/tests/integ/sqlite_ops.py
seconds=${SQLITE_SECONDS:-1}
export SQLITE_TMPDIR=$S TMPDIR=$S

make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P || exit 1
tenant acme
permit admin: user:root to any on /**
permit both: user:#$user1 group:#61100 to any on /**
P
on_plain "$ops"
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
timeout $((seconds * 8 + 60)) "$ops" "$M" "mount" "$seconds" || failures=$((failures + 1))
before=$("$ops" "$M" --dump)
check_same "all of them are whole" "5" "$(grep -c ' ok ' <<<"$before")"
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
check_same "they are the same after a remount" "$before" "$("$ops" "$M" --dump)"
# A byte that is changed within is found.
printf '\001\002\003\004' | dd of="$M/wal/x.base" bs=1 seek=4100 conv=notrunc status=none
check_not "integrity_check finds what is changed" grep -qx "wal ok .*" <<<"$("$ops" "$M" --dump 2>&1)"
check_umount "unmounts at the end" "$M" "$daemon"
