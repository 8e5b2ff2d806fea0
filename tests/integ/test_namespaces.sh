#!/bin/bash
# tests/run: slow timeout=240 once
# Callers in user, mount and pid namespaces of their own, ids that are mapped, files of 200 users: as on a plain directory; what the
# policy and the log take such a caller for; a tenant that is mounted by root of a user namespace.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
unshare --user --map-root-user true 2>/dev/null || skip_all "user namespaces are switched off here"
ops=$repo/tests/integ/namespace_ops.py

loop_fs disk 900M ext4 || exit 1
chmod 755 "$S/disk"
STORE=$S/disk/store
make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<P || exit 1
tenant acme
permit everybody: anyone to any on /**
P
mkdir -m 755 "$S/disk/plain"
export TMPDIR=$S
timeout 100 "$ops" "$S/disk/plain" "plain directory" >"$S/control" || {
	cat "$S/control"
	not_ok "the expectations hold on a plain directory"
	exit 1
}
ok "the expectations hold on a plain directory ($(grep -c '^ok' "$S/control") of them)"
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 755 "$M"
timeout 150 "$ops" "$M" "mount" || failures=$((failures + 1))
check "all of it can be removed" find "$M" -mindepth 1 -delete

# Who he is to the policy and the log.
mkdir "$M/one" "$M/two" "$M/group" "$M/root" && chmod 777 "$M"/* || exit 1
for d in one two group root; do echo "$d" >"$M/$d/file" && chmod 666 "$M/$d/file"; done
apply_policy acme <<P || exit 1
tenant acme
permit admin: user:root to any on /**
permit one: user:#$user1 to any on /one/**
permit two: user:#$user2 to any on /two/**
permit group: group:#62500 to any on /group/**
P
mkdir "$S/policy"
AT=$M timeout 60 "$repo/tests/integ/namespace_policy.py" "$S/policy" "policy" >"$S/policy-out" || failures=$((failures + 1))
cat "$S/policy-out"
audit export acme >"$S/ocsf" 2>/dev/null
logged() { # pid: uid and program of its open of /one/file
	/usr/bin/python3 - "$S/ocsf" "$1" <<'Y'
import json, sys
for line in open(sys.argv[1]):
    r = json.loads(line)
    a = r.get("actor", {})
    p = a.get("process", {})
    if r.get("file", {}).get("path") == "/one/file" and p.get("pid") == int(sys.argv[2]) and "cat" in str(p):
        print(a["user"]["uid"], (p.get("file") or {}).get("path") or p.get("path"))
        break
Y
}
pid_of() { sed -n "s/^# $1 //p" "$S/policy-out"; }
check_same "the log has him by uid and pid of the host, and says that his program's path is his own view" \
	"$user1 /usr/bin/cat (in another mount namespace)" "$(logged "$(pid_of disguised)")"
check_same "and nothing of the kind of others" "$user1 /usr/bin/cat" "$(logged "$(pid_of honest)")"
check "the log verifies" audit verify acme

# A container keeps the mount when it is unmounted here; SIGTERM ends it for all.
contain() { # a process in a mount namespace of its own that looks whenever it is asked
	rm -f "$S/answers" "$S/asks"
	mkfifo "$S/asks"
	unshare -m --propagation private bash -c 'while read -r _; do cat "$1/one/file" >/dev/null && echo fine || echo gone; done' - "$M" <"$S/asks" >"$S/answers" 2>&1 &
	our_pids+=($!)
	exec 7>"$S/asks"
}
answer() { # word
	echo >&7
	wait_for 10 eval "tail -n 1 '$S/answers' | grep -qx '$1'"
}
contain
check "a container has the mount" answer fine
echo xxxx >"$M/one/file"
kill -TERM "$daemon"
check "SIGTERM ends tenantfs although another mount namespace has the mount" wait_for 20 process_ended "$daemon"
wait "$daemon"
check_same "with status 0" 0 $?
check "which has lost it" answer gone
exec 7>&-
is_mounted "$M" && not_ok "the mount is gone"

# What else is mounted at the same place, below or since, is none of ours to unmount.
type_at() { findmnt -n -o FSTYPE --mountpoint "$M" | tail -n 1; }
mount -t tmpfs -o size=1M below "$M" || exit 1
our_mountpoints+=("$M")
for when in below since; do
	if [ $when = since ]; then umount "$M"; fi
	mount_tenant acme "$M" nonempty || { not_ok "mounts"; exit 1; }
	contain
	check "a container has the mount ($when)" answer fine
	if [ $when = since ]; then umount "$M" && mount -t tmpfs -o size=1M since "$M"; fi
	kill -TERM "$daemon"
	check "SIGTERM ends it ($when)" wait_for 20 process_ended "$daemon"
	check_same "and leaves what is mounted there ($when)" tmpfs "$(type_at)"
	exec 7>&-
done
umount "$M"

# A tenant of a user namespace's own root, with the uids that he has.
mkdir -m 755 "$S/own" && chown "$user1:$user1" "$S/own" && mknod -m 666 "$S/fuse" c 10 229 || exit 1
cat >"$S/in-own" <<'E2'
set -u
mount --bind "$2" /dev/fuse && cd "$1" || exit 1
say() { local s=$?; [ $s = 0 ] && echo "yes $*" || echo "no $*"; }
(umask 077 && echo "correct horse of all" >pass)
tenantkey init -q store && tenantkey create 'store#own' -q --keys keys --new-passphrase-file pass --pbkdf-memory 65536 --pbkdf-force-iterations 1 \
	--journal-size 1M --owner root
say "root of a user namespace makes a store"
mkdir m && tenantfs 'store#own' m -o keys=keys,passfile=pass
say "and mounts it"
echo text >m/f && mkdir m/d && ln -s f m/l && mv m/f m/d/g && [ "$(cat m/d/g)" = text ] && [ "$(stat -c %u:%g m/d/g)" = 0:0 ]
say "he works in it"
! chown 5 m/d/g 2>err && grep -q "Invalid argument" err
say "an id that the namespace does not have: EINVAL"
pid=$(/usr/bin/python3 -c 'import json; print(json.load(open("store/t/own/lock"))["pid"])')
umount m && for i in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done; ! kill -0 "$pid" 2>/dev/null
say "he unmounts it"
tenantctl fsck 'store#own' --keys keys --passphrase-file pass
say "and it is whole"
E2
as "$user1" env PATH="$PATH" HOME="$S/own" unshare --user --map-root-user --mount --pid --fork --mount-proc bash "$S/in-own" "$S/own" "$S/fuse" >"$S/own-out" 2>&1
grep -q '^yes and it is whole' "$S/own-out" || { not_ok "a tenant in a user namespace: gets to the end"; sed 's/^/  /' "$S/own-out"; }
while read -r verdict text; do
	if [ "$verdict" = yes ]; then ok "user namespace: $text"; else not_ok "user namespace: $text"; fi
done < <(grep -E '^(yes|no) ' "$S/own-out")
