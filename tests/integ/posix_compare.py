#!/usr/bin/python3
"""Compares two runs of the conformance suite: posix_compare.py PLAIN MOUNT [--table].

Fails for every assertion whose answer is not the documented one and for every one that differs, unless it stands in
DIFFERENCES; and for what stands there and was not seen. --table prints the table of docs/posix.md."""
import os
import re
import sys

ENOUGH = 3000
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/posix.md")
# Names of assertions (a pattern that must match them whole); answers of the plain directory and of the mount (patterns);
# words of docs/posix.md that give the reason.
DIFFERENCES = [
]


def read(path):
    answers = {}
    for line in open(path, encoding="utf-8", errors="backslashreplace"):
        name, answer, verdict = line.rstrip("\n").split("\t")
        if name in answers:
            sys.exit(f"not ok - posix: two assertions have the name '{name}'")
        answers[name] = answer, verdict
    return answers


def known(name, plain, mount):
    for number, (names, plains, mounts, _) in enumerate(DIFFERENCES):
        if re.fullmatch(names, name) and re.fullmatch(plains, plain) and re.fullmatch(mounts, mount):
            return number
    return None


def call_of(name):
    return re.match(r"[^:]*: ([a-z_0-9]+)", name).group(1)


def main(plain_path, mount_path, table=None):
    plain, mount = read(plain_path), read(mount_path)
    document = re.sub(r"\s+", " ", open(DOCUMENT, encoding="utf-8").read())
    groups, calls, seen, failed = {}, {}, set(), 0
    for name in dict.fromkeys([*plain, *mount]):
        a, verdict_a = plain.get(name, ("was not asked", "-"))
        b, verdict_b = mount.get(name, ("was not asked", "-"))
        number = known(name, a, b)
        wrong = a != b or verdict_a.startswith("not ok") or verdict_b.startswith("not ok")
        group = groups.setdefault(name.split(":")[0], [0, 0, []])
        call = calls.setdefault(call_of(name), [0, 0])
        group[0] += 1
        call[0] += 1
        if wrong and number is not None:
            seen.add(number)
            group[1] += 1
            call[1] += a != b
        elif wrong:
            why = verdict_b if verdict_b.startswith("not ok") else verdict_a
            group[2].append(f"  {name}\n    plain directory: {a}, mount: {b}" + (f" ({why})" if why[:3] == "not" else ""))
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
        for call in sorted(calls):
            print(f"| `{call}` | {calls[call][0]} | {calls[call][1] or ''} |")
    differing = sum(c[1] for c in calls.values())
    print(f"# posix: {len(mount)} assertions compared, {len(mount) - differing} equal, {differing} differ as docs/posix.md says")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
