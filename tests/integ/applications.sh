# What the scripts that run real applications share, after lib.sh: a tenant and a plain directory beside its store, on an ext4 of their
# own; one story told in both, by an ordinary user; and what every story must leave.
# shellcheck shell=bash disable=SC2154
export HOME=$S/home TZ=UTC
plain=$S/disk/plain
mkdir -m 777 "$HOME"

apps_mount() { mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }; }
apps_store() { # SIZE
	need_loop
	need_fuse
	loop_fs disk "$1" ext4 || exit 1
	chmod 755 "$S/disk"
	STORE=$S/disk/store
	make_store || exit 1
	make_tenant acme --owner root --journal-size 16M || exit 1
	apply_policy acme <<P >/dev/null || exit 1
tenant acme
permit everybody: anyone to any on /**
P
	apps_mount
	chmod 755 "$M"
	mkdir -m 777 "$plain" "$M/work"
}
# run_as UID FUNCTION ARGUMENT...: a function of this script, which ends at the first command that fails. Not at one that stands before &&: use ; there.
run_as() {
	local uid=$1 run=(as "$1")
	[ "$uid" = 0 ] && run=()
	shift
	"${run[@]}" bash -euc "set -o pipefail; umask 022; $(declare -f); $1 \"\${@:2}\"" bash "$@"
}
# story NAME UID FUNCTION ARGUMENT...: FUNCTION DIRECTORY ARGUMENT... in a directory of its own, on ext4, then in the mount. What it prints
# on standard output is what must be the same. $S/plain.FUNCTION and $S/mount.FUNCTION keep it.
story() {
	local name=$1 uid=$2 f=$3 where top took=() start
	shift 3
	for where in plain mount; do
		top=$plain/$f
		[ $where = mount ] && top=$M/work/$f
		mkdir "$top" && chown "$uid:$uid" "$top" || { not_ok "$name"; return 1; }
		start=${EPOCHREALTIME/./}
		if ! run_as "$uid" "$f" "$top" "$@" >"$S/$where.$f" 2>"$S/error" </dev/null; then
			not_ok "$name ($where)"
			tail -n 20 "$S/$where.$f" "$S/error" | cut -c1-300 | sed 's/^/  /'
			return 1
		fi
		took+=($(((${EPOCHREALTIME/./} - start) / 1000)))
	done
	check_same "$name (ext4 ${took[0]} ms, mount ${took[1]} ms)" "$(cat "$S/plain.$f")" "$(cat "$S/mount.$f")"
}
# again: unmounted and mounted, the mount has the same; the tenant is clean.
tree_of() { /usr/bin/python3 "$repo/tests/integ/app_tree.py" list "$1" --times; }
again() { # of what
	local before
	before=$(tree_of "$M/work") || not_ok "$1: everything reads"
	check_umount "$1: unmounts" "$M" "$daemon"
	check "$1: fsck finds nothing" tenantctl fsck "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" --no-progress
	echo 2 >/proc/sys/vm/drop_caches
	apps_mount
	check_same "$1: a new mount has the same" "$before" "$(tree_of "$M/work")"
}
apps_end() {
	check_umount "unmounts at last" "$M" "$daemon"
	check_same "no alarm, no complaint" "" "$(cat "$S/log-acme")"
	check "the log verifies" audit verify acme
}
