#!/bin/bash
# tests/run: core timeout=120
# Rotation: data stays, the old keyring and the headers of deleted files open nothing any more.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
pass=$(passphrase acme)
uuid=$(ls "$K")
ring=$K/$uuid/acme.json
root=$STORE/t/acme/root

mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
mkdir "$M/d"
for i in $(seq 60); do echo "content of file $i" >"$M/d/f$i"; done
head -c 700000 /dev/urandom >"$M/big" && cp "$M/big" "$S/big"
echo gone >"$M/deleted"
ls "$root" | sort >"$S/with"
rm "$M/deleted" && ls "$root" | sort >"$S/without"
echo gone >"$M/deleted"
lower=$(comm -13 "$S/without" <(ls "$root" | sort))
sync -f "$M/deleted"
umount_tenant "$M" "$daemon"
cp -a "$STORE" "$S/store-old" && cp -a "$K" "$S/keys-old"
head -c 4096 "$root/$lower" >"$S/header" 2>/dev/null
# As `tenantctl fsck --repair` leaves it: files that hold wrapped keys, and others.
lost=$STORE/t/acme/lost+found
mkdir -p -m 700 "$lost/000002-directory"
cp -a "$root/$lower" "$lost/000001-$lower" && cp -a "$root/$lower" "$lost/000002-directory/$lower"
head -c 3000 /dev/urandom >"$lost/000003-user.tfs.attribute" && head -c 1M /dev/urandom >"$lost/000004-journal"
echo "report" >"$lost/report" && touch "$lost/000005-empty"
for f in 000003-user.tfs.attribute 000004-journal report 000005-empty; do sha256sum "$lost/$f"; done >"$S/lost-sums"
check "a header of the file to be deleted is saved" test -s "$S/header"
mount_tenant acme "$M" || exit 1
rm "$M/deleted"
umount_tenant "$M" "$daemon"

# One whose header cannot be renewed may hold an old wrap: it is for its owner to remove.
cp "$S/header" "$lost/000006-bad"
printf 'x' | dd of="$lost/000006-bad" bs=1 seek=100 conv=notrunc status=none
printf 'x' | dd of="$lost/000006-bad" bs=1 seek=1124 conv=notrunc status=none
check_status "a damaged header in lost+found stops the end of a rotation" 7 "lost.found/000006-bad" \
	tenantkey rotate "$STORE#acme" --keys "$K" --passphrase-file "$pass" --no-progress
rm "$lost/000006-bad"
check "rotate" tenantkey rotate "$STORE#acme" --keys "$K" --passphrase-file "$pass" --no-progress
check "what holds no key in lost+found is left alone" sha256sum -c --quiet "$S/lost-sums"
mount_tenant acme "$M" || { not_ok "mounts after rotate"; exit 1; }
check_same "data is readable after rotate" "60" "$(grep -lE '^content of file [0-9]+$' "$M"/d/f* | wc -l)"
check "large files too" cmp "$M/big" "$S/big"
echo new >"$M/since-rotation"
umount_tenant "$M" "$daemon"
apply_policy acme <<E || not_ok "a policy since the rotation"
tenant acme
permit admin: user:root to any on /**
permit since-rotation: user:#$user1 to read on /d/**
E

# The old keyring with its passphrase, put back as from somebody's copy. Nothing that was written since comes out of it.
old=(--keys "$S/keys-old" --passphrase-file "$pass")
check_outside() { # name command...: status 6 (wrong key) or 7 (damaged), without a word from after the rotation
	local name=$1 out status
	shift
	out=$("$@" 2>&1 </dev/null)
	status=$?
	if [ $status -ne 6 ] && [ $status -ne 7 ]; then
		not_ok "$name: status $status"
	elif grep -qE 'since-rotation|re-wrapped' <<<"$out"; then
		not_ok "$name: it shows what was written after the rotation"
	else
		ok "$name"
		return 0
	fi
	printf '%s\n' "$out" | head -n 20 | sed 's/^/  /'
	return 1
}
check "control: the new keyring shows the log since the rotation" grep -q since-rotation <(audit show acme)
check "control: and the end of the rotation" grep -q re-wrapped <(audit show acme)
check "control: and reads all of it" audit verify acme
check "control: and the policy" grep -q since-rotation <(tenantctl policy show "$STORE#acme" --keys "$K" --passphrase-file "$pass")
check_outside "the old keyring mounts nothing" tenantfs "$STORE#acme" "$M" -o "keys=$S/keys-old,passfile=$pass"
check_outside "nor rotates anything" tenantkey rotate "$STORE#acme" "${old[@]}" --no-progress
check_outside "nor changes its passphrase" tenantkey passwd "$STORE#acme" "${old[@]}" --new-passphrase-file "$pass" "${cheap[@]}"
check_outside "nor reads the log since then" tenantctl audit show "$STORE#acme" "${old[@]}"
check_outside "nor exports it" tenantctl audit export "$STORE#acme" "${old[@]}"
check_outside "nor shows the policy" tenantctl policy show "$STORE#acme" "${old[@]}"
check_same "verify says that the keyring is old" 1 \
	"$(tenantctl audit verify "$STORE#acme" "${old[@]}" | grep -c 'before the keys were renewed')"
check "control: it read the log until then" grep -q "rotate: new keys" <(tenantctl audit show "$STORE#acme" "${old[@]}" 2>/dev/null)
reader=$repo/tests/golden/read_store.py
if [ -x "$reader" ]; then
	check "control: the reader opens the old store with the old keyring" "$reader" "$S/store-old#acme" "$S/keys-old" --passphrase-file "$pass"
	check "control: the reader opens the new store with the new keyring" "$reader" "$STORE#acme" "$K" --passphrase-file "$pass"
	check_same "control: the saved header opens with the old keyring" 0 "$("$reader" "$S/store-old#acme" "$S/keys-old" --passphrase-file "$pass" --header "$S/header" >/dev/null 2>&1; echo $?)"
	check_not "the saved header of a deleted file opens with nothing now" "$reader" "$STORE#acme" "$K" --passphrase-file "$pass" --header "$S/header"
	for f in "$lost/000001-$lower" "$lost/000002-directory/$lower"; do
		check_not "a file in lost+found opens with the old keyring no more" "$reader" "$S/store-old#acme" "$S/keys-old" --passphrase-file "$pass" --header "$f"
		check "control: it does with the new one" "$reader" "$STORE#acme" "$K" --passphrase-file "$pass" --header "$f"
	done
	# Every header of the store of today against every key that the old keyring gives.
	check_same "the old keyring opens no header of the store of today" "0" \
		"$("$reader" "$STORE#acme" "$S/keys-old" --passphrase-file "$pass" --count-headers 2>/dev/null)"
	check_same "control: the new one opens all of them" "$(find "$root" -type f -size +0 | wc -l)" \
		"$("$reader" "$STORE#acme" "$K" --passphrase-file "$pass" --count-headers)"
else
	not_ok "tests/golden/read_store.py is there"
fi
# The old keyring's text is nowhere in the key directory (its bytes were overwritten, not only unlinked).
check_not "no second copy of a keyring is left in the key directory" bash -c "find '$K' -type f ! -path '$ring' | grep ."

# A rotation that is interrupted is finished by the next one.
mount_tenant acme "$M" || exit 1
for i in $(seq 400); do echo "content $i" >"$M/d/g$i"; done
umount_tenant "$M" "$daemon"
cp -a "$K" "$S/keys-mid"
interrupted=0
for delay in 0.01 0.02 0.03 0.05 0.08 0.12 0.2; do
	tenantkey rotate "$STORE#acme" --keys "$K" --passphrase-file "$pass" --no-progress >/dev/null 2>&1 &
	p=$!
	sleep "$delay"
	kill -KILL "$p" 2>/dev/null && interrupted=$((interrupted + 1))
	wait "$p" 2>/dev/null
done
check "rotate is resumed after $interrupted kills" tenantkey rotate "$STORE#acme" --keys "$K" --passphrase-file "$pass" --no-progress
mount_tenant acme "$M" || { not_ok "mounts after interrupted rotations"; exit 1; }
check_same "and nothing is lost" 400 "$(grep -lE '^content [0-9]+$' "$M"/d/g* | wc -l)"
check_status "rotate of a mounted tenant says who has it" 5 "$daemon|$M" \
	tenantkey rotate "$STORE#acme" --keys "$K" --passphrase-file "$pass"
umount_tenant "$M" "$daemon"
check_not "and the keyring before it opens nothing" tenantfs "$STORE#acme" "$M" -o "keys=$S/keys-mid,passfile=$pass"
