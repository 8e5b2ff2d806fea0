#!/bin/bash
# tests/run: long timeout=900
# EMLINK, and the links of a directory with many others in it: as on ext4 (many_links.py). SUBDIRECTORIES=66000: past its count.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
loop_fs disk 1200M ext4 || exit 1
chmod 755 "$S/disk"
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
mkdir "$S/disk/plain" "$M/links"
"$repo/tests/integ/many_links.py" "$S/disk/plain" >"$S/plain" || not_ok "on a plain directory"
"$repo/tests/integ/many_links.py" "$M/links" >"$S/mount" || not_ok "through the mount"
sed 's/^/  /' "$S/mount"
check "a file has 65,000 names, then it is EMLINK" grep -qx 'links 65000 EMLINK 65000' "$S/mount"
check_same "names and subdirectories, as many as there may be, are as on ext4" "$(cat "$S/plain")" "$(cat "$S/mount")"
check_umount "unmounts" "$M" "$daemon"
check "fsck finds nothing" tenantctl fsck "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" --no-progress
