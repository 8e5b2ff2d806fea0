# What the scripts of the exercisers share, after lib.sh: a store with a tenant on a filesystem of its own (tmpfs lists names twice when others
# change meanwhile), and an exerciser on its mount that is unmounted and mounted between rounds. EXERCISE_SECONDS, EXERCISE_SEED, EXERCISE_OPERATIONS (of each story) and EXERCISE_ROUND are heeded.
# The seed also says on which filesystem (EXERCISE_FS: ext4 or xfs), and whether root works alone or with two users of one group (EXERCISE_USERS: no or yes).
# shellcheck shell=bash disable=SC2154
exercise_seed=${EXERCISE_SEED:-$((RANDOM << 15 | RANDOM))}
exercise_fs=${EXERCISE_FS:-$( ((exercise_seed / 2 % 2)) && command -v mkfs.xfs >/dev/null && echo xfs || echo ext4)}
exercise_users=${EXERCISE_USERS:-$( ((exercise_seed % 2)) && echo yes || echo no)}
[ "$exercise_fs" = ext4 ] || need_command mkfs.xfs
exercise_store() {
	loop_fs disk 2G "$exercise_fs" || exit 1
	chmod 755 "$S/disk"
	STORE=$S/disk/store
	make_store || exit 1
	make_tenant acme --owner root --journal-size 16M || exit 1
	apply_policy acme <<P >/dev/null 2>&1 || exit 1
tenant acme
permit everybody: anyone to any on /**
P
}
# exercise NAME PROGRAM SECONDS [OPTION...]: ok when it ends well, with what it says of itself; $S/exercise has its output.
exercise() {
	local name=$1 program=$build/tests/exercise/$2 seconds=$3 status output pid remounts=0
	shift 3
	set -- --seconds "$seconds" "$@"
	set -- "$@" --seed "$exercise_seed"
	[ "$exercise_fs" = xfs ] && set -- "$@" --preallocates
	[ "$exercise_users" = yes ] && set -- "$@" --users "$user1,$user2,61010"
	[ "${EXERCISE_OPERATIONS:-}" ] && set -- "$@" --seconds 0 --operations "$EXERCISE_OPERATIONS"
	[ "${EXERCISE_ROUND:-}" ] && set -- "$@" --round "$EXERCISE_ROUND"
	mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
	chmod 755 "$M"
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
		ok "$name ($exercise_fs, $([ "$exercise_users" = yes ] && echo root and two users || echo root), $(grep -E '^[0-9]+ operations' "$S/said"))"
	else
		not_ok "$name: status $status ($exercise_fs, users: $exercise_users, seed $exercise_seed)"
		grep -v '^remount$' "$S/said" | tail -n 60 | sed 's/^/  /'
	fi
	check_umount "unmounts" "$M" "$daemon"
	check_same "what was removed is erased" "" "$(ls -A "$STORE/t/acme/trash")"
	check_same "no alarm, no complaint" "" "$(grep -v "What is deleted may stay" "$S/log-acme")"
	return $status
}
