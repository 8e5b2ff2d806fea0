#!/bin/bash
# tests/run: core timeout=120 clang
# Operations beyond the everyday ones, through the mount, compared with a plain directory of the same filesystem
# (docs/posix.md has the differences), and space that was allocated on a disk that then gets full.
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

mkdir "$S/disk/plain" || exit 1
timeout 100 "$repo/tests/integ/operations.py" "$S/disk/plain" "plain directory" "$many" >"$S/control" || {
	cat "$S/control"
	not_ok "the expectations hold on a plain directory"
	exit 1
}
ok "the expectations hold on a plain directory ($(grep -c '^ok' "$S/control") of them)"
grep '^#' "$S/control"
rm -rf "$S/disk/plain"

mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
mkdir "$M/ops"
timeout 100 "$repo/tests/integ/operations.py" "$M/ops" "mount" "$many" || failures=$((failures + 1))

# What was allocated can be written when nothing else can.
fallocate -l 20M "$M/ours" && touch "$M/far" && fallocate -n -o 1G -l 5M "$M/far" || not_ok "allocates"
dd if=/dev/zero of="$S/disk/hog" bs=1M 2>/dev/null
dd if=/dev/zero bs=4k >>"$S/disk/hog" 2>/dev/null
check_errno "the disk is full" ENOSPC dd if=/dev/zero of="$M/theirs" bs=64k count=320 conv=fsync
head -c 20M /dev/urandom >"$S/data"
check "an allocated file can be written on a full disk" dd if="$S/data" of="$M/ours" bs=1M conv=notrunc,fsync
check "and beyond its end where that was allocated" dd if="$S/data" of="$M/far" bs=1M seek=1024 count=5 conv=notrunc,fsync
check "and reads as it was written" cmp "$S/data" "$M/ours"
check_errno "more cannot be allocated" ENOSPC fallocate -l 40M "$M/ours"
rm "$S/disk/hog"
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
check "and reads so after a remount" cmp "$S/data" "$M/ours"
check "a sparse file copied by cp stays sparse" cp --sparse=auto "$M/far" "$M/far2"
check "and is equal" cmp "$M/far" "$M/far2"
check "and small" test "$(stat -c %b "$M/far2")" -lt 20480
check_umount "unmounts at the end" "$M" "$daemon"
audit export acme >"$S/export" || not_ok "exports the log"
check "allocations are on the log" grep -q '"fallocate"' "$S/export"
mount_tenant acme "$M" ro || { not_ok "mounts with -o ro"; exit 1; }
check_errno "-o ro: nothing can be allocated" EROFS fallocate -l 1M "$M/ours"
check_umount "unmounts after -o ro" "$M" "$daemon"
