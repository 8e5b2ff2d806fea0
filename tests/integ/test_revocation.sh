#!/bin/bash
# tests/run: core timeout=60
# What a revocation must not cost those who stay entitled, and what a revoked descriptor may not do any more.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
policy() { # who may use /area
	printf 'tenant acme\npermit admin: user:root to any on /**\npermit area: %s to any on /area/**\n' "$1" | apply_policy acme >/dev/null
}
policy "user:#$user1 user:#$user2" || exit 1
# Every open waits for the disk, so that some are always on their way.
mount_tenant acme "$M" audit=durable || { not_ok "mounts"; exit 1; }
chmod 777 "$M"
mkdir "$M/area" && chmod 777 "$M/area"

# One process of each user has the file open; each does what it reads from its standard input.
cat >"$S/holder.py" <<'E'
import os, sys
path, make = sys.argv[1], len(sys.argv) > 2
os.umask(0)
fd = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
if make:
    os.write(fd, b"x" * 1000000)  # not committed: neither fsync nor close follows
print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    try:
        if word == "truncate":
            os.ftruncate(fd, 10)
        elif word == "write":
            os.pwrite(fd, b"y" * 10, 5)
        elif word == "read":
            os.pread(fd, 10, 0)
        elif word == "chmod":
            os.fchmod(fd, 0o600)
        elif word == "times":
            os.utime(fd)
        elif word == "attribute":
            os.setxattr(fd, "user.a", b"b")
        print("done", flush=True)
    except OSError as e:
        print("refused %d" % e.errno, flush=True)
E
mkfifo -m 666 "$S/i1" "$S/o1" "$S/i2" "$S/o2"
as "$user1" /usr/bin/python3 "$S/holder.py" "$M/area/f" make <"$S/i1" >"$S/o1" 2>"$S/e1" &
our_pids+=($!)
exec 3>"$S/i1" 4<"$S/o1"
read -r -t 10 first <&4
as "$user2" /usr/bin/python3 "$S/holder.py" "$M/area/f" <"$S/i2" >"$S/o2" 2>"$S/e2" &
our_pids+=($!)
exec 5>"$S/i2" 6<"$S/o2"
read -r -t 10 second <&6
check_same "two users have the file open" "ready ready" "$first $second"
policy "user:#$user1" || not_ok "applies"

check_same "what was not committed has its size for who stays entitled" 1000000 "$(as "$user1" stat -c %s "$M/area/f")"
check_same "and is all there" 1000000 "$(as "$user1" cat "$M/area/f" | wc -c)"
as "$user1" bash -c "echo appended >>'$M/area/f'"
check_same "he appends at its end" "1000009 appended" \
	"$(as "$user1" cat "$M/area/f" | wc -c) $(as "$user1" tail -c 9 "$M/area/f")"
for w in truncate chmod times attribute write read; do
	echo "$w" >&5
	read -r -t 10 answer <&6 || answer=silent
	check "revoked: $w through the descriptor is refused" grep -qE 'refused (1|2|5|13)$' <<<"$answer"
done
check_same "and did nothing" "1000009 666" "$(as "$user1" stat -c '%s %a' "$M/area/f")"

# Removed while revoked descriptors still hold it: its content lives until they are closed, and is erased then.
as "$user1" rm "$M/area/f"
exec 3>&- 4<&- 5>&- 6<&-
check "removed and closed, it is erased" wait_for 10 bash -c "[ -z \"\$(ls -A '$STORE/t/acme/trash')\" ]"

# Opens that are on their way while a policy is applied are judged by the old one: none may outlive it.
policy "user:#$user1 user:#$user2" || not_ok "applies"
as "$user1" bash -c "umask 0; mkdir '$M/area/many'; for ((i = 0; i < 400; i++)); do echo content >'$M/area/many/'\$i; done"
cat >"$S/opener.py" <<'E'
import os, sys, time
top, number, fd, i = sys.argv[1], int(sys.argv[2]), -1, 0
while True:
    i += 1
    try:
        new = os.open(f"{top}/{number * 50 + i % 50}", os.O_RDONLY)
    except OSError:
        break
    if fd >= 0:
        os.close(fd)
    fd = new
time.sleep(1)
try:
    os.pread(fd, 10, 0)
    print(f"opener {number} still reads")
except OSError:
    pass
E
: >"$S/escaped"
for _ in 1 2 3 4 5; do
	policy "user:#$user1 user:#$user2" || not_ok "applies"
	openers=()
	for n in 0 1 2 3 4 5 6 7; do
		as "$user2" timeout 20 /usr/bin/python3 "$S/opener.py" "$M/area/many" $n >>"$S/escaped" 2>&1 &
		openers+=($!)
	done
	sleep 0.5
	policy "user:#$user1" || not_ok "applies"
	wait "${openers[@]}"
done
check_same "no open outlives the policy that it was judged by" "" "$(cat "$S/escaped")"
check_umount "unmounts" "$M" "$daemon"
