#!/usr/bin/python3
"""Compares two runs of the conformance suite: posix_compare.py [--table] [--xfs] PLAIN MOUNT [AGAIN].

Fails for every assertion whose answer is not the documented one and for every one that differs, unless it stands in
DIFFERENCES; and for what stands there and was not seen. --table prints the table of docs/posix.md. --xfs: the runs were on xfs,
so that ON_XFS counts, too.

AGAIN is another run in the mount: where somebody on this machine has the kernel drop its caches at the wrong moment, a
ctime or an atime moves on (docs/posix.md). One that did so in one of the runs only is no failure."""
import os
import re
import sys

ENOUGH = 3000
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/posix.md")
NODEV = "device nodes can be made (by root) and listed, but not opened: EACCES"
ATIME = "atime is the lower file's"
LIMIT = "files end at 17,455,283,699,712 bytes"
NAMESPACES = "extended attributes other than `user.*` and `system.posix_acl_*` are EOPNOTSUPP"
BEHIND = "what a program put behind the end of a file through a map"
# What they are called in the table there.
LABELS = {BEHIND: "behind the end", NODEV: "device nodes", ATIME: "atime", LIMIT: "where files end", NAMESPACES: "namespaces",
          "`open` with O_TMPFILE is EOPNOTSUPP": "O_TMPFILE", "RENAME_WHITEOUT is EINVAL": "RENAME_WHITEOUT",
          "`truncate` to the size that a file has leaves its times": "times of no change",
          "`chown` to -1 and -1 leaves the ctime and the set-id bits": "owners of no change"}
# Names of assertions (a pattern that must match them whole); answers of the plain directory and of the mount (patterns);
# words of docs/posix.md that give the reason.
DIFFERENCES = [
    (r"open: open: .* of a (character|block) device, as .*", "ok|ENXIO|EPERM|EACCES", "EACCES", NODEV),
    (r"open: open: O_TMPFILE\|O_RDWR of a (directory|symlink to a directory), as .*", "ok", "EOPNOTSUPP",
     "`open` with O_TMPFILE is EOPNOTSUPP"),
    (r"owners: chown: mode of a file of [0-7]{4} after -1:-1, as (root|ann|ben)", "[0-3]...", "[2467]...",
     "`chown` to -1 and -1 leaves the ctime and the set-id bits"),
    (r"content: .*: times of the file, as .*", "-mc", "amc", ATIME),
    (r"content: (read|read at the end|pread|mmap): times, as .*", "a--", "---", ATIME),
    (r"names: (link|unlink): symlink: times.*", "--c", "a-c", ATIME),
    (r"rename: rename: times of what moved: a symlink .*", "--c", "a-c", ATIME),
    (r"sizes: (ftruncate|pwrite|fallocate): to more, after a map was written behind the end", "zeros", "what was there", BEHIND),
    (r"rename: renameat2: RENAME_WHITEOUT, as .*", "ok", "EINVAL", "RENAME_WHITEOUT is EINVAL"),
    (r"times: close: after write, as .*", "---", "a--", ATIME),
    (r"content: pwrite: at the largest offset", "EFBIG", "ok", LIMIT),
    (r"content: fsync: after pwrite at the largest offset", "ok", "EFBIG", LIMIT),
    (r"content: lstat: size when that is closed", "0", "9223372036854775807", LIMIT),
    (r"sizes: f?truncate: to less: times, as .*", "-mc", "amc", ATIME),
    (r"sizes: truncate: to its size: times, as .*", "-mc", "---", "`truncate` to the size that a file has leaves its times"),
    (r"attributes: l(set|remove)xattr: (trusted|security)\.a of a .*, as root", "ok", "EOPNOTSUPP", NAMESPACES),
    (r"attributes: lgetxattr: (trusted|security)\.a of a .*, as root", "ok", "ENODATA", NAMESPACES),
    (r"attributes: lgetxattr: (system\.a|nonsense\.a|noname) of a .*", "EOPNOTSUPP", "ENODATA", NAMESPACES),
    (r"acls: (open|access): .*: (ann|ann's group|her other group):\d, mask 0, .*", "ok", "ok",
     "where the mask of an ACL is 0 Linux asks what others may"),
    (r"owners: lchown: times with -1 and -1: .*", "--c", "---", "`chown` to -1 and -1 leaves the ctime and the set-id bits"),
]
# Where xfs itself answers otherwise than documented, or than tenantfs, which has one answer on all.
XFS = "xfs answers some calls otherwise than the documents"
ON_XFS = [
    (r"create: mknod: (character|block) device (259|4095):.*", "EINVAL", "EINVAL", XFS),
    (r"content: (pwrite|f?truncate|fallocate): (at|to|near) the largest (offset|size)", "ok", "ok|EFBIG", XFS),
    (r"content: lstat: size when that is closed", "9223372036854775807", "9223372036854775807", XFS),
    (r"names: (symlink|lstat|readlink): .*(1024|2000|3000|4000|4094|4095) bytes, as .*", "ENAMETOOLONG|was not asked", r"ok|equal|untouched|\d+", XFS),
    (r"rename: rename: an? (empty|full) directory to a full directory, .*", "EEXIST", "ENOTEMPTY", XFS),
    (r"rename: rename: times of what moved: .* exchanged, as .*", "---", "--c|a--", XFS),
    (r"sizes: (posix_fallocate|fallocate): .*, as .*", "ok|9223372036854775807", "EFBIG|4000", XFS),
    (r"attributes: setxattr: both flags, .*", "ok", "ok", XFS),
]
# What is a difference to ext4 alone.
ON_EXT4 = {r"content: pwrite: at the largest offset", r"content: lstat: size when that is closed", r"sizes: truncate: to its size: times, as .*"}


def on_xfs():
    DIFFERENCES[:] = [d for d in DIFFERENCES if d[0] not in ON_EXT4] + ON_XFS


def read(path):
    answers = {}
    for line in open(path, encoding="utf-8", errors="backslashreplace"):
        name, answer, verdict = line.rstrip("\n").split("\t")
        if name in answers:
            sys.exit(f"not ok - posix: two assertions have the name '{name}'")
        answers[name] = answer, verdict
    return answers


def was_forgotten(plain, mount, again):
    """Times that agree in one of the runs, and of which the mtime always did."""
    times = r"[-a][-m][-c]"
    return re.fullmatch(times, plain) and re.fullmatch(times, mount) and plain == again and plain[1] == mount[1]


def known(name, plain, mount):
    for number, (names, plains, mounts, _) in enumerate(DIFFERENCES):
        if re.fullmatch(names, name) and re.fullmatch(plains, plain) and re.fullmatch(mounts, mount):
            return number
    return None


def call_of(name):
    word = re.match(r"[^:]*: ([A-Za-z_0-9]+)", name).group(1)
    return {"nothing": "what is left", "the": "what is left"}.get(word, f"`{word}`")


def main(plain_path, mount_path, again_path=None, table=False):
    plain, mount = read(plain_path), read(mount_path)
    again = read(again_path) if again_path else {}
    document = re.sub(r"\s+", " ", open(DOCUMENT, encoding="utf-8").read())
    groups, calls, seen, why, failed, equal = {}, {}, set(), {}, 0, 0
    for name in dict.fromkeys([*plain, *mount]):
        a, verdict_a = plain.get(name, ("was not asked", "-"))
        b, verdict_b = mount.get(name, ("was not asked", "-"))
        number = known(name, a, b)
        wrong = a != b or verdict_a.startswith("not ok") or verdict_b.startswith("not ok")
        group = groups.setdefault(name.split(":")[0], [0, 0, []])
        call = calls.setdefault(call_of(name), [0, 0])
        group[0] += 1
        call[0] += 1
        equal += a == b
        if wrong and number is not None:
            seen.add(number)
            group[1] += 1
            if a != b:
                call[1] += 1
                why.setdefault(call_of(name), {})[LABELS.get(DIFFERENCES[number][3], DIFFERENCES[number][3])] = None
        elif wrong and was_forgotten(a, b, again.get(name, ("", ""))[0]):
            print(f"# posix: a time moved when the kernel forgot the file: {name}")
        elif wrong:
            verdict = verdict_b if verdict_b.startswith("not ok") else verdict_a
            group[2].append(f"  {name}\n    plain directory: {a}, mount: {b}" + (f" ({verdict})" if verdict[:3] == "not" else ""))
    for group, (count, excused, problems) in groups.items():
        failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} - posix: {group}: {count} assertions" +
              (f", {excused} differ as docs/posix.md says" if excused else "") +
              (f", {len(problems)} wrong" if problems else ""))
        print("\n".join(problems[:40]), end="\n" if problems else "")
    for number, (names, _, _, reason) in enumerate(DIFFERENCES):
        if number not in seen:
            failed += 1
            print(f"not ok - posix: a difference that is listed was not seen: {names}")
        if reason not in document:
            failed += 1
            print(f"not ok - posix: docs/posix.md does not say '{reason}'")
    if len(mount) < ENOUGH:
        failed += 1
        print(f"not ok - posix: only {len(mount)} assertions, not {ENOUGH}")
    if table:
        for call in sorted(c for c in calls if calls[c][1]):
            count, differ = calls[call]
            print(f"| {call} | {count} | {count - differ} | {differ} | {', '.join(why[call])} |")
        print(", ".join(f"{c} {calls[c][0]}" for c in sorted(calls) if not calls[c][1]))
    known_ones = sum(c[1] for c in calls.values())
    print(f"# posix: {len(mount)} assertions compared, {equal} equal, {known_ones} differ as docs/posix.md says")
    return failed > 0


if __name__ == "__main__":
    words = sys.argv[1:]
    if "--xfs" in words:
        on_xfs()
    sys.exit(main(*[w for w in words if w[:2] != "--"], table="--table" in words))
