#!/bin/bash
# tests/run: core timeout=180
# Owners, modes, ACLs, times; directories while they change, long names and targets, renames of every kind, watches: through the
# mount, compared with a plain directory of the same filesystem (docs/posix.md has the differences).
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
many=${OPERATIONS_MANY:-20000}

loop_fs disk 900M ext4 || exit 1
chmod 755 "$S/disk"
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P || exit 1
tenant acme
permit everybody: anyone to any on /**
P

for script in mode_ops tree_ops; do
	mkdir -p "$S/disk/plain/$script" && chmod 755 "$S/disk/plain"
	timeout 100 "$repo/tests/integ/$script.py" "$S/disk/plain/$script" "plain directory" "$many" >>"$S/control" || {
		cat "$S/control"
		not_ok "the expectations hold on a plain directory"
		exit 1
	}
done
ok "the expectations hold on a plain directory ($(grep -c '^ok' "$S/control") of them)"
grep '^#' "$S/control"
rm -rf "$S/disk/plain"

mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
for script in mode_ops tree_ops; do
	mkdir "$M/$script"
	timeout 100 "$repo/tests/integ/$script.py" "$M/$script" "mount" "$many" || failures=$((failures + 1))
done
check "all of it can be removed" rm -r "$M/mode_ops" "$M/tree_ops"
check_umount "unmounts" "$M" "$daemon"
# Of what was sealed nothing stays behind: no sidecar, no record.
check_same "and nothing of it is left in the lower directory" ".dir" "$(ls -A "$STORE/t/acme/root")"
