#!/usr/bin/python3
"""What the policy takes a caller from other namespaces for: whom the host knows, not whom he calls himself. namespace_policy.py SCRATCH LABEL,
as root; in AT test_namespaces.sh has made the folders one, two, group and root. Says on the last line which process was who."""
import namespace_ops as n
from calls import *

HIDDEN = errno.ENOENT
IDS = n.IDS + [(2500, n.OUTER_GROUP, 1)]
m = os.environ["AT"]
tests.clear()


def at(*parts):
    return os.path.join(m, *parts)


def host_pid():
    """The number by which the log knows this process: /proc is the host's."""
    return int(os.readlink("/proc/self"))


def only(*names):
    """May read, write and make files in these folders, and sees no other."""
    n.same(sorted(os.listdir(m)), sorted(names))
    for name in ("one", "two", "group", "root"):
        if name in names:
            get(at(name, "file"))
            put(at(name, "file"), b"x" * 5)
            put(at(name, f"by-{os.getpid()}-{os.getuid()}"), b"")
        else:
            expect(HIDDEN, get, at(name, "file"))
            expect(HIDDEN, put, at(name, "file"), b"")
            expect(HIDDEN, os.listdir, at(name))
            expect(HIDDEN, put, at(name, "new"), b"")


@test
def root_of_a_namespace_has_the_rights_of_his_uid_outside():
    def root():
        only("one")
        later = n.child(1000, only, "two")
        wait(later)
        only("one")

    n.inside(root, ids=IDS)


@test
def his_capabilities_change_no_verdict():
    def root():
        for act in ((os.chmod, at("two/file"), 0o777), (os.chown, at("two/file"), 0, 0), (os.unlink, at("two/file")), (os.rename, at("two"), at("one/two"))):
            try:
                act[0](*act[1:])
            except OSError as e:
                assert e.errno in (errno.ENOENT, errno.EACCES, errno.EPERM), e
            else:
                raise AssertionError(f"{act[0].__name__} succeeded")

    n.inside(root, ids=IDS)
    only("one", "two", "group", "root")


@test
def supplementary_groups_count_by_their_number_outside():
    def root():
        only("one", "group")
        # Given up: no verdict of before is left, however warm the caches are.
        os.setgroups([])
        only("one")
        os.setgroups([2500])
        only("one", "group")

    n.inside(root, ids=IDS, groups=[2500])
    n.inside(only, "one", ids=IDS)


@test
def a_group_that_the_namespace_does_not_know_counts_too():
    def mapped_alone():
        check = n.check
        check(libc.prctl(4, 1, 0, 0, 0), "PR_SET_DUMPABLE")
        check(libc.unshare(n.NEWUSER), "unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {USER1} 1"), ("gid_map", f"0 {USER1} 1")):
            with open("/proc/self/" + name, "w") as f:
                f.write(text)
        n.same(os.getgroups(), [n.OVERFLOW])
        only("one", "group")

    wait(child(USER1, mapped_alone, groups=[n.OUTER_GROUP]))


@test
def programs_and_their_numbers():
    """For the log: a program that is bound over another one's path in a mount namespace of its own."""
    read, write = os.pipe()
    os.set_inheritable(write, True)

    def root():
        n.mount_at("none", "/", None, n.REC | n.PRIVATE)
        n.mount_at("/usr/bin/head", "/usr/bin/cat", None, n.BIND)
        os.write(write, b"%d" % host_pid())
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        os.execv("/usr/bin/cat", ["cat", at("one/file")])

    n.inside(root, ids=IDS)
    print("# disguised", os.read(read, 20).decode(), flush=True)
    read2, write2 = os.pipe()

    def honest():
        os.write(write2, b"%d" % os.getpid())
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        os.execv("/usr/bin/cat", ["cat", at("one/file")])

    wait(child(USER1, honest))
    print("# honest", os.read(read2, 20).decode(), flush=True)


run()
