# What building and testing need of Debian 12, and how to get it. Sourced by tests/run and tools/demo.
# shellcheck shell=bash

# Without these nothing is built.
packages_build=(meson ninja-build gcc libc6-dev pkg-config libfuse3-dev libsodium-dev libssl-dev
	libxxhash-dev libjansson-dev python3)
# The demonstration and the core tests; a test that lacks one names it and is skipped.
packages_core=(libcmocka-dev fuse3 python3-cryptography e2fsprogs sqlite3 git attr acl util-linux mount
	procps binutils make)
# Only for the slow tests.
packages_slow=(clang clang-format clang-tidy cppcheck libclang-rt-14-dev xfsprogs strace
	postgresql-15 nodejs rsync restic vim valgrind)
# Only for campaigns.
packages_long=(borgbackup)
# Only for tests/bench/run; pgbench comes with PostgreSQL.
packages_bench=(fio gocryptfs securefs sqlite3 git postgresql-15)

# packages_missing NAME... prints those that are not installed.
packages_missing() {
	local p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
	done
}

# packages_install NAME... installs what is missing, as root or through sudo without a password; otherwise says what to
# install. 0 when all are there.
packages_install() {
	local missing how=()
	mapfile -t missing < <(packages_missing "$@")
	[ ${#missing[@]} -eq 0 ] && return 0
	if ! command -v apt-get >/dev/null; then
		echo "Missing: ${missing[*]}. Please install these Debian 12 packages or what corresponds to them." >&2
		return 1
	fi
	if [ "$(id -u)" != 0 ]; then
		if ! sudo -n true 2>/dev/null; then
			echo "Missing: ${missing[*]}. Please run as root: apt-get install ${missing[*]}" >&2
			return 1
		fi
		how=(sudo -n)
	fi
	echo "installing ${missing[*]}"
	# The tests make clusters of their own: none is made and started for the machine, unless it is set up for that.
	local cluster=/etc/postgresql-common/createcluster.conf
	if [[ " ${missing[*]} " == *" postgresql"* ]] && [ ! -e $cluster ]; then
		"${how[@]}" sh -c "mkdir -p ${cluster%/*} && echo 'create_main_cluster = false' >$cluster"
	fi
	local log
	log=$(mktemp) || return 1
	if "${how[@]}" apt-get -q update >"$log" 2>&1 </dev/null &&
		"${how[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
			install "${missing[@]}" >>"$log" 2>&1 </dev/null; then
		rm -f "$log"
		return 0
	fi
	cat "$log" >&2
	rm -f "$log"
	echo "apt-get could not install: ${missing[*]}" >&2
	return 1
}
