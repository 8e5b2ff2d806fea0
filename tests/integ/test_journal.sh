#!/bin/bash
# tests/run: core timeout=120 clang
# The journal as whoever mounts sees it: its fill, an orderly end, an unclean one, and doing without.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
field() { # of the journal in status --json
	tenantctl status "$STORE#acme" --json | /usr/bin/python3 -c 'import json,sys; print(json.load(sys.stdin)["journal"][sys.argv[1]])' "$1"
}
is_empty() { [ "$(field used)" = 0 ]; }
killed() { # the daemon of the mount
	local p
	p=$(daemon_of acme)
	kill -KILL "$p"
	wait_for 100 process_ended "$p"
	umount -l "$M"
}
fsck() { tenantctl fsck "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" "$@"; }
# What a reader written from docs/format.md finds in the journal, an entry a line.
listed() { "$repo/tests/golden/read_journal.py" "$STORE#acme" "$K" "$(passphrase acme)"; }
count() { # of those in $S/listed: all, files with commits, of these that are there under this inode number
	/usr/bin/python3 - "$S/listed" "$STORE/t/acme/root" <<'E'
import json, os, sys
entries = [json.loads(line) for line in open(sys.argv[1])]
commits = {(e["file_id"], e["ino"]) for e in entries if e["kind"] == "commit"}
there = set()
for folder, _, names in os.walk(sys.argv[2]):
    for path in (os.path.join(folder, n) for n in names):
        if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path):
            there.add((open(path, "rb").read(24)[8:].hex(), os.stat(path).st_ino))
print(len(entries), len(commits), len(commits & there))
E
}
waiting() { # entries, as fsck says
	fsck --json | /usr/bin/python3 -c 'import json,re,sys
for f in json.load(sys.stdin)["findings"]:
    if f["kind"] == "journal": print(re.sub(r"it was not unmounted orderly: (\d+) entr.*", r"\1", f["what"]))'
}
recovered() { sed -n 's/.*Recovery: .* orderly: \([0-9]*\) files.*/\1/p' "$S/log-acme" | tail -n 1; }
unclean() { grep -c "Recovery: the last mount did not end orderly" "$S/log-acme"; }

mount_tenant acme "$M" || exit 1
check_same "a first mount has nothing to recover" 0 "$(unclean)"
for i in $(seq 20); do echo "$i" >"$M/f$i"; done
used=$(field used)
check "status shows what is in the journal" test "$used" -gt 0
check "and how large it is" test "$(field bytes)" -gt "$used"
check "the text too" grep -q "journal" <(tenantctl status "$STORE#acme")
check "left alone it becomes empty" wait_for 100 is_empty
for i in $(seq 20); do echo "again $i" >"$M/f$i"; done
umount_tenant "$M" "$daemon"
mount_tenant acme "$M" || exit 1
check_same "an orderly end leaves nothing to recover" 0 "$(unclean)"
check_same "and all of it is there" "again 20" "$(cat "$M/f20")"

# What is closed is there after a kill; the mount says what it did, and the log has it.
for i in $(seq 20); do echo "third $i" >"$M/f$i"; done
printf '%065536d' 1 >"$M/large" && printf 'over' | dd of="$M/large" bs=1 seek=30000 conv=notrunc 2>/dev/null
killed
if /usr/bin/python3 -c 'from cryptography.hazmat.primitives.ciphers.aead import AESGCM' 2>/dev/null; then
	listed >"$S/listed" 2>&1 || sed 's/^/  /' "$S/listed"
	read -r entries files there <<<"$(count)"
	says=$(waiting)
	[ "$says" = "it was not unmounted orderly" ] && says=0 # idle for a second before it was killed
	check_same "a reader written from docs/format.md finds as many entries as fsck" "$says" "$entries"
	check_same "each commit is of a file that is there" "$files" "$there"
else
	skip "a reader written from docs/format.md" "python3-cryptography is not installed"
	files=
fi
mount_tenant acme "$M" || exit 1
check_same "after a kill the next mount recovers by itself, and says so" 1 "$(unclean)"
check_same "what was closed is there" "third 1 third 20" "$(cat "$M/f1") $(cat "$M/f20")"
check_same "what was written over, too" over "$(dd if="$M/large" bs=1 skip=30000 count=4 2>/dev/null)"
[ -z "$files" ] || check_same "and it recovers the files that the reader found" "$files" "$(recovered)"
umount_tenant "$M" "$daemon"
check "the log has it" grep -q "did not end orderly" <(audit show acme)
check "as a recovery" grep -q "recovery.*did not end orderly" <(audit show acme)

# Everything in its place, and no orderly end.
mount_tenant acme "$M" || exit 1
echo again >"$M/f1"
check "it becomes empty again" wait_for 100 is_empty
killed
check_same "fsck says that it was not unmounted, also when nothing waits" "it was not unmounted orderly" "$(waiting)"
fsck >/dev/null
check_same "with status 4" 4 $?
fsck --repair >/dev/null
check_same "--repair puts it right" 1 $?
check "and then there is nothing to say" fsck
mount_tenant acme "$M" || exit 1
check_same "what was there is there" again "$(cat "$M/f1")"
umount_tenant "$M" "$daemon"

# Without.
mount_tenant acme "$M" journal=off || exit 1
echo without >"$M/f1"
check_same "journal=off: files are written and read" without "$(cat "$M/f1")"
check_same "journal=off: status shows no journal" "True 0" "$(field off) $(field bytes)"
check "journal=off: the text says what that means" grep -q "journal: OFF" <(tenantctl status "$STORE#acme")
check "journal=off: so does the mount" grep -q "Without a journal" "$S/log-acme"
umount_tenant "$M" "$daemon"
mount_tenant acme "$M" || exit 1
check_same "and with it again all is there" "without third 20" "$(cat "$M/f1") $(cat "$M/f20")"
echo fourth >"$M/f2"
killed
mount_tenant acme "$M" journal=off || exit 1
check_same "journal=off finishes what a mount with it left" fourth "$(cat "$M/f2")"
killed
said=$(unclean)
mount_tenant acme "$M" || exit 1
check_same "a kill of a mount without a journal is said, too" "$((said + 1))" "$(unclean)"
umount_tenant "$M" "$daemon"
# The disk loses the first of some records that were flushed one after the other.
mount_tenant acme "$M" || exit 1
for i in $(seq 5); do echo "fifth $i" >>"$M/f$i" && sync "$M/f$i"; done
killed
/usr/bin/python3 - "$STORE/t/acme/journal" <<'E'
import struct, sys
with open(sys.argv[1], "r+b") as f:
    text = f.read()
    slots = [struct.unpack_from("<QQQQ", text, at + 8) for at in (0, 4096)]
    f.seek(8192 + max(slots)[3] * 512 + 100)
    f.write(b"another")
E
check_status "a flushed record that is damaged refuses the mount and says what to do" 7 "journal=reset" \
	tenantfs "$STORE#acme" "$M" -o "keys=$K,passfile=$(passphrase acme)"
check "fsck says so, too" grep -q "journal" <(fsck 2>&1)
[ -z "$files" ] || check "and the reader" grep -q "a record that was durable is missing" <(listed 2>&1)
tenantctl fsck "$STORE#acme" --repair --keys "$K" --passphrase-file "$(passphrase acme)" >"$S/repair" 2>&1
check_same "fsck --repair gives up nothing behind it" 4 "$?"
check "and says how to go on" grep -q "journal=reset" "$S/repair"
mount_tenant acme "$M" journal=reset || exit 1
check_same "what stands before it is there" "fourth third 20" "$(cat "$M/f2") $(cat "$M/f20")"
umount_tenant "$M" "$daemon"
check "the log says what was given up" grep -q "behind a damaged record" <(audit show acme)
said=$(unclean)
mount_tenant acme "$M" || exit 1
check_same "and the next mount has nothing to say" "$said" "$(unclean)"
umount_tenant "$M" "$daemon"
# A rotation finishes what it finds, too.
mount_tenant acme "$M" || exit 1
echo sixth >>"$M/f1"
killed
logged() { audit show acme 2>/dev/null | grep -c "did not end orderly"; }
before=$(logged)
tenantkey rotate -q "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)" --no-progress
check_same "what a rotation recovers is on the log" "$((before + 1))" "$(logged)"
mount_tenant acme "$M" || exit 1
check_same "and is there" sixth "$(tail -n 1 "$M/f1")"
umount_tenant "$M" "$daemon"
check_status "another word is refused" 2 "journal" tenantfs "$STORE#acme" "$M" -o "keys=$K,passfile=$(passphrase acme),journal=maybe"
