#!/bin/bash
# tests/run: core timeout=180
# What is removed or replaced under somebody else: directories that he stands in, links and files that he follows, opens, looks at.
# Through the mount by two users, compared with a plain directory of the same filesystem. GONE_MANY=n: so many looks of each kind.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
many=${GONE_MANY:-10000}

loop_fs disk 900M ext4 || exit 1
chmod 755 "$S/disk"
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P || exit 1
tenant acme
permit everybody: anyone to any on /**
P

mkdir -p "$S/disk/plain" && chmod 755 "$S/disk/plain"
timeout 100 "$repo/tests/integ/gone_ops.py" "$S/disk/plain" "plain directory" 1000 >"$S/control" || {
	cat "$S/control"
	not_ok "the expectations hold on a plain directory"
	exit 1
}
ok "the expectations hold on a plain directory ($(grep -c '^ok' "$S/control") of them)"
rm -rf "$S/disk/plain"

mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
timeout "${GONE_SECONDS:-150}" "$repo/tests/integ/gone_ops.py" "$M" "mount" "$many" || failures=$((failures + 1))
check "all of it can be removed" find "$M" -mindepth 1 -delete
trash_is_empty() { [ -z "$(ls -A "$STORE/t/acme/trash")" ]; }
check "and is erased" wait_for 90 trash_is_empty
check_umount "unmounts" "$M" "$daemon"
# Of what was sealed nothing stays behind: no sidecar, no record.
check_same "and nothing of it is left in the lower directory" ".dir" "$(ls -A "$STORE/t/acme/root")"
