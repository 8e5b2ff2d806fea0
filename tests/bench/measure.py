"""Measures the rows, one after the other; each on every system before the next, so that noise hits all alike."""
import gc
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

from data import Wrong
from place import Trouble, die_with_parent, drop_caches, settle
from workloads import Work

CHILD_SECONDS = 3600
ENDING_SECONDS = 30


class Interrupted(BaseException):
    """By a signal."""


def in_child(function):
    """What function returns, from a process of its own: nothing stays open, and what hangs can be ended. Trouble and Wrong come through."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setsid()
            die_with_parent()
            os.close(reader)
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
            answer = answer_of(function)
            with os.fdopen(writer, "w", encoding="utf-8") as out:
                json.dump(answer, out)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        with os.fdopen(reader, encoding="utf-8") as answers:
            if not select.select([answers], [], [], CHILD_SECONDS)[0]:
                raise Trouble(f"no end within {CHILD_SECONDS} s")
            text = answers.read()
    finally:
        end_child(pid)
    if not text:
        raise Trouble("its process was ended")
    kind, value = json.loads(text)
    if kind == "wrong":
        raise Wrong(value)
    if kind == "trouble":
        raise Trouble(value)
    return value


def answer_of(function):
    try:
        return "good", function()
    except Wrong as e:
        return "wrong", str(e)
    except Trouble as e:
        return "trouble", str(e)
    except Exception as e:  # whatever a filesystem does to a workload is a result
        return "trouble", f"{type(e).__name__}: {e}"


def end_child(pid):
    """Asked first, so that it ends what it has started; then with its whole session's group."""
    end = time.monotonic() + ENDING_SECONDS
    asked = False
    while time.monotonic() < end:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if not asked and time.monotonic() > end - ENDING_SECONDS + 1:
            os.kill(pid, signal.SIGTERM)
            asked = True
        time.sleep(0.001 if not asked else 0.05)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if not done:
        os.waitpid(pid, 0)


def one(row, work, place, scratch):
    """One figure: amount, seconds, and the seconds that the system went on working in the background after it."""
    if row.prepare:
        row.prepare(work)
    os.chdir("/")
    work.system.quiet()
    for path in (work.system.dir, place, scratch.path):
        settle(path)
    if row.cold:
        drop_caches()
    gc.collect()
    gc.disable()
    amount, seconds = row.measure(work)
    os.chdir("/")
    after = work.system.quiet()
    if hasattr(work.system, "spoil"):
        work.system.spoil()
    if row.verify:
        try:
            row.verify(work)
        except (Trouble, OSError, sqlite3.Error) as e:
            raise Wrong(f"what was written cannot be read: {e}") from e
    return amount, max(seconds, 1e-9), after


def clear(work, group):
    shutil.rmtree(os.path.join(work.system.dir, group), ignore_errors=True)
    work.system.quiet()


class Results:
    """What was found, by place, row and system."""

    def __init__(self):
        self.cells = {}

    def cell(self, place, row, system):
        return self.cells.setdefault((place, row, system), {"figures": [], "amounts": [], "seconds": [], "afterwards": [], "trouble": None, "kind": None})

    def note(self, place, row, system, trouble, kind):
        """kind: "missing", "failed" or "wrong", which is the worst."""
        cell = self.cell(place, row, system)
        if not cell["trouble"] or kind == "wrong":
            cell["trouble"], cell["kind"] = trouble, kind


class Campaign:
    """places: {name: path}; systems: {place: [started systems]}; rows: as workloads.chosen gives them."""

    def __init__(self, scratch, places, systems, rows, scale, say):
        self.scratch, self.places, self.systems, self.rows, self.scale, self.say = scratch, places, systems, rows, scale, say
        self.material = scratch.tmpfs("material")
        self.results = Results()
        self.stuck = set()  # (place, row, system): where the next rows have nothing to stand on

    def round(self, number, rounds):
        self.stuck.clear()
        for at, (row, asked) in enumerate(self.rows):
            for place in self.places:
                figures = []
                systems = self.systems[place]
                turn = number % len(systems) if systems else 0
                # Another one begins each time.
                for system in systems[turn:] + systems[:turn]:
                    told = self.measure(row, place, system, asked)
                    if told:
                        figures.append(f"{system.name} {told}")
                if figures and asked:
                    self.say(f"round {number + 1} of {rounds}, {place}, {row.name}: " + ", ".join(figures))
            if row.group not in [later.group for later, _ in self.rows[at + 1:]]:
                self.clear(row.group)

    def clear(self, group):
        for place, systems in self.places.items():
            for system in self.systems[place]:
                try:
                    in_child(lambda: clear(Work(system, self.scale, self.material), group))
                except (Trouble, OSError) as e:
                    self.say(f"{system.name} on {place}: what {group} left is not removed: {e}")

    def measure(self, row, place, system, asked):
        """A few words for the log. A row that is not asked for is only done because others need it."""
        if row.only and system.name not in row.only:
            return None
        key = (place, row.name, system.name)
        missing = row.missing()
        stands_on = [n for n in row.needs if (place, n, system.name) in self.stuck]
        if missing or stands_on:
            trouble = missing or f"not done, as \"{stands_on[0]}\" failed"
            self.stuck.add(key)
            if asked:
                self.results.note(*key, trouble, "missing" if missing else "failed")
            return trouble
        work = Work(system, self.scale, self.material)
        try:
            amount, seconds, after = in_child(lambda: one(row, work, self.places[place], self.scratch))
        except Wrong as e:
            self.results.note(*key, str(e), "wrong")
            return f"WRONG: {e}"
        except (Trouble, OSError, subprocess.SubprocessError) as e:
            self.stuck.add(key)
            self.results.note(*key, str(e), "failed")
            return f"failed: {e}"
        if asked:
            cell = self.results.cell(*key)
            for name, value in (("figures", amount / seconds), ("amounts", amount), ("seconds", seconds), ("afterwards", after)):
                cell[name].append(value)
        return f"{amount / seconds:,.0f}"
