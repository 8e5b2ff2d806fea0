# Helpers for integration scripts: `. "$(dirname "$0")/lib.sh"` first. Bash.
# Prints "ok - NAME", "not ok - NAME", "skip - NAME: reason"; the script's exit status follows. Everything lies under $S,
# a scratch folder that is removed at the end, together with the mounts, loop devices and processes made through here.
# shellcheck shell=bash disable=SC2034
set -u
export LC_ALL=C
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${TENANTFS_BUILD:-$repo/build/gcc}
[[ $build == /* ]] || build=$PWD/$build
PATH=$build/fs:$build/keymgmt:$build/tools:$PATH:/usr/sbin:/sbin
me=$(basename "$0")
failures=0
user1=61001 user2=61002 # ids without an account

S=$(mktemp -d "${TMPDIR:-/var/tmp}/tenantfs-${me%.*}-XXXXXX") || exit 1
S=$(readlink -f "$S")
chmod 755 "$S"
K=$S/keys STORE=$S/store M=$S/mnt
our_pids=() our_mountpoints=() our_loops=()

ok() { echo "ok - $me: $*"; }
not_ok() {
	echo "not ok - $me: $*"
	failures=$((failures + 1))
}
skip() { # name reason
	echo "skip - $me: $1: $2"
}
skip_all() { # reason
	skip "everything" "$*"
	exit 0
}

# check NAME COMMAND...: ok when the command succeeds; its output is shown when it does not.
check() {
	local name=$1 out status
	shift
	out=$("$@" 2>&1)
	status=$?
	if [ $status -eq 0 ]; then
		ok "$name"
	else
		not_ok "$name"
		echo "  status $status of: $*"
		[ -z "$out" ] || printf '%s\n' "$out" | head -n 60 | sed 's/^/  /'
		return 1
	fi
}
# check_not NAME COMMAND...: ok when it fails (but was found and not killed).
check_not() {
	local name=$1 out status
	shift
	out=$("$@" 2>&1)
	status=$?
	if [ $status -ne 0 ] && [ $status -lt 126 ]; then
		ok "$name"
	else
		not_ok "$name"
		echo "  status $status of: $*"
		[ -z "$out" ] || printf '%s\n' "$out" | head -n 60 | sed 's/^/  /'
		return 1
	fi
}
# check_same NAME EXPECTED GOT
check_same() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1"
		diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | head -n 40 | sed 's/^/  /'
		return 1
	fi
}
# check_status NAME STATUS PATTERN COMMAND...: exactly this exit status, one sentence on stderr that matches the
# extended regular expression, and nothing but it.
check_status() {
	local name=$1 want=$2 pattern=$3 out status
	shift 3
	out=$("$@" 2>&1 >/dev/null </dev/null)
	status=$?
	if [ $status -ne "$want" ]; then
		not_ok "$name: status $status, not $want"
	elif ! grep -qE -- "$pattern" <<<"$out"; then
		not_ok "$name: the sentence does not match '$pattern'"
	else
		ok "$name"
		return 0
	fi
	printf '%s\n' "$out" | head -n 20 | sed 's/^/  /'
	return 1
}
# check_errno NAME ERRNO COMMAND...: fails with the text of that errno (EACCES, ENOENT, EIO, ...).
check_errno() {
	local name=$1 want=$2 text out status
	shift 2
	text=$(/usr/bin/python3 -c 'import errno,os,sys; print("|".join(os.strerror(getattr(errno, n)) for n in sys.argv[1].split("|")))' "$want")
	out=$("$@" 2>&1)
	status=$?
	if [ $status -eq 0 ] || ! grep -qE "$text" <<<"$out"; then
		not_ok "$name: status $status, not $want"
		printf '%s\n' "$out" | head -n 20 | sed 's/^/  /'
		return 1
	fi
	ok "$name"
}
# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

# on_plain PROGRAM: what it asks of a mount holds on a plain directory, $S/plain; else the test ends.
on_plain() {
	mkdir -m 755 "$S/plain"
	timeout 60 "$1" "$S/plain" "plain directory" 0.5 >"$S/control" 2>&1 || {
		cat "$S/control"
		not_ok "it is so on a plain directory"
		exit 1
	}
	ok "it is so on a plain directory"
}

need_command() {
	local c
	for c in "$@"; do command -v "$c" >/dev/null || skip_all "$c is not installed"; done
}
need_root() { [ "$(id -u)" = 0 ] || skip_all "needs root"; }
need_fuse() {
	[ -c /dev/fuse ] || skip_all "there is no /dev/fuse"
	if [ ! -w /dev/fuse ]; then skip_all "/dev/fuse may not be opened by this user"; fi
	local c
	for c in tenantfs tenantkey tenantctl; do
		command -v "$c" >/dev/null || { not_ok "$c was built"; exit 1; }
	done
}
need_loop() {
	need_root
	losetup -f >/dev/null 2>&1 || skip_all "no loop devices"
}

# As another user id without privileges.
as() { # uid command...
	local uid=$1
	shift
	setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all --bounding-set=-all -- "$@"
}

# The store $STORE with keys in $K; cheap passphrase slots.
passphrase() { # tenant: name of its passphrase file
	local f=$S/pass-$1
	[ -f "$f" ] || (umask 077 && printf 'correct horse of %s\n' "$1" >"$f")
	echo "$f"
}
cheap=(--pbkdf-memory 8192 --pbkdf-force-iterations 1)
small=(--journal-size 1M)
make_store() { # [option...]
	tenantkey init -q "$STORE" "$@"
}
make_tenant() { # tenant [option...]
	local t=$1
	shift
	tenantkey create "$STORE#$t" -q --keys "$K" --new-passphrase-file "$(passphrase "$t")" "${cheap[@]}" \
		"${small[@]}" "$@"
}
apply_policy() { # tenant; the text on standard input
	cat >"$S/policy-$1"
	tenantctl policy apply "$STORE#$1" "$S/policy-$1" --keys "$K" --passphrase-file "$(passphrase "$1")"
}
audit() { # verb tenant [option...]
	local verb=$1 t=$2
	shift 2
	tenantctl audit "$verb" "$STORE#$t" --keys "$K" --passphrase-file "$(passphrase "$t")" "$@"
}

is_mounted() { grep -qF " $(printf '%s' "$1" | sed 's/ /\\040/g') fuse.tenantfs " /proc/self/mounts; }
# The process that serves tenant $1, from its lock file (JSON with "pid").
daemon_of() {
	/usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["pid"])' "$STORE/t/$1/lock"
}
# mount_tenant TENANT [MOUNTPOINT [OPTIONS]]: in the foreground of a background job; $daemon is its pid, its messages are in
# $S/log-TENANT.
mount_tenant() {
	local t=$1 m=${2:-$M/$1} options=${3:-}
	mkdir -p "$m" || return 1
	passphrase "$t" >/dev/null
	(
		# Nothing that this shell has open is its business.
		for f in /proc/"$BASHPID"/fd/*; do [ "${f##*/}" -gt 2 ] && eval "exec ${f##*/}>&-"; done
		exec tenantfs -f "$STORE#$t" "$m" -o "keys=$K,passfile=$(passphrase "$t")${options:+,$options}"
	) >>"$S/log-$t" 2>&1 </dev/null &
	daemon=$!
	our_pids+=("$daemon")
	our_mountpoints+=("$m")
	local end=$((SECONDS + 60))
	until is_mounted "$m"; do
		if ! kill -0 "$daemon" 2>/dev/null || [ $SECONDS -ge $end ]; then
			cat "$S/log-$t"
			return 1
		fi
		sleep 0.02
	done
}
# umount_tenant MOUNTPOINT [PID]: and waits for the process to end.
umount_tenant() {
	local m=$1 p=${2:-}
	if [ "$(id -u)" = 0 ]; then umount "$m" || return 1; else fusermount3 -u "$m" || return 1; fi
	[ -n "$p" ] || return 0
	wait_for 30 process_ended "$p" || { echo "process $p does not end"; return 1; }
	# It cannot be asked from a subshell, nor when it went to the background: then it has no status for us.
	wait "$p" 2>/dev/null
	local status=$?
	[ $status -eq 0 ] || [ $status -eq 127 ] || { echo "process $p ended with status $status"; return 1; }
}
# check_umount NAME MOUNTPOINT PID: as check, and the process must end with status 0.
check_umount() {
	local out
	if out=$(umount "$2" 2>&1) && wait_for 90 process_ended "$3"; then
		wait "$3" 2>/dev/null
		local status=$?
		if [ $status -eq 0 ] || [ $status -eq 127 ]; then
			ok "$1"
			return 0
		fi
		out="the process ended with status $status"
	fi
	not_ok "$1"
	echo "  ${out:-the process does not end}"
	return 1
}
# With all its threads: as long as one of them runs, its locks are held.
process_ended() { ! kill -0 "$1" 2>/dev/null || { grep -q '^State:[[:space:]]*Z' "/proc/$1/status" && ! grep -vq '^State:[[:space:]]*[ZX]' < <(grep -h '^State:' /proc/"$1"/task/*/status); } 2>/dev/null; }

# A loop device with a filesystem under $S: loop_fs NAME SIZE ext4|xfs [mount options]; mounted at $S/NAME, image $S/NAME.img.
loop_fs() {
	local image=$S/$1.img device
	truncate -s "$2" "$image" || return 1
	if [ "$3" = ext4 ]; then
		mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$image" || return 1
	else
		mkfs."$3" -q -f -K "$image" || return 1
	fi
	device=$(losetup -f --show "$image") || return 1
	our_loops+=("$device")
	mkdir -p "$S/$1" && mount -o "nodiscard${4:+,$4}" "$device" "$S/$1" || return 1
	our_mountpoints+=("$S/$1")
}

# Between two lines that the command prints, each of which it waits for, the daemon is hardly asked for anything: what it is asked it reads.
asks_next_to_nothing() { # name command...
	local name=$1 asked before pid
	reads_of_daemon() { sed -n 's/^syscr: //p' "/proc/$daemon/io"; }
	shift
	coproc asking { "$@"; }
	pid=$asking_PID
	read -r _ <&"${asking[0]}"
	before=$(reads_of_daemon)
	echo >&"${asking[1]}"
	read -r _ <&"${asking[0]}"
	asked=$(($(reads_of_daemon) - before))
	echo >&"${asking[1]}"
	wait "$pid"
	if [ "$asked" -lt 200 ]; then ok "$name ($asked requests)"; else not_ok "$name: $asked"; fi
}

cleanup() {
	local i p m
	cd /
	for ((i = ${#our_mountpoints[@]} - 1; i >= 0; i--)); do
		m=${our_mountpoints[i]}
		while grep -qF " $m " /proc/self/mounts; do
			umount "$m" 2>/dev/null || fusermount3 -uq "$m" 2>/dev/null || umount -l "$m" 2>/dev/null ||
				fusermount3 -uzq "$m" 2>/dev/null || break
		done
	done
	for p in "${our_pids[@]}"; do
		[ -n "$p" ] && ! process_ended "$p" && wait_for 5 process_ended "$p"
		process_ended "$p" || kill "$p" 2>/dev/null
		process_ended "$p" || wait_for 5 process_ended "$p" || kill -9 "$p" 2>/dev/null
	done
	for p in "${our_loops[@]}"; do losetup -d "$p" 2>/dev/null; done
	[ "${KEEP:-}" ] || rm -rf --one-file-system "$S"
}
finish() {
	local status=$?
	trap - EXIT
	# Under `check/selftest` and sanitizers the daemon's own complaints count too.
	local complaint='ERROR: (Address|Leak)Sanitizer|runtime error:|WARNING: ThreadSanitizer|Lock order: '
	if grep -lqE "$complaint" "$S"/log-* 2>/dev/null; then
		not_ok "a sanitizer or the order of locks complained"
		grep -hE -A30 "$complaint" "$S"/log-* | head -n 80 | sed 's/^/  /'
	fi
	cleanup
	# Without a number, exit in a trap gives the status from before it.
	[ $status -eq 0 ] && [ $failures -eq 0 ]
	exit $?
}
trap finish EXIT
trap 'exit 1' INT TERM HUP
