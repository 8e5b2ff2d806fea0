"""The rows of the table: what is done, in which order, and what tenantfs shall reach."""
import dataclasses
import os
from typing import Callable, Optional

import apps
import data
import tree

MB, OPERATIONS, FILES, ROWS, TRANSACTIONS = "MB/s", "op/s", "files/s", "rows/s", "tx/s"
PEER, NATIVE = "peer", "native"


@dataclasses.dataclass
class Goal:
    """tenantfs's median shall be at least `factor` times that of `against`: the better peer, native, or another row."""
    factor: float
    against: str = PEER
    place: str = "tmpfs"


@dataclasses.dataclass
class Row:
    """measure(work) returns amount and seconds. prepare and verify are not measured. Caches are dropped between prepare and measure where it is cold."""
    name: str
    unit: str
    group: str  # its folder; removed when the last chosen row of the group is done
    measure: Callable
    goal: Optional[Goal] = None
    prepare: Optional[Callable] = None
    verify: Optional[Callable] = None
    cold: bool = False
    needs: tuple = ()  # names of rows that must have been run before
    missing: Callable = lambda: None
    only: tuple = ()  # systems; all where empty
    usual: bool = True  # otherwise only where its group is asked for


@dataclasses.dataclass
class Work:
    """What a row's functions get."""
    system: object
    scale: float
    material: str  # a folder in memory for what is not measured

    def count(self, full, least):
        return max(least, round(full * self.scale))

    def path(self, group, *names):
        os.makedirs(os.path.join(self.system.dir, group), exist_ok=True)
        return os.path.join(self.system.dir, group, *names)


def rows_of_large(count, title, goals, usual):
    prepare, create, list_all, stat, remove = tree.large(count)
    group = f"large-{count}"
    first = f"{title}: create"
    names = {"list": list_all, "stat": stat, "remove": remove}
    yield Row(first, FILES, group, create, goals("create"), prepare=prepare, usual=usual)
    for name, function in names.items():
        yield Row(f"{title}: {name}", FILES, group, function, goals(name), cold=name != "remove", needs=(first,), usual=usual)


def rows_of_rules():
    for count in (1, 100, 10000):
        prepare, measure = tree.rules(count)
        goal = Goal(0.95, "open+close, 1 rule") if count > 1 else None
        yield Row(f"open+close, {count} rule{'s' if count > 1 else ''}", OPERATIONS, "rules", measure, goal, prepare=prepare, verify=tree.rules_check,
                  only=("tenantfs",))


def fio_row(name, measure, goal, **more):
    write = "write" in name
    return Row(name, OPERATIONS, "random", measure, Goal(goal), prepare=data.random_file if write else data.random_file_once, cold=True,
               verify=data.random_write_check if write else data.random_check, missing=data.fio_missing, **more)


ROWS_ALL = [
    Row("sequential write", MB, "sequential", data.sequential_write, Goal(1.5), verify=data.sequential_check),
    Row("sequential read", MB, "sequential", data.sequential_read, Goal(1.3), cold=True, verify=data.sequential_check, needs=("sequential write",)),
    fio_row("random read, buffered", data.random_read(), 1.15),
    fio_row("random read, direct", data.random_read("--direct=1"), 1.1),
    fio_row("random read, direct, two jobs", data.random_read("--direct=1", "--numjobs=2"), 1.5),
    fio_row("random write, buffered", data.random_write(), 2.5),
    fio_row("random write, direct", data.random_write("--direct=1"), 1.05),
    Row("append + fsync", OPERATIONS, "flushed", data.append, Goal(1.5, PEER, "ext4"), verify=data.append_check),
    Row("overwrite + fdatasync", OPERATIONS, "flushed", data.overwrite, Goal(1.0, NATIVE, "ext4"), prepare=data.overwrite_prepare, verify=data.overwrite_check),
    Row("unpack", FILES, "tree", tree.unpack, Goal(1.1), prepare=tree.unpack_prepare, verify=tree.unpack_check),
    Row("stat all, cold", FILES, "tree", tree.stat_all, Goal(1.2), cold=True, needs=("unpack",)),
    Row("read all, cold", FILES, "tree", tree.read_all, Goal(1.15), cold=True, needs=("unpack",)),
    Row("stat all, warm", FILES, "tree", tree.stat_all, Goal(1.2), prepare=tree.warm, needs=("unpack",)),
    Row("remove", FILES, "tree", tree.remove, Goal(1.0), verify=tree.remove_check, needs=("unpack",)),
    Row("SQLite, single commits", TRANSACTIONS, "sqlite", apps.commits, Goal(1.1), prepare=apps.fresh("commits"), verify=apps.whole("commits", 1000, 10)),
    Row("SQLite, bulk", ROWS, "sqlite", apps.bulk, Goal(3), prepare=apps.fresh("bulk"), verify=apps.whole("bulk", 1_000_000, 1000)),
    Row("SQLite, scan", ROWS, "sqlite", apps.scan, Goal(1.3), cold=True, verify=apps.whole("bulk", 1_000_000, 1000), needs=("SQLite, bulk",)),
    Row("git add + commit", FILES, "git", apps.git_commit, Goal(1.0), prepare=apps.git_prepare, verify=apps.git_check, missing=apps.git_missing),
    Row("git status", FILES, "git", apps.git_status, Goal(1.2), prepare=apps.git_warm, verify=apps.git_check, needs=("git add + commit",),
        missing=apps.git_missing),
    *rows_of_large(100_000, "100,000 files", lambda _: Goal(1.3), True),
    *rows_of_large(1_000_000, "1,000,000 files", lambda name: Goal(0.9, f"100,000 files: {name}"), False),
    *rows_of_rules(),
    Row("pgbench", TRANSACTIONS, "pgbench", apps.pgbench, Goal(1.3), prepare=apps.pgbench_prepare, verify=apps.pgbench_check, missing=apps.postgres_missing),
]


def chosen(patterns):
    """The rows that are asked for, and those that must be run before them, in their order: [(row, whether it is asked for)]."""
    def wanted(row):
        return any(p == row.group or (row.usual and p.lower() in row.name.lower()) for p in patterns) if patterns else row.usual
    asked = {row.name for row in ROWS_ALL if wanted(row)}
    needed = {name for row in ROWS_ALL if row.name in asked for name in row.needs}
    return [(row, row.name in asked) for row in ROWS_ALL if row.name in asked | needed]
