#!/bin/bash
# tests/run: long timeout=900
# A day at the office with the daemon under valgrind's memcheck: two users through the mount, a policy that changes under
# open files, the tools beside it, an orderly end. Confinement stays as it is shipped.
. "$(dirname "$0")/../integ/lib.sh"
need_root
need_fuse
need_command valgrind

make_store || exit 1
make_tenant acme --owner root || exit 1
policy() { # what the second user may do
	printf 'tenant acme\npermit admin: user:root to any on /**\npermit one: user:#%s to any on /area/**\n%s\n' "$user1" "$1" |
		apply_policy acme >/dev/null
}
policy "" || exit 1

# mount_tenant finds this one first.
mkdir "$S/bin"
cat >"$S/bin/tenantfs" <<E
#!/bin/bash
exec valgrind --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite \\
	--fair-sched=try --suppressions="$repo/tests/valgrind/suppressions" --log-file="$S/memcheck" "$build/fs/tenantfs" "\$@"
E
chmod +x "$S/bin/tenantfs"
PATH=$S/bin:$PATH
mount_tenant acme "$M" audit=durable || { not_ok "mounts under valgrind"; exit 1; }
chmod 777 "$M"
mkdir "$M/area" && chmod 777 "$M/area"

cat >"$S/work.py" <<'E'
import ctypes, fcntl, mmap, os, stat, sys
os.umask(0o22)
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")
def text(name):
    with open(name, "rb") as f:
        return f.read()
data = bytes(range(256)) * 4096  # a MiB
os.makedirs("a/b/c")
long = "n" * 255
with open(long, "wb") as f:
    f.write(data)
    os.fsync(f.fileno())
assert text(long) == data
fd = os.open("sparse", os.O_RDWR | os.O_CREAT, 0o644)
for k in range(20):
    os.pwrite(fd, data[:5000], k * 700_000_001)
assert os.pread(fd, 5000, 700_000_001) == data[:5000]
assert os.lseek(fd, 9000, os.SEEK_DATA) == 700_000_001 // 4096 * 4096
fallocate(fd, 3, 0, 4096)
fallocate(fd, 0x10, 700_000_001, 4096)
fallocate(fd, 1, 0, 1 << 20)
assert os.pread(fd, 10, 0) == b"\0" * 10
os.ftruncate(fd, 3_000_000)
os.ftruncate(fd, 0)
os.close(fd)
fd = os.open("map", os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 100_000)
m = mmap.mmap(fd, 100_000)
m[50_000:50_010] = b"0123456789"
m.flush()
m.close()
assert os.pread(fd, 10, 50_000) == b"0123456789"
fcntl.lockf(fd, fcntl.LOCK_EX)
os.close(fd)
for target in ("short", "t" * 4095):
    os.symlink(target, "link")
    assert os.readlink("link") == target
    os.unlink("link")
os.mkfifo("fifo")
os.link(long, "a/second")
os.rename("a/second", "a/b/third")
os.link("a/b/third", "a/b/c/fourth")
for k in range(8):
    os.link(long, "a/b/c/more%d" % k)
os.rename("a/b", "moved")
os.rename("moved/c/fourth", long)  # the same file: nothing happens
with open("victim", "wb") as f:
    f.write(data[:70_000])
with open("tmp", "wb") as f:
    f.write(data[:80_000])
    os.fsync(f.fileno())
os.rename("tmp", "victim")
assert text("victim") == data[:80_000]
for name in ("victim", "moved"):
    os.setxattr(name, "user.a", b"value" * 100)
    os.setxattr(name, "user.b", b"")
    assert sorted(os.listxattr(name)) == ["user.a", "user.b"]
    assert os.getxattr(name, "user.a") == b"value" * 100
    os.removexattr(name, "user.a")
os.chmod("victim", 0o600)
os.utime("victim", ns=(1, 2))
assert os.stat("victim").st_mtime_ns == 2
for k in range(200):
    with open("many%d" % k, "w") as f:
        f.write("x" * k)
assert len([n for n in os.listdir(".") if n.startswith("many")]) == 200
for k in range(200):
    os.unlink("many%d" % k)
fd = os.open("gone", os.O_RDWR | os.O_CREAT, 0o644)
os.write(fd, data[:10_000])
os.unlink("gone")
assert os.pread(fd, 10, 0) == data[:10]
os.close(fd)
src, dst = os.open(long, os.O_RDONLY), os.open("copied", os.O_RDWR | os.O_CREAT, 0o644)
assert os.copy_file_range(src, dst, 500_000) == 500_000
os.close(src), os.close(dst)
for bad, call in ((FileExistsError, lambda: os.mkdir("a")), (OSError, lambda: os.rmdir("moved")),
                  (FileNotFoundError, lambda: os.stat("nothing")), (OSError, lambda: os.open("n" * 256, os.O_CREAT)),
                  (NotADirectoryError, lambda: os.stat("victim/x"))):
    try:
        call()
        raise SystemExit("%s did not come" % bad)
    except bad:
        pass
os.makedirs("tree/of/folders")
os.rmdir("tree/of/folders")
os.statvfs(".")
E
check "the first user's work" as "$user1" /usr/bin/python3 "$S/work.py" "$M/area"
check_errno "the second user is refused" "EACCES|ENOENT" as "$user2" cat "$M/area/copied"
check_same "and sees nothing" "" "$(as "$user2" ls -A "$M/area" 2>/dev/null)"
as "$user1" chmod 644 "$M/area/victim"
check "a policy that lets him read" policy "permit two: user:#$user2 to read on /area/**"
check_same "he reads" 580000 "$(as "$user2" cat "$M/area/copied" "$M/area/victim" | wc -c)"
check_errno "he cannot write" EACCES as "$user2" sh -c "echo x >>'$M/area/copied'"
mkfifo -m 666 "$S/in"
as "$user2" sh -c "exec 5<'$M/area/copied'; read -r _ <'$S/in'; head -c 5 <&5" >"$S/held" 2>&1 &
holder=$!
our_pids+=("$holder")
sleep 2
check "and one that does not" policy ""
timeout 10 sh -c "echo >'$S/in'"
wait "$holder"
check "what he held open fails" grep -q "Input/output error" "$S/held"
check "git works" as "$user1" sh -c "cd '$M/area' && git init -q repository && cd repository && echo one >f &&
	git add f && git -c user.name=a -c user.email=a@example.org commit -qm one && git fsck --strict"
if command -v sqlite3 >/dev/null; then
	check "SQLite works" as "$user1" sqlite3 "$M/area/db" \
		"create table t(x); insert into t select value from generate_series(1, 500); pragma integrity_check;"
fi
check "status" tenantctl status "$STORE#acme" --json
check "the log is read beside it" audit show acme
check "rm -r" as "$user1" rm -rf "$M/area/moved" "$M/area/a" "$M/area/repository"
umount "$M"
wait_for 300 process_ended "$daemon" # slow under memcheck: what was removed is overwritten first
wait "$daemon"
check_same "the end is orderly" 0 $?
check "the log is intact" audit verify acme
errors=$(sed -n 's/.*ERROR SUMMARY: \([0-9]*\) errors.*/\1/p' "$S/memcheck" | tail -n 1)
check_same "memcheck counts no errors" 0 "$errors" || sed 's/^/  /' "$S/memcheck" | head -n 120
grep -a 'definitely lost' "$S/memcheck"
