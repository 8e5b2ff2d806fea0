#!/bin/bash
# tests/run: core timeout=240 clang
# What applications do every day, through the mount, compared with a plain directory and after a remount.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme --owner root || exit 1

mkdir "$S/plain" || exit 1
"$repo/tests/integ/posix_ops.py" "$S/plain" "plain directory" >"$S/control" || {
	cat "$S/control"
	not_ok "the expectations hold on a plain directory"
	exit 1
}
ok "the expectations hold on a plain directory ($(grep -c '^ok' "$S/control") of them)"
rm -rf "$S/plain"

mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
mkdir "$M/ops"
"$repo/tests/integ/posix_ops.py" "$M/ops" "mount" || failures=$((failures + 1))

# A random tree: the same after a remount.
/usr/bin/python3 - "$M/tree" <<'E' || not_ok "makes a random tree"
import os, random, sys
r = random.Random(int.from_bytes(os.urandom(4), "big"))
top = sys.argv[1]
os.mkdir(top)
dirs = [top]
for i in range(60):
    d = os.path.join(r.choice(dirs), "d%d %s" % (i, "x" * r.choice([0, 5, 100, 180])))
    if len(d) > 3000:
        continue
    os.mkdir(d)
    dirs.append(d)
for i in range(600):
    p = os.path.join(r.choice(dirs), "f%d %s" % (i, "é" * r.choice([0, 3, 100])))
    kind = r.random()
    if kind < 0.1:
        os.symlink("t" * r.choice([1, 100, 2000, 4095]), p)
        continue
    with open(p, "wb") as f:
        for _ in range(r.randrange(4)):
            f.seek(r.choice([0, 100, 4096, 50000, 600000]))
            f.write(r.randbytes(r.choice([1, 4096, 5000, 70000])))
    if kind < 0.3:
        os.setxattr(p, "user.note", r.randbytes(50))
    if kind < 0.2:
        os.link(p, os.path.join(r.choice(dirs), "l%d" % i))
    os.chmod(p, r.choice([0o644, 0o600, 0o755, 0o444]))
E
tree_sum() { # everything about a tree that a remount must not change
	(cd "$1" && find . -printf '%P|%y|%m|%n|%U|%G|%s|%T@|%l\n' | sort &&
		find . -type f -print0 | sort -z | xargs -0 sha256sum && getfattr -R -d -m user -e hex . 2>/dev/null)
}
before=$(tree_sum "$M/tree")
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
after=$(tree_sum "$M/tree")
check_same "a random tree is the same after a remount" "$before" "$after"

# Copies by ordinary tools.
check "cp -a copies a tree out" cp -a "$M/tree" "$S/out"
check "and it is equal" diff -r --no-dereference "$M/tree" "$S/out"
check "cp -a copies it in again" cp -a "$S/out" "$M/in"
check "and it is equal again" diff -r --no-dereference "$S/out" "$M/in"
check "rm -r removes it" rm -r "$M/in"
check_not "and it is gone" test -e "$M/in"
rm -rf "$S/out"

work_git() (
	export HOME=$S GIT_CONFIG_GLOBAL=/dev/null
	git -c init.defaultBranch=main init -q "$M/git" && cd "$M/git" || return 1
	git config user.name t && git config user.email t@example.org || return 1
	for i in 1 2 3 4 5; do
		seq 1 $((i * 1000)) >"file $i" && git add . && git commit -q -m "commit $i" || return 1
	done
	git gc -q && git fsck --strict && git checkout -q HEAD~2 && [ ! -e "file 5" ] && git checkout -q main &&
		[ -z "$(git status --porcelain)" ]
)
if command -v git >/dev/null; then check "git: init, five commits, gc, fsck, checkout" work_git
else skip "git" "not installed"; fi
work_sqlite() {
	local mode
	for mode in delete wal; do
		sqlite3 "$M/$mode.db" "pragma journal_mode=$mode; create table t(i integer primary key, s text);
			begin; with recursive n(i) as (select 1 union all select i+1 from n where i<20000)
			insert into t select i, hex(randomblob(20)) from n; commit;
			begin; delete from t where i % 2; rollback; begin; update t set s='changed' where i % 3 = 0; commit;
			pragma integrity_check;" | tail -n 1 | grep -qx ok || return 1
		[ "$(sqlite3 "$M/$mode.db" "select count(*), sum(s='changed') from t")" = "20000|6666" ] || return 1
	done
}
if command -v sqlite3 >/dev/null; then check "SQLite: transactions with rollback journal and with WAL" work_sqlite
else skip "SQLite" "not installed"; fi
work_tar() {
	local list=(keymgmt fs tools tests meson.build) p
	mkdir "$S/original" "$M/src" && tar -C "$repo" -cf "$S/src.tar" "${list[@]}" || return 1
	tar -C "$S/original" -xf "$S/src.tar" && tar -C "$M/src" -xf "$S/src.tar" || return 1
	for p in "${list[@]}"; do diff -r "$S/original/$p" "$M/src/$p" || return 1; done
	tar -C "$M/src" --compare -f "$S/src.tar"
}
check "tar unpacks a source tree, equal to the original" work_tar
removed_and_remade() {
	for _ in $(seq 30); do
		echo a >"$M/f" && chmod 600 "$M/f" && ln "$M/f" "$M/g" && rm "$M/f" "$M/g" && echo b >"$M/f" && sync -f "$M/f" || return 1
	done
}
check "syncfs does not stumble over files removed meanwhile" removed_and_remade
check_umount "unmounts at the end" "$M" "$daemon"

mount_tenant acme "$M" ro || { not_ok "mounts with -o ro"; exit 1; }
check_errno "-o ro: nothing can be created" EROFS touch "$M/new"
check_errno "-o ro: nothing can be removed" EROFS rm "$M/src/meson.build"
check "-o ro: files can be read" cat "$M/src/meson.build"
check_umount "unmounts after -o ro" "$M" "$daemon"
