#!/bin/bash
# tests/run: core timeout=180
# Where the kernel keeps the attributes of files because it asks for their directory at every walk (docs/decisions/0009), nobody is told more by
# them than by tenantfs itself, whatever way he comes; and writers ask for nothing.
# ATTRIBUTE_ROUNDS: of random policies and changes.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
make_store || exit 1
make_tenant acme --owner root || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
chmod 777 "$M"
mkdir "$S/bound"

mkdir -m 755 "$M/busy"
cat >"$S/write.py" <<'W'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.pwrite(fd, bytes(4096), 0)
if sys.argv[2:]:
    os.unlink(sys.argv[1])
print(flush=True)
sys.stdin.readline()
for i in range(10000):
    os.pwrite(fd, bytes(100), i % 40 * 100)
    if i % 10 == 0:
        os.fstat(fd)
        os.pread(fd, 10, i)
print(flush=True)
sys.stdin.readline()
W
writes() { # name [word]
	asks_next_to_nothing "$1" /usr/bin/python3 "$S/write.py" "$M/busy/file" ${2:+"$2"}
}
writes "as shipped, in a directory: ten thousand writes ask next to nothing"
writes "nor to a file that is removed and still open" removed

one() { as "$user1" "$@"; }
two() { as "$user2" "$@"; }
policy() { { printf 'tenant acme\npermit admin: user:root to any on /**\n'; cat; } | apply_policy acme >/dev/null || not_ok "applies"; }
hidden() { check_errno "$1" ENOENT "${@:2}"; }
policy <<<"permit first: user:#$user1 to any on /area/**"
umask 0
mkdir "$M/area" "$M/area/sub"
echo 1 >"$M/area/f"
echo 1 >"$M/area/sub/f"
echo 1 >"$M/busy/f"
# Of who is not the owner the kernel also asks for a directory's ACL, and keeps that there is none.
warm() {
	one bash -c "stat $M/f* $M/*/f* $M/area/sub/f*" >/dev/null 2>&1
	stat "$M"/f* "$M"/*/f* "$M"/area/sub/f* >/dev/null 2>&1
}
warm
check "who passes the directory is told" one stat "$M/area/f" "$M/area/sub/f"
hidden "who does not is not told by path" two stat "$M/area/f"
hidden "nor of what lies deeper" two stat "$M/area/sub/f"
cd "$M/area/sub" || exit 1
check "the entitled is told in a working directory" one stat f ../f
hidden "who is not, is not told there" two stat f
hidden "nor from a working directory, with capabilities" setpriv --reuid="$user2" --regid="$user2" --clear-groups \
	--inh-caps=+dac_override,+dac_read_search --ambient-caps=+dac_override,+dac_read_search -- stat f
hidden "nor of the one above" two stat ../f
cd / || exit 1
exec 7<"$M/area/sub"
check "the entitled is told through a descriptor" one stat /proc/self/fd/7/f
hidden "nor through a descriptor of the directory" two stat /proc/self/fd/7/f
exec 7<&-
mount --bind "$M/area/sub" "$S/bound" && our_mountpoints+=("$S/bound")
check "the entitled is told there, too" one stat "$S/bound/f"
hidden "nor through a bind mount" two stat "$S/bound/f"
umount "$S/bound"
hidden "nor of what is in the mount's own directory, which all pass" two stat "$M/f"

# Other names and other places, at once.
ln "$M/busy/f" "$M/f-linked"
warm
hidden "by another name, in a directory that all pass" one stat "$M/f-linked"
rm "$M/f-linked"
warm
mv "$M/busy/f" "$M/f"
hidden "moved into a directory that all pass" one stat "$M/f"
mv "$M/f" "$M/busy/f"
warm
mv "$M/busy" "$M/area/work"
check "moved with its directory to where he may" one stat "$M/area/work/f"
warm
mv "$M/area/work" "$M/busy"
hidden "and back" one stat "$M/busy/f"
warm
policy <<<"permit first: user:#$user1 to read on /busy/deep/**"
hidden "a new policy that lets him pass the directory alone" one stat "$M/busy/f"
check "and the directory" one stat "$M/busy"
# Root keeps a removed file open, and the entitled one a descriptor of it that asks for nothing when it is got.
policy <<<"permit first: user:#$user1 to any on /area/**"
echo 1 >"$M/area/removed"
cat >"$S/path.py" <<'H'
import os, sys
path, user = sys.argv[1], int(sys.argv[2])
kept = os.open(path, os.O_RDONLY)
known = os.open(path, os.O_PATH)
os.unlink(path)
os.fstat(kept)
os.setgroups([])
os.setegid(user)
os.seteuid(user)
print(os.fstat(known).st_size, flush=True)
sys.stdin.readline()
try:
    print(os.fstat(known).st_size, flush=True)
except OSError as e:
    print(os.strerror(e.errno), flush=True)
sys.stdin.readline()
H
coproc path { /usr/bin/python3 "$S/path.py" "$M/area/removed" "$user1"; }
path_pid=$path_PID
read -r told <&"${path[0]}"
policy </dev/null
echo >&"${path[1]}"
read -r told2 <&"${path[0]}"
echo >&"${path[1]}"
wait "$path_pid"
check_same "a right that went: who knows a removed file is not told of it any more" "2, No such file or directory" "$told, $told2"
mkdir -p "$M/one/d/e" "$M/two"
echo 1 >"$M/one/d/e/f"
policy <<E
permit first: user:#$user1 to any on /one/d/e/**
permit second: user:#$user2 to list on /two/d/e/sub/**
E
cat >"$S/hold.py" <<'H'
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
print(flush=True)
sys.stdin.readline()
for _ in range(50):
    try:
        os.pread(fd, 1, 0)
    except OSError as e:
        sys.exit(e.errno)
    time.sleep(0.1)
H
coproc holder { one /usr/bin/python3 "$S/hold.py" "$M/one/d/e/f"; }
holder_pid=$holder_PID
read -r _ <&"${holder[0]}"
stat "$M/one/d/e/f" >/dev/null
mv "$M/one/d" "$M/two/d"
check "moved with a directory to where others pass on their way: he passes" two stat "$M/two/d/e"
echo >&"${holder[1]}"
wait "$holder_pid"
check_same "who had the right further down where it was gets EIO from what he has open" 5 $?
wait_for 5 bash -c "! setpriv --reuid=$user2 --clear-groups stat '$M/two/d/e/f'"
hidden "and is not told of the file" two stat "$M/two/d/e/f"
policy <<<"permit first: user:#$user1 to any on /area/** until $(date -ud '+3 seconds' '+%F %T')"
check "a right that ends: before" one stat "$M/area/f"
wait_for 10 bash -c "! setpriv --reuid=$user1 --clear-groups stat '$M/area/f'"
warm
hidden "and afterwards" one stat "$M/area/f"
cd "$M/area" || exit 1
hidden "and from a working directory" one stat f
cd / || exit 1
hidden "nobody is told that a name is not there" two stat "$M/area/absent"

rm -rf "${M:?}"/*
export AT=$M BOUND=$S/bound APPLY="tenantctl policy apply $STORE#acme /dev/stdin --keys $K --passphrase-file $(passphrase acme)"
seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
if /usr/bin/python3 "$repo/tests/integ/attribute_ops.py" "${ATTRIBUTE_ROUNDS:-60}" "$seed" >"$S/random" 2>&1; then
	ok "what is cached is what may be seen: $(tail -n 1 "$S/random")"
else
	not_ok "what is cached is what may be seen, seed $seed"
	tail -n 40 "$S/random"
fi
umount "$S/bound" 2>/dev/null
check_umount "unmounts" "$M" "$daemon"
