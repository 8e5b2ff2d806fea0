#!/usr/bin/python3
"""A tree with everything that an archive must keep, and a list of a tree, one line a name.

    app_tree.py make DIRECTORY SEED FILES   as root also with owners and device nodes
    app_tree.py list DIRECTORY [--times] [--blocks]
"""
import hashlib, os, random, socket, stat, sys

OLD = (0, 1, 999_999_999, 86_400_000_000_001, 1_234_567_890_123_456_789, 4_102_444_800_000_000_007, -1_000_000_001)


def acl(*entries):
    """The bytes of an access list: (tag, permissions, id)."""
    return b"\2\0\0\0" + b"".join(tag.to_bytes(2, "little") + perm.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, perm, who in entries)


NOBODY = 0xFFFFFFFF
ACCESS = acl((1, 6, NOBODY), (2, 4, 61002), (2, 6, 61003), (4, 4, NOBODY), (8, 2, 61002), (16, 6, NOBODY), (32, 0, NOBODY))
DEFAULT = acl((1, 7, NOBODY), (2, 5, 61002), (4, 5, NOBODY), (16, 7, NOBODY), (32, 1, NOBODY))


def content(rng, f):
    kind = rng.random()
    if kind < 0.15:
        return
    if kind < 0.75:
        f.write(rng.randbytes(rng.choice((1, 100, 4095, 4096, 4097, 20_000))))
    elif kind < 0.85:
        f.write(b"the same line again\n" * rng.choice((10, 3000)))
    else:
        for _ in range(rng.randrange(1, 5)):
            f.seek(rng.choice((0, 4096, 100_000, 1 << 20, 5 << 20)) + rng.randrange(9000))
            f.write(rng.randbytes(rng.choice((1, 4096, 10_000))))
        f.truncate(f.seek(0, 2) + rng.choice((0, 1, 1 << 20)))


def name(rng, i):
    return "%s%d%s" % (rng.choice(("f", "a name ", "-r", "é", ".h", "new\nline", "q'\"\\$*?")), i, "x" * rng.choice((0, 0, 0, 30, 150)))


def make(top, seed, files):
    rng, root = random.Random(seed), os.geteuid() == 0
    folders, made = [top], []
    for i in range(files // 8 + 1):
        at = os.path.join(rng.choice(folders), name(rng, i)[:100])
        if len(at) < 2500:
            os.mkdir(at)
            folders.append(at)
    for i in range(files):
        at, kind = os.path.join(rng.choice(folders), name(rng, i)[:230]), rng.random()
        if kind < 0.08:
            os.symlink(rng.choice(("x", "../nowhere", "t" * 59, "t" * 60, "t" * 2000, "/" + "é" * 2000)), at)
        elif kind < 0.11:
            os.mkfifo(at)
        elif kind < 0.13:
            s = socket.socket(socket.AF_UNIX)
            folder = os.open(os.path.dirname(at), os.O_PATH)
            s.bind("/proc/self/fd/%d/s%d" % (folder, i))
            os.close(folder)
            at = os.path.join(os.path.dirname(at), "s%d" % i)
        elif kind < 0.15 and root:
            os.mknod(at, rng.choice((stat.S_IFCHR, stat.S_IFBLK)) | 0o640, os.makedev(rng.randrange(1, 4000), rng.randrange(100_000)))
        elif kind < 0.25 and made:
            # tar makes two of a fifo with two names.
            of = rng.choice(made)
            if stat.S_ISREG(os.lstat(of).st_mode) or stat.S_ISLNK(os.lstat(of).st_mode):
                os.link(of, at, follow_symlinks=False)
            continue
        else:
            with open(at, "wb") as f:
                content(rng, f)
        made.append(at)
    # One that is nearly all hole.
    with open(top + "/sparse", "wb") as f:
        for where in (0, 3 << 20, (3 << 20) + 12_345, 17 << 20):
            f.seek(where)
            f.write(rng.randbytes(5000))
        f.truncate(24 << 20)
    for at in made + folders[1:]:
        dress(rng, at, root)
    for at in made + folders[:0:-1]:
        os.utime(at, ns=(rng.choice(OLD), rng.choice(OLD) + rng.randrange(1_000_000_000)), follow_symlinks=False)


def dress(rng, at, root):
    kind = os.lstat(at).st_mode
    if root and rng.random() < 0.3:
        os.chown(at, rng.choice((0, 61001, 61002)), rng.choice((0, 61001, 61003)), follow_symlinks=False)
    if stat.S_ISLNK(kind):
        return
    mode = rng.choice((0o755, 0o700, 0o2755, 0o1777, 0o777) + (0o500, 0o000) * root if stat.S_ISDIR(kind) else
                      (0o644, 0o600, 0o755, 0o4755, 0o2710, 0o444, 0o400))
    # Whoever is not root sets no attribute of a file that he may not write.
    if (stat.S_ISREG(kind) or stat.S_ISDIR(kind)) and (root or mode & 0o200):
        for i in range(rng.choice((0, 0, 1, 3))):
            os.setxattr(at, rng.choice(("user.a%d", "user.name é%d")) % i, rng.randbytes(rng.choice((0, 1, 100, 800))))
    os.chmod(at, mode)
    if stat.S_ISDIR(kind) and rng.random() < 0.3:
        os.setxattr(at, "system.posix_acl_default", DEFAULT)
    if stat.S_ISREG(kind) and mode & 0o200 and rng.random() < 0.2:
        os.setxattr(at, "system.posix_acl_access", ACCESS)


def digest(at):
    h = hashlib.blake2b(digest_size=16)
    with open(at, "rb", buffering=0) as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def listing(top, options):
    """Which names are one file is told by the first of them."""
    first, lines = {}, []
    for folder, folders, names in os.walk(os.fsencode(top)):
        folders.sort()
        for entry in [b"."] * (folder == os.fsencode(top)) + sorted(folders + names):
            at = os.path.join(folder, entry)
            s = os.lstat(at)
            path = os.fsdecode(os.path.relpath(at, os.fsencode(top)))
            words = [ascii(path).replace(" ", "\\x20"), oct(s.st_mode), s.st_uid, s.st_gid]
            if stat.S_ISDIR(s.st_mode):
                words.append(s.st_nlink)
            else:
                words += [s.st_nlink, s.st_size, ascii(first.setdefault(s.st_ino, path))]
            if "--times" in options:
                words.append(s.st_mtime_ns)
            if stat.S_ISLNK(s.st_mode):
                words.append(ascii(os.readlink(at)))
            elif stat.S_ISREG(s.st_mode):
                words.append(digest(at))
                if "--blocks" in options:
                    words.append("sparse" if s.st_size > 1 << 20 and s.st_blocks * 512 < s.st_size // 2 else "whole")
            elif stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
                words.append(s.st_rdev)
            if stat.S_ISREG(s.st_mode) or stat.S_ISDIR(s.st_mode):
                words += [f"{n}={os.getxattr(at, n).hex()}" for n in sorted(os.listxattr(at))]
            lines.append(" ".join(map(str, words)))
    return lines


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.stdout.write("\n".join(sorted(listing(sys.argv[2], sys.argv[3:]))) + "\n")
