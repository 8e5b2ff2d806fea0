#!/usr/bin/python3
"""As many names and subdirectories as the filesystem has links for: many_links.py DIRECTORY. Prints what was answered, for comparing."""
import errno, os, sys, time

LIMIT = 70000 # ext4 ends at 65,000
folder = sys.argv[1]
os.chdir(folder)


def links():
    """A file takes as many names as it may, and says EMLINK; a name that goes makes room for another."""
    with open("file", "w") as f:
        f.write("bytes")
    begun = time.monotonic()
    made, error = 1, None
    for i in range(LIMIT):
        try:
            os.link("file", f"l{i}")
            made += 1
        except OSError as e:
            error = e.errno
            break
    print("links", made, errno.errorcode.get(error), os.stat("file").st_nlink)
    print(f"# {made} links in {time.monotonic() - begun:.1f} s", file=sys.stderr)
    print("another one is not left behind", os.path.lexists(f"l{made - 1}"))
    os.rename("l0", "moved")
    print("a rename needs none", os.stat("moved").st_nlink == made)
    os.unlink("l1")
    os.link("moved", "l1")
    print("one went, one came", os.stat("l1").st_nlink == made)
    try:
        os.link("file", "again")
        print("and no more")
    except OSError as e:
        print("and no more", errno.errorcode[e.errno])
    for name in ("file", "moved", "l1", f"l{made - 2}"):
        with open(name) as f:
            print(f.read(), end=" ")
    print(len(os.listdir(".")) == made)
    for name in os.listdir("."):
        if name != "file":
            os.unlink(name)
    print("one is left", os.stat("file").st_nlink)


def directories(count):
    """More than a directory has links for: ext4 says 1 then."""
    os.mkdir("many")
    for i in range(count):
        os.mkdir(f"many/{i}")
    print("subdirectories", count, "links", os.stat("many").st_nlink)
    for i in range(0, count, 2):
        os.rmdir(f"many/{i}")
    print("half of them", len(os.listdir("many")), "links", os.stat("many").st_nlink)


links()
directories(int(os.environ.get("SUBDIRECTORIES", 1000)))
