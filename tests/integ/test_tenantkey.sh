#!/bin/bash
# tests/run: core timeout=240
# tenantkey without FUSE: every verb, bad input and its exit status, rotation killed at many points, full disks, where secrets may show.
[ $# -eq 0 ] || export TENANTFS_BUILD=$1
. "$(dirname "$0")/lib.sh"
need_command tenantkey
tool=$build/tests/integ/store_tool
[ -x "$tool" ] || skip_all "store_tool is not built"

pass=$(passphrase acme)
T=$STORE#acme
secret() { # NAME TEXT: a private file
	(umask 077 && printf '%s\n' "$2" >"$S/$1")
	echo "$S/$1"
}
wrong=$(secret wrong "not it")
tk() { # VERB [OPERAND...] with the passphrase of acme
	tenantkey "$@" --keys "$K" --passphrase-file "$pass"
}
state() { find "$STORE" "$K" ! -name lock \( -type f -exec sha256sum {} + -o -type l -printf '%p %l\n' \) | sort; }
# As check_status; and nothing has changed but who locked last.
refused() {
	local before name=$1
	before=$(state)
	check_status "$@"
	check_same "$name: nothing changed" "$before" "$(state)"
}
json() { /usr/bin/python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
killed_after() { # MILLISECONDS VERB [OPTION...]; it is gone, with its locks, when this returns
	local p
	tenantkey "${@:2}" >/dev/null 2>&1 &
	p=$!
	sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
	kill -KILL $p 2>/dev/null
	{ wait $p; } 2>/dev/null
}
unfinished() { tenantkey info "$T" --keys "$K" --json | json rotation_unfinished; }

# Words of the command line.
check_status "no verb" 2 "verb" tenantkey
check_status "an unknown verb" 2 "frobnicate" tenantkey frobnicate "$T"
check_status "an unknown option" 2 "frobnicate" tenantkey info "$T" --frobnicate
check_status "an option without its value" 2 "keys" tenantkey info "$T" --keys
check_status "an option of another verb" 2 "apply" tenantkey info "$T" --owner root
check_status "an operand too few" 2 "usage" tenantkey slot add "$T"
check_status "an operand too many" 2 "usage" tenantkey info "$T" more
check_status "a store without a tenant" 2 "STORE#TENANT" tenantkey info "$STORE"
check_status "two secrets" 2 "one" tenantkey rotate "$T" --passphrase-file "$pass" --key-file "$pass"
check_status "a number that is none" 2 "iter-time" tenantkey create "$T" --iter-time soon
check_status "a journal that is too small" 2 "journal-size" tenantkey create "$T" --journal-size 4K
help=$(tenantkey --help)
check "help names every exit status" grep -q "11 no space" <<<"$help"
check "version" grep -q "^tenantkey [0-9]" <<<"$(tenantkey --version)"

# init and create.
check_status "a tenant in no store" 4 "store" make_tenant acme
check "init" make_store
check_same "the store is private" 700 "$(stat -c %a "$STORE")"
check_status "init again" 5 "already" make_store
check "create" make_tenant acme --journal-size 1M --owner "$(id -un 2>/dev/null)" --slot first
keyring=$(echo "$K"/*/acme.json)
check_same "key directory and keyring are private" "700 700 600" \
	"$(stat -c %a "$K" "$(dirname "$keyring")" "$keyring" | xargs)"
check_same "nothing of the keyring lies in the store" "" "$(grep -rlE '"(slots|keys)"' "$STORE")"
check_same "the parts of a tenant" "audit journal lock policy root tenant.json trash" \
	"$(ls -A "$STORE/t/acme" | xargs)"
check_same "the tree belongs to its owner alone" "700 $(id -u)" "$(stat -c '%a %u' "$STORE/t/acme/root")"
refused "create again" 5 "already" make_tenant acme
refused "an owner who is nobody" 4 "nobody-here" make_tenant beta --owner nobody-here
refused "a key directory in the store" 3 "lies in the store" tenantkey create "$STORE#beta" --keys "$STORE/keys" \
	--passphrase-file "$pass"
refused "a tenant name that cannot be" 2 "name" tenantkey create "$STORE#../x" --keys "$K"
text=$(tenantkey create "$STORE#beta" --keys "$K" --passphrase-file "$(passphrase beta)" "${cheap[@]}" \
	--suite xchacha20-poly1305 --journal-size 1M) || not_ok "create beta"
check "create says where the keyring is" grep -qF "$(dirname "$keyring")/beta.json" <<<"$text"
check "create recommends an escrow copy" grep -q "escrow export" <<<"$text"
check_same "a smaller journal" $((1 << 20)) "$(stat -c %s "$STORE/t/beta/journal")"
check_same "quiet is quiet" "" "$(make_tenant gamma -q --journal-size 1M 2>&1)"

# info, slot list.
check_same "info" "aes-256-gcm False 1" "$(for i in suite in_use key_epoch; do
	tenantkey info "$T" --keys "$K" --json | json $i
done | xargs)"
check "info as text" grep -q "^key epoch *1$" <<<"$(tenantkey info "$T" --keys "$K")"
check "slot list" grep -qE "^first +passphrase" <<<"$(tenantkey slot list "$T" --keys "$K")"
check "slot list as JSON, with its cost" grep -q '"memory_kib": 8192' \
	<<<"$(tenantkey slot list "$T" --keys "$K" --json)"

# Who may, and with what.
head -c 64 /dev/urandom >"$S/key" && chmod 600 "$S/key"
head -c 64 /dev/urandom >"$S/open-key" && chmod 640 "$S/open-key"
cp "$pass" "$S/open-pass" && chmod 644 "$S/open-pass"
refused "wrong passphrase" 6 "passphrase" tenantkey rotate "$T" --keys "$K" --passphrase-file "$wrong"
refused "a key file that is no slot's" 6 "key" tenantkey rotate "$T" --keys "$K" --key-file "$S/key"
refused "a key file that others can read" 3 "chmod" tenantkey rotate "$T" --keys "$K" --key-file "$S/open-key"
refused "a passphrase file that others can read" 3 "chmod" \
	tenantkey rotate "$T" --keys "$K" --passphrase-file "$S/open-pass"
refused "a key file that is missing" 4 "nokey" tenantkey rotate "$T" --keys "$K" --key-file "$S/nokey"
refused "a command that fails" 6 "status 3" tenantkey rotate "$T" --keys "$K" --passphrase-command 'exit 3'
refused "a missing key directory" 4 "keys" tenantkey rotate "$T" --keys "$S/nokeys" --passphrase-file "$pass"
refused "a tenant that is not there" 4 "nobody" tenantkey rotate "$STORE#nobody" --keys "$K"
refused "no terminal" 1 "terminal" setsid -w tenantkey rotate "$T" --keys "$K"
before=$(sha256sum <"$keyring")
check_status "the last slot" 3 "last" tk slot remove "$T" first
check_status "a slot that is not there" 4 "slot" tk slot remove "$T" second
check_same "both are on the log, and the keyring is as it was" "$before" "$(sha256sum <"$keyring")"

# Slots.
check "slot add, a key file" tk slot add "$T" second --new-key-file "$S/key"
refused "a slot's name twice" 5 "slot" tk slot add "$T" second --new-key-file "$S/key"
check "the key file opens it" tenantkey slot add "$T" third --keys "$K" --key-file "$S/key" \
	--new-passphrase-file "$(secret third "drei drei drei")" "${cheap[@]}"
check_same "three slots" 3 "$(tenantkey info "$T" --keys "$K" --json | json slots)"
check "slot remove" tk slot remove "$T" third
refused "the removed slot's passphrase" 6 "passphrase" tenantkey rotate "$T" --keys "$K" --passphrase-file "$S/third"
check_same "nothing is left unfinished" False "$(unfinished)"
refused "passwd with several slots needs a name" 2 "slot" tk passwd "$T" --new-passphrase-file "$S/third"
check "passwd" tk passwd "$T" --slot first --new-passphrase-file "$(secret new "quite another one")" "${cheap[@]}"
refused "the old passphrase" 6 "passphrase" tk rotate "$T"
cp "$S/new" "$pass"
check "the new passphrase, from a descriptor" tenantkey slot remove "$T" second --keys "$K" --passphrase-fd 5 5<"$pass"
refused "the removed key file" 6 "key" tenantkey rotate "$T" --keys "$K" --key-file "$S/key"

# Escrow.
check "escrow export" tk escrow export "$T" "$S/escrow"
check_same "the copy is private" 600 "$(stat -c %a "$S/escrow")"
mkdir -m 700 "$S/keys-escrow" "$S/keys-escrow/$(basename "$(dirname "$keyring")")"
cp "$S/escrow" "$S/keys-escrow/$(basename "$(dirname "$keyring")")/acme.json"
check "the copy opens" tenantkey slot add "$T" again --keys "$S/keys-escrow" --passphrase-file "$pass" --new-key-file "$S/key"
check_status "escrow export over a file" 5 "exists" tk escrow export "$T" "$S/escrow"
check_status "escrow export into the store" 3 "store" tk escrow export "$T" "$STORE/escrow"

# In use: the sentence says who has it.
/usr/bin/python3 - "$STORE/t/acme/lock" "$S/held" <<'E' &
import fcntl, json, os, struct, sys, time
f = open(sys.argv[1], "w")
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_SETLK
json.dump({"pid": os.getpid(), "purpose": "mount", "mountpoint": "/srv/acme", "host": "h", "since": "s"}, f)
f.flush()
open(sys.argv[2], "w").close()
time.sleep(60)
E
holder=$!
our_pids+=($holder)
wait_for 10 test -e "$S/held" || not_ok "the lock is held"
refused "a mounted tenant" 5 "mounted at /srv/acme .process $holder " tk rotate "$T"
check_same "info says so" True "$(tenantkey info "$T" --keys "$K" --json | json in_use)"
kill "$holder"
wait "$holder" 2>/dev/null

# Damage.
cp -a "$K" "$S/keys-good"
cp -a "$STORE" "$S/store-good"
restore() { rm -rf "$K" "$STORE" && cp -a "$S/keys-good" "$K" && cp -a "$S/store-good" "$STORE"; }
members=$(/usr/bin/python3 - "$keyring" <<'E'
import json, sys
def leaves(x, path):
    if isinstance(x, (dict, list)):
        for k, v in x.items() if isinstance(x, dict) else enumerate(x):
            yield from leaves(v, path + [str(k)])
    else:
        yield ".".join(path)
print("\n".join(leaves(json.load(open(sys.argv[1])), [])))
E
)
change_member() {
	/usr/bin/python3 - "$keyring" "$1" <<'E'
import json, sys
doc = json.load(open(sys.argv[1]))
at, path = doc, sys.argv[2].split(".")
for k in path[:-1]:
    at = at[int(k) if isinstance(at, list) else k]
k = int(path[-1]) if isinstance(at, list) else path[-1]
v = at[k]
if isinstance(v, bool):
    at[k] = not v
elif isinstance(v, int):
    at[k] = v + 1
else:
    i = len(v) // 2
    at[k] = v[:i] + ("B" if v[i] != "B" else "C") + v[i + 1:] if v else "x"
json.dump(doc, open(sys.argv[1], "w"))
E
}
bad_members=""
for member in $members; do
	change_member "$member"
	damaged=$(sha256sum <"$keyring")
	tk escrow export "$T" "$S/none" >/dev/null 2>"$S/err" </dev/null
	status=$?
	case "$member:$status" in
	format:8 | *:7) ;;
	# What the passphrase is turned into the slot's key with: no telling from a wrong passphrase.
	slots.*:6) ;;
	*) bad_members+=" $member:$status" ;;
	esac
	[ "$(wc -l <"$S/err")" = 1 ] || bad_members+=" $member:lines"
	[ "$damaged" = "$(sha256sum <"$keyring")" ] || bad_members+=" $member:changed"
	[ ! -e "$S/none" ] || bad_members+=" $member:exported"
	cp -p "$S/keys-good/$(basename "$(dirname "$keyring")")/acme.json" "$keyring"
done
check_same "one changed byte in each of $(wc -w <<<"$members") members of the keyring" "" "$bad_members"
truncate -s 100 "$keyring"
refused "a keyring that was cut off" 7 "keyring" tk rotate "$T"
cp "$(dirname "$keyring")/beta.json" "$keyring"
refused "the keyring of another tenant" 7 "tenant" tk rotate "$T"
rm "$keyring"
refused "no keyring" 4 "keyring" tk rotate "$T"
restore
chmod 750 "$K"
check_status "a key directory that others may enter" 3 "chmod" tk rotate "$T"
restore
sed -i 's/"format": *1/"format": 99/' "$STORE/store.json"
refused "a store of a newer format" 8 "newer" tk rotate "$T"
restore
sed -i 's/"format": *1/"format": 2/' "$STORE/t/acme/tenant.json"
refused "a tenant of a newer format" 8 "newer" tk rotate "$T"
restore
mv "$STORE/t/acme/audit" "$S/audit-aside"
before=$(sha256sum <"$keyring")
check_not "no log, no change: slot add" tk slot add "$T" other --new-key-file "$S/key"
check_not "no log, no change: rotate" tk rotate "$T"
check_same "no log, no change: the keyring" "$before" "$(sha256sum <"$keyring")"
rm -rf "$S/audit-aside"
restore
rm -rf "$S/keys-good" "$S/store-good"

# Rotation.
files=120
check "files to rotate" "$tool" "$STORE" acme "$K" "$pass" fill $files
trashed=$STORE/t/acme/trash/waiting
cp -p "$STORE/t/acme/root/$("$tool" "$STORE" acme "$K" "$pass" ids 1)" "$trashed"
header() { head -c 2048 "$1" | sha256sum; }
old_header=$(header "$trashed")
on_disk() { find "$STORE/t/acme/root" -printf '%P %s %m %TY%Tm%Td%TT\n' | sort; }
cp -a "$K" "$S/keys-old"
tree=$(on_disk)
begin=$(date +%s%N)
text=$(tk rotate "$T" 2>"$S/err")
check_same "rotate" 0 $?
took=$((($(date +%s%N) - begin) / 1000000))
check "rotate counts the headers" grep -q "^$((files + 12)) file headers" <<<"$text"
check_not "also those that wait for their erasure" test "$old_header" = "$(header "$trashed")"
check_same "no progress bar without a terminal" "" "$(cat "$S/err")"
if command -v script >/dev/null; then
	shown=$(script -qec "tenantkey rotate '$T' --keys '$K' --passphrase-file '$pass'" /dev/null | tr '\r' '\n')
	check "a progress bar on a terminal" grep -qE "^\[#{20}\] 100%  $((files + 13))/$((files + 13)) files  [0-9]+/s" <<<"$shown"
	tk rotate "$T" >/dev/null || not_ok "a third rotation"
fi
check "every byte afterwards" "$tool" "$STORE" acme "$K" "$pass" check $files
check_same "no size, mode or time has changed" "$tree" "$(on_disk)"
check "the epoch has grown" test "$(tenantkey info "$T" --keys "$K" --json | json key_epoch)" -ge 2
check_same "nothing is unfinished" False "$(unfinished)"
check_not "the saved keyring opens no file" "$tool" "$STORE" acme "$S/keys-old" "$pass" check $files
check_not "the saved keyring opens no log" tenantkey rotate "$T" --keys "$S/keys-old" --passphrase-file "$pass"
check "the tool goes on working" "$tool" "$STORE" acme "$K" "$pass" check $files

broken="" seen=""
for i in $(seq 1 14); do
	killed_after "$((took * i / 12))" rotate "$T" --keys "$K" --passphrase-file "$pass"
	seen+="$(unfinished) "
	"$tool" "$STORE" acme "$K" "$pass" check $files || broken+=" $i:unreadable"
	if [ "$(unfinished)" = True ]; then
		tk rotate "$T" >/dev/null 2>"$S/err" || broken+=" $i:$(cat "$S/err")"
	fi
	[ "$(unfinished)" = False ] || broken+=" $i:unfinished"
	"$tool" "$STORE" acme "$K" "$pass" check $files || broken+=" $i:lost"
done
check_same "rotate killed at fourteen moments" "" "$broken"
check "some of them were in the middle" grep -q True <<<"$seen"

mkfifo -m 600 "$S/silent" "$S/unopened" && exec 8<>"$S/silent"
for verb in create rotate; do
	for how in fd command keyfile unopened; do
		before=$(state)
		tenant=$STORE#waiting
		[ $verb = create ] || tenant=$T
		case $how in
		fd) tenantkey $verb "$tenant" --keys "$K" --passphrase-fd 7 7<"$S/silent" 2>"$S/err" & ;;
		command) tenantkey $verb "$tenant" --keys "$K" --passphrase-command "exec sleep 60" 2>"$S/err" & ;;
		keyfile) tenantkey $verb "$tenant" --keys "$K" --key-file "$S/silent" 2>"$S/err" & ;;
		unopened) tenantkey $verb "$tenant" --keys "$K" --key-file "$S/unopened" 2>"$S/err" & ;;
		esac
		waiting=$!
		our_pids+=($waiting)
		sleep 0.5
		process_ended $waiting && not_ok "$verb waits for a passphrase from a $how: $(cat "$S/err")"
		kill -TERM $waiting
		check "$verb, waiting for a passphrase from a $how, ends at SIGTERM" wait_for 10 process_ended $waiting
		check_same "and nothing was made or changed by $verb with a $how" "$before" "$(state)"
	done
done
exec 8>&-

rm -rf "$S/keys-old" && cp -a "$K" "$S/keys-old"
# SIGTERM once it holds signals back: while it goes through the files.
/usr/bin/python3 - tenantkey rotate "$T" --keys "$K" --passphrase-file "$pass" >"$S/out" 2>"$S/err" <<'INTERRUPT'
import signal, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def holds():
    try:
        with open(f"/proc/{process.pid}/status") as f:
            blocked = next(line for line in f if line.startswith("SigBlk:"))
    except (OSError, StopIteration):
        return False
    return int(blocked.split()[1], 16) >> (signal.SIGTERM - 1) & 1
while process.poll() is None and not holds():
    pass
process.send_signal(signal.SIGTERM)
sys.exit(process.wait() % 256)
INTERRUPT
status=$?
if [ $status -eq 1 ]; then
	check "an interrupted rotation says how to go on" grep -q "run 'tenantkey rotate' again" "$S/err"
	check_same "and is unfinished" True "$(unfinished)"
	check "any other verb finishes it" tk slot add "$T" spare --new-key-file "$S/key"
	check_same "then it is finished" False "$(unfinished)"
else
	check_same "a rotation that was faster than its signal" 0 $status
	check "slot add" tk slot add "$T" spare --new-key-file "$S/key"
fi

victim=$STORE/t/acme/root/$("$tool" "$STORE" acme "$K" "$pass" ids 8 | tail -1)
cp -a "$victim" "$S/victim"
dd if=/dev/zero of="$victim" bs=2048 count=1 conv=notrunc status=none
check_status "a damaged file stops the end of a rotation" 7 "$(basename "$victim")" tk rotate "$T"
check_same "its old epoch is kept" True "$(unfinished)"
check "a slot can be added all the same" tk slot add "$T" spare2 --new-key-file "$S/key"
check_status "what draws new keys must wait" 5 "rotate" tk slot remove "$T" spare
cat "$S/victim" >"$victim"
touch -r "$S/victim" "$victim"
check "restored, the rotation is finished" tk rotate "$T"
check_same "and the old epoch is gone" False "$(unfinished)"
check "every byte after all that" "$tool" "$STORE" acme "$K" "$pass" check $files

# An owner without rights to his own files.
if [ "$(id -u)" = 0 ]; then
	mkdir "$S/user" && chown "$user1:$user1" "$S/user"
	cp "$pass" "$S/user/pass" && chown "$user1" "$S/user/pass" && chmod 600 "$S/user/pass"
	u() { as "$user1" "$@"; }
	check "a user's own store" u tenantkey init "$S/user/store"
	check "a user's own tenant" u tenantkey create "$S/user/store#own" --keys "$S/user/keys" \
		--passphrase-file "$S/user/pass" --journal-size 1M "${cheap[@]}"
	check "a user's own files" u "$tool" "$S/user/store" own "$S/user/keys" "$S/user/pass" fill 4
	chmod 0 "$S/user/store/t/own/root/$(u "$tool" "$S/user/store" own "$S/user/keys" "$S/user/pass" ids 1)"
	check "rotate with a file of mode 0" u tenantkey rotate "$S/user/store#own" --keys "$S/user/keys" \
		--passphrase-file "$S/user/pass"
	check_same "which keeps its mode" 0 \
		"$(stat -c %a "$S/user/store/t/own/root/$(u "$tool" "$S/user/store" own "$S/user/keys" "$S/user/pass" ids 1)")"
	check "and its content" u "$tool" "$S/user/store" own "$S/user/keys" "$S/user/pass" check 4
	check_status "a tenant for somebody else" 3 "root" u tenantkey create "$S/user/store#x" \
		--keys "$S/user/keys" --passphrase-file "$S/user/pass" --owner root
fi

# A creation that is killed, and one that is not.
create_delta() { tenantkey create "$STORE#delta" --keys "$K" --passphrase-file "$pass" --journal-size 4M "${cheap[@]}"; }
begin=$(date +%s%N)
create_delta >/dev/null || not_ok "create delta"
took=$((($(date +%s%N) - begin) / 1000000))
broken=""
for i in $(seq 1 10); do
	rm -rf "$STORE/t/delta" "$(dirname "$keyring")/delta.json"
	killed_after "$((took * i / 10))" create "$STORE#delta" --keys "$K" --passphrase-file "$pass" --journal-size 4M \
		"${cheap[@]}"
	if [ ! -e "$STORE/t/delta" ]; then
		create_delta >/dev/null 2>"$S/err" || broken+=" $i:$(cat "$S/err")"
	fi
	tenantkey slot add "$STORE#delta" more --keys "$K" --passphrase-file "$pass" --new-key-file "$S/key" \
		>/dev/null 2>"$S/err" || broken+=" $i:$(cat "$S/err")"
	[ -z "$(find "$STORE/t" -name '.new.*')" ] || broken+=" $i:leftover"
done
check_same "create killed at ten moments" "" "$broken"
cp "$keyring" "$(dirname "$keyring")/epsilon.json"
refused "a keyring that somebody may still need is not overwritten" 5 "keyring" \
	tenantkey create "$STORE#epsilon" --keys "$K" --passphrase-file "$pass" "${cheap[@]}"
rm "$(dirname "$keyring")/epsilon.json"

# Where secrets may show: not in what ps shows, nor in the environment of the command that prints them.
tenantkey slot add "$T" shown --keys "$K" --passphrase-command "sleep 1; cat '$pass'" --new-key-file "$S/key" >/dev/null &
watched=$!
our_pids+=($watched)
sleep 0.3
for p in $watched $(cat "/proc/$watched/task/$watched/children" 2>/dev/null); do
	cat "/proc/$p/cmdline" "/proc/$p/environ" 2>/dev/null
done | tr '\0' '\n' >"$S/seen"
wait $watched
check_same "a passphrase from a command" 0 $?
check "the command line was seen" grep -q "slot" "$S/seen"
check_not "no secret on it, nor in the environment" grep -qF "$(cat "$pass")" "$S/seen"

# Full disks.
if [ "$(id -u)" = 0 ] && mkdir "$S/full" && mount -t tmpfs -o size=6m,mode=700 none "$S/full"; then
	our_mountpoints+=("$S/full")
	check "a small store" tenantkey init "$S/full/store"
	check_status "create on a full disk" 11 "space" tenantkey create "$S/full/store#big" --keys "$K" \
		--passphrase-file "$pass" "${cheap[@]}"
	check_same "nothing is left in the store" "" "$(ls -A "$S/full/store/t")"
	check_same "no keyring is left" "" "$(find "$K" -name 'big*')"
	mkdir -m 700 "$S/full/keys"
	cp -a "$(dirname "$keyring")" "$S/full/keys/"
	before=$(cat "$S/full/keys"/*/acme.json)
	head -c 8M /dev/zero >"$S/full/filler" 2>/dev/null
	check_status "slot add with a full key directory" 11 "space" tenantkey slot add "$T" late \
		--keys "$S/full/keys" --passphrase-file "$pass" --new-key-file "$S/key"
	check_same "its keyring is as it was" "$before" "$(cat "$S/full/keys"/*/acme.json)"
	check_status "create with a full key directory" 11 "space" tenantkey create "$STORE#late" \
		--keys "$S/full/keys" --passphrase-file "$pass" --journal-size 1M "${cheap[@]}"
	check_same "nothing of it is left" "" "$(find "$STORE/t" "$S/full/keys" -name '*late*')"
	rm "$S/full/filler"
	check "and opens" tenantkey slot add "$T" late --keys "$S/full/keys" --passphrase-file "$pass" \
		--new-key-file "$S/key"
	umount "$S/full"
else
	skip "full disks" "needs root and tmpfs"
fi
