#!/bin/bash
# tests/run: slow timeout=60
# What is made when there is no memory left to know it by is not there afterwards: the kernel keeps that there is nothing.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse
no_chunks=$build/tests/integ/libno_chunks.so
[ -f "$no_chunks" ] || { not_ok "libno_chunks.so was built"; exit 1; }
make_store || exit 1
make_tenant acme --owner root || exit 1
mounting() {
	local -x LD_PRELOAD=$no_chunks NO_CHUNKS=$S/flag ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
	mount_tenant acme "$M"
}
mounting || { not_ok "mounts"; exit 1; }
cat >"$S/make.py" <<'E'
import errno, os, sys
top, flag, how = sys.argv[1:]
os.chdir(top)
os.mkdir(f"in-{how}")
os.chdir(f"in-{how}")
open("one", "w").close()
make = {"mkdir": os.mkdir, "mkfifo": os.mkfifo, "symlink": lambda n: os.symlink("x", n), "link": lambda n: os.link("one", n),
        "create": lambda n: os.close(os.open(n, os.O_CREAT | os.O_EXCL | os.O_WRONLY))}[how]
open(flag, "w").close()
for number in range(1500):
    name = f"name{number:04d}"
    try:
        make(name)
    except OSError as e:
        assert e.errno == errno.ENOMEM, os.strerror(e.errno)
        break
else:
    sys.exit(77)
os.unlink(flag)
assert not os.path.lexists(name), "there is something"
assert name not in os.listdir("."), "it is listed"
make(name)
assert os.path.lexists(name)
assert len(os.listdir(".")) == number + 2
assert how != "link" or os.stat("one").st_nlink == number + 2
E
for how in mkdir mkfifo symlink link create; do
	timeout 40 /usr/bin/python3 "$S/make.py" "$M" "$S/flag" $how >"$S/out" 2>&1
	case $? in
	0) ok "$how without memory leaves nothing" ;;
	77)
		skip "$how without memory leaves nothing" "built without pools"
		rm -f "$S/flag"
		break
		;;
	*) not_ok "$how without memory leaves nothing: $(tail -n 1 "$S/out")"; rm -f "$S/flag" ;;
	esac
done
check_same "no complaint" "" "$(cat "$S/log-acme")"
check_umount "unmounts" "$M" "$daemon"
check "the store is good" tenantctl fsck "$STORE#acme" --keys "$K" --passphrase-file "$(passphrase acme)"
