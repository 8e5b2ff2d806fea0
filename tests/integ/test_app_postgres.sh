#!/bin/bash
# tests/run: slow timeout=400 once
# PostgreSQL in a mount: a cluster made by an ordinary user, pgbench, its processes killed in the middle of that, then tenantfs under them;
# checksums, dumps, and what a tablespace elsewhere means. PG_SECONDS=n: pgbench for so long each time (4); PG_SCALE=n: its scale (1).
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
seconds=${PG_SECONDS:-4} scale=${PG_SCALE:-1}
bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
[ -x "$bin/initdb" ] && [ -x "$bin/pgbench" ] || skip_all "postgresql is not installed"
# Its programs want an account.
account=$(id -u postgres 2>/dev/null || id -u nobody) || skip_all "there is neither an account postgres nor nobody"

make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P || exit 1
tenant acme
permit admin: user:root to any on /**
permit database: user:#$account to any on /pg/**
P
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M" && mkdir -m 700 "$M/pg" && chown "$account:$account" "$M/pg" || exit 1
data=$M/pg/data log=$M/pg/log

# As check of lib.sh, but not in a subshell: what the command counts is kept.
check() {
	local name=$1 begun=$SECONDS status
	shift
	"$@" >"$S/out" 2>&1
	status=$?
	if [ $status -eq 0 ]; then
		ok "$name ($((SECONDS - begun)) s)"
	else
		not_ok "$name"
		echo "  status $status of: $*"
		head -n 60 "$S/out" | sed 's/^/  /'
		return 1
	fi
}
pg() { # command...: as that account; never for longer than it may take
	as "$account" timeout -k 5 $((seconds + 120)) env -i PATH="$bin:$PATH" LC_ALL=C HOME="$M/pg" PGDATA="$data" PGHOST="$M/pg" PGUSER=pg PGDATABASE=postgres "$@"
}
sql() { pg psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }
start() { # [option]
	pg pg_ctl -w -t 50 -s -l "$log" -o "-c listen_addresses='' -c unix_socket_directories='$M/pg' ${1:-}" start || { tail -n 20 "$log"; return 1; }
	main=$(head -n 1 "$data/postmaster.pid")
	our_pids+=("$main")
	segments+=("$(awk 'NR == 7 {print $2}' "$data/postmaster.pid")")
}
# Its few bytes of System V memory: after a remount the folder has another device number, and it takes those of a killed one for another cluster's.
segments=()
remove_segments() {
	local s status=$?
	for s in "${segments[@]}"; do ipcrm -m "$s" 2>/dev/null; done
	(exit $status)
	finish
}
trap remove_segments EXIT
kill_all() { # the postmaster first: it would start anew
	local all
	all="$main $(pgrep -P "$main")"
	# shellcheck disable=SC2086
	kill -9 $all
	# Gone, not only ended: to the next postmaster a pid that nobody has waited for is a running one.
	for p in $all; do wait_for 20 is_gone "$p" || { echo "$p does not end"; return 1; }; done
}
is_gone() { ! kill -0 "$1"; }
# pgbench runs beside the mount; what it has been told is committed it counts.
bench() { # [seconds]
	cd "$S" || return 1
	pg pgbench -n -c 4 -j 2 -T "${1:-$seconds}" >"$S/bench" 2>&1
}
bench_in_the_middle() { # in the background, $job; returns when something was done, and some time has gone
	bench $((seconds + 100)) & job=$!
	wait_for 60 more_rows 30
	sleep $((seconds / 3))
}
more_rows() { [ "$(sql "select count(*) from pgbench_history")" -gt $((told + $1)) ]; }
told=0
count_told() {
	local n
	n=$(sed -n 's/^number of transactions actually processed: //p' "$S/bench")
	tps=$(sed -n 's/^tps = \([0-9]*\).*/\1/p' "$S/bench")
	[ "${n:-0}" -gt 20 ] || { echo "too little was done"; cat "$S/bench"; return 1; }
	told=$((told + n))
}
# What pgbench promises of its tables: every transaction adds the same to one row of each, and a row of history says so.
is_whole() { # transactions that nobody was told of may be there, too: one for each client and kill
	local sums rows
	sums=$(sql "select (select sum(bbalance) from pgbench_branches), (select sum(tbalance) from pgbench_tellers),
		(select sum(abalance) from pgbench_accounts), (select coalesce(sum(delta), 0) from pgbench_history)") || return 1
	rows=$(sql "select count(*) from pgbench_history") || return 1
	echo "sums $sums, $rows rows, $told told"
	[ "$(tr '|' '\n' <<<"$sums" | sort -u | wc -l)" -eq 1 ] && [ "$rows" -ge "$told" ] && [ "$rows" -le $((told + 4 * ${1:-0})) ] || return 1
	told=$rows
	# Each index has what its table has.
	sql "set enable_seqscan = off; select count(aid) from pgbench_accounts where aid > 0" | grep -qx $((100000 * scale))
}

check "initdb --data-checksums by an ordinary user" pg initdb --data-checksums -U pg -A trust --no-locale -E UTF8
printf '%s\n' "max_wal_size = 64MB" "shared_buffers = 32MB" "checkpoint_timeout = 30s" "fsync = on" >>"$data/postgresql.conf"
check "it starts" start || exit 1
check "pgbench makes its tables" pg pgbench -q -i -s "$scale"
check "pgbench with four clients" bench
check "it has done something" count_told
echo "# $tps transactions a second"
check "every transaction is there, and the sums are equal" is_whole

bench_in_the_middle
check "all of its processes are killed in the middle of that" kill_all
wait $job
check "something had been done" count_told
check "it starts and recovers" start || exit 1
check "recovery found work" grep -q "redo done" "$log"
check "after its kill every transaction is there, and the sums are equal" is_whole 1

# Now tenantfs goes, under open_datasync, which opens the log with O_DSYNC.
check "it ends" pg pg_ctl -w -s -m fast stop
check "it starts with O_DSYNC" start "-c wal_sync_method=open_datasync" || exit 1
bench_in_the_middle
kill -9 "$daemon"
# Some of its processes end by themselves: they cannot write their log.
kill_all >/dev/null 2>&1
wait $job
check "tenantfs is killed in the middle of that" wait_for 20 process_ended "$daemon"
wait "$daemon" 2>/dev/null
check "something had been done then" count_told
wait_for 20 umount "$M" || { not_ok "the dead mount is unmounted"; exit 1; }
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
redone=$(grep -c "redo done" "$log")
check "it starts on the mount that recovered, and recovers" start || exit 1
check "recovery found work again" test "$(grep -c "redo done" "$log")" -gt "$redone"
check "after a kill of tenantfs every transaction is there, and the sums are equal" is_whole 1

# A tablespace elsewhere: its content leaves the mount, and so do the promises; docs/posix.md and tenantfs(8) say so.
secret="mark-of-the-tablespace-$RANDOM$RANDOM"
install -d -m 700 -o "$account" -g "$account" "$S/outside" "$M/pg/inside"
sql "create tablespace outside location '$S/outside'" && sql "create table kept_outside tablespace outside as select '$secret' as t" &&
	sql "create tablespace inside location '$M/pg/inside'" && sql "create table kept_inside tablespace inside as select '$secret' as t" &&
	sql "checkpoint" || not_ok "tablespaces are made"
check "a tablespace outside the mount lies in the clear: why the manual refuses it" grep -rqF "$secret" "$S/outside"
check "tenantfs(8) says so" grep -q tablespace "$repo/docs/man/tenantfs.8"
check_same "and how one is found" "$S/outside" "$(find "$data/pg_tblspc" -type l -printf '%l\n' | grep -v "^$M/")"
sql "drop table kept_outside" && sql "drop tablespace outside" || not_ok "it is dropped"
check "one inside the mount works" test "$(sql "select t from kept_inside")" = "$secret"
check_not "and is in the clear nowhere" grep -rqF "$secret" "$STORE" "$S/outside"

dump() { # file; psql's \restrict has another word each time
	pg pg_dump >"$S/dump" && grep -vE '^\\(un)?restrict ' "$S/dump" >"$1"
}
check "pg_dump" dump "$S/dump-before"
check "pg_dump has everything" grep -qF "$secret" "$S/dump-before"
check "it ends again" pg pg_ctl -w -s -m fast stop
check "pg_checksums finds nothing wrong" pg pg_checksums --check
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts a third time"; exit 1; }
check "it starts after a remount" start || exit 1
check "pg_dump after it" dump "$S/dump-after"
check "the dump is the same after a remount" cmp "$S/dump-before" "$S/dump-after"
check "it ends a third time" pg pg_ctl -w -s -m fast stop
check "pg_checksums finds nothing wrong after a remount" pg pg_checksums --check
# And would find it.
victim=$(find "$data/base" -type f -size +1000k | head -n 1)
printf x | dd of="$victim" bs=1 seek=9000 conv=notrunc status=none
check_not "pg_checksums finds one byte that was changed" pg pg_checksums --check
check_umount "unmounts at the end" "$M" "$daemon"
