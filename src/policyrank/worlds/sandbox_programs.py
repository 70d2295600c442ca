"""What tests a program, inside the sandbox: it has only the standard library.

Each test runs in a process of its own, forked from this one, which keeps the time, ends all that a
test has started, and alone can tell what came of it: there is no ``/proc`` through which its
descriptors could be reached, nor a way to trace it.
"""

from __future__ import annotations

HARNESS = r"""
import json, os, select, signal, sys, time, types

given = json.loads(GIVEN)
told = os.dup(1)

def reason(error):
    "Why an error is of this place, not of the program; empty where it is not."
    if isinstance(error, ModuleNotFoundError):
        return "programs run with " + given["with"]
    if isinstance(error, BlockingIOError):
        return "only so many processes can be started"
    return ""

def run(texts):
    module = sys.modules["program"] = types.ModuleType("program")
    try:
        for text in texts:
            exec(compile(text, "program", "exec"), module.__dict__)
    except BaseException as error:
        why = reason(error)
        try:
            text = type(error).__name__[:100] + ": " + str(error)[: given["longest"]]
        except BaseException:
            text = "an error whose text cannot be had"
        return text + (why and " (" + why + ")")
    return ""

def empty(folder):
    "Remove what is in a folder, however its modes are."
    with os.scandir(folder) as found:
        entries = list(found)
    for own in entries:
        if own.is_dir(follow_symlinks=False):
            os.chmod(own.path, 0o700)
            empty(own.path)
            os.rmdir(own.path)
        else:
            os.unlink(own.path)

def alone(texts, answer):
    os.close(told)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    found = json.dumps(run(texts)).encode()
    os.write(answer, found)
    os._exit(0)

def attempt(texts, seconds):
    reading, answer = os.pipe()
    until = time.monotonic() + seconds
    try:
        child = os.fork()
    except OSError as error:
        return "OSError: " + str(error)
    if child == 0:
        os.close(reading)
        alone(texts, answer)
    os.close(answer)
    ended, late, found = os.pidfd_open(child), False, b""
    waiting = {reading, ended}
    while waiting:
        ready = select.select(list(waiting), [], [], max(until - time.monotonic(), 0))[0]
        if not ready:
            late = True
            break
        if reading in ready:
            chunk = os.read(reading, 65536)
            found += chunk
            if not chunk or len(found) > 2**20:
                waiting.discard(reading)
        elif ended in ready:
            break
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    _, status = os.waitpid(child, 0)
    gone = time.monotonic() + 2
    while time.monotonic() < gone:  # they count as processes until they are gone
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            break
        time.sleep(0.001)
    os.close(reading)
    os.close(ended)
    for folder in ("/tmp", "/dev/shm"):
        try:
            os.chmod(folder, 0o1777)
        except OSError:
            pass
        empty(folder)
    if late:
        return "Late: too long"
    try:
        return str(json.loads(found))
    except ValueError:
        how = " (signal %d)" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else ""
        return "ended before its test did" + how

start = time.monotonic()
first = attempt([given["code"]], given["seconds"])
spent = time.monotonic() - start
tests = [[given["code"], test] for test in given["tests"]]
results = [first or attempt(test, given["seconds"] + spent) for test in tests]
left = memoryview(json.dumps([first, results]).encode())
while left:
    left = left[os.write(told, left):]
os._exit(0)
"""
