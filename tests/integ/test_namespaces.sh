#!/bin/bash
# tests/run: slow timeout=240 once
# Callers in user, mount and pid namespaces of their own, ids that are mapped, files of 200 users: as on a plain directory; what the
# policy and the log take such a caller for; a tenant that is mounted by root of a user namespace.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
unshare --user --map-root-user true 2>/dev/null || skip_all "user namespaces are switched off here"
ops=$repo/tests/integ/namespace_ops.py

loop_fs disk 900M ext4 || exit 1
chmod 755 "$S/disk"
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P || exit 1
tenant acme
permit everybody: anyone to any on /**
P
mkdir -m 755 "$S/disk/plain"
export TMPDIR=$S
timeout 100 "$ops" "$S/disk/plain" "plain directory" >"$S/control" || {
	cat "$S/control"
	not_ok "the expectations hold on a plain directory"
	exit 1
}
ok "the expectations hold on a plain directory ($(grep -c '^ok' "$S/control") of them)"
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
timeout 150 "$ops" "$M" "mount" || failures=$((failures + 1))
