# What the scripts of the exercisers share, after lib.sh: a store with a tenant on an ext4 of its own (tmpfs lists names twice when others
# change meanwhile), and an exerciser on its mount that is unmounted and mounted between rounds. EXERCISE_SECONDS, EXERCISE_SEED, EXERCISE_OPERATIONS (of each story) and EXERCISE_ROUND are heeded.
# shellcheck shell=bash disable=SC2154
exercise_store() {
	loop_fs disk 2G ext4 || exit 1
	chmod 755 "$S/disk"
	STORE=$S/disk/store
	make_store || exit 1
	make_tenant acme --owner root --journal-size 16M || exit 1
	apply_policy acme <<P >/dev/null || exit 1
tenant acme
permit everybody: anyone to any on /**
P
}
# exercise NAME PROGRAM SECONDS [OPTION...]: ok when it ends well, with what it says of itself; $S/exercise has its output.
exercise() {
	local name=$1 program=$build/tests/exercise/$2 seconds=$3 status output pid remounts=0
	shift 3
	set -- --seconds "$seconds" "$@"
	[ "${EXERCISE_SEED:-}" ] && set -- "$@" --seed "$EXERCISE_SEED"
	[ "${EXERCISE_OPERATIONS:-}" ] && set -- "$@" --seconds 0 --operations "$EXERCISE_OPERATIONS"
	[ "${EXERCISE_ROUND:-}" ] && set -- "$@" --round "$EXERCISE_ROUND"
	mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
	mkdir -p "$M/x"
	: >"$S/said"
	mkfifo "$S/go"
	"$program" "$M/x" --remount "$@" <"$S/go" >"$S/said" 2>&1 &
	pid=$!
	our_pids+=("$pid")
	exec {output}>"$S/go"
	rm "$S/go"
	while ! process_ended "$pid"; do
		if [ "$(grep -c '^remount$' "$S/said")" -gt $remounts ]; then
			remounts=$((remounts + 1))
			umount "$M" && wait_for 300 process_ended "$daemon" && mount_tenant acme "$M" >>"$S/said" 2>&1 || {
				not_ok "$name: remount"
				break
			}
			echo go >&"$output"
		fi
		sleep 0.02
	done
	exec {output}>&-
	wait "$pid"
	status=$?
	if [ $status -eq 0 ]; then
		sed -n "s/^  / # /p" "$S/said"
		ok "$name ($(grep -E '^[0-9]+ operations' "$S/said"))"
	else
		not_ok "$name: status $status"
		grep -v '^remount$' "$S/said" | tail -n 60 | sed 's/^/  /'
	fi
	check_umount "unmounts" "$M" "$daemon"
	check_same "no alarm, no complaint" "" "$(grep -v "What is deleted may stay" "$S/log-acme")"
	return $status
}
