#!/bin/bash
# tests/run: core timeout=120
# Stores of each released format version open for ever: with a reader that shares no code with tenantfs, and with tenantfs.
. "$(dirname "$0")/../integ/lib.sh"
here=$(dirname "$(readlink -f "$0")")
/usr/bin/python3 -c 'from cryptography.hazmat.primitives.ciphers.aead import AESSIV' 2>/dev/null || skip_all "python3-cryptography is not installed"
found=0
for archive in "$here"/*.tar.xz; do
	[ -f "$archive" ] || continue
	found=1
	name=$(basename "$archive" .tar.xz)
	G=$S/$name
	mkdir "$G"
	tar -C "$G" --xattrs --xattrs-include='user.*' --no-same-owner -xJf "$archive" || { not_ok "$name unpacks"; continue; }
	chmod 600 "$G/passphrase" "$G/key"
	for t in gcm xchacha; do
		secret=(--passphrase-file "$G/passphrase") option=passfile=$G/passphrase
		[ $t = gcm ] || secret=(--key-file "$G/key") option=keyfile=$G/key
		want=$(cat "$G/$t.expected")
		check_same "$name, $t: the reader written from docs/format.md sees every name, content, link and attribute" "$want" \
			"$("$here/read_store.py" "$G/store#$t" "$G/keys" "${secret[@]}" 2>&1)"
		if [ "$(id -u)" != 0 ] || [ ! -w /dev/fuse ]; then
			skip "$name, $t: this tenantfs sees the same" "needs root and /dev/fuse"
			continue
		fi
		mkdir -p "$M"
		our_mountpoints+=("$M")
		if ! tenantfs "$G/store#$t" "$M" -o "keys=$G/keys,$option"; then
			not_ok "$name, $t: mounts"
			continue
		fi
		p=$(/usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["pid"])' "$G/store/t/$t/lock")
		our_pids+=("$p")
		check_same "$name, $t: this tenantfs sees the same" "$want" "$("$here/list_tree.py" "$M" 2>&1)"
		umount "$M" && wait_for 20 process_ended "$p"
	done
	# The reader must be able to say no.
	victim=$(find "$G/store/t/gcm/root" -type f -size +20k -size -60k | head -n 1)
	printf '\xff' | dd of="$victim" bs=1 seek=9000 conv=notrunc status=none
	check_not "$name: control: the reader refuses a changed byte" "$here/read_store.py" "$G/store#gcm" "$G/keys" --passphrase-file "$G/passphrase"
done
[ $found = 1 ] || not_ok "there is a golden store"
