#!/bin/bash
# tests/run: core timeout=120
# The request loop: what is stuck holds up nobody else, many at once come to their end, an idle mount does nothing, and the end comes in the
# midst of work.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
need_command fsfreeze
ops="/usr/bin/python3 $(dirname "$(readlink -f "$0")")/loop_ops.py"
frozen=
thaw() {
	[ -z "$frozen" ] || fsfreeze -u "$frozen"
	frozen=
}
trap 'thaw; finish' EXIT
loop_fs disk 300M ext4 || exit 1
STORE=$S/disk/store
make_store && make_tenant acme --owner root || exit 1
apply_policy acme >/dev/null <<P || exit 1
tenant acme
permit everybody: anyone to any on /**
P

# Over three seconds: processor time in ticks, and how often its threads went to sleep or were made to wait.
spent() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
switches() { cat /proc/"$1"/task/*/status | awk '/ctxt_switches/ { n += $2 } END { print n }'; }
threads() { ls "/proc/$1/task" | wc -l; }
idle_since() { # pid: nothing but housekeeping every few seconds; looking for requests or stuck threads would be 3,000 times
	local t s
	t=$(spent "$1") s=$(switches "$1")
	sleep 3
	s=$(($(switches "$1") - s)) t=$(($(spent "$1") - t))
	[ $s -lt 100 ] && [ $t -le 1 ] || { echo "$s switches, $t ticks"; return 1; }
}

# Whatever changes something waits for the frozen disk: more requests than libfuse would have threads.
freezes() { # name
	local stuck asking
	rm -f "$S/go" "$S/go2"
	$ops stuck "$M" 30 "$S/go" >"$S/stuck" 2>&1 &
	stuck=$!
	$ops ask "$M/data" 300 "$S/go2" >"$S/answers" 2>&1 &
	asking=$!
	wait_for 20 grep -q open "$S/stuck" && wait_for 20 grep -q open "$S/answers" || not_ok "the files are open"
	sync -f "$M/data"
	fsfreeze -f "$S/disk" && frozen=$S/disk
	touch "$S/go"
	sleep 0.5
	touch "$S/go2"
	check "$1: a frozen disk holds up nobody who does not need it" timeout 20 tail --pid=$asking -f /dev/null
	check "$1: and nobody waits long" [ "$(tail -n 1 "$S/answers")" -lt 1000 ]
	check_same "$1: what needs it waits" open "$(cat "$S/stuck")"
	thaw
	check "$1: until it thaws" wait_for 30 grep -q synced "$S/stuck"
	wait $stuck $asking
}

for how in "" poll=0; do
	name=${how:-polling}
	mount_tenant acme "$M" "$how" || { not_ok "mounts"; exit 1; }
	head -c 300000 /dev/urandom >"$M/data"
	at_first=$(threads "$daemon")
	freezes "$name"
	# By now writes are known to be slow.
	freezes "$name, again"
	check "$name: 64 threads at once come to their end" timeout 60 $ops crowd "$M" 64 3
	if [ -z "$how" ]; then
		# The checkpoint, memory that is given back: at first there is something to do.
		sleep 2.5
		check "an idle mount does nothing" idle_since "$daemon"
		check "and has ended the threads that were needed" [ "$(threads "$daemon")" -le $((at_first + 1)) ]
	fi
	check_umount "$name: unmounts" "$M" "$daemon"
done

ends_in_the_midst() { # name command...
	local name=$1 busy status
	shift
	mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
	(cd "$M" && exec $ops load "$M" 30) >"$S/load" 2>&1 &
	busy=$!
	wait_for 20 grep -q running "$S/load"
	sleep 0.5
	"$@"
	wait_for 40 process_ended "$daemon"
	check "$name: the process ends" process_ended "$daemon"
	wait "$daemon"
	status=$?
	check_same "$name: with status 0" 0 "$status"
	kill $busy 2>/dev/null
	wait $busy 2>/dev/null
	is_mounted "$M" && umount -l "$M"
}
end() { kill "$daemon"; }
end_mount() { umount -f "$M" 2>/dev/null; }
ends_in_the_midst "SIGTERM" end
ends_in_the_midst "umount -f" end_mount
mount_tenant acme "$M" || not_ok "mounts after that"
check "and all can be read" sh -c 'cat "$1"/load* >/dev/null' - "$M"
check_umount "unmounts" "$M" "$daemon"
finish
