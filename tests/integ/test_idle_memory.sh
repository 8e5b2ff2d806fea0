#!/bin/bash
# tests/run: core timeout=120 once
# What a mount keeps resident: idle at most 6 MiB, and after work little more than before. IDLE_FILES=n: so many files (2000).
. "$(dirname "$0")/lib.sh"
need_fuse
files=${IDLE_FILES:-2000}
case ${TENANTFS_VARIANT:-} in asan | tsan) skip_all "a sanitizer's own memory is all that would be measured" ;; esac

memory() { awk -v key="$1:" '$1 == key {print $2}' "/proc/$daemon/smaps_rollup"; } # of Rss, Pss, Anonymous; kB
told() { echo "# $1: $(memory Rss) kB resident, $(memory Pss) with its part of shared pages, $(memory Anonymous) its own"; }
at_most() { # what, kB: within a time in which what is free goes back
	wait_for 30 below "$2" || { told "$1"; return 1; }
}
below() { [ "$(memory Rss)" -le "$1" ]; }

# Of its mappings that may be written to: how many are locked, how many are not.
locked() { awk '/^[0-9a-f]+-[0-9a-f]+ / {own = $2 ~ /^rw.p/ && ($6 == "" || $6 == "[heap]")} own && /^VmFlags:/ {n[/ lo( |$)/ ? "yes" : "no"]++} END {print n["yes"] + 0, n["no"] + 0}' "/proc/$daemon/smaps"; }
locked_still() {
	local now
	now=$(locked)
	[ "${now#* }" = "${before#* }" ] || { echo "locked and not: $now, $before before"; return 1; }
}

make_store || exit 1
make_tenant acme --owner "$(id -un)" --journal-size 16M || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
idle() {
	sleep 1
	[ "$(memory Rss)" -le 6144 ] || { told "idle"; return 1; }
}
check "an idle mount has at most 6 MiB resident" idle
told "idle"
started=$(memory Rss)
before=$(locked)
check "small files are written" "$repo/tests/integ/scale_ops.py" create "$M/tree" "$files" 4000
check "large ones, four at a time" bash -c 'for k in 1 2 3 4; do head -c 32M /dev/zero >"$0/large$k" & done; wait' "$M"
check "and read" bash -c 'cat "$0"/large* "$0"/tree/*/* | wc -c >/dev/null' "$M"
told "after work"
# Each thread that serves requests keeps buffers, and the kernel knows the files' inodes.
check "when that is done it has at most 8 MiB more than before" at_most "a moment after" $((started + 8192 + files * 300 / 1024))
told "a moment later"
check "and is removed" rm -rf "$M/tree" "$M"/large1 "$M"/large2 "$M"/large3 "$M"/large4
check "when they are removed, too" at_most "removed" $((started + 8192))
told "removed"
if [ "${before% *}" = 0 ]; then
	skip "what was locked is locked still" "memory may not be locked here"
else
	check "what was locked is locked still" locked_still
fi
check_umount "unmounts" "$M" "$daemon"
