#!/bin/bash
# tests/run: core timeout=200
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
options=$(awk -v m="$M" '$2 == m {print "," $4 ","}' /proc/self/mounts)
for o in nosuid nodev default_permissions allow_other; do
	check "as root it is mounted with $o" grep -q ",$o," <<<"$options"
done
check_status "a second mount of the tenant says who has it" 5 "$daemon.*$M|$M.*$daemon" \
	tenantfs "$STORE#acme" "$S/other" -o "keys=$K,passfile=$pass"
check_status "a mount point in use is refused" 5 "in use|mounted" \
	tenantfs "$STORE#beta" "$M" -o "keys=$K,passfile=$(passphrase beta)"
check "the first mount is unharmed" work two
check "umount ends it" umount_tenant "$M" "$daemon"

if command -v mount.fuse >/dev/null || command -v mount.fuse3 >/dev/null; then
	check "mount -t fuse.tenantfs" mount -t fuse.tenantfs -o "keys=$K,passfile=$pass" "$STORE#acme" "$M"
	if is_mounted "$M"; then
		remember
		check "and it works" work three
		check "umount ends it too" umount_tenant "$M" "$daemon"
	fi
	printf '%s %s fuse.tenantfs noauto,keys=%s,passfile=%s 0 0\n' "$STORE#acme" "$M" "$K" "$pass" >"$S/fstab"
	check "an fstab line" mount -T "$S/fstab" "$M"
	if is_mounted "$M"; then
		remember
		check "and it works too" work four
		check "SIGTERM is accepted" kill -TERM "$daemon"
		check "SIGTERM ends the process" wait_for 20 process_ended "$daemon"
		check_not "and the mount" is_mounted "$M"
	fi
	sed "s|passfile=[^ ,]*|passfile=$(passphrase beta)|" "$S/fstab" >"$S/fstab-wrong"
	check_not "an fstab line with a wrong passphrase fails" mount -T "$S/fstab-wrong" "$M"
else
	skip "mount -t fuse.tenantfs and fstab" "mount.fuse3 is not installed"
fi

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
reason=
command -v fusermount3 >/dev/null || reason="fusermount3 is not installed"
[ -u "$(command -v fusermount3)" ] || reason=${reason:-"fusermount3 is not set-user-id root"}
if [ -z "$reason" ]; then
	our_mountpoints+=("$U/mnt")
	# His set-user-id helper needs its capabilities: no bounding set here.
	if setpriv --reuid="$user1" --regid="$user1" --clear-groups -- tenantfs "$U/store#own" "$U/mnt" \
		-o "keys=$U/keys,passfile=$U/pass" 2>"$S/user-log"; then
		p=$(/usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["pid"])' "$U/store/t/own/lock")
		our_pids+=("$p")
		ok "an ordinary user mounts through fusermount3"
		check "he works in it" as "$user1" bash -c \
			"echo own >'$U/mnt/f' && grep -qx own '$U/mnt/f' && mkdir '$U/mnt/d' && rm '$U/mnt/f'"
		check_same "the process runs as him" "$user1" "$(awk '/^Uid:/ {print $2}' "/proc/$p/status")"
		check "his read-only files can be read" as "$user1" bash -c \
			"echo x >'$U/mnt/r' && chmod 444 '$U/mnt/r' && grep -qx x '$U/mnt/r'"
		check_not "others do not get in, not even root" ls "$U/mnt"
		check "fusermount3 -u ends it" setpriv --reuid="$user1" --regid="$user1" --clear-groups -- fusermount3 -u "$U/mnt"
		check "the process ends" wait_for 20 process_ended "$p"
	elif grep -qiE "/dev/fuse|operation not permitted" "$S/user-log"; then
		reason="fusermount3 could not: $(tail -n 1 "$S/user-log")"
	else
		not_ok "an ordinary user mounts through fusermount3"
		sed 's/^/  /' "$S/user-log"
	fi
fi
[ -z "$reason" ] || skip "an ordinary user mounts through fusermount3" "$reason"
