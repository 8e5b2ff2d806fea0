#!/bin/bash
# tests/run: slow timeout=900
# 100,000 entries in one directory: the test of test_names.sh, five times as large.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse

loop_fs disk 3G ext4 || exit 1
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
mkdir "$M/ops"
timeout 800 "$repo/tests/integ/tree_ops.py" "$M/ops" "mount" 100000 large_directory || failures=$((failures + 1))
check_umount "unmounts" "$M" "$daemon"
