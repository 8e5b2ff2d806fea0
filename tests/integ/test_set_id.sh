#!/bin/bash
# tests/run: core timeout=60
# With -o suid a program runs with its owner's rights until somebody else changes its content, in whatever way: from then on at once, also
# where the kernel knows the old mode.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme >/dev/null 2>&1 <<P || exit 1
tenant acme
permit everybody: anyone to any on /**
P
mount_tenant acme "$M" suid || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
P=$M/id
program() { rm -f "$P" && cp /usr/bin/id "$P" && chmod "$1" "$P" && as "$user1" "$P" -u >/dev/null && as "$user2" "$P" -u >/dev/null; }
ids() { echo "$(as "$user1" "$P" -u) $(as "$user1" "$P" -g) $(stat -c %a "$P")"; }
# How it is changed: what is there is written once more, or something appended. Nobody can run it while it is open for writing.
cat >"$S/change" <<'CHANGE'
import mmap, os, sys
path, how = sys.argv[1:]
size = os.stat(path).st_size
fd = os.open(path, os.O_RDWR | (os.O_DIRECT if how == "direct" else 0))
if how == "write":
    os.pwrite(fd, bytes([0x7f]), 0)
elif how == "direct":
    m = mmap.mmap(-1, 4096)
    os.preadv(fd, [m], 0)
    os.pwritev(fd, [m], 0)
elif how == "truncate":
    os.ftruncate(fd, size + 1)
elif how == "open":
    with open("/usr/bin/id", "rb") as f, open(path, "wb") as g:
        g.write(f.read())
elif how == "allocate":
    os.posix_fallocate(fd, size, 4096)
elif how == "copy":
    os.copy_file_range(fd, fd, 1, offset_src=0, offset_dst=size + 8192)
else:
    sys.exit(3)
CHANGE
change() { as "$1" /usr/bin/python3 "$S/change" "$P" "$2"; } # as root: without capabilities

program 6777
check_same "with -o suid it runs with its owner's rights" "0 0 6777" "$(ids)"
for how in write direct truncate open allocate copy; do
	program 6777
	change "$user2" $how || not_ok "$how: changes it"
	check_same "$how: changed by another it runs with the caller's rights at once" "$user1 $user1 777" "$(ids)"
	program 6777
	/usr/bin/python3 "$S/change" "$P" $how || not_ok "$how: root changes it"
	check_same "$how: changed by root it keeps them" "0 0 6777" "$(ids)"
done
for how in write direct truncate open; do
	program 6777
	change 0 $how || not_ok "$how: root without capabilities changes it"
	check_same "$how: changed by root without CAP_FSETID it does not" "$user1 $user1 777" "$(ids)"
done
program 6777
chown "$user2" "$P"
check_same "with another owner it runs with the caller's rights" "$user1 $user1 777" "$(ids)"

# A mark of a group that he is not in, on what that group may not execute: his change of group drops it, root's does not; as elsewhere.
marks() { # directory
	local who f
	for who in 0 "$user1"; do
		f=$1/mark-$who
		: >"$f" && chown "$user1:61099" "$f" && chmod 2645 "$f"
		if [ "$who" = 0 ]; then chgrp "$user1" "$f"; else as "$who" chgrp "$user1" "$f"; fi
		stat -c %a "$f"
	done
}
mkdir -m 755 "$S/plain" "$M/marks"
check_same "a mark of a foreign group goes as on a plain directory" "$(marks "$S/plain")" "$(marks "$M/marks")"

cat >"$S/small" <<'SMALL'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.pwrite(fd, bytes(100), 0)
print(flush=True)
sys.stdin.readline()
for i in range(10000):
    os.pwrite(fd, bytes(100), i % 40 * 100)
print(flush=True)
sys.stdin.readline()
SMALL
mkdir -m 777 "$M/small"
asks_next_to_nothing "ten thousand small writes ask tenantfs next to nothing" as "$user1" /usr/bin/python3 "$S/small" "$M/small/file"
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" suid || { not_ok "mounts again"; exit 1; }
check_same "and so after a remount" "$user1 $user1 777" "$(ids)"
check_umount "unmounts" "$M" "$daemon"
