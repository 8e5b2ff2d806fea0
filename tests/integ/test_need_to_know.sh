#!/bin/bash
# tests/run: core timeout=180 clang
# Two real users, the kernel's caches on: who has no rule sees nothing, and harms nobody who has one; revocation.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
apply_policy acme <<E || exit 1
tenant acme
permit admin: user:root to any on /**
permit first: user:#$user1 to any on /area/** because "HR-1"
E
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
mkdir "$M/area" "$M/admin" && chmod 777 "$M" "$M/area" && chown "$user1" "$M/area"
echo root >"$M/admin/only" && chmod 777 "$M/admin" && chmod 666 "$M/admin/only"

one() { as "$user1" "$@"; }
two() { as "$user2" "$@"; }
W=$M/area
one bash -c "umask 0; cd '$W' && mkdir -p tree/sub && echo secret >tree/file && echo other >tree/sub/other &&
	ln -s file tree/link && setfattr -n user.a -v b tree/file && chmod 777 tree tree/sub && chmod 666 tree/file" ||
	{ not_ok "the first user works"; exit 1; }
ok "the first user works by his rule"

# The first user warms every cache, sits in the tree, and has something mounted on it.
warm() { one bash -c "ls -lR '$W' >/dev/null && cat '$W/tree/file' >/dev/null && readlink '$W/tree/link' >/dev/null && getfattr -d '$W/tree/file' >/dev/null"; }
warm
mkfifo "$S/in" "$S/out"
chmod 666 "$S/in" "$S/out"
one bash -c "cd '$W/tree/sub' && exec 3<../file && echo ready && while read -r line; do
	case \$line in
	look) ls >/dev/null && pwd -P >/dev/null && cat other && cat ../file >/dev/null && echo fine || echo broken ;;
	handle) cat /proc/self/fd/3 >/dev/null && echo fine || echo broken ;;
	esac; done" <"$S/in" >"$S/out" 2>&1 &
our_pids+=($!)
exec 8>"$S/in" 9<"$S/out"
ask() { # word: the sitter's answer
	local line
	[ -z "${1:-}" ] || echo "$1" >&8
	while read -r -t 10 line <&9; do
		case $line in ready | fine | broken) echo "$line"; return ;; esac
	done
	echo silent
}
check_same "the first user sits in the tree" ready "$(ask "")"
mkdir "$S/bound" && echo below >"$S/bound/inside" && one mkdir "$W/tree/mp"
mount --bind "$S/bound" "$W/tree/mp" && our_mountpoints+=("$W/tree/mp")
check "something is mounted below" test -f "$W/tree/mp/inside"

# The second user, without a rule. Twice: cold in his own eyes, and after the caches were warmed again.
deny='ENOENT|EACCES'
for round in first second; do
	r="no rule, $round time"
	check "$r: opendir of the root works" two ls "$M"
	check_same "$r: and lists nothing" "" "$(two ls -A "$M" 2>&1)"
	check_errno "$r: stat of the directory" "$deny" two stat "$W"
	check_errno "$r: stat of a file" "$deny" two stat "$W/tree/file"
	check_errno "$r: stat of what does not exist" "$deny" two stat "$W/tree/absent"
	check_errno "$r: list a directory" "$deny" two ls "$W/tree"
	check_errno "$r: cd" "$deny" two bash -c "cd '$W/tree'"
	check_errno "$r: read" "$deny" two cat "$W/tree/file"
	check_errno "$r: write" "$deny" two bash -c "echo x >>'$W/tree/file'"
	check_errno "$r: truncate" "$deny" two truncate -s 0 "$W/tree/file"
	check_errno "$r: create" "$deny" two bash -c "set -C; echo x >'$W/tree/mine'"
	check_errno "$r: create in the root" "$deny" two touch "$M/mine"
	check_errno "$r: mkdir" "$deny" two mkdir "$W/tree/mydir"
	check_errno "$r: symlink" "$deny" two ln -s x "$W/tree/mylink"
	check_errno "$r: hard link" "$deny|EPERM" two ln "$W/tree/file" "$W/tree/hard"
	check_errno "$r: readlink" "$deny" two /usr/bin/python3 -c 'import os,sys; os.readlink(sys.argv[1])' "$W/tree/link"
	check_errno "$r: follow a link" "$deny" two cat "$W/tree/link"
	check_errno "$r: unlink" "$deny" two unlink "$W/tree/file"
	check_errno "$r: rmdir" "$deny" two rmdir "$W/tree/sub"
	check_errno "$r: rmdir in the root" "$deny" two rmdir "$M/area"
	check_errno "$r: mkdir in the root" "$deny" two mkdir "$M/hisdir"
	check_errno "$r: symlink in the root" "$deny" two ln -s x "$M/hislink"
	check_errno "$r: rename" "$deny" two mv "$W/tree/file" "$W/tree/elsewhere"
	check_errno "$r: chmod" "$deny|EPERM" two chmod 600 "$W/tree/file"
	check_errno "$r: chown" "$deny|EPERM" two chown "$user2" "$W/tree/file"
	check_errno "$r: change times" "$deny|EPERM" two touch -d 2001-01-01 "$W/tree/file"
	check_errno "$r: read an attribute" "$deny" two getfattr -n user.a "$W/tree/file"
	check_errno "$r: set an attribute" "$deny" two setfattr -n user.c -v d "$W/tree/file"
	check_errno "$r: list attributes" "$deny" two /usr/bin/python3 -c 'import os,sys; os.listxattr(sys.argv[1])' "$W/tree/file"
	check_errno "$r: execute" "$deny" two "$W/tree/file"
	check_errno "$r: through his own descriptor of the root" "$deny" two bash -c "cd '$M' && cat area/tree/file"
	check_same "$r: the first user's cwd is unharmed" fine "$(ask look)"
	check_same "$r: his handle is unharmed" fine "$(ask handle)"
	check "$r: the mount below is unharmed" test -f "$W/tree/mp/inside"
	warm
done
check_same "nothing was changed" "secret" "$(cat "$W/tree/file")"
check_errno "the first user where he has no rule: read" "$deny" one cat "$M/admin/only"
check_same "the first user lists only what he may" "area" "$(one ls -A "$M")"
check_same "root, with a rule, lists all" "admin area" "$(ls -A "$M" | sort | xargs)"

umount "$W/tree/mp"
audit show acme >"$S/trail" 2>"$S/trail-errors"
check "the log can be read" test -s "$S/trail"
audit export acme >"$S/ocsf" 2>/dev/null
/usr/bin/python3 - "$S/ocsf" "$user1" "$user2" <<'E' || failures=$((failures + 1))
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
def uid(r):
    return str(r.get("actor", {}).get("user", {}).get("uid", ""))
files = [r for r in records if r.get("class_uid") == 1001]
first = [r for r in files if uid(r) == sys.argv[2]]
second = [r for r in files if uid(r) == sys.argv[3]]
def count(rs):
    return sum(int(r.get("count", 1)) for r in rs)
denied = [r for r in second if r.get("disposition_id") == 2 or r.get("action_id") == 2]
bad = 0
def verdict(good, text):
    global bad
    bad += not good
    print(("ok - " if good else "not ok - ") + "test_need_to_know.sh: " + text)
verdict(first and any(r.get("action_id") == 1 for r in first), f"the log has the first user's accesses ({count(first)})")
verdict(count(denied) >= 40, f"the log has each of the second user's attempts as denied ({count(denied)} of 54 and more)")
kinds = {r.get("activity_name") for r in denied}
# Below a directory that he cannot see the kernel asks for that directory alone: most attempts are "get attributes" of it.
verdict(len(kinds) >= 3, "of many kinds: " + ", ".join(sorted(map(str, kinds))))
numbers = [r.get("metadata", {}).get("sequence") for r in records]
verdict(all(b > a for a, b in zip(numbers, numbers[1:])), "sequence numbers only grow")
sys.exit(bad > 0)
E

# Revocation reaches open handles and maps.
cat >"$S/holder.py" <<'E'
import mmap, os, signal, sys
path = sys.argv[1]
fd = os.open(path, os.O_RDWR)
m = mmap.mmap(fd, 4096)
m[0:4] = b"mine"
print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    try:
        if word == "read":
            os.pread(fd, 10, 0)
        elif word == "write":
            os.pwrite(fd, b"x", 100)
        elif word == "map":
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGBUS, signal.SIG_DFL)
                import resource
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                m[5000 % 4096]
                os._exit(0)
            if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
                raise OSError(5, "SIGBUS")
        elif word == "reopen":
            os.close(os.open(path, os.O_RDONLY))
        print("done", flush=True)
    except OSError as e:
        print("refused %d" % e.errno, flush=True)
E
start_holder() { # uid file: coprocess
	mkfifo -m 666 "$S/h$1.in" "$S/h$1.out"
	as "$1" /usr/bin/python3 "$S/holder.py" "$2" <"$S/h$1.in" >"$S/h$1.out" 2>"$S/h$1.err" &
	our_pids+=($!)
}
head -c 8192 /dev/zero >"$M/area/shared" && chmod 666 "$M/area/shared"
apply_policy acme <<E || not_ok "applies on a live mount"
tenant acme
permit admin: user:root to any on /**
permit both: user:#$user1 user:#$user2 to any on /area/**
E
start_holder "$user1" "$M/area/shared"
exec 5>"$S/h$user1.in" 6<"$S/h$user1.out"
start_holder "$user2" "$M/area/shared"
exec 3>"$S/h$user2.in" 4<"$S/h$user2.out"
h1() { local l; echo "$1" >&5; read -r -t 10 l <&6 || l=silent; echo "$l"; }
h2() { local l; echo "$1" >&3; read -r -t 10 l <&4 || l=silent; echo "$l"; }
read -r -t 10 l1 <&6
read -r -t 10 l2 <&4
check_same "a new rule lets the second user in on the live mount" "ready ready" "$l1 $l2"
check_same "he reads, writes and maps" "done done done" "$(h2 read) $(h2 write) $(h2 map)"
apply_policy acme <<E || not_ok "applies on a live mount"
tenant acme
permit admin: user:root to any on /**
permit first: user:#$user1 to any on /area/**
E
sleep 0.1
refused='refused (5|13|2)$'
for w in read write map reopen; do
	check "revoked: $w through what he held open is refused" grep -qE "$refused" <<<"$(h2 "$w")"
done
check_same "the entitled user reopens and goes on" "done" "$(h1 reopen)"
check "a fresh handle of his works" one bash -c "cat '$M/area/shared' >/dev/null && echo y >>'$M/area/shared'"
check_errno "the revoked user cannot open it again" "$deny" two cat "$M/area/shared"
exec 3>&- 4<&- 5>&- 6<&-

# A right that ends by itself.
rm -f "$S"/h*.in "$S"/h*.out
until=$(date -d '+4 seconds' '+%Y-%m-%dT%H:%M:%S%:z')
until_utc=$(date -u -d "$until" '+%Y-%m-%dT%H:%M:%SZ')
printf 'tenant acme\npermit admin: user:root to any on /**\npermit short: user:#%s to any on /area/** until %s\n' \
	"$user2" "$until_utc" >"$S/until"
if tenantctl policy check "$S/until" >"$S/out" 2>&1; then
	apply_policy acme <"$S/until" || not_ok "applies"
	start_holder "$user2" "$M/area/shared"
	exec 3>"$S/h$user2.in" 4<"$S/h$user2.out"
	read -r -t 10 l2 <&4
	check_same "a rule with a near end lets him in before it" "ready done" "$l2 $(h2 read)"
	wait_for 15 bash -c "[ \$(date +%s) -gt $(date -d "$until" +%s) ]"
	sleep 1
	check "when it ends by itself, his handle ends too" grep -qE "$refused" <<<"$(h2 read)"
	check_errno "and he cannot open again" "$deny" two cat "$M/area/shared"
	exec 3>&- 4<&-
else
	not_ok "a rule with an end in seconds"
	sed 's/^/  /' "$S/out"
fi
exec 8>&- 9<&-
# The sitter and the holders leave when they see that nobody talks to them any more.
check "unmounts" wait_for 10 umount "$M"
check "and the process ends" wait_for 30 process_ended "$daemon"
