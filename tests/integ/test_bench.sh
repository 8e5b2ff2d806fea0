#!/bin/bash
# tests/run: slow timeout=180 once
# tests/bench/run at a tiny size: its table, its JSON, its exit statuses, a filesystem that loses a byte, and that nothing stays when it is interrupted.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
export TMPDIR=$S/scratch
mkdir "$TMPDIR" "$S/programs"
ln -s "$build/fs" "$build/tools" "$S/programs"
bench() { # option...
	"$repo/tests/bench/run" --no-install --build "$S/programs" --rounds 1 --scale 0.002 --on tmpfs "$@"
}
json() { # expression of the report, as `j`
	/usr/bin/python3 -c "import json, sys; j = json.load(open('$S/json')); print($1)"
}
nothing_left() { [ -z "$(ls -A "$TMPDIR"; losetup -l -n -O BACK-FILE | grep -F "$TMPDIR"; pgrep -f "$TMPDIR"; grep -F "$TMPDIR" /proc/self/mounts)" ]; }

check "it names its rows" grep -q "^sequential write .*1.5 of peer" <<<"$(bench --list)"
rows=(sequential append unpack "stat all" "read all" remove "single commits" scan "100,000 files: list" "1 rule")
check "it measures native and tenantfs, and they lose nothing" bash -c "$(declare -f bench); repo='$repo' S='$S'
	bench --systems native,tenantfs --json '$S/json' --only \"\$@\" >'$S/table' 2>'$S/log' || { cat '$S/log' '$S/table'; exit 1; }" - "${rows[@]}"
check_same "every row that was asked for has its figures" "25 True" "$(json "len(j['results']), all(len(r['figures']) == 1 and r['median'] > 0 for r in j['results'])")"
check_same "the report says where" "True" "$(json "all(j[k] for k in ('when', 'commit', 'machine', 'versions', 'options', 'load before')) and j['scale'] == 0.002")"
check "the table has rows, systems and ratios" grep -qE '^\| read all, cold +\| files/s \| [0-9.kM]+ +\| [0-9.kM]+ +\| - +\| [0-9.]+ ' "$S/table"
check_same "a tiny run reaches and misses no goal for certain" "0" "$(grep -cE '\| (yes|no) +\|' "$S/table")"
check "nothing is left of it" nothing_left

bench --systems damaged --json "$S/json" --only sequential "random write" append overwrite unpack "read all" commits bulk "git add" >"$S/table" 2>"$S/log"
check_same "a filesystem that changes a byte: status" 1 $?
command -v fio >/dev/null || skip "random writes are verified" "fio is not installed"
check_same "a byte that is another is found in all that was written" "" "$(json "*[r['row'] for r in j['results'] if r['kind'] not in ('wrong', 'missing')]")"
check "and the table says so" grep -qE '^\| unpack .*WRONG' "$S/table"

bench --systems native,passthrough --only append >"$S/table" 2>"$S/log"
check_same "a system that is not there: status" 3 $?
check "and a sentence, and a column that says so" grep -qE '^\| append .*not installed' "$S/table"
bench --systems native --only nothing-of-that-name >"$S/table" 2>"$S/log"
check_same "no such row: status" 2 $?

"$repo/tests/bench/run" --no-install --build "$S/programs" --rounds 100 --scale 0.01 --systems native,tenantfs --only unpack >"$S/table" 2>"$S/log" &
job=$!
our_pids+=("$job")
wait_for 100 grep -q "round 1" "$S/log"
kill -INT "$job"
wait "$job"
check_same "interrupted in the middle: status" 130 $?
check "nothing is left mounted, attached, running or lying about" nothing_left
