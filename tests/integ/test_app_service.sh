#!/bin/bash
# tests/run: slow timeout=240 once
# A Node service of two processes and a thread that write one log, rotated by rename and by copy and truncate, while another user, who may only
# read, follows it; the same on a plain directory. SERVICE_SECONDS=n: so long each (1).
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
need_command node
ops=$repo/tests/integ/service_ops.py
seconds=${SERVICE_SECONDS:-1}
export TMPDIR=$S

make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P || exit 1
tenant acme
permit admin: user:root to any on /**
permit service: user:#$user1 to any on /**
permit reader: user:#$user2 to read on /**
P
on_plain "$ops"
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
timeout $((seconds * 4 + 60)) "$ops" "$M" "mount" "$seconds" || failures=$((failures + 1))
before=$(cd "$M" && sha256sum -- */*)
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
check_same "the logs are the same after a remount" "$before" "$(cd "$M" && sha256sum -- */*)"
check_umount "unmounts at the end" "$M" "$daemon"
