"""What the checks share: the source files, their layers, C text without comments, results."""
import os
import re
import subprocess
import sys

ROOT = os.environ.get("CHECK_ROOT") or os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.environ.get("CHECK_BUILD") or os.environ.get("TENANTFS_BUILD") or os.path.join(ROOT, "build/gcc")

SOURCE_FOLDERS = ("keymgmt", "fs", "tools")

# Lower numbers are used by higher ones. Programs stand on top and use everything but front.
LAYERS = [
    ("keymgmt/base/", "base"),
    ("keymgmt/", "keymgmt"),
    ("fs/lower/", "lower"),
    ("fs/erase/", "erase"),
    ("fs/store/", "store"),
    ("fs/gate/", "gate"),
    ("fs/control/", "control"),
    ("fs/front/", "front"),
    ("fs/", "main"),
    ("tools/", "program"),
    ("tests/", "test"),
]
USES = {
    "base": {"base"},
    "keymgmt": {"base", "keymgmt"},
    "lower": {"base", "keymgmt", "lower"},
    "erase": {"base", "keymgmt", "lower", "erase"},
    "store": {"base", "keymgmt", "lower", "erase", "store", "op"},
    "gate": {"base", "keymgmt", "lower", "erase", "gate", "op"},
    "control": {"base", "keymgmt", "lower", "erase", "store", "gate", "control", "op"},
    "front": {"base", "keymgmt", "lower", "erase", "store", "gate", "control", "front", "op"},
    "main": {"base", "keymgmt", "lower", "erase", "store", "gate", "control", "front", "main", "op"},
    "program": {"base", "keymgmt", "lower", "erase", "store", "gate", "control", "program", "op"},
    "op": {"base", "op"},
}


def layer_of(path):
    name = os.path.basename(path)
    if path == "fs/op.h":
        return "op"
    if os.path.dirname(path) == "keymgmt" and (name.startswith("cmd") or name.startswith("tenantkey")):
        return "program"
    for prefix, layer in LAYERS:
        if path.startswith(prefix):
            return layer
    return None


def files(*endings, folders=SOURCE_FOLDERS):
    """Paths relative to the root."""
    found = []
    for folder in folders:
        for where, subdirs, names in os.walk(os.path.join(ROOT, folder)):
            subdirs[:] = [d for d in subdirs if not d.startswith(("build", ".", "__"))]
            for name in names:
                if name.endswith(endings):
                    found.append(os.path.relpath(os.path.join(where, name), ROOT))
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def code_only(text):
    """Comments and the insides of string and character literals become spaces; line numbers stay."""
    def blank(match):
        s = match.group(0)
        if s[0] in "\"'":
            return s[0] + re.sub(r"[^\n]", " ", s[1:-1]) + s[-1]
        return re.sub(r"[^\n]", " ", s)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def functions(text):
    """(name, first line, last line, body) of each function definition; relies on the house's brace style."""
    lines = code_only(text).split("\n")
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{") and number > 1:
            head = ""
            for back in range(number - 2, -1, -1):
                if not lines[back].strip() or lines[back].rstrip().endswith((";", "}")):
                    break
                head = lines[back] + " " + head
            name = re.search(r"(\w+)\s*\(", head)
            start = (name.group(1), number) if name and "=" not in head.split("(")[0] else None
        elif line.startswith("}") and start:
            yield start[0], start[1], number, "\n".join(lines[start[1] - 1:number])
            start = None


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def result(name, problems, note=""):
    """Prints the verdict and every problem; collects the exit status."""
    result.failed = getattr(result, "failed", False) or bool(problems)
    if problems:
        print(f"not ok - {name}: {len(problems)} problems")
        for problem in problems:
            print("  " + problem)
    else:
        print(f"ok - {name}" + (f" ({note})" if note else ""))


def end():
    sys.exit(1 if getattr(result, "failed", False) else 0)


def libraries():
    """The static libraries of the build: [(name, path)]."""
    found = []
    for where, _, names in os.walk(BUILD):
        for name in names:
            if name.startswith("lib") and name.endswith(".a"):
                found.append((name[3:-2], os.path.join(where, name)))
    return sorted(found)
