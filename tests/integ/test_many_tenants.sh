#!/bin/bash
# tests/run: slow timeout=600 once
# What a tenant costs: time and disk to make it, time and memory to have it mounted with others. MANY_TENANTS=n (30), MANY_MOUNTED=n
# (10). Passphrase slots are cheap, journals of 1 MiB.
. "$(dirname "$0")/lib.sh"
need_fuse
tenants=${MANY_TENANTS:-30} mounted=${MANY_MOUNTED:-10}
case ${TENANTFS_VARIANT:-} in asan | tsan) skip_all "a sanitizer's own memory is all that would be measured" ;; esac

now() { date +%s%N; }
each() { echo "$((($(now) - $1) / 1000000 / $2)) ms"; } # since, how many
disk() { du -sk "$STORE" "$K" | awk '{n += $1} END {print n}'; } # kB
kb() { awk -v key="$1:" '$1 == key {n += $2} END {print n + 0}' "${@:2}" 2>/dev/null; }

make_store || exit 1
printf 'correct horse\n' >"$S/pass" && chmod 600 "$S/pass"
passphrase() { echo "$S/pass"; }
make_all() {
	local k
	for ((k = 0; k < tenants; k++)); do make_tenant "t$k" --owner "$(id -un)" || return 1; done
}
begun=$(now)
check "$tenants tenants are made" make_all
echo "# made: $(each "$begun" "$tenants") and $(($(disk) / tenants)) kB of disk each"
check "each has less than 2.5 MiB: its journal, the log and what is kept for that" test $(($(disk) / tenants)) -lt 2560
check "all are listed" test "$(find "$STORE/t" -mindepth 1 -maxdepth 1 -type d | wc -l)" -eq "$tenants"

pids=()
mount_all() {
	local k
	for ((k = 0; k < mounted; k++)); do
		mount_tenant "t$k" "$M/t$k" || return 1
		pids+=("$daemon")
	done
}
begun=$(now)
if mount_all >"$S/out" 2>&1; then
	ok "$mounted of them are mounted at once"
else
	not_ok "$mounted of them are mounted at once"
	cat "$S/out"
	exit 1
fi
echo "# mounted: $(each "$begun" "$mounted") each"
sleep 2
rollups=("${pids[@]/%//smaps_rollup}")
rollups=("${rollups[@]/#//proc/}")
pss=$(kb Pss "${rollups[@]}") own=$(kb Anonymous "${rollups[@]}")
echo "# idle, each of $mounted: $((pss / mounted)) kB with its part of shared pages, $((own / mounted)) kB its own"
check "each has less than 3 MiB, shared pages divided" test $((pss / mounted)) -lt 3072
own_content() {
	local k
	for ((k = 0; k < mounted; k++)); do echo "of t$k" >"$M/t$k/file" || return 1; done
	for ((k = 0; k < mounted; k++)); do [ "$(cat "$M/t$k/file")" = "of t$k" ] && [ "$(ls "$M/t$k")" = file ] || return 1; done
}
check "each has its own content" own_content
umount_all() {
	local k
	for ((k = 0; k < mounted; k++)); do umount_tenant "$M/t$k" "${pids[k]}" || return 1; done
}
begun=$(now)
if umount_all >"$S/out" 2>&1; then
	ok "all are unmounted"
else
	not_ok "all are unmounted"
	cat "$S/out"
fi
echo "# unmounted: $(each "$begun" "$mounted") each"
