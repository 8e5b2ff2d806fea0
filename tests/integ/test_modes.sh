#!/bin/bash
# tests/run: core timeout=60
# Access lists are a change of mode like chmod and are kept to; a read-only mount changes nothing, whatever the kernel is told.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
need_command setfacl getfacl

make_store || exit 1
make_tenant acme --owner root || exit 1
user3=61003
apply_policy acme >/dev/null <<E || exit 1
tenant acme
permit admin: user:root user:#$user1 user:#$user3 to any on /**
permit writer: user:#$user2 to read,write,create,delete on /area/**
E
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
mkdir "$M/area" && chmod 777 "$M" "$M/area"
one() { as "$user1" "$@"; }
two() { as "$user2" "$@"; }
F=$M/area/f

two bash -c "umask 077; echo two >'$F.two'"
check_errno "who may write but not manage cannot change a mode" EACCES two chmod 644 "$F.two"
check_errno "nor set an access list" EACCES two setfacl -m "u:$user1:rw" "$F.two"
check_errno "nor a default one" EACCES two /usr/bin/python3 -c \
	'import os,sys; os.mkdir(sys.argv[1]); os.setxattr(sys.argv[1], "system.posix_acl_default", bytes.fromhex("0200000001000700ffffffff04000500ffffffff20000500ffffffff"))' "$M/area/d2"

one bash -c "umask 077; echo one >'$F'; setfacl -m u:$user2:r '$F'" || not_ok "the owner sets an access list"
check_same "who is on the list reads" one "$(two cat "$F")"
check_errno "and does no more" EACCES two bash -c "echo x >>'$F'"
check_errno "the list's mask is no right for the owning group" EACCES \
	setpriv --reuid="$user3" --regid="$user1" --clear-groups --inh-caps=-all --bounding-set=-all -- cat "$F"
one setfacl -b "$F"
check_errno "taken off the list" EACCES two cat "$F"
one bash -c "mkdir '$M/area/d1' && chmod 700 '$M/area/d1' && setfacl -d -m u:$user2:rwx '$M/area/d1' && setfacl -m u:$user2:x '$M/area/d1' && echo new >'$M/area/d1/new'"
check_same "what is made below inherits the list" new "$(two cat "$M/area/d1/new")"

# A file with two names stays under one set of rules, whichever side of an exchange it is on.
echo x >"$M/area/x" && ln "$M/area/x" "$M/area/y" && echo o >"$M/o"
exchange() {
	/usr/bin/python3 -c 'import ctypes,os,sys
c = ctypes.CDLL(None, use_errno=True)
if c.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2): sys.exit(os.strerror(ctypes.get_errno()))' "$@"
}
check_errno "exchanged away from its other name" EXDEV exchange "$M/area/x" "$M/o"
check_errno "and from the other side" EXDEV exchange "$M/o" "$M/area/x"
rm "$M/area/y"
check "with one name it may move" exchange "$M/o" "$M/area/x"
before=$(cd "$M" && getfacl -R . | sort)
check_umount "unmounts" "$M" "$daemon"

lower() { (cd "$STORE/t/acme/root" && find . -printf '%p %s %m %U %T@ %C@ %i %l\n' | sort); }
untouched=$(lower)
mount_tenant acme "$M" ro || { not_ok "mounts read-only"; exit 1; }
check_same "access lists are those of before" "$before" "$(cd "$M" && getfacl -R . | sort)"
check_errno "a read-only mount refuses" EROFS touch "$M/new"
mount -i -o remount,rw "$M" || not_ok "remounts"
check_errno "made writable in the kernel alone: create" EROFS touch "$M/new"
check_errno "... open to write" EROFS bash -c "echo x >>'$F'"
check_errno "... truncate" EROFS /usr/bin/python3 -c 'import os,sys; os.truncate(sys.argv[1], 0)' "$F"
check_errno "... mkdir" EROFS mkdir "$M/new"
check_errno "... symlink" EROFS ln -s x "$M/new"
check_errno "... link" EROFS ln "$F" "$M/new"
check_errno "... rename" EROFS mv "$F" "$M/new"
check_errno "... unlink" EROFS rm "$F"
check_errno "... rmdir" EROFS rmdir "$M/area/d1"
check_errno "... chmod" EROFS chmod 600 "$F"
check_errno "... times" EROFS touch -d 2001-01-01 "$F"
check_errno "... set an attribute" EROFS setfattr -n user.a -v b "$F"
check_errno "... remove an attribute" "EROFS|ENODATA" setfattr -x user.a "$F"
check "reads" find "$M" -type f -exec cat {} +
check_same "and the store's tree is as before" "$untouched" "$(lower)"
check_umount "unmounts" "$M" "$daemon"
check_same "and after it" "$untouched" "$(lower)"
