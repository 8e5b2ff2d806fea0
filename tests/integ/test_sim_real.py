#!/usr/bin/python3
# tests/run: slow timeout=300
"""The simulated disk is at least as hostile as real ones: small stories on ext4 and xfs, whose power then goes; what is
left must be among what the simulated disk may leave of the same story. Usage: test_sim_real.py [table]"""
import os, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rawimage
from rawimage import Image, report

NAME = "sim_real"
PROBE = os.environ.get("TENANTFS_BUILD", "build/gcc") + "/tests/sim/sim-probe"
ROUNDS = int(os.environ.get("SIM_ROUNDS", "3"))
KINDS = [("ext4", "", ()), ("ext4", "nodelalloc", ()), ("ext4", "data=writeback", ()), ("xfs", "", ())]


def probe(*words):
    done = subprocess.run([PROBE, *words], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout} {done.stderr}")
    return done.stdout.splitlines()


def main():
    rawimage.need_root_and_loops(NAME)
    stories = probe("list")
    ordered = {s: set(probe("allowed", s)) for s in stories}
    writeback = {s: set(probe("allowed", s, "writeback")) for s in stories}
    for kind, options, mkfs in KINDS:
        if kind not in rawimage.filesystems():
            rawimage.skip(f"{NAME}: {kind}", "no mkfs for it")
            continue
        strange = []
        allowed = writeback if options == "data=writeback" else ordered
        with Image(kind, options, mkfs) as image:
            for story in stories * ROUNDS:
                work = f"{image.path}/{story}"
                subprocess.run(["rm", "-rf", work], check=True)
                os.mkdir(work)
                image.sync()
                probe("do", story, work)
                image.power_cut()
                got = probe("look", story, work)[0]
                if got not in allowed[story]:
                    strange.append((story, got))
                if "table" in sys.argv:
                    print(f"{kind:5} {options:15} {story:22} {got}", flush=True)
        report(not strange, f"{NAME}: {' '.join(x for x in (kind, options, *mkfs) if x)}: what a power cut left is foreseen",
            strange)
    return 1 if rawimage.failures else 0


sys.exit(main())
