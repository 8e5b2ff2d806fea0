#!/bin/bash
# tests/run: core timeout=60
# Markers of content, names, link targets and attributes are nowhere in the store, the keys or the log files.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
# Found in no other way than by leaking: 24 random letters each.
marker() { LC_ALL=C tr -dc a-z </dev/urandom | head -c 24; }
content=$(marker) name=$(marker) dirname=$(marker) target=$(marker) xname=$(marker) xvalue=$(marker) longname=$(marker)
removed=$(marker) moved=$(marker) denied=$(marker) mapped=$(marker)
mkdir "$M/dir $dirname"
for i in $(seq 400); do echo "line $i $content"; done >"$M/dir $dirname/file $name"
echo "short $content" >"$M/short"
ln -s "somewhere/$target/$(printf 'x/%.0s' $(seq 1500))" "$M/link"
ln -s "$target" "$M/short-link"
setfattr -n "user.$xname" -v "$xvalue" "$M/short"
setfattr -n "user.$xname" -v "$xvalue" "$M/dir $dirname"
echo "$content" >"$M/$longname$(printf 'n%.0s' $(seq 220))"
echo "$content" >"$M/$removed" && rm "$M/$removed"
echo "$content" >"$M/from" && mv "$M/from" "$M/$moved"
as "$user2" cat "$M/$denied" 2>/dev/null
as "$user2" mkdir "$M/$denied" 2>/dev/null
/usr/bin/python3 - "$M/map" "$mapped" <<'E'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 8192)
m = mmap.mmap(fd, 8192)
m[100:100 + len(sys.argv[2])] = sys.argv[2].encode()
m.flush()
E
cp -a "$STORE" "$S/while-mounted"
umount_tenant "$M" "$daemon" || not_ok "unmounts"
passfile=$(passphrase acme)
# find PLACE MARKER: raw, and as base64 in its three alignments (both alphabets), in names, targets, contents, attributes.
cat >"$S/look.py" <<'E'
import base64, os, sys
place, marker = sys.argv[1], sys.argv[2].encode()
needles = {marker, marker.hex().encode(), marker.upper(), marker[::-1]}
for shift in range(3):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(b"\0" * shift + marker)
        needles.add(text[4:-4] if shift else text[:-4])
hits = []
def look(where, data):
    for n in needles:
        if n in data:
            hits.append(where)
for top, dirs, files in os.walk(os.fsencode(place)):
    for name in dirs + files:
        p = os.path.join(top, name)
        look(p, name)
        if os.path.islink(p):
            look(p, os.readlink(p))
            continue
        for x in os.listxattr(p):
            look(p, os.fsencode(x) + b"=" + os.getxattr(p, x))
        if os.path.isfile(p):
            with open(p, "rb") as f:
                look(p, f.read())
print(*sorted(set(map(os.fsdecode, hits))), sep="\n", end="")
sys.exit(bool(hits))
E
mkdir "$S/control" && echo "x$content" | base64 >"$S/control/f"
check_not "control: the search finds a marker in base64" /usr/bin/python3 "$S/look.py" "$S/control" "$content"
ln -sf "a/$content" "$S/control/f"
check_not "control: and one in a link target" /usr/bin/python3 "$S/look.py" "$S/control" "$content"
for what in content name dirname target xname xvalue longname removed moved denied mapped; do
	for place in "$STORE" "$S/while-mounted" "$K"; do
		check "$what is nowhere in ${place##*/}" /usr/bin/python3 "$S/look.py" "$place" "${!what}"
	done
	check_not "$what is not among the daemon's messages" grep -qF "${!what}" "$S/log-acme"
done
phrase=$(cat "$passfile")
for place in "$STORE" "$K"; do
	check "the passphrase is nowhere in ${place##*/}" /usr/bin/python3 "$S/look.py" "$place" "$phrase"
done
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
check "and yet it is all there" grep -q "$content" "$M/dir $dirname/file $name"
umount_tenant "$M" "$daemon"
