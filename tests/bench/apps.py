"""Applications: SQLite, git, PostgreSQL."""
import glob
import os
import shutil
import signal
import sqlite3
import subprocess
import time

from data import Wrong
from place import Trouble, die_with_parent, sh
from tree import archive, timed

# SQLite as it comes: rollback journal, synchronous=FULL. The statements are loops of SQLite's own, so that Python is not measured.
FILLING = "x" * 90
ROWS = """insert into t(a, b) with recursive c(n) as (select 1 union all select n + 1 from c where n < ?)
          select n * 7919 % 1000003, ? || n from c"""
CHECK = "select count(*), sum(a <> id * 7919 % 1000003 or b <> ? || id) from t"


def base(work, name):
    return sqlite3.connect(work.path("sqlite", name), isolation_level=None)


def fresh(name):
    def prepare(work):
        for ending in ("", "-journal"):
            if os.path.exists(work.path("sqlite", name + ending)):
                os.unlink(work.path("sqlite", name + ending))
        opened = base(work, name)
        opened.execute("create table t(id integer primary key, a integer, b text)")
        opened.close()
    return prepare


def whole(name, count, least):
    def verify(work):
        opened = base(work, name)
        told = opened.execute("pragma integrity_check").fetchone()[0]
        rows, wrong = opened.execute(CHECK, (FILLING,)).fetchone()
        opened.close()
        if told != "ok" or rows != work.count(count, least) or wrong:
            raise Wrong(f"SQLite: {told}; {rows} rows of {work.count(count, least)}, {wrong} of them wrong")
    return verify


def commits(work):
    count = work.count(1000, 10)
    opened = base(work, "commits")
    began = time.monotonic()
    for n in range(1, count + 1):
        opened.execute("insert into t(a, b) values (?, ?)", (n * 7919 % 1000003, FILLING + str(n)))
    took = time.monotonic() - began
    opened.close()
    return count, took


def bulk(work):
    count = work.count(1_000_000, 1000)
    opened = base(work, "bulk")
    began = time.monotonic()
    opened.execute(ROWS, (count, FILLING))
    took = time.monotonic() - began
    opened.close()
    return count, took


def scan(work):
    opened = base(work, "bulk")
    began = time.monotonic()
    rows, _ = opened.execute("select count(*), sum(length(b)) from t where a >= 0").fetchone()
    took = time.monotonic() - began
    opened.close()
    return rows, took


# git, on a tree of its own

def git(work, *words):
    tree = work.path("git")
    return ["git", "-C", tree, "-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "gc.auto=0", "-c", "safe.directory=*", *words]


def git_environment(work):
    return {"PATH": os.environ["PATH"], "HOME": work.material, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}


def git_missing():
    return None if shutil.which("git") else "git is not installed"


def git_prepare(work):
    shutil.rmtree(work.path("git"))
    timed("tar", "-xf", archive(work), "-C", work.path("git"))
    sh(*git(work, "init", "-q"), env=git_environment(work))


def git_commit(work):
    took = timed(*git(work, "add", "-A"), env=git_environment(work))
    return work.count(9100, 100), took + timed(*git(work, "commit", "-qm", "all"), env=git_environment(work))


def git_check(work):
    sh(*git(work, "fsck", "--strict", "--no-progress"), env=git_environment(work))
    told = sh(*git(work, "status", "--porcelain"), env=git_environment(work))
    count = len(sh(*git(work, "ls-files"), env=git_environment(work)).splitlines())
    if told or count != work.count(9100, 100):
        raise Wrong(f"git has {count} files and says: {told[:100]!r}")


def git_warm(work):
    sh(*git(work, "status", "--porcelain"), env=git_environment(work))


def git_status(work):
    return work.count(9100, 100), timed(*git(work, "status", "--porcelain"), env=git_environment(work))


# PostgreSQL refuses to be root, and libfuse's example makes every file root's: so root plays another user, in a user namespace; its shared memory is in
# one, too, and goes with its last process.

CLIENTS, JOBS = 4, 2
AS_ANOTHER = ["unshare", "--user", "--ipc", "--map-user=1000", "--map-group=1000"]


def programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pgbench"), key=lambda p: int(p.split("/")[4]))
    return os.path.dirname(found[-1]) if found else None


def postgres_missing():
    return None if programs() else "PostgreSQL is not installed"


class Postgres:
    """A server on a cluster in the mount, as long as `with` lasts."""

    def __init__(self, work):
        self.data, self.socket = work.path("pgbench", "cluster"), work.material
        self.environment = {"PATH": f"{programs()}:{os.environ['PATH']}", "LC_ALL": "C", "HOME": work.material, "PGHOST": self.socket, "PGUSER": "pg",
                            "PGDATABASE": "postgres"}

    def run(self, *command):
        return sh(*AS_ANOTHER, *command, env=self.environment, cwd="/")

    def __enter__(self):
        if not os.path.exists(self.data):
            self.run("initdb", "-D", self.data, "-U", "pg", "-A", "trust", "--no-locale", "-E", "UTF8", "--data-checksums")
        with open(self.data + ".log", "ab") as log:
            # SIGQUIT: it ends at once, with all of its processes.
            self.server = subprocess.Popen([*AS_ANOTHER, "postgres", "-D", self.data, "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.socket}",
                                            "-c", "dynamic_shared_memory_type=sysv", "-c", "max_wal_size=256MB"], stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, env=self.environment, cwd="/", preexec_fn=lambda: die_with_parent(signal.SIGQUIT))
        end = time.monotonic() + 60
        while subprocess.run([*AS_ANOTHER, "pg_isready", "-q"], env=self.environment, capture_output=True).returncode:
            if self.server.poll() is not None or time.monotonic() > end:
                self.__exit__()
                with open(self.data + ".log", errors="replace", encoding="utf-8") as log:
                    raise Trouble("PostgreSQL does not start: " + " ".join(log.read().split())[-300:])
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.server.send_signal(signal.SIGINT)
        try:
            self.server.wait(60)
        except subprocess.TimeoutExpired:
            self.server.send_signal(signal.SIGQUIT)
            self.server.wait()

    def sql(self, text):
        return self.run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", text).strip()


def pgbench_prepare(work):
    shutil.rmtree(work.path("pgbench"))
    work.path("pgbench")
    with Postgres(work) as server:
        server.run("pgbench", "-q", "-i", "-s", str(work.count(10, 1)))


def pgbench(work):
    with Postgres(work) as server:
        told = server.run("pgbench", "-n", "-c", str(CLIENTS), "-j", str(JOBS), "-T", str(work.count(20, 2)))
    lines = dict(line.split(": ", 1) for line in told.splitlines() if ": " in line)
    rate = float(told.split("tps = ")[1].split()[0])
    count = int(lines["number of transactions actually processed"].split("/")[0])
    return count, count / rate


def pgbench_check(work):
    """What pgbench promises of its tables: each transaction adds the same to one row of each."""
    with Postgres(work) as server:
        sums = server.sql("select (select sum(bbalance) from pgbench_branches), (select sum(tbalance) from pgbench_tellers), "
                          "(select sum(abalance) from pgbench_accounts), (select coalesce(sum(delta), 0) from pgbench_history)").split("|")
    if len(set(sums)) != 1:
        raise Wrong(f"PostgreSQL: the sums of its tables differ: {', '.join(sums)}")
