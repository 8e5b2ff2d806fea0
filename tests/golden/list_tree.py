#!/usr/bin/python3
"""list_tree.py DIRECTORY: the tree as tests/golden/read_store.py prints it, read through a mount."""
import hashlib, os, stat, sys


def attributes(path):
    names = sorted(n for n in os.listxattr(path) if n.startswith("user."))
    return "".join(f" {n}={os.getxattr(path, n).hex()}" for n in names)


def walk(path, shown):
    print(f"{shown}/ directory{attributes(path)}")
    for name in sorted(os.listdir(path)):
        p, s = os.path.join(path, name), shown + "/" + name
        st = os.lstat(p)
        if stat.S_ISDIR(st.st_mode):
            walk(p, s)
        elif stat.S_ISLNK(st.st_mode):
            print(f"{s} link {os.readlink(p)}")
        elif stat.S_ISREG(st.st_mode):
            digest = hashlib.sha256()
            with open(p, "rb") as f:
                while piece := f.read(1 << 20):
                    digest.update(piece)
            print(f"{s} file {st.st_size} {digest.hexdigest()}{attributes(p)}")
        else:
            print(f"{s} other {stat.S_IFMT(st.st_mode):o}")


walk(sys.argv[1], "")
