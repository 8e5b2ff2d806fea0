#!/bin/bash
# tests/run: core timeout=120
# Sizes, blocks and free space, as stat, du, df, find and cp tell them, against ext4 in the same run; before and after a remount, while a
# file is written, and while files are erased.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
loop_fs disk 600M ext4 || exit 1
chmod 755 "$S/disk"
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P >/dev/null 2>&1 || exit 1
tenant acme
permit everybody: anyone to any on /**
P
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
mkdir "$S/disk/plain"
root=$STORE/t/acme/root trash=$STORE/t/acme/trash
ops() { timeout 100 /usr/bin/python3 "$(dirname "$0")/size_ops.py" "$@"; }

plain=$(ops make "$S/disk/plain") || not_ok "makes files on ext4"
check_same "sizes are those of ext4: stat, wc, du -b, find -size and -empty, cp --sparse" "$plain" "$(ops make "$M")"
check "st_blocks: the data, its tags and a header; holes take nothing" ops blocks "$M"
check "sizes are right while a file is written" ops writing "$M"
check_same "ls -s and du say what st_blocks says" "$(du -s --block-size=512 "$M/files" | cut -f 1)" \
	"$(($(cd "$M/files" && ls -s --block-size=512 | awk 'NR > 1 { n += $1 } END { print n }') + $(stat -c %b "$M/files")))"

sparse() { # a sparse file and its copy: about as many blocks, the same bytes
	cp --sparse="$1" "$M/files/$2" "$M/copy" && cmp "$M/files/$2" "$M/copy" &&
		test "$(stat -c %b "$M/copy")" -le $(($(stat -c %b "$M/files/$2") + 16)) && rm "$M/copy"
}
check "cp --sparse=auto keeps holes" sparse auto islands
check "cp --sparse=always makes some" sparse always zeroed
# Many small files, each with its header; what it takes stands in docs/posix.md.
tree() {
	/usr/bin/python3 -c 'import os, random, sys
r = random.Random(5)
for d in range(20):
    os.mkdir(f"{sys.argv[1]}/tree{d}")
    for f in range(50):
        with open(f"{sys.argv[1]}/tree{d}/file{f}", "wb") as out: out.write(bytes(r.randrange(1, 40000)))' "$1"
}
tree "$S/disk/plain"
tree "$M"
sum() { find "$@" -type f -name 'file*' -printf '%s %b\n' | awk '{ n++; s += $1; b += $2 * 512; p += int(($1 + 4095) / 4096) } END { print n, s, b, p }'; }
read -r count bytes on_plain pages < <(sum "$S/disk/plain"/tree*)
read -r _ same on_mount _ < <(sum "$M"/tree*)
check "du of $count small files: 4096 bytes for each beside its data (ext4: $on_plain, mount: $on_mount)" \
	test "$same:$on_mount:$on_plain" = "$bytes:$(((pages + count) * 4096)):$((pages * 4096))"
head -c 50000000 /dev/zero >"$M/big"
big=$(stat -c %b "$M/big") tags=$(((1 + (12208 - 64 + 127) / 128) * 8))
check "a big file takes 0.8 percent for tags, and what ext4 takes for its extents" test "$big" -ge $((12208 * 8 + tags)) -a "$big" -le $((12208 * 8 + tags + 64))
rm "$M/big"

# What a user's quota counts, which goes by the lower files' owner.
mkdir -m 777 "$M/users"
for u in "$user1" "$user2"; do
	as "$u" bash -c "mkdir '$M/users/$u' && cd '$M/users/$u' && head -c 300000 /dev/urandom >a && echo x >b && ln -s c d && mkfifo e" || not_ok "user $u makes files"
done
as "$user1" mv "$M/users/$user1/a" "$M/users/moved"
chown "$user2" "$M/users/$user1/b"
owned() { find "$1" ! -name .dir -type f -printf '%U %b\n' | awk '$1 > 60000 { n[$1]++; b[$1] += $2 } END { for (u in n) print u, n[u], b[u] }' | sort; }
sync
check_same "each user's space in the store is what he has in the mount" "$(owned "$M")" "$(owned "$root")"
foreign() { find "$root" -uid "$1" ! -gid "$1" -o ! -uid "$1" -gid "$1" ! -uid "$user2"; }
check_same "and nobody else's group" "" "$(foreign "$user1")"

looks() { (cd "$M" && find . -printf '%p %s %b %k %n\n' | sort); }
before=$(looks)
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
check_same "sizes and blocks after a remount are those of before" "$before" "$(looks)"

trash_is_empty() { [ -z "$(ls -A "$trash")" ]; }
check "the trash empties" wait_for 60 trash_is_empty
free() { stat -f -c '%s %S %b %f %a %c %d' "$1"; }
same_space() { [ "$(free "$M")" = "$(free "$S/disk")" ]; }
check "stat -f and df say what the store's filesystem says" wait_for 10 same_space
if erased=$(ops removing "$M" "$trash"); then
	ok "what is removed is free at once, and never counts twice ($erased)"
else
	not_ok "what is removed is free at once, and never counts twice"
	printf '%s\n' "$erased" | sed 's/^/  /'
fi
check "what is erased is free in the store" wait_for 20 same_space
# A disk on which only root has space: what waits to be erased goes to him.
head -c 8000000 /dev/urandom >"$M/last"
sync -f "$M"
read -r block unit < <(stat -f -c '%f %S' "$S/disk")
fallocate -l $(((block - 5000) * unit)) "$S/disk/full" || not_ok "fills the disk"
sync -f "$S/disk"
avail() { stat -f -c %a "$1"; }
check_same "nothing is available to others" "0 0" "$(avail "$S/disk") $(avail "$M")"
rm "$M/last"
promised=$(until trash_is_empty; do avail "$M"; done; avail "$M")
check_same "nor is what only root gets when it is erased" "0 0" "$(sort -n <<<"$promised" | tail -n 1) $(avail "$S/disk")"
rm "$S/disk/full"
check_umount "unmounts again" "$M" "$daemon"
check "the log verifies" audit verify acme
