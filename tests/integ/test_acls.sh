#!/bin/bash
# tests/run: core timeout=60
# Default ACLs and umask: what is made in directories with and without them, by root and two ordinary users, and who gets in then, line by
# line as on ext4 in the same run (acl_ops.py).
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
need_command getfacl
loop_fs disk 400M ext4 || exit 1
chmod 755 "$S/disk"
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P >/dev/null || exit 1
tenant acme
permit everybody: anyone to any on /**
P
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
mkdir -m 755 "$S/disk/plain" "$M/lists"
ops() { timeout 50 /usr/bin/python3 "$(dirname "$0")/acl_ops.py" "$1"; }
plain=$(ops "$S/disk/plain") || { not_ok "plain directory"; exit 1; }
mount=$(ops "$M/lists") || { not_ok "through the mount"; exit 1; }
check_same "modes, owners, lists and who gets in are as on ext4 ($(wc -l <<<"$plain") answers)" "$plain" "$mount"
# Not all of it is a refusal, or permitted.
check "some of it is permitted" grep -q "group may rw" <<<"$mount"
check "some is refused" grep -q "friend may ---" <<<"$mount"
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
look() { (cd "$1" && find . ! -type l ! -name . -printf '%p %m %U:%G\n' | sort && getfacl -R . 2>/dev/null | sort); }
check_same "and after a remount" "$(look "$S/disk/plain")" "$(look "$M/lists")"
check_umount "unmounts again" "$M" "$daemon"
check "the log verifies" audit verify acme
