"""What the sandbox hands to the interpreter that runs apart: it has only the standard library."""

from __future__ import annotations

REASON = r"""
def _reason(error):
    "Why an error is of this place, not of the program; empty where it is not."
    if isinstance(error, ModuleNotFoundError):
        return "programs run with the standard library alone"
    if isinstance(error, PermissionError) and error.errno == 1:
        return "here are no sockets, so no asyncio, and no other processes"
    return ""
"""

LAUNCHER = (
    REASON
    + r"""
import ctypes, json, os, platform, resource, signal, struct, sys, types
given = json.loads(sys.stdin.buffer.readline())
libc = ctypes.CDLL(None, use_errno=True)
def fail(name):
    sys.stderr.write("SANDBOX " + name + ": " + os.strerror(ctypes.get_errno()))
    sys.stderr.flush()
    os._exit(125)
def call(name, *args):
    if getattr(libc, name)(*args) != 0:
        fail(name)
uid, gid = os.getuid(), os.getgid()
# user, mount, network, IPC, process
call("unshare", 0x10000000 | 0x00020000 | 0x40000000 | 0x08000000 | 0x20000000)
maps = (("setgroups", "deny"), ("uid_map", "0 %d 1" % uid), ("gid_map", "0 %d 1" % gid))
for name, text in maps:
    with open("/proc/self/" + name, "w") as file:
        file.write(text)
call("mount", b"none", b"/", None, 0x4000 | 0x40000, None)  # private, recursive
attributes = struct.pack("QQQQ", 1, 0, 0, 0)  # read-only
# mount_setattr, recursive
if libc.syscall(442, -100, b"/", 0x8000, attributes, ctypes.c_size_t(32)) != 0:
    fail("mount_setattr")
room = "size=%d,nr_inodes=%d" % (given["disk"], given["files"])
call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0x2 | 0x4, room.encode())
parent = os.fork()  # the child is the first process of its namespace: all others end with it
if parent:
    _, status = os.waitpid(parent, 0)
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) != 9:
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os._exit(128 + os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))
call("prctl", 1, 9, 0, 0, 0)  # die with the launcher
os.chdir("/tmp")
limits = (
    (resource.RLIMIT_AS, given["memory"]),
    (resource.RLIMIT_FSIZE, given["disk"]),
    (resource.RLIMIT_NOFILE, 64),
    (resource.RLIMIT_CPU, int(given["seconds"]) + 2),
    (resource.RLIMIT_CORE, 0),
)
for which, limit in limits:
    resource.setrlimit(which, (limit, limit))
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)
call("prctl", 38, 1, 0, 0, 0)  # no new privileges
header, data = struct.pack("Ii", 0x20080522, 0), bytes(24)
call("capset", header, data)
arm = platform.machine() == "aarch64"
# clone, then what fails with EPERM (fork, vfork, socket, socketpair, ptrace, unshare, setns, mount,
# umount2, bpf, io_uring_setup, keyctl, kill family stays)
clone, machine = 56, 0xC000003E
denied = [57, 58, 41, 53, 101, 272, 308, 165, 166, 321, 425, 250, 442, 428, 429]
if arm:
    clone, machine = 220, 0xC00000B7
    denied = [198, 199, 117, 97, 268, 40, 39, 280, 425, 219, 442, 428, 429]
def op(code, jt, jf, k):
    return struct.pack("HBBI", code, jt, jf, k)
allow, kill = op(0x06, 0, 0, 0x7FFF0000), op(0x06, 0, 0, 0x80000000)
not_permitted, not_there = op(0x06, 0, 0, 0x00050000 | 1), op(0x06, 0, 0, 0x00050000 | 38)
program = [op(0x20, 0, 0, 4), op(0x15, 1, 0, machine), kill, op(0x20, 0, 0, 0)]
if not arm:
    program += [op(0x35, 0, 1, 0x40000000), kill]  # the x32 calls
program += [op(0x15, 0, 1, 435), not_there]  # clone3: not there, so that clone is used
for number in denied:
    program += [op(0x15, 0, 1, number), not_permitted]
program += [op(0x15, 0, 4, clone), op(0x20, 0, 0, 16), op(0x45, 1, 0, 0x00010000)]
program += [not_permitted, allow, allow]
raw = ctypes.create_string_buffer(b"".join(program))
class Filter(ctypes.Structure):
    _fields_ = [("n", ctypes.c_ushort), ("at", ctypes.c_void_p)]
rules = Filter(len(program), ctypes.cast(raw, ctypes.c_void_p))
call("prctl", 22, 2, ctypes.byref(rules), 0, 0)
code, sys.stdin = given["code"], open(os.devnull)
sys.argv = ["program"]
# Dataclasses, pickle and typing look a class's module up by its name.
module = sys.modules["__main__"] = types.ModuleType("__main__")
del given
try:
    exec(compile(code, "program", "exec"), module.__dict__)
except BaseException as error:
    if _reason(error):
        error.add_note(_reason(error))
    raise
finally:
    sys.stdout.flush()
"""
)

HARNESS = (
    REASON
    + r"""
def _run(code, tests, seconds, nonce):
    import json, os, signal, sys, types
    out = os.dup(1)
    class Late(BaseException): pass
    def late(*_): raise Late("too long")
    signal.signal(signal.SIGALRM, late)
    module = sys.modules["program"] = types.ModuleType("program")
    def attempt(text):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            exec(compile(text, "program", "exec"), module.__dict__)
            return ""
        except BaseException as error:
            why = _reason(error)
            return type(error).__name__ + ": " + str(error)[:200] + (why and " (" + why + ")")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    first = attempt(code)
    results = [first or attempt(t) for t in tests]
    sys.stdout.flush()
    os.write(out, ("\n" + nonce + json.dumps(results) + "\n").encode())
    os._exit(0)
"""
)
