"""What posix_ops.py, operations.py, mode_ops.py and tree_ops.py share. Each runs as: SCRIPT DIRECTORY LABEL [MANY [WORD…]], over a plain directory first
(the control) and then over the mount; each @test has a folder of its own there. MOUNT is true on the mount: where that is known to differ
(docs/posix.md), a test asks for the difference exactly. WORD: only the tests with that word in their name."""
import ctypes
import errno
import os
import resource
import signal
import stat
import sys
import time

top, label = sys.argv[1], sys.argv[2]
MANY = int(sys.argv[3]) if len(sys.argv) > 3 else 20000
MOUNT = label != "plain directory"
PAGE = 4096
USER1, USER2 = 61001, 61002
libc = ctypes.CDLL(None, use_errno=True)
libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
NOREPLACE, EXCHANGE = 1, 2
KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
tests = []


def test(function):
    tests.append(function)
    return function


def put(path, data, flags=os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def expect(number, call, *args, **words):
    try:
        call(*args, **words)
    except OSError as e:
        assert e.errno == number, f"{errno.errorcode[e.errno]}, not {errno.errorcode[number]}"
        return
    raise AssertionError(f"succeeded, expected {errno.errorcode[number]}")


def renameat2(old, new, flags):
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length):
        raise OSError(ctypes.get_errno(), "fallocate")


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def place_of(error):
    """The lines of the script itself that led there."""
    lines, at = [], error.__traceback__
    while at:
        if at.tb_frame.f_code.co_filename == sys.modules["__main__"].__file__:
            lines.append(str(at.tb_lineno))
        at = at.tb_next
    return " > ".join(lines[1:] or lines)


def child(uid, function, *args, gid=None, groups=()):
    """Starts function in a process of its own, as that user; wait() says whether it was right."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if uid:
            os.setgroups(list(groups))
            os.setresgid(gid or uid, gid or uid, gid or uid)
            os.setresuid(uid, uid, uid)
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: whoever waits here does not outlive the test
        function(*args)
        code = 0
    except (AssertionError, OSError) as e:
        print(f"  child, line {place_of(e)}: {type(e).__name__} {e}", flush=True)
    finally:
        os._exit(code)


def wait(*pids):
    bad = [p for p in pids if os.waitstatus_to_exitcode(os.waitpid(p, 0)[1])]
    assert not bad, "a child failed"


def as_user(uid, function, *args, **words):
    wait(child(uid, function, *args, **words))


def run():
    """All tests; does not return."""
    failed, only = False, sys.argv[4:]
    os.umask(0o022)
    signal.alarm(500)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for function in tests:
        name = function.__name__.replace("_", " ")
        where = os.path.join(top, function.__name__[:40])
        if only and not any(o in function.__name__ for o in only):
            continue
        try:
            os.mkdir(where)
            os.chdir(where)
            begin = time.monotonic()
            function()
            print(f"ok - {label}: {name}", flush=True)
            if time.monotonic() - begin > 2:
                print(f"# {label}: {time.monotonic() - begin:.1f} s: {name}", flush=True)
        except (AssertionError, OSError) as e:
            failed = True
            print(f"not ok - {label}: {name}\n  line {place_of(e)}: {type(e).__name__} {e}", flush=True)
        os.chdir(top)
    sys.exit(failed)
