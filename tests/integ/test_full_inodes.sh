#!/bin/bash
# tests/run: slow timeout=120
# A disk without a free inode: whatever needs one is ENOSPC and leaves nothing; what needs none works, also a new mount; one removal, and it goes on.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
truncate -s 64M "$S/disk.img" && mkfs.ext4 -q -F -N 300 "$S/disk.img" && device=$(losetup -f --show "$S/disk.img") || exit 1
our_loops+=("$device")
mkdir "$S/disk" && mount "$device" "$S/disk" || exit 1
our_mountpoints+=("$S/disk")
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme >/dev/null 2>&1 <<P || exit 1
tenant acme
permit everybody: anyone to any on /**
P
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
mkdir -m 777 "$M/d"
cat >"$S/fill" <<'FILL'
"""fill: empty files until there is no inode, prints how many. refused: each call that makes something says ENOSPC, and nothing is there then."""
import errno, os, stat, sys
what, folder = sys.argv[1:]

def fails(call, path):
    try:
        call(path)
    except OSError as e:
        return errno.errorcode[e.errno]
    return "nothing"

def made(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))

if what == "fill":
    n = 0
    while fails(made, f"{folder}/{os.getpid()}-{n}") == "nothing":
        n += 1
    print(n)
else:
    before = sorted(os.listdir(folder))
    calls = {
        "open": made, "mkdir": os.mkdir, "mkfifo": os.mkfifo, "symlink": lambda p: os.symlink("target", p),
        "mknod": lambda p: os.mknod(p, stat.S_IFSOCK | 0o600), "rename of what is nowhere": lambda p: os.rename(folder + "/nowhere", p)}
    for name, call in calls.items():
        said = fails(call, folder + "/new")
        there = fails(os.lstat, folder + "/new")
        print(name, said, there if there == "ENOENT" else "it is there")
    print("the same names" if sorted(os.listdir(folder)) == before else "other names")
FILL
fill() { as "$1" /usr/bin/python3 "$S/fill" fill "$M/d"; }
refused() { as "$1" /usr/bin/python3 "$S/fill" refused "$M/d"; }
expected=$(printf '%s ENOSPC ENOENT\n' open mkdir mkfifo symlink mknod; echo "rename of what is nowhere ENOENT ENOENT"; echo "the same names")
echo precious >"$M/precious"
made=$(fill "$user1")
if [ "$made" -gt 50 ]; then ok "files until there is no inode ($made)"; else not_ok "files until there is no inode: $made"; fi
check_same "what needs an inode is ENOSPC and leaves nothing" "$expected" "$(refused "$user1")"
check_same "and for root" "$expected" "$(/usr/bin/python3 "$S/fill" refused "$M/d")"
check "what needs none works" eval 'mv "$M/precious" "$M/moved" && echo more >>"$M/moved" && chmod 600 "$M/moved" && cat "$M/moved" >/dev/null && ls -l "$M/d" >/dev/null'
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts without a free inode"; exit 1; }
check "and says that tenantctl cannot reach it" grep -q "tenantctl cannot reach this mount until there is room" "$S/log-acme"
check_same "mounted anew it has everything" "precious more $made" "$(tr '\n' ' ' <"$M/moved")$(ls "$M/d" | wc -l)"
first=$(ls "$M/d" | head -n 1)
check "one is removed" as "$user1" rm "$M/d/$first"
again() { as "$user1" touch "$M/d/again"; }
check "and one can be made" wait_for 30 again
reached() { tenantctl status "$STORE#acme" | grep -q mounted; }
check "tenantctl reaches it when there is room" wait_for 30 reached
check_umount "unmounts at last" "$M" "$daemon"
check "the log verifies" audit verify acme
check "fsck finds nothing" tenantctl fsck "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" --no-progress
