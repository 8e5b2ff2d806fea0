#!/bin/bash
# tests/run: core timeout=200 clang
# Ways to mount and to end, and who has a tenant.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
make_tenant beta --owner root || exit 1
pass=$(passphrase acme)
mkdir -p "$M" "$S/other"
work() { echo "$1" >"$M/hello" && grep -qx "$1" "$M/hello"; }
# The process of tenant acme, remembered for the cleanup.
remember() {
	daemon=$(daemon_of acme)
	our_pids+=("$daemon")
}
our_mountpoints+=("$M")

check "the command returns when the mount answers" tenantfs "$STORE#acme" "$M" -o "keys=$K,passfile=$pass"
remember
check "it is a mount of type fuse.tenantfs" is_mounted "$M"
check "and it works at once" work one
chmod 755 "$M"
options=$(awk -v m="$M" '$2 == m {print "," $4 ","}' /proc/self/mounts)
for o in nosuid nodev default_permissions allow_other; do
	check "as root it is mounted with $o" grep -q ",$o," <<<"$options"
done
ahead=/sys/class/bdi/$(mountpoint -d "$M")/read_ahead_kb
if [ -w "$ahead" ]; then check_same "the kernel reads 1 MiB ahead" 1024 "$(cat "$ahead")"
else skip "the kernel reads 1 MiB ahead" "$ahead cannot be written"; fi
# The kernel's 1 %: with more a mount that does not get on could fill the memory with what it has to write.
share="its share of the pages that wait to be written is what the kernel gave it"
if [ -r "${ahead%/*}/max_ratio" ]; then check_same "$share" 1 "$(cat "${ahead%/*}/max_ratio")"; else skip "$share" "${ahead%/*} cannot be read"; fi
check "create --owner lets the owner in" cat "$M/hello"
check_not "and nobody else: he cannot read" setpriv --reuid="$user1" --regid="$user1" --clear-groups cat "$M/hello"
check_same "and lists nothing" "" "$(setpriv --reuid="$user1" --regid="$user1" --clear-groups ls -A "$M" 2>&1)"
check_status "a second mount of the tenant says who has it" 5 "$daemon.*$M|$M.*$daemon" \
	tenantfs "$STORE#acme" "$S/other" -o "keys=$K,passfile=$pass"
check_status "a mount point in use is refused" 5 "in use|mounted" \
	tenantfs "$STORE#beta" "$M" -o "keys=$K,passfile=$(passphrase beta)"
check "the first mount is unharmed" work two
check_umount "umount ends it" "$M" "$daemon"

# mount(8) drops PATH, so the program must be where the shell looks without one: in a mount namespace of our own.
printf '%s %s fuse.tenantfs noauto,keys=%s,passfile=%s 0 0\n' "$STORE#acme" "$M" "$K" "$pass" >"$S/fstab"
sed "s|passfile=[^ ,]*|passfile=$(passphrase beta)|" "$S/fstab" >"$S/fstab-wrong"
cat >"$S/by-mount" <<'E'
program=$(command -v tenantfs)
mount -t tmpfs none /usr/local/bin && ln -s "$program" /usr/local/bin/tenantfs || exit 99
pid() { /usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["pid"])' "$lock"; }
how=$1 lock=$2 mnt=$3
shift 3
mount "$@" || exit 1
p=$(pid)
echo "$how" >"$mnt/hello" && grep -qx "$how" "$mnt/hello" || exit 2
options=$(awk -v m="$mnt" '$2 == m {print "," $4 ","}' /proc/self/mounts)
case $options in *,nosuid,*) ;; *) echo "options are $options"; exit 3 ;; esac
case $options in *,nodev,*) ;; *) echo "options are $options"; exit 3 ;; esac
umount "$mnt" || exit 4
for _ in $(seq 200); do [ -d "/proc/$p" ] || exit 0; sleep 0.05; done
exit 5
E
by_mount() { unshare -m --propagation private bash "$S/by-mount" "$1" "$STORE/t/acme/lock" "$M" "${@:2}"; }
if command -v mount.fuse >/dev/null || command -v mount.fuse3 >/dev/null; then
	check "mount -t fuse.tenantfs mounts, works, with nosuid and nodev, and umount ends it" \
		by_mount three -t fuse.tenantfs -o "keys=$K,passfile=$pass" "$STORE#acme" "$M"
	check "an fstab line does the same" by_mount four -T "$S/fstab" "$M"
	check_not "an fstab line with a wrong passphrase fails" by_mount five -T "$S/fstab-wrong" "$M"
else
	skip "mount -t fuse.tenantfs and fstab" "mount.fuse3 is not installed"
fi

mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
check "SIGTERM is accepted" kill -TERM "$daemon"
check "SIGTERM ends the process" wait_for 20 process_ended "$daemon"
check_not "and the mount" is_mounted "$M"
mount_tenant acme "$M" || { not_ok "mounts with -f"; exit 1; }
check "data is there after all ways of mounting" grep -q . "$M/hello"
kill -TERM "$daemon"
check "SIGTERM ends a foreground process" wait_for 20 process_ended "$daemon"
wait "$daemon"
check_same "with status 0" 0 $?
mount_tenant acme "$M" || exit 1
kill -HUP "$daemon" 2>/dev/null
wait_for 20 process_ended "$daemon"
check_not "a hangup ends and unmounts it" is_mounted "$M"

# SIGKILL leaves a dead mount; the next one works and nothing closed is lost.
mount_tenant acme "$M" || exit 1
echo closed >"$M/closed"
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null
umount "$M"
mount_tenant acme "$M" || { not_ok "mounts after SIGKILL"; exit 1; }
check_same "a closed file is there after SIGKILL" closed "$(cat "$M/closed")"
check "umount with a file in use fails" bash -c "exec 3<'$M/closed'; ! umount '$M' 2>/dev/null"
check "and umount -l lets it go on" bash -c "exec 3<'$M/closed'; umount -l '$M' && grep -qx closed <&3"
check "until the last close" wait_for 20 process_ended "$daemon"

# As an ordinary user with a store of his own.
U=$S/user
mkdir -m 755 "$U" && chown "$user1:$user1" "$U"
(umask 077 && echo "of the user" >"$U/pass") && chown "$user1:$user1" "$U/pass"
user_setup() {
	as "$user1" tenantkey init "$U/store" &&
		as "$user1" tenantkey create "$U/store#own" --keys "$U/keys" --new-passphrase-file "$U/pass" "${cheap[@]}" \
			--owner "#$user1" && as "$user1" mkdir "$U/mnt"
}
check "an ordinary user makes a store of his own" user_setup
# /dev/fuse is for root alone on some machines: here, in a mount namespace of our own, it is for everybody.
cat >"$S/as-user" <<'E'
user=$1 dir=$2 node=$3
mknod -m 666 "$node" c 10 229 && mount --bind "$node" /dev/fuse || exit 99
# fusermount3 wants a name for him.
{ cat /etc/passwd && echo "tenantfs-test:x:$user:$user::/:/bin/sh"; } >"$node.passwd" && mount --bind "$node.passwd" /etc/passwd || exit 99
as_user() { setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"; }
say() { [ "$1" = 0 ] && echo "yes $2" || echo "no $2"; }
as_user tenantfs "$dir/store#own" "$dir/mnt" -o "keys=$dir/keys,passfile=$dir/pass"
status=$?
say $status "an ordinary user mounts through fusermount3"
[ $status = 0 ] || exit
pid=$(/usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["pid"])' "$dir/store/t/own/lock")
as_user bash -c 'cd "$1" && echo own >f && grep -qx own f && mkdir d && rm f' - "$dir/mnt"
say $? "he works in it"
[ "$(awk '/^Uid:/ {print $2 $3 $4 $5}' "/proc/$pid/status")" = "$user$user$user$user" ]
say $? "the process runs as him"
as_user bash -c 'cd "$1" && echo x >r && chmod 444 r && grep -qx x r && chmod 000 r && ! cat r && chmod 644 r && cat r' - "$dir/mnt"
say $? "his files without rights behave as without rights"
! ls "$dir/mnt"
say $? "others do not get in, not even root"
[ "$(stat -c %u /proc/$pid/mem)" = 0 ]
say $? "its memory belongs to root in /proc: not dumpable"
as_user fusermount3 -u "$dir/mnt"
say $? "fusermount3 -u ends it"
for _ in $(seq 200); do [ -d "/proc/$pid" ] || break; sleep 0.05; done
[ ! -d "/proc/$pid" ]
say $? "and its process ends"
kill "$pid" 2>/dev/null
E
if ! command -v fusermount3 >/dev/null || [ ! -u "$(command -v fusermount3)" ]; then
	skip "an ordinary user mounts through fusermount3" "fusermount3 is not installed set-user-id root"
else
	unshare -m --propagation private bash "$S/as-user" "$user1" "$U" "$S/fuse-node" >"$S/out" 2>"$S/user-log"
	while read -r verdict text; do
		if [ "$verdict" = yes ]; then ok "$text"; else
			not_ok "$text"
			sed 's/^/  /' "$S/user-log"
		fi
	done < <(grep -E '^(yes|no) ' "$S/out")
	grep -q 'and its process ends' "$S/out" || not_ok "an ordinary user gets to the end"
fi
