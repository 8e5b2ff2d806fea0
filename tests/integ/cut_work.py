"""What runs through a mount until its power is cut or its daemon is killed, and what must be there afterwards. Each workload notes what was
acknowledged in a file outside the store; its check compares that with what it finds, which is where the next life goes on from."""
import ctypes, errno, hashlib, os, random, signal, sys, time

libc = ctypes.CDLL("libc.so.6", use_errno=True)
PR_SET_PDEATHSIG = 1
PAGE = 4096
MADE_NS = 1_000_000_000_123_456_789 # when what is never written to again was made


def fill(length, *words):
    """Bytes that nobody else writes."""
    return hashlib.shake_128(repr(words).encode()).digest(length)


def put(path, data, flags=os.O_CREAT | os.O_TRUNC, sync=False):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        write_all(fd, data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]


def get(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def flush(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def short(data, at):
    return data[at : at + 16].hex()


def is_part(got, want):
    """What a file may be that was being written for the first time: pages come to it in any order."""
    pages = range(0, len(got), PAGE)
    return len(got) <= len(want) and all(got[p : p + PAGE] in (want[p : p + PAGE][: len(got) - p], bytes(min(PAGE, len(got) - p))) for p in pages)


class Workload:
    """Subclasses: name, promise, prepare, work, check. `killed`: not the power goes but the daemon, so that what was closed is kept."""

    ACKNOWLEDGES = {"ok"} # notes of what must be kept from then on

    def __init__(self, top, notes, seed, killed):
        self.top, self.notes, self.seed, self.killed = f"{top}/{self.name}", f"{notes}/{self.name}", seed, killed
        self.rng, self.pid, self.life, self.counted = random.Random(f"{seed} {self.name}"), 0, 0, 0

    def prepare(self):
        os.mkdir(self.top)

    def start(self):
        """In a process of its own, until the mount fails it."""
        self.life += 1
        open(self.notes, "wb").close()
        self.rng = random.Random(f"{self.seed} {self.name} {self.life}")
        self.pid = os.fork()
        if self.pid:
            return
        try:
            os.setpgid(0, 0) # so that what it starts is stopped and killed with it
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            self.out = os.open(self.notes, os.O_WRONLY | os.O_APPEND)
            self.work()
        except BaseException as e:
            where = e.__traceback__
            while where.tb_next:
                where = where.tb_next
            self.note("ended", where.tb_lineno, repr(e).replace("\n", " "))
        finally:
            os._exit(0)

    def signal(self, number):
        """To it and what it has started."""
        if not self.pid:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError: # not yet a group of its own
            os.kill(self.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0

    def ended(self, patience):
        """Whether it ended by itself; otherwise it is killed."""
        stop = time.monotonic() + patience
        while self.pid and time.monotonic() < stop:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                self.pid = 0
                return True
            time.sleep(0.005)
        if self.pid:
            self.kill()
            return False
        return True

    def note(self, *words):
        os.write(self.out, " ".join(str(w) for w in (f"{time.monotonic():.6f}", *words)).encode() + b"\n")

    def noted(self, cut_at):
        """Its notes, split into words; the end apart. What was acknowledged while the power went is "late" and need not be there: xfs says of
        a flush that it is waiting for when it is shut down that all is well. A daemon that is killed lies to nobody."""
        for line in get(self.notes).decode().split("\n"):
            at, *words = line.split(" ")
            if words and words[0] != "ended":
                late = not self.killed and float(at) >= cut_at and words[0] in self.ACKNOWLEDGES
                yield ["late", *words[1:]] if late else words

    def ended_early(self, cut_at):
        """What ended it before the cut, or None."""
        for line in get(self.notes).decode().split("\n"):
            at, *words = line.split(" ")
            if words and words[0] == "ended" and float(at) < cut_at:
                return line
        return None


class Log(Workload):
    name, promise = "log", "an append-only log has every acknowledged record in order, and at most one torn one behind them"

    def __init__(self, *args):
        super().__init__(*args)
        self.records = 0

    def record(self, number):
        length = random.Random(f"{self.seed} {number}").choice((0, 10, 50, 200, 3000, 4096 - 16, 9000))
        return b"R%08d %05d " % (number, length) + fill(length, self.seed, number) + b"\n"

    def whole(self, count):
        return b"".join(self.record(i) for i in range(count))

    def prepare(self):
        super().prepare()
        put(self.top + "/log", b"", sync=True)

    def work(self):
        fd = os.open(self.top + "/log", os.O_WRONLY | os.O_APPEND)
        os.ftruncate(fd, len(self.whole(self.records)))
        os.fsync(fd)
        while True:
            record, cut = self.record(self.records), 0
            if self.rng.random() < 0.3:
                cut = self.rng.randrange(len(record))
                write_all(fd, record[:cut])
            write_all(fd, record[cut:])
            self.rng.choice((os.fsync, os.fdatasync))(fd)
            self.records += 1
            self.note("ok", self.records)

    def check(self, cut_at):
        acknowledged = max([self.records] + [int(records) for what, records in self.noted(cut_at) if what == "ok"])
        self.counted += acknowledged - self.records
        got, count, at = get(self.top + "/log"), 0, 0
        while got.startswith(self.record(count), at):
            at += len(self.record(count))
            count += 1
        self.records = count
        if count < acknowledged:
            yield f"{acknowledged} records were acknowledged, {count} are there; then {len(got) - at} bytes: {short(got, at)}"
        if not self.record(count).startswith(got[at:]) or len(got) - at > len(self.record(count)):
            yield f"behind record {count} at {at} are {len(got) - at} bytes that it does not begin with: {short(got, at)}, not {short(self.record(count), 0)}"


class Replace(Workload):
    name, promise = "replace", "a file that is written anew, flushed and renamed over the old one is always one whole version, at least the last acknowledged"

    def __init__(self, *args):
        super().__init__(*args)
        self.version = self.least = 0

    def content(self, version):
        length = random.Random(f"{self.seed} {version}").choice((0, 1, 100, 4096, 5000, 70000))
        return b"version %d %d\n" % (version, length) + fill(length, self.seed, version)

    def prepare(self):
        super().prepare()
        put(self.top + "/conf", self.content(0), sync=True)

    def work(self):
        version = self.version
        while True:
            version += 1
            temporary = f"{self.top}/conf.tmp" + self.rng.choice(("", str(version)))
            self.note("try", version)
            put(temporary, self.content(version), sync=True)
            os.rename(temporary, self.top + "/conf")
            if not self.killed and self.rng.random() < 0.3:
                continue
            if not self.killed:
                flush(self.top)
            self.note("ok", version)

    def check(self, cut_at):
        tried, acknowledged = self.version, self.least
        for what, version in self.noted(cut_at):
            if what == "ok":
                acknowledged = int(version)
                self.counted += 1
            tried = int(version)
        got = get(self.top + "/conf")
        version = int(got.split(b" ")[1]) if got.startswith(b"version ") else -1
        if version < 0 or got != self.content(version):
            yield f"the file is no whole version: {len(got)} bytes, {short(got, 0)}"
        elif not acknowledged <= version <= tried:
            yield f"version {acknowledged} was acknowledged, {tried} tried, {version} is there"
        self.version, self.least = tried, version


class NewDirs(Workload):
    name, promise = "new_dirs", "files in directories made a moment before are there once they and the directories were flushed"
    ACKNOWLEDGES = {"file", "all"}

    def __init__(self, *args):
        super().__init__(*args)
        self.next, self.there, self.lost, self.only_file = 0, {}, 0, 0

    def content(self, number):
        return fill(random.Random(f"{self.seed} {number}").choice((1, 10, 4096, 4097, 30000)), self.seed, number)

    def target(self, number):
        return fill(20 if number % 3 else 450, self.seed, number).hex()

    def links(self, number, path):
        """What is wrong with the names of links that were acknowledged with the directories, or None."""
        folder = self.top + "/" + os.path.dirname(path)
        link, too = folder + "/link", f"{folder if number % 2 else self.top}/{number}-too"
        if not os.path.islink(link) or os.readlink(link) != self.target(number):
            return f"the link beside {path} is not as it was made"
        if not os.path.lexists(too) or not os.path.samefile(too, f"{self.top}/{path}"):
            return f"{too[len(self.top) + 1:]} is not another name of {path}"
        return None

    def work(self):
        number = self.next
        while True:
            number += 1
            relative = f"d{number}/" * self.rng.choice((1, 1, 2, 3)) + self.rng.choice(("f", "long-" * 40))
            self.note("try", number, relative)
            path, folders = f"{self.top}/{relative}", [self.top]
            for _ in range(relative.count("/")):
                folders.append(folders[-1] + f"/d{number}")
                os.mkdir(folders[-1])
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            write_all(fd, self.content(number))
            if self.rng.random() < 0.3:
                os.setxattr(path, "user.number", str(number).encode())
                self.note("attribute", number, relative)
            os.fsync(fd)
            self.note("file", number, relative)
            os.close(fd)
            if self.rng.random() < 0.3:
                os.symlink(self.target(number), folders[-1] + "/link")
                os.link(path, f"{folders[-1 if number % 2 else 0]}/{number}-too")
                self.note("links", number, relative)
            for folder in reversed(folders):
                flush(folder)
            self.note("all", number, relative)

    def check(self, cut_at):
        found, attribute, links = {}, set(), set()
        for what, number, path in self.noted(cut_at):
            self.next = int(number)
            if what == "attribute":
                attribute.add(path)
            elif what == "links":
                links.add(path)
            elif what != "late":
                found[path] = (what, int(number))
            self.counted += what == "all"
        for path, (what, number) in list(found.items()):
            want, full = self.content(number), f"{self.top}/{path}"
            if not os.path.lexists(full):
                if what == "all" or (what == "file" and self.killed):
                    yield f"{path} was acknowledged and is not there"
                self.lost += what == "file"
                self.only_file += what == "file"
                continue
            self.only_file += what == "file"
            got = get(full)
            if got != want and (what != "try" or not is_part(got, want)):
                yield f"{path} ({what}) has {len(got)} bytes of {len(want)}: {short(got, 0)}"
            if path in attribute and what != "try":
                try:
                    value = os.getxattr(full, "user.number")
                except OSError as e:
                    value = repr(e).encode()
                if value != str(number).encode():
                    yield f"{path} ({what}): its attribute is {value}"
            wrong = self.links(number, path) if path in links and (what == "all" or self.killed) else None
            if wrong:
                yield wrong
            self.there[path] = hashlib.sha256(got).digest()
        for path, digest in self.there.items():
            if path in found:
                continue
            if not os.path.lexists(f"{self.top}/{path}") or hashlib.sha256(get(f"{self.top}/{path}")).digest() != digest:
                yield f"{path} was there after the last cut and is not as it was"


class Moves(Workload):
    name, promise = "moves", "what is moved between directories is whole, in exactly one of them, as old as it was, and where the acknowledged move took it"
    FOLDERS = "abc"

    def __init__(self, *args):
        super().__init__(*args)
        self.place, self.version, self.least = {}, 0, 0

    def content(self, thing):
        return fill(random.Random(f"{self.seed} {thing}").choice((0, 1, 5000, 20000)), self.seed, thing)

    def over(self, version):
        return b"over %d\n" % version + fill(version * 997 % 9000, self.seed, version)

    def prepare(self):
        super().prepare()
        for folder in self.FOLDERS:
            os.mkdir(f"{self.top}/{folder}")
        for thing in ("file-1", "file-2", "file-3", "file-4", "dir-1", "dir-2"):
            self.place[thing] = self.rng.choice(self.FOLDERS)
            path = f"{self.top}/{self.place[thing]}/{thing}"
            if thing.startswith("dir"):
                os.mkdir(path)
            put(self.inside(path), self.content(thing), sync=True)
            os.utime(self.inside(path), ns=(MADE_NS, MADE_NS))
        put(self.top + "/c/over", self.over(0), sync=True)

    @staticmethod
    def inside(path):
        return path + ("/inside" if "/dir-" in path else "")

    def acknowledge(self, folders, *words):
        if not self.killed:
            if self.rng.random() < 0.3:
                return
            for folder in folders:
                flush(f"{self.top}/{folder}")
        self.note("ok", *words)

    def work(self):
        version = self.version
        while True:
            if self.rng.random() < 0.3:
                version += 1
                self.note("try", "over", version)
                put(self.top + "/a/new", self.over(version), sync=True)
                os.rename(self.top + "/a/new", self.top + "/c/over")
                self.acknowledge("ac", "over", version)
                continue
            thing = self.rng.choice(sorted(self.place))
            old = self.place[thing]
            new = self.rng.choice([f for f in self.FOLDERS if f != old])
            self.note("try", thing, new)
            os.rename(f"{self.top}/{old}/{thing}", f"{self.top}/{new}/{thing}")
            self.place[thing] = new
            self.acknowledge(old + new, thing, new)

    def check(self, cut_at):
        may = {thing: [place] for thing, place in self.place.items()}
        least, most = self.least, self.version
        for what, thing, where in self.noted(cut_at):
            self.counted += what == "ok"
            if thing == "over":
                least, most = (int(where) if what == "ok" else least), int(where)
            elif what == "ok":
                may[thing] = [where]
            elif what == "try":
                may[thing].append(where)
        for thing, places in may.items():
            found = [f for f in self.FOLDERS if os.path.lexists(f"{self.top}/{f}/{thing}")]
            if len(found) != 1 or found[0] not in places:
                yield f"{thing} is in {found or 'no directory'}, may be in {places}"
                continue
            self.place[thing] = found[0]
            got = get(self.inside(f"{self.top}/{found[0]}/{thing}"))
            if got != self.content(thing):
                yield f"{thing} in {found[0]} has {len(got)} bytes of {len(self.content(thing))}: {short(got, 0)}"
            modified = os.stat(self.inside(f"{self.top}/{found[0]}/{thing}")).st_mtime_ns
            if modified != MADE_NS:
                yield f"{thing} in {found[0]} was modified at {modified} ns, not at {MADE_NS}"
        got = get(self.top + "/c/over")
        version = int(got.split(b"\n")[0].split(b" ")[1]) if got.startswith(b"over ") else -1
        if version < 0 or got != self.over(version):
            yield f"what was renamed over another is no whole version: {len(got)} bytes, {short(got, 0)}"
        elif not least <= version <= most:
            yield f"version {least} was acknowledged, {most} tried, {version} is there"
        self.version, self.least = most, version


class Deletions(Workload):
    name, promise = "deletions", "what was deleted does not come back, what was not is whole"
    ACKNOWLEDGES = {"made", "gone"}

    def __init__(self, *args):
        super().__init__(*args)
        self.next, self.there, self.gone = 0, set(), set()

    def content(self, number):
        return fill(random.Random(f"{self.seed} {number}").choice((0, 1, 4096, 40000, 300000)), self.seed, number)

    def work(self):
        number, there = self.next, sorted(self.there)
        while True:
            if len(there) < 5 or (len(there) < 40 and self.rng.random() < 0.5):
                number += 1
                self.note("begun", number)
                put(f"{self.top}/{number}", self.content(number), sync=True)
                flush(self.top)
                self.note("made", number)
                there.append(number)
                continue
            gone = [there.pop(self.rng.randrange(len(there))) for _ in range(self.rng.choice((1, 1, 3)))]
            for n in gone:
                self.note("try", n)
                os.unlink(f"{self.top}/{n}")
            if not self.killed:
                flush(self.top)
            for n in gone:
                self.note("gone", n)

    def check(self, cut_at):
        state = {number: "made" for number in self.there} | {number: "gone" for number in self.gone}
        for what, number in self.noted(cut_at):
            self.counted += what == "gone"
            self.next = max(self.next, int(number))
            if what != "late":
                state[int(number)] = what
        found = {int(name) for name in os.listdir(self.top)}
        for number in sorted(found):
            what, got, want = state.get(number), get(f"{self.top}/{number}"), self.content(number)
            if what == "gone":
                yield f"{number} was deleted and is there again, {len(got)} bytes of {len(want)}"
            elif what in ("made", "try") and got != want:
                yield f"{number} ({what}) has {len(got)} bytes of {len(want)}: {short(got, 0)}"
            elif what == "begun":
                if not is_part(got, want):
                    yield f"{number} (begun) has {len(got)} bytes that are not of its {len(want)}: {short(got, 0)}"
                os.unlink(f"{self.top}/{number}")
                flush(self.top)
                state[number] = "gone"
            elif not what:
                yield f"{number} was never made"
        for number, what in state.items():
            if what == "made" and number not in found:
                yield f"{number} is not there and was not deleted"
        self.there = {number for number in found if state.get(number) in ("made", "try")}
        self.gone = set(state) - self.there


def read_all(top):
    """Every name opens and reads. The number of names; what does not, as text."""
    names, bad, waiting = 0, [], [top]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as e:
            bad.append(f"{folder[len(top):]}/: {e.strerror}")
            continue
        for entry in entries:
            names += 1
            step = "lstat"
            try:
                entry.stat(follow_symlinks=False)
                step = "attributes"
                for attribute in os.listxattr(entry.path, follow_symlinks=False):
                    os.getxattr(entry.path, attribute, follow_symlinks=False)
                step = "read"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_symlink():
                    os.readlink(entry.path)
                else:
                    get(entry.path)
            except OSError as e:
                if e.errno != errno.ENOTSUP:
                    bad.append(f"{entry.path[len(top):]}: {step}: {e.strerror}")
    return names, bad
