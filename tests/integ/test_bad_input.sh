#!/bin/bash
# tests/run: core timeout=120
# Bad input: one clear sentence, a documented exit status (docs/man/tenantfs.8), nothing changed, nothing lost.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
make_tenant beta --owner root || exit 1
pass=$(passphrase acme)
mkdir -p "$M"
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
echo kept >"$M/kept"
umount_tenant "$M" "$daemon"

try() { tenantfs "${1:-$STORE#acme}" "${2:-$M}" -o "keys=${3:-$K},passfile=${4:-$pass}${5:+,$5}"; }
state() { find "$STORE" "$K" -type f ! -name lock -exec sha256sum {} + | sort; }
before=$(state)

(umask 077 && echo wrong >"$S/wrong")
cp "$pass" "$S/open-pass" && chmod 644 "$S/open-pass"
touch "$S/file"
check_status "wrong passphrase" 6 "passphrase" try "" "" "" "$S/wrong"
check_status "no such tenant" 4 "nobody" try "$STORE#nobody"
check_status "no such store" 4 "nowhere" try "$S/nowhere#acme"
check_status "missing key directory" 4 "key" try "" "" "$S/nokeys"
check_status "missing passphrase file" 4 "nopass" try "" "" "" "$S/nopass"
check_status "a passphrase file that others can read" 3 "open-pass" try "" "" "" "$S/open-pass"
check_not "no terminal to ask for the passphrase on" setsid -w tenantfs "$STORE#acme" "$M" -o "keys=$K"
check_status "missing mount point" 4 "nomnt" try "" "$S/nomnt"
check_status "a mount point that is a file" 4 "folder" try "" "$S/file"
check_status "an unknown option" 2 "frobnicate" try "" "" "" "" frobnicate
check_status "no arguments" 2 "." tenantfs
check_status "a store without a tenant" 2 "." try "$STORE"
check_status "a tenant name that cannot be" 2 "." try "$STORE#../acme"
check_not "nothing is mounted after any of them" is_mounted "$M"
check_same "nothing was changed by any of them" "$before" "$(state)"

uuid=$(ls "$K")
ring=$K/$uuid/acme.json
cp -a "$K" "$S/keys-good"
cp -a "$STORE" "$S/store-good"
restore() {
	rm -rf "$K" "$STORE" && cp -a "$S/keys-good" "$K" && cp -a "$S/store-good" "$STORE"
}
flip() { # a character in the middle of the longest value of the file
	/usr/bin/python3 - "$1" <<'E'
import re, sys
s = open(sys.argv[1]).read()
m = max(re.finditer(r'"([A-Za-z0-9_-]{30,})"', s), key=lambda m: len(m.group(1)))
at = m.start(1) + len(m.group(1)) // 2
open(sys.argv[1], "w").write(s[:at] + ("A" if s[at] != "A" else "B") + s[at + 1:])
E
}
rm "$STORE/t/acme/lock" && mkfifo "$STORE/t/acme/lock"
check_status "a pipe in place of the lock" 7 "t/acme/lock .* is no file: .* remove it" try
rm "$STORE/t/acme/lock" && ln -s "$S/file" "$STORE/t/acme/lock"
check_status "a link in place of the lock" 7 "t/acme/lock .* is no file: .* remove it" try
restore
for what in folder pipe link; do
	rm -r "$STORE/t/acme/journal"
	case $what in
	folder) mkdir "$STORE/t/acme/journal" ;;
	pipe) mkfifo "$STORE/t/acme/journal" ;;
	link) ln -s "$S/file" "$STORE/t/acme/journal" ;;
	esac
	check_status "a $what in place of the journal" 7 "journal=reset" try
	check_status "and with journal=reset" 7 "move .*/store/t/acme/journal away, then mount with journal=reset" try "" "" "" "" journal=reset
done
rm "$STORE/t/acme/journal"
check "moved away, journal=reset makes a new one" tenantfs "$STORE#acme" "$M" -o "keys=$K,passfile=$(passphrase acme),journal=reset"
check "and it is unmounted" umount_tenant "$M" "$(daemon_of acme)"
restore
truncate -s 100 "$ring"
check_status "a keyring that was cut off" 7 "keyring" try
restore
flip "$ring"
check_not "a keyring with one changed character" try
restore
cp "$K/$uuid/beta.json" "$ring"
check_status "another tenant's keyring" 7 "tenant" try "" "" "" "$(passphrase beta)"
restore
rm "$ring"
check_status "a missing keyring" 4 "keyring|acme" try
restore
# A store of the same name but of another birth: its keyring is foreign here.
(STORE=$S/store2 K=$S/keys2 && make_store && make_tenant acme --owner root) || exit 1
cp "$S/keys2"/*/acme.json "$ring"
check_status "another store's keyring" 7 "store" try
restore
chmod 777 "$K/$uuid"
check_status "a key directory that others may write to" 3 "key" try
restore
sed -i 's/"format": *[0-9]*/"format": 99/' "$STORE/store.json"
check_status "a store of a newer format" 8 "newer" try
restore
sed -i 's/[{:]/x/g' "$STORE/store.json"
check_status "a damaged store.json" 7 "store" try
restore
sed -i 's/"format": *[0-9]*/"format": 99/' "$STORE/t/acme/tenant.json"
check_status "a tenant of a newer format" 8 "newer" try
restore
sed -i 's/"format": *[0-9]*/"format": 99/' "$ring"
check_status "a keyring of a newer format" 8 "newer" try
restore
rm "$STORE/t/acme/root/.dir"
check_status "a tree without its root record" 7 "." try
restore
rm -r "$STORE/t/acme/root"
check_not "a tenant without its tree" try
restore
flip_policy() { printf 'X' | dd of="$STORE/t/acme/policy" bs=1 seek=60 conv=notrunc 2>/dev/null; }
flip_policy
check_status "a damaged policy" 7 "policy" try
restore
check_same "what was put back is as it was" "$before" "$(state)"

cat >"$S/bad-policy" <<'E'
tenant acme
permit a: user:root to fly on /**
permit b: user:root to read on
frobnicate
E
tenantctl policy check "$S/bad-policy" >"$S/mistakes" 2>&1
check_same "a policy with mistakes: exit status" 9 $?
for n in 2 3 4; do
	check "a policy with mistakes: line $n is named with its column" grep -qE "(^|:|line )$n(:|, column )[0-9]+" "$S/mistakes"
done
tenantctl policy apply "$STORE#acme" "$S/bad-policy" --keys "$K" --passphrase-file "$pass" >"$S/mistakes" 2>&1
check_same "a policy with mistakes is not applied" 9 $?
check_same "nothing was changed by it" "$before" "$(state)"

# /dev/fuse hidden in a mount namespace of its own
cat >"$S/without-fuse" <<'E'
mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 || exit 99
exec tenantfs "$1#acme" "$2" -o "keys=$3,passfile=$4"
E
check_status "a missing /dev/fuse" 10 "/dev/fuse" \
	unshare -m --propagation private bash "$S/without-fuse" "$STORE" "$M" "$K" "$pass"
# More words where none belong
check_not "an unknown verb of tenantkey" tenantkey frobnicate "$STORE"
check_not "an unknown verb of tenantctl" tenantctl frobnicate "$STORE"
check_same "nothing was changed by those" "$before" "$(state)"

mount_tenant acme "$M" || { not_ok "mounts after all of it"; exit 1; }
check_same "nothing was lost" kept "$(cat "$M/kept")"
umount_tenant "$M" "$daemon"
