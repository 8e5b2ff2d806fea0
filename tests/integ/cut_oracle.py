"""Files that are overwritten at random and closed without a flush, and which bytes they may have afterwards (cut_work.py)."""
import ctypes, mmap, os, random, time

from cut_work import PAGE, Workload, fill, get, libc, put, short, write_all

CHUNK = 256
PUNCH_HOLE_KEEP_SIZE = 3


class Expected:
    """What a file may be: as at the last moment that is certain, or with any of the changes since, in part or all."""

    def __init__(self, content=b""):
        self.now, self.changes = bytearray(content), []
        self.certain()

    def certain(self):
        self.base, self.sizes, self.changes = bytes(self.now), [len(self.now)], []

    def write(self, at, data):
        if at > len(self.now):
            self.now.extend(bytes(at - len(self.now)))
        self.now[at : at + len(data)] = data
        self.changes.append((at, data))
        self.sizes.append(len(self.now))

    def cut(self, size):
        """truncate to size: zeros from there on."""
        longest = max(self.sizes)
        self.now[size:] = bytes(max(0, size - len(self.now)))
        self.sizes.append(size)
        if size < longest:
            self.changes.append((size, bytes(longest - size)))

    def wrong(self, got):
        """What is not allowed, as text, or None. Space between the old end and a change beyond it may be zeros."""
        if not min(self.sizes) <= len(got) <= max(self.sizes):
            return f"it has {len(got)} bytes, may have {min(self.sizes)} to {max(self.sizes)}"
        base = self.base + bytes(max(0, len(got) - len(self.base)))
        for at in range(0, len(got), CHUNK):
            part = got[at : at + CHUNK]
            if part == base[at : at + CHUNK]:
                continue
            near = [(o, d) for o, d in self.changes if o < at + CHUNK and o + len(d) > at]
            for i, byte in enumerate(part, at):
                if byte == base[i] or any(o <= i < o + len(d) and d[i - o] == byte for o, d in near):
                    continue
                return self.describe(got, base, i, near)
        return None

    @staticmethod
    def describe(got, base, at, near):
        """Where the bytes from `at` on are from, for who looks for the cause."""
        block = at // PAGE
        length = next((i for i in range(at, min(len(got), at + PAGE)) if got[i] == base[i]), at + PAGE) - at
        text = f"byte {at} (block {block}, {at % PAGE} in it), some {length} bytes: {short(got, at)}, was {short(base, at)} when flushed"
        for o, d in near[-3:]:
            if o <= at < o + len(d):
                text += f", {short(d, at - o)} was written by the change at {o} of {len(d)}"
        return text + (", is zeros" if not any(got[at : at + length]) else "")


class Overwriter(Workload):
    name, promise = "overwriter", "every byte of a file that is overwritten at random was written there at or after its last acknowledged flush"
    ACKNOWLEDGES = {"flushed"}
    FILES = 4

    def __init__(self, *args):
        super().__init__(*args)
        self.expected, self.serial = {}, 0
        self.with_cuts = self.rng.random() < 0.5
        self.maps = self.rng.random() < 0.3
        self.synchronous = 3 if self.rng.random() < 0.3 else None # O_DSYNC

    def data(self, serial, length):
        return fill(length, self.seed, serial)

    def prepare(self):
        super().prepare()
        for i in range(self.FILES):
            content = self.data(-i - 1, self.rng.choice((0, 5000, 60000, 300000, 600000)))
            put(f"{self.top}/{i}", content, sync=True)
            self.expected[i] = Expected(content)

    def work(self):
        fds = {i: self.open(i) for i in range(self.FILES)}
        sizes = {i: len(self.expected[i].now) for i in fds}
        serial, often = self.serial, self.rng.choice((0.05, 0.2, 0.5))
        while True:
            i, serial = self.rng.randrange(self.FILES), serial + 1
            size, dice = sizes[i], self.rng.random()
            # Of a file with O_DSYNC only the range that was written is flushed, so nothing but writes there.
            cuts = self.with_cuts and i != self.synchronous
            if cuts and dice < 0.03:
                self.punch(fds[i], i, serial, size)
            elif cuts and dice < 0.06:
                length = self.rng.choice((0, self.rng.randrange(size + 1), size + self.rng.randrange(9000)))
                self.note("cut", i, serial, length)
                os.ftruncate(fds[i], length)
                sizes[i] = length
            elif dice < 0.12:
                os.close(fds[i])
                self.note("closed", i)
                fds[i] = self.open(i)
            else:
                sizes[i] = max(size, self.change(fds[i], i, serial, size))
                if i == self.synchronous:
                    self.note("flushed", i)
            if self.rng.random() < often:
                self.rng.choice((os.fsync, os.fdatasync))(fds[i])
                self.note("flushed", i)

    def open(self, i):
        return os.open(f"{self.top}/{i}", os.O_RDWR | (os.O_DSYNC if i == self.synchronous else 0))

    def punch(self, fd, i, serial, size):
        """Zeros and no space where it was."""
        at, length = self.rng.randrange(size + 1), self.rng.randrange(1, 100000)
        length = min(length, size - at)
        if length:
            self.note("punch", i, serial, at, length)
            if libc.fallocate(fd, PUNCH_HOLE_KEEP_SIZE, ctypes.c_long(at), ctypes.c_long(length)):
                raise OSError(ctypes.get_errno(), "fallocate")

    def change(self, fd, i, serial, size):
        """Writes 1 to 20,000 bytes somewhere; the end of them."""
        length = self.rng.choice((1, 100, PAGE, self.rng.randrange(1, 20001), self.rng.randrange(1, 20001)))
        at = min(size + self.rng.choice((0, 0, 5000)), self.rng.randrange(700000))
        if self.rng.random() < 0.3:
            at -= at % PAGE
        data = self.data(serial, length)
        self.note("write", i, serial, at, length)
        if self.maps and i != self.synchronous and at + length <= size and self.rng.random() < 0.3:
            with mmap.mmap(fd, at + length) as m:
                m[at : at + length] = data
        else:
            self.write_at(fd, data, at)
        return at + length

    @staticmethod
    def write_at(fd, data, at):
        while data:
            n = os.pwrite(fd, data, at)
            data, at = data[n:], at + n

    def replay(self, cut_at):
        for what, i, *more in self.noted(cut_at):
            expected, more = self.expected[int(i)], [int(m) for m in more]
            self.serial = max([self.serial, *more[:1]])
            if what == "write":
                expected.write(more[1], self.data(more[0], more[2]))
            elif what == "punch":
                expected.write(more[1], bytes(more[2]))
            elif what == "cut":
                expected.cut(more[1])
            elif what == "flushed" or self.killed:
                expected.certain()
                self.counted += 1

    def check(self, cut_at):
        self.replay(cut_at)
        for i, expected in self.expected.items():
            try:
                got = get(f"{self.top}/{i}")
            except OSError as e:
                yield f"{i}: {e.strerror}: {self.unreadable(i)}"
                continue
            wrong = expected.wrong(got)
            if wrong:
                yield f"{i}: {wrong}"
            self.expected[i] = Expected(got)

    def unreadable(self, i):
        """Which blocks do not read."""
        bad = []
        try:
            fd = os.open(f"{self.top}/{i}", os.O_RDONLY)
        except OSError:
            return "it does not open"
        size = os.fstat(fd).st_size
        for block in range((size + PAGE - 1) // PAGE):
            try:
                os.pread(fd, PAGE, block * PAGE)
            except OSError:
                bad.append(block)
        os.close(fd)
        return f"blocks {bad[:20]} of {size} bytes"


class Closed(Workload):
    name, promise = "closed", "what was closed and not flushed reads: a part that was written, or nothing; after a kill all of it"

    def __init__(self, *args):
        super().__init__(*args)
        self.expected, self.found = {}, set()

    def data(self, number, version):
        length = random.Random(f"{self.seed} {number} {version}").choice((1, 100, 4096, 10000, 50000))
        return fill(length, self.seed, number, version)

    def work(self):
        number = max([0, *self.expected])
        while True:
            number += 1
            for version in range(self.rng.choice((1, 1, 2))):
                self.note("try", number, version)
                fd = os.open(f"{self.top}/{number}", os.O_WRONLY | os.O_CREAT, 0o600)
                write_all(fd, self.data(number, version))
                os.close(fd)
                self.note("closed", number, version)
            time.sleep(self.rng.choice((0, 0.002, 0.02))) # the others want to work, too

    def check(self, cut_at):
        for what, number, version in self.noted(cut_at):
            expected = self.expected.setdefault(int(number), Expected())
            if what == "try":
                expected.write(0, self.data(int(number), int(version)))
            elif self.killed:
                expected.certain()
                self.counted += 1
        for number, expected in list(self.expected.items()):
            path = f"{self.top}/{number}"
            if not os.path.lexists(path):
                if expected.base or number in self.found:
                    yield f"{number} is not there"
                del self.expected[number]
                continue
            self.counted += not self.killed
            got = get(path)
            wrong = expected.wrong(got)
            if wrong:
                yield f"{number}: {wrong}"
            self.expected[number] = Expected(got)
            self.found.add(number)
