#!/bin/bash
# tests/run: core timeout=180
# The conformance suite (tests/posix/): what POSIX and the manual pages say of each call, on a plain directory of ext4 and
# in the mount, caches on. Every answer that is not the documented one, or not the same, must stand in posix_compare.py
# with its reason from docs/posix.md. POSIX_LOWER=xfs: the same on xfs.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
suite=$build/tests/posix/posix-suite
compare=($repo/tests/integ/posix_compare.py)
[ "${POSIX_LOWER:-ext4}" = xfs ] && compare+=(--xfs)

loop_fs disk 1200M ${POSIX_LOWER:-ext4} || exit 1
chmod 755 "$S/disk"
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P || exit 1
tenant acme
permit everybody: anyone to any on /**
P
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
mkdir -m 755 "$S/disk/plain" "$M/suite"
run() { # name argument...
	local name=$1 start=$SECONDS
	shift
	timeout 100 "$suite" "$@" >>"$S/$name" 2>"$S/$name.error" || {
		not_ok "the suite runs to its end: $name"
		cat "$S/$name.error"
		tail -n 1 "$S/$name"
		exit 1
	}
	echo "# $name: $((SECONDS - start)) s"
}
run plain "$S/disk/plain"
run mount "$M/suite"
# Once more if need be: posix_compare.py says why.
again=()
if ! "${compare[@]}" "$S/plain" "$S/mount" >"$S/first" && grep -q '^    plain directory: [-a][-m][-c], mount: [-a][-m][-c] *' "$S/first"; then
	mkdir -m 755 "$M/again"
	run again "$M/again"
	again=("$S/again")
fi
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" ro || { not_ok "mounts read-only"; exit 1; }
run mount --read-only "$M/suite"
check_umount "unmounts after -o ro" "$M" "$daemon"
mount -o remount,ro "$S/disk" || exit 1
run plain --read-only "$S/disk/plain"
mount -o remount,rw "$S/disk"
"${compare[@]}" "$S/plain" "$S/mount" "${again[@]}" || failures=$((failures + 1))
# Does it bite: an answer that changed, one that is missing, one that is not the documented one though it is the same.
sed '1000s/\t[^\t]*\t/\tEDOM\t/' "$S/mount" >"$S/changed"
sed 1000d "$S/mount" >"$S/missing"
sed '1000s/\t[^\t]*$/\tnot ok, documented: EDOM/' "$S/mount" >"$S/wrong"
bites() { # file, words of the complaint
	! "${compare[@]}" "$S/plain" "$1" >"$S/bites" && grep -qF -- "$2" "$S/bites"
}
check "a changed answer is found" bites "$S/changed" "mount: EDOM"
check "a missing answer is found" bites "$S/missing" "mount: was not asked"
check "an answer that is not the documented one is found" bites "$S/wrong" "(not ok, documented: EDOM)"
