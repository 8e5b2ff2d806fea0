#!/bin/bash
# tests/run: slow timeout=300 once
# rsync, tar, restic and borg: a tree with everything that they keep goes into the mount, is worked on there and comes out again, identical;
# the same on ext4. APP_FILES says how many files.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/applications.sh"
need_command tar setfacl
files=${APP_FILES:-40}
apps_store "$((files * 8 + 1000))M"
export tree=$repo/tests/integ/app_tree.py
mkdir -m 777 "$S/disk/from" && run_as "$user1" "$tree" make "$S/disk/from" 7 "$files" || exit 1
mkdir -m 755 "$S/disk/rootfrom" && "$tree" make "$S/disk/rootfrom" 8 "$files" || exit 1
list() { "$tree" list "$@"; }
# compare DIRECTORY OTHER [OPTION...]: everything but the top itself; --no-sockets: tar and restic leave them out.
compare() {
	local not="^'\.' " differ
	differ=$(mktemp)
	[ "${!#}" != --no-sockets ] || not="$not|^[^ ]* 0o14"
	diff <("$tree" list "$1" "${@:3}" | grep -vE "$not") <("$tree" list "$2" "${@:3}" | grep -vE "$not") >"$differ" || { head -n 10 "$differ" | cut -c1-250 && return 1; }
	rm "$differ"
}

rsync_story() { # directory from
	cd "$1"
	rsync -aHAXS --exclude=/sparse "$2/" in/; rsync -aHAXS "$2/" in/
	compare "$2" in --times --blocks
	rsync -aHAXni --delete "$2/" in/; rsync -aHAXnic --delete "$2/" in/
	# Out, and only what changed, in place; then what is gone.
	rsync -aHAXS in/ out/; compare "$2" out --times --blocks
	find in -type f -size +8k -name '[f.]*' -perm -200 -exec sh -c 'printf changed | dd of="$1" bs=1 seek=5000 conv=notrunc status=none' sh {} \;
	rsync -aHAX --inplace --no-whole-file in/ out/; compare in out --times
	find in -maxdepth 1 -type f -name 'f*' -delete
	rsync -aHAX --delete in/ out/; compare in out --times
	rsync -aHAX --link-dest="$1/out" in/ snapshot/
	find snapshot -type f -links +1 | wc -l
	# Owners and modes of others in attributes, as an ordinary user keeps them.
	rsync -aHAX --fake-super in/ fake/; rsync -aHAX --fake-super fake/ fakeout/; compare fake fakeout --times
	getfattr -R -d -m user.rsync fake 2>/dev/null | grep -c ^user.rsync || true
	list in
}
rsync_root() { # directory from: owners and devices
	rsync -aHAXS "$2/" "$1/in/"; compare "$2" "$1/in" --times --blocks
	rsync -aHAXS "$1/in/" "$1/out/"; compare "$2" "$1/out" --times --blocks
	rsync -aHAXnic --delete "$2/" "$1/in/"
	list "$1/in"
}
tar_story() { # directory from
	cd "$1"
	tar --warning=no-timestamp -C "$2" --acls --xattrs --xattrs-include='*' --sparse -cf from.tar .
	mkdir in; tar --warning=no-timestamp -C in --acls --xattrs --xattrs-include='*' -xpf from.tar
	compare "$2" in --times --blocks --no-sockets
	tar --warning=no-timestamp -C in --acls --xattrs --compare -f from.tar
	tar --warning=no-timestamp -C in --acls --xattrs --xattrs-include='*' --sparse --format=posix -czf out.tar.gz .
	mkdir out; tar --warning=no-timestamp -C out --acls --xattrs --xattrs-include='*' -xzpf out.tar.gz
	compare "$2" out --times --blocks --no-sockets
	# Others that read and write sparse files.
	cp -a --sparse=always in copy; compare in copy --times --blocks --no-sockets
	# Level 0 and 1: what was changed since, and no more.
	tar --warning=no-timestamp -C in -g state -cf level0.tar .; sleep 0.01
	echo new >in/new; mkdir in/newdir; echo x >in/newdir/x; mv in/sparse in/newdir/moved
	cp state state0
	tar --warning=no-timestamp -C in -g state -cf level1.tar .; tar --warning=no-timestamp -tf level1.tar | grep -v '/$' | sort
	mkdir restored; tar --warning=no-timestamp -C restored -g /dev/null -xpf level0.tar; tar --warning=no-timestamp -C restored -g /dev/null -xpf level1.tar
	rm -rf out copy out.tar.gz from.tar
	diff <(cd in && find . -type f -exec sha256sum {} + | sort) <(cd restored && find . -type f -exec sha256sum {} + | sort)
	list in
}
tar_root() { # directory from
	tar --warning=no-timestamp -C "$2" --acls --xattrs --xattrs-include='*' --sparse --numeric-owner -cf - . | tar --warning=no-timestamp -C "$1" --acls --xattrs --xattrs-include='*' --numeric-owner -xpf -
	compare "$2" "$1" --times --blocks --no-sockets
	list "$1"
}
# restic and borg make two of a symlink with two names. Not by -delete: the last name would stay, whichever that is.
drop_linked_symlinks() { find "$1" -type l -links +1 -print0 >linked && xargs -0r rm <linked && rm linked; }
restic_story() { # directory from
	cd "$1"
	export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$1/cache GOMAXPROCS=2
	rsync -aHAXS "$2/" source/
	drop_linked_symlinks source
	restic -q -r repo init; restic -q -r repo backup source --tag one
	find source -maxdepth 1 -type f -name 'f*' -delete; echo more >source/more
	restic -q -r repo backup source --tag two
	restic -q -r repo restore latest --tag one --target one
	restic -q -r repo forget --keep-last 1 --group-by host --prune; restic -q -r repo check --read-data
	restic -r repo snapshots --json | grep -o '"tags":\["[a-z]*"\]'
	restic -q -r repo restore latest --target two
	compare source two/source --times --no-sockets
	list two; list one
	rm -rf cache repo
}
borg_story() { # directory from
	cd "$1"
	export BORG_BASE_DIR=$1/borg BORG_PASSPHRASE=x BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
	rsync -aHAXS "$2/" source/
	drop_linked_symlinks source
	# It knows no time before 1970 nor after 2038.
	find source '(' -newermt 2038-01-01 -o -not -newermt 1970-01-02 ')' -exec touch -h -d 2037-01-01T00:00:00.123456789 {} +
	borg init -e repokey repo
	borg create repo::one source
	find source -maxdepth 1 -type f -name 'f*' -delete; echo more >source/more
	borg create repo::two source
	borg check --verify-data repo
	mkdir one two
	(cd two && borg extract --sparse ../repo::two)
	(cd one && borg extract ../repo::one)
	compare source two/source --times --no-sockets
	borg prune --keep-last 1 repo; borg compact repo; borg check repo; borg list --short repo
	list two && list one
	rm -rf borg repo
}
if command -v rsync >/dev/null; then
	story "rsync -aHAXS out and back, in place, --link-dest, --fake-super" "$user1" rsync_story "$S/disk/from"
	story "rsync -aHAXS by root, with owners and devices" 0 rsync_root "$S/disk/rootfrom"
else skip "rsync" "not installed"; fi
story "tar with access lists, attributes and sparse files, incremental" "$user1" tar_story "$S/disk/from"
story "tar by root, with owners and devices" 0 tar_root "$S/disk/rootfrom"
if command -v restic >/dev/null && command -v rsync >/dev/null; then story "restic: backup, check, restore, prune" "$user1" restic_story "$S/disk/from"
else skip "restic" "not installed"; fi
# By root: borg asks for the name of whoever calls it.
if command -v borg >/dev/null && command -v rsync >/dev/null; then story "borg: backup, check, restore, prune" 0 borg_story "$S/disk/rootfrom"
else skip "borg" "not installed"; fi
again "archives"
apps_end
