#!/bin/bash
# tests/run: slow timeout=240 once
# git (import, loose objects, clones, gc, fsck, everyday commands) and make -j of a C project, in the mount and on ext4.
# APP_GIT_OBJECTS, APP_GIT_LOOSE and APP_SOURCES say how much; APP_TREE=1: tenantfs itself is built there, too.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/applications.sh"
need_command git make gcc ar
objects=${APP_GIT_OBJECTS:-800} loose=${APP_GIT_LOOSE:-100} sources=${APP_SOURCES:-30}
apps_store "$((objects / 20 + loose / 20 + 1000))M"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$HOME/gitconfig
# core.trustctime: docs/posix.md, "Applications".
for w in core.trustctime=false fastimport.unpackLimit=1 user.name=t user.email=t@example.org init.defaultBranch=main gc.auto=0 maintenance.auto=false advice.detachedHead=false protocol.file.allow=always; do
	git config --global "${w%%=*}" "${w#*=}"
done
export GIT_AUTHOR_DATE="1700000000 +0000" GIT_COMMITTER_DATE="1700000000 +0000"

# For git fast-import: a history with about so many objects, of which each commit has two or three trees, a commit and four blobs or so.
history() {
	/usr/bin/python3 - "$1" "$2" <<'P'
import random, sys
rng, out, commits = random.Random(1), open(sys.argv[2], "wb"), int(sys.argv[1]) // 9
for n in range(commits):
    out.write(b"commit refs/heads/main\ncommitter t <t@example.org> %d +0000\ndata 6\nnumber\n" % (1_600_000_000 + n * 60))
    for folder in {rng.randrange(40) for _ in range(2)}:
        for i in range(2):
            text = b"".join(b"%d %d\n" % (n, rng.getrandbits(60)) for _ in range(rng.choice((1, 20, 200))))
            out.write(b"M 100644 inline d%d/s%d/file-%d\ndata %d\n%s\n" % (folder, folder % 3, rng.randrange(25), len(text), text))
    if n % 50 == 0:
        out.write(b"M 120000 inline link-%d\ndata 4\nd0/x\nM 100755 inline run-%d\ndata 10\n#!/bin/sh\n\n" % (n, n))
P
}
history "$objects" "$S/history"
history "$loose" "$S/loose"

git_story() { # directory history
	cd "$1"
	git init -q --bare origin.git; git -C origin.git fast-import --quiet <"$2"
	git -C origin.git count-objects -v | grep -E '^(count|in-pack|packs):'
	git clone -q "file://$1/origin.git" far
	git clone -q --local origin.git near
	echo "linked: $(find near/.git/objects -type f -links +1 | wc -l)"
	cd near
	git checkout -q -b side HEAD~5
	echo side >>d0/s0/side; git add .; git commit -q -m side
	git mv d0 moved; git commit -q -m moved
	git checkout -q main; echo main >main; git add main; git commit -q -m main
	git merge -q --no-edit side
	echo dirt >>main; mkdir new; echo x >new/x; git stash push -q -u; [ -z "$(git status --porcelain)" ]; git stash pop -q
	git status --porcelain
	git worktree add -q ../tree HEAD~2; git worktree remove ../tree
	git add .; git commit -q -m more; git rebase -q side; git tag -a -m t t1
	git push -q --force origin main side t1
	git archive HEAD | sha256sum
	git reset -q --hard HEAD~4; git clean -qfdx; git reset -q --hard "@{1}"
	git -C ../origin.git gc -q --prune=now; git -C ../origin.git fsck --strict --full --no-dangling --no-progress
	git gc -q --prune=now; git fsck --strict --full --no-dangling --no-progress
	git -C ../origin.git count-objects -v | grep -E '^(count|packs|prune-packable|garbage):'
	git -C ../far fetch -q; git -C ../far reset -q --hard origin/main; git -C ../far fsck --full --no-dangling --no-progress
	git -C ../far rev-parse HEAD; git rev-parse HEAD; git status --porcelain | wc -l
	[ "$(git -C ../far ls-tree -r HEAD)" = "$(git ls-tree -r HEAD)" ]; git ls-files -s | sha256sum
}
loose_story() { # directory history: every object a file, written as tmp_obj_X, linked to its name, unlinked
	cd "$1"
	git init -q --bare a.git; cd a.git; git fast-import --quiet <"$2"
	mkdir ../packs; mv objects/pack/* ../packs/
	cat ../packs/*.pack | git unpack-objects -q; rm -rf ../packs
	git count-objects -v | grep -E '^(count|in-pack|garbage):'
	git fsck --strict --full --no-dangling --no-progress
	git clone -q --local "$1/a.git" ../b; echo "linked: $(find ../b/.git/objects -type f -links +1 | wc -l)"
	git gc -q --prune=now; git count-objects -v | grep -E '^(count|in-pack|garbage):'
	git -C ../b fsck --strict --full --no-dangling --no-progress
	git -C ../b status --porcelain
}
git_after() { # directory: what a clone says after a remount, its index asked first without looking at contents
	cd "$1/far"
	git diff-files --name-only
	[ -z "$(git status --porcelain)" ] && git fsck --full --no-dangling --no-progress && git log --format=%T | sha256sum
}
story "git: $objects objects in a pack, cloned, merged, rebased, pushed, collected, checked" "$user1" git_story "$S/history"
story "git: $loose loose objects, linked by a clone, checked, packed" "$user1" loose_story "$S/loose"

# A program, an archive and a shared library of so many sources.
c_project() { # directory sources
	/usr/bin/python3 - "$@" <<'P'
import os, sys
top, sources = sys.argv[1], int(sys.argv[2])
for folder in ("include", "lib", "src"):
    os.mkdir(f"{top}/{folder}")
for i in range(sources):
    folder = "lib" if i % 3 else "src"
    with open(f"{top}/include/m{i}.h", "w") as f:
        f.write(f"#pragma once\nint m{i}(int);\n")
    with open(f"{top}/{folder}/m{i}.c", "w") as f:
        f.write(f"#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include \"common.h\"\n#include \"m{i}.h\"\n" +
                "".join(f"static int f{k}(int x) {{ return x * {k + 3} + {i}; }}\n" for k in range(30)) +
                f"int m{i}(int x)\n{{\n" + "".join(f"\tx ^= f{k}(x);\n" for k in range(30)) + "\treturn x + COMMON;\n}\n")
with open(f"{top}/include/common.h", "w") as f:
    f.write("#pragma once\n#define COMMON 1\n")
with open(f"{top}/main.c", "w") as f:
    f.write("#include <stdio.h>\n" + "".join(f"#include \"m{i}.h\"\n" for i in range(sources)) +
            "int main(void)\n{\n\tint x = 1;\n" + "".join(f"\tx += m{i}(x);\n" for i in range(sources)) + "\tprintf(\"%d\\n\", x);\n}\n")
with open(f"{top}/Makefile", "w") as f:
    f.write("""CFLAGS = -O1 -g -fPIC -Iinclude -MMD -MP
LIB = $(patsubst %.c,out/%.o,$(wildcard lib/*.c))
SRC = $(patsubst %.c,out/%.o,$(wildcard src/*.c))
all: out/program out/program-shared
out/program: out/main.o $(SRC) out/liball.a
	gcc -o $@ out/main.o $(SRC) out/liball.a
out/program-shared: out/main.o $(SRC) out/liball.so
	gcc -o $@ out/main.o $(SRC) -Wl,-rpath,'$$ORIGIN' out/liball.so
out/liball.a: $(LIB)
	rm -f $@ && ar rcs $@ $^
out/liball.so: $(LIB)
	gcc -shared -o $@ $^
out/%.o: %.c
	@mkdir -p $(dir $@)
	gcc $(CFLAGS) -c -o $@ $<
-include $(wildcard out/*.d out/*/*.d)
""")
P
}
make_story() { # directory sources
	c_project "$@"
	cd "$1"
	make -s -j4
	out/program; out/program-shared
	make -q && echo "nothing to do"
	# Of what depends on one header, that and no more is made again.
	sleep 0.01; sed -i 's/int/ int/' include/m1.h; make -j4 | grep -c 'gcc.*-c -o'
	sleep 0.01; sed -i 's/COMMON 1/COMMON 2/' include/common.h; make -s -j4; out/program; out/program-shared
	make -q && echo "nothing to do"
	strip -o out/stripped out/program; out/stripped; install -D -m 755 out/program-shared out/liball.so -t installed; installed/program-shared
	# A program that runs cannot be written to.
	cp /bin/sleep busy
	./busy 20 &
	until [ "$(readlink /proc/$!/exe)" = "$1/busy" ]; do sleep 0.05; done
	(echo x >>busy) 2>/dev/null && echo "written to" || echo "busy"
	kill $! && ! wait $! 2>/dev/null
}
make_after() { cd "$1" && make -q && out/program && out/program-shared && out/stripped && installed/program-shared; }
story "make -j4: $sources sources, an archive, a shared library; what is built runs, and is made again where it must be" "$user1" make_story "$sources"
if [ "${APP_TREE:-}" ]; then
	tree_story() { # directory repository
		mkdir "$1/source"; tar -C "$2" -cf - meson.build fs keymgmt tools tests docs | tar -C "$1/source" -xf -
		local targets=(fs/tenantfs tools/tenantctl tests/unit/unit-{block_map,format,journal,name,policy_parse})
		meson setup "$1/build" "$1/source" >/dev/null; ninja -C "$1/build" "${targets[@]}" >/dev/null
		for t in block_map format journal name policy_parse; do "$1/build/tests/unit/unit-$t" >/dev/null 2>&1 && echo "$t"; done
		"$1/build/tools/tenantctl" --help | head -n 1; ninja -C "$1/build" "${targets[@]}" | tail -n 1
	}
	if command -v meson >/dev/null && command -v ninja >/dev/null; then story "tenantfs itself, by meson and ninja; its unit tests pass there" "$user1" tree_story "$repo"
	else skip "tenantfs itself" "meson and ninja are not installed"; fi
fi

after_all() { # both directories: the same answers, from the mount after it was mounted anew
	local f
	for f in git_after make_after; do
		run_as "$user1" $f "$1/${f%_after}_story" || echo "$f: status $?"
	done
}
again "git and make"
check_same "after a remount git has nothing to say, make nothing to do, and the programs run" "$(after_all "$plain" 2>&1)" "$(after_all "$M/work" 2>&1)"
apps_end
