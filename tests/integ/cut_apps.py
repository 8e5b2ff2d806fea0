"""SQLite and git as they are used, until the power goes (cut_work.py)."""
import os, random, sqlite3, subprocess

from cut_work import Workload, fill, flush, put


class Sqlite(Workload):
    name, promise = "sqlite", "SQLite: every acknowledged transaction is there, nothing but whole ones, and its integrity check is content"

    def __init__(self, *args):
        super().__init__(*args)
        # In mode DELETE a commit is the journal's removal, and only EXTRA flushes the directory after it.
        self.mode, self.level = self.rng.choice((("WAL", "FULL"), ("WAL", "FULL"), ("DELETE", "EXTRA"), ("TRUNCATE", "FULL"), ("PERSIST", "FULL")))
        self.done, self.rows, self.keys = 0, {}, []

    def connect(self):
        db = sqlite3.connect(self.top + "/db", isolation_level=None, timeout=30)
        for line in (f"journal_mode={self.mode}", f"synchronous={self.level}", "wal_autocheckpoint=30", "cache_size=20"):
            db.execute("PRAGMA " + line).fetchall()
        return db

    def prepare(self):
        super().prepare()
        db = self.connect()
        db.execute("CREATE TABLE done (n INTEGER PRIMARY KEY)")
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, n INTEGER, content BLOB)")
        db.execute("CREATE INDEX by_n ON rows (n)")
        db.close()
        flush(self.top + "/db")

    def changes(self, n):
        """Of transaction n: (id, content or None). Only the number and what is there decide."""
        rng = random.Random(f"{self.seed} {n}")
        out = [(n * 10 + i, fill(rng.choice((20, 500, 3000, 9000)), self.seed, n, i)) for i in range(rng.choice((1, 1, 2, 4)))]
        if self.rows and rng.random() < 0.6:
            out.append((rng.choice(self.keys), fill(rng.choice((20, 4000)), self.seed, n)))
        if len(self.rows) > 30 and rng.random() < 0.7:
            out.append((rng.choice(self.keys), None))
        return out

    def apply(self, changes, n):
        for key, content in changes:
            if content is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = (n, content)
        self.keys = sorted(self.rows)

    def work(self):
        db, n = self.connect(), self.done
        while True:
            n += 1
            changes = self.changes(n)
            db.execute("BEGIN IMMEDIATE")
            for key, content in changes:
                if content is None:
                    db.execute("DELETE FROM rows WHERE id=?", (key,))
                else:
                    db.execute("INSERT OR REPLACE INTO rows VALUES (?,?,?)", (key, n, content))
            db.execute("INSERT INTO done VALUES (?)", (n,))
            self.note("try", n)
            db.execute("COMMIT")
            self.note("ok", n)
            self.apply(changes, n)

    def check(self, cut_at):
        least = most = self.done
        for what, n in self.noted(cut_at):
            least, most = (int(n) if what == "ok" else least), int(n)
        self.counted += least - self.done
        mode = f"mode {self.mode}"
        try:
            db = self.connect()
            content = db.execute("PRAGMA integrity_check").fetchall()
            done = [n for (n,) in db.execute("SELECT n FROM done ORDER BY n")]
            rows = {key: (n, content) for key, n, content in db.execute("SELECT * FROM rows")}
            db.close()
        except sqlite3.Error as e:
            yield f"{mode}: {e!r}"
            return
        if content != [("ok",)]:
            yield f"{mode}: {content[:3]}"
        if done != list(range(1, len(done) + 1)) or not least <= len(done) <= most:
            yield f"{mode}: {least} transactions were acknowledged, {most} tried, {len(done)} are there, the last is {done[-1:]}"
        for n in range(self.done + 1, len(done) + 1):
            self.apply(self.changes(n), n)
        if rows != self.rows:
            differ = sorted(k for k in rows.keys() | self.rows.keys() if rows.get(k) != self.rows.get(k))
            yield f"{mode}: after transaction {len(done)} rows {differ[:10]} are not what they should be"
        self.done = len(done)


class Git(Workload):
    name, promise = "git", "git: fsck is content, and every acknowledged commit is there"
    ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": "/nonexistent",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}
    CONFIG = {"core.fsync": "all", "core.fsyncMethod": "fsync", "gc.auto": "0", "maintenance.auto": "false", "safe.directory": "*"}

    def git(self, *words, check=True):
        more = [w for k, v in self.CONFIG.items() for w in ("-c", f"{k}={v}")]
        done = subprocess.run(["git", *more, *words], cwd=self.top, env=self.ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if check and done.returncode:
            raise RuntimeError(f"git {words[0]}: {done.stderr.strip()[:300]}")
        return done

    def __init__(self, *args):
        super().__init__(*args)
        self.number, self.commits = 0, []

    def change(self, number):
        for _ in range(self.rng.choice((1, 2))):
            path = f"{self.top}/file-{self.rng.randrange(6)}"
            put(path, fill(self.rng.choice((10, 3000, 20000)), self.seed, number, path).hex().encode())

    def prepare(self):
        super().prepare()
        self.git("init", "-q")
        self.change(0)
        self.git("add", "-A")
        self.git("commit", "-qm", "0")
        self.flush_folders()
        self.commits.append(self.git("rev-parse", "HEAD").stdout.strip())

    def flush_folders(self):
        """git flushes its files and no directory, so that no filesystem owes it the last rename."""
        for folder, folders, _ in os.walk(self.top + "/.git"):
            folders[:] = [f for f in folders if f not in ("hooks", "info", "branches")]
            flush(folder)

    def work(self):
        number = self.number
        while True:
            number += 1
            self.change(number)
            self.git("add", "-A")
            self.git("commit", "-qm", str(number))
            if not self.killed:
                self.flush_folders()
            # The commit's name from its own file: one process less.
            with open(self.top + "/.git/refs/heads/master") as f:
                self.note("ok", number, f.read().strip())

    def check(self, cut_at):
        notes = list(self.noted(cut_at))
        acknowledged = [commit for what, _, commit in notes if what == "ok"]
        self.counted += len(acknowledged)
        for folder, _, names in os.walk(self.top + "/.git"):
            for name in names:
                if name.endswith(".lock"):
                    os.unlink(f"{folder}/{name}")
        done = self.git("fsck", "--full", "--no-dangling", check=False)
        if done.returncode:
            yield f"fsck: {(done.stdout + done.stderr).strip()[:300]!r}"
            return
        there = self.git("rev-list", "HEAD").stdout.split()
        for commit in acknowledged + self.commits:
            if commit not in there:
                yield f"commit {commit} is not there; HEAD is {there[0]}, after {len(acknowledged)} acknowledged"
        self.commits, self.number = there, max([self.number, *(int(n) for _, n, _ in notes)]) + 1
