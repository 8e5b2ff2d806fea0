#!/usr/bin/python3
# tests/run: slow timeout=1800
"""Seeded mistakes in the store's own code: each is compiled into a copy of the simulation, which must find it. A mistake
whose lines are not there any more fails the test. Usage: test_sim_mutants.py [WORDS OF A NAME]
SIM_MUTANTS=rare: those that take long to be found."""
import concurrent.futures, json, os, shlex, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sim_mutants import MUTANTS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TENANTFS_BUILD", "build/gcc"))
STATES = os.environ.get("SIM_MUTANT_STATES", "600000")


def compile_command(source):
    """As the build compiles it: arguments, and the directory that they mean."""
    for entry in json.load(open(f"{BUILD}/compile_commands.json")):
        if os.path.realpath(os.path.join(entry["directory"], entry["file"])) == os.path.join(ROOT, source):
            return shlex.split(entry["command"]), entry["directory"]
    raise RuntimeError(f"{source} is not in {BUILD}/compile_commands.json")


def link_command():
    lines = subprocess.run(["ninja", "-C", BUILD, "-t", "commands", "tests/sim/sim-names"], capture_output=True,
        text=True, check=True).stdout.splitlines()
    return shlex.split(lines[-1])


def build(mutant, work):
    """The simulation with that mistake."""
    source = f"{work}/{os.path.basename(mutant.source)}"
    text = open(f"{ROOT}/{mutant.source}").read()
    for old, new in mutant.changes:
        if text.count(old) != 1:
            raise RuntimeError(f"{mutant.source}: {text.count(old)} times: {old!r}")
        text = text.replace(old, new)
    open(source, "w").write(text)
    command, directory = compile_command(mutant.source)
    end = min(command.index(word) for word in ("-MD", "-o") if word in command)
    command = command[:end] + ["-w", "-o", f"{work}/mutant.o", "-c", source]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    command = link_command()
    out = command.index("-o")
    command[out + 1:out + 2] = [f"{work}/sim", f"{work}/mutant.o"]
    subprocess.run(command, cwd=BUILD, check=True, capture_output=True, text=True)
    return f"{work}/sim"


def try_one(mutant):
    with tempfile.TemporaryDirectory(prefix="tenantfs-mutant-") as work:
        try:
            sim = build(mutant, work)
        except (RuntimeError, subprocess.CalledProcessError) as e:
            return False, getattr(e, "stderr", None) or str(e)
        done = subprocess.run([sim, *mutant.arguments, "--find", "--states", STATES], capture_output=True, text=True)
    return done.returncode == 0, done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def main():
    rare = os.environ.get("SIM_MUTANTS") == "rare"
    chosen = [m for m in MUTANTS if (all(w in m.name for w in sys.argv[1:]) if sys.argv[1:] else m.rare == rare)]
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, (found, why) in zip(chosen, pool.map(try_one, chosen)):
            print(f"{'ok' if found else 'not ok'} - sim mutants: \"{mutant.name}\" is found"
                  f" ({why})", flush=True)
            failures += not found
    return 1 if failures else 0


sys.exit(main())
