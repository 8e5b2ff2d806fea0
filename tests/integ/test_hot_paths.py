#!/usr/bin/python3
# tests/run: slow timeout=300 once
"""How many instructions of tenantfs the hot paths take (tests/hot/hot_paths.c), beside those recorded in tests/hot/counts.

  test_hot_paths.py [BUILD] [--record]

Counted by callgrind, of the project's own code alone: what libcrypto and libc take depends on the processor and on what they
choose for it. Each path runs a few and many times; the difference is without beginning and end. The counts are of one compiler
and of the build that tests/run makes: with another one there is nothing to compare, and the test is skipped. More than 3 % above
the record fails. More than 10 % below it asks for a new record: so that what was won is not lost unnoticed. --record writes it."""
import os
import re
import subprocess
import sys
import tempfile

ME = "test_hot_paths.py"
ABOVE, BELOW = 0.03, 0.10
REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECORD = os.path.join(REPO, "tests/hot/counts")
arguments = [a for a in sys.argv[1:] if a != "--record"]
BUILD = arguments[0] if arguments else os.environ.get("TENANTFS_BUILD", os.path.join(REPO, "build/gcc"))
PROGRAM = os.path.join(BUILD, "tests/hot/hot-paths")


def skip(why):
    print("skip - %s: everything: %s" % (ME, why))
    sys.exit(0)


def what_built():
    """The compiler with Debian's revision, and how."""
    text = subprocess.run(["readelf", "-p", ".comment", PROGRAM], capture_output=True, text=True, check=True).stdout
    compilers = sorted(set(re.findall(r"\]\s+(.*)", text)))
    options = subprocess.run(["meson", "introspect", "--buildoptions", BUILD], capture_output=True, text=True, check=True).stdout
    told = {k: re.search(r'"name": "%s", "value": "?([^",]*)' % k, options) for k in ("buildtype", "b_sanitize", "b_ndebug")}
    return "%s; %s" % (", ".join(compilers), ", ".join("%s=%s" % (k, m.group(1) if m else "?") for k, m in told.items()))


def own_cost(path):
    """Self costs of a dump: of the project's own code, and of all."""
    own = total = 0
    names = {}
    ob = fl = ""

    def name(text):
        m = re.match(r"\((\d+)\)(?: (.*))?", text)
        if m.group(2) is not None:
            names[kind, m.group(1)] = m.group(2)
        return names.get((kind, m.group(1)), "")

    called = False
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            key, _, rest = line.rstrip("\n").partition("=")
            if key in ("ob", "cob"):
                kind = "ob"
                ob = name(rest) if key == "ob" else (name(rest), ob)[1]
            elif key in ("fl", "fi", "fe", "cfi", "cfl"):
                kind = "fl"
                fl = (name(rest), fl)[1] if key.startswith("c") else name(rest)
            elif key == "calls":
                called = True # the next line is what the callee took
            elif line[:1] in "+-*0123456789" and line.strip():
                if not called:
                    cost = int(line.split()[1])
                    total += cost
                    if os.path.basename(ob) == "hot-paths" and "tests/" not in fl:
                        own += cost
                called = False
    return own, total


def measure():
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as scratch:
        out = os.path.join(scratch, "out")
        run = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, "--zero-before=hot_measured",
                              "--dump-after=hot_measured", PROGRAM], capture_output=True, text=True)
        if run.returncode:
            sys.exit("not ok - %s: the paths run under callgrind\n%s" % (ME, (run.stdout + run.stderr)[-2000:]))
        found = {}
        lines = [line.split() for line in run.stdout.splitlines() if re.match(r"\S+ \d+$", line)]
        for k, (path, more) in enumerate(lines):
            few, many = (own_cost("%s.%d" % (out, 2 * k + n)) for n in (1, 2))
            found[path] = [round((b - a) / int(more)) for a, b in zip(few, many)]
        return found


def read_record():
    built, counts = "", {}
    with open(RECORD, encoding="utf-8") as f:
        for line in f:
            if line.startswith("# built by: "):
                built = line[len("# built by: "):].strip()
            elif line.strip() and not line.startswith("#"):
                path, count = line.split()
                counts[path] = int(count)
    return built, counts


def main():
    if not os.path.exists(PROGRAM):
        skip("hot-paths was not built: libcmocka-dev is missing")
    if subprocess.run(["which", "valgrind"], capture_output=True).returncode:
        skip("valgrind is not installed")
    built = what_built()
    if "--record" in sys.argv:
        with open(RECORD, "w", encoding="utf-8") as f:
            f.write("# Instructions of tenantfs a time; tests/integ/test_hot_paths.py BUILD --record.\n# built by: %s\n" % built)
            for path, (own, _) in measure().items():
                f.write("%s %d\n" % (path, own))
        return
    recorded_by, counts = read_record()
    if built != recorded_by:
        skip("the record is of another compiler or build (%s), this is of %s" % (recorded_by, built))
    found, failed = measure(), 0
    for path, (own, total) in found.items():
        before = counts.get(path)
        if before is None:
            verdict, why = "not ok", "is in the record: use --record"
        elif own > before * (1 + ABOVE):
            verdict, why = "not ok", "takes no more instructions than before"
        else:
            verdict, why = "ok", "takes no more instructions than before"
        failed += verdict != "ok"
        print("%s - %s: %s %s" % (verdict, ME, path, why))
        print("#   %d, recorded %s; %d with libc and libcrypto" % (own, before, total))
        if before and own < before * (1 - BELOW):
            print("#   much less than recorded: record anew with --record")
    for path in counts.keys() - found.keys():
        failed += 1
        print("not ok - %s: %s is measured" % (ME, path))
    sys.exit(1 if failed else 0)


main()
