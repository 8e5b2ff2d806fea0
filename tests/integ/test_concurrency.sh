#!/bin/bash
# tests/run: core timeout=60 clang
# Sixteen processes create, link, rename, exchange, remove, list and read in the same four directories.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
ops=$(dirname "$0")/concurrent_ops.py
mkdir "$M/shared"
check "everything read is one writer's, and no call fails strangely" \
	timeout 50 /usr/bin/python3 "$ops" "$M/shared" 16 "${CONCURRENCY_SECONDS:-10}"
check "what is left reads well" /usr/bin/python3 "$ops" --check "$M/shared"
ls -R "$M/shared" >"$S/before"
check_same "no alarm, no complaint" "" "$(cat "$S/log-acme")"

# When the kernel has forgotten all, so have we: what is left would be a leak.
forgotten() {
	echo 2 >/proc/sys/vm/drop_caches
	tenantctl status "$STORE#acme" --json >"$S/status" 2>&1 &&
		/usr/bin/python3 -c 'import json,sys; s=json.load(open(sys.argv[1])); sys.exit(s["inodes"] > 2 or s["handles"] > 0)' "$S/status"
}
check "no inode or handle is kept that nobody needs" wait_for 10 forgotten || cat "$S/status"
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
check_same "a new mount sees the same" "$(cat "$S/before")" "$(ls -R "$M/shared")"
check "and reads it" /usr/bin/python3 "$ops" --check "$M/shared"
check_umount "unmounts again" "$M" "$daemon"
check "the log verifies" audit verify acme
