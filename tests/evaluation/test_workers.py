"""Workers: results land where they belong, and nothing of a policy outlives its run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from policyrank.errors import EvidenceError
from policyrank.evaluation import evaluate
from policyrank.evaluation.attempts import Job
from policyrank.evaluation.processes import descendants
from policyrank.evaluation.workers import Pool

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def forks(task, seed):
    """The child raises, the parent returns: both come back to the worker."""
    if os.fork() == 0:
        raise RuntimeError("the child")
    return 0.3


def constant(task, seed):
    return 0.5


def fails(task, seed):
    raise ValueError("no")


def sleeps_long_after(seconds, leaves):
    """A policy that starts a program which leaves its session, and does not come back."""

    def run(task, seed):
        command = (
            f"import os, time; os.setsid(); open({str(leaves)!r}, 'w').write(str(os.getpid()))"
        )
        subprocess.Popen([sys.executable, "-c", command + "; time.sleep(300)"])
        while not leaves.exists() or not leaves.read_text():
            time.sleep(0.01)
        time.sleep(seconds)
        return 1.0

    return run


def gone(pid, within=5.0):
    """Whether a process ends in time; a zombie has."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_policy_that_forks_keeps_its_results_to_itself():
    found = evaluate({"bad": forks, "a": constant, "b": constant}, ["t"], budget=120, workers=2)
    values = {(result.policy, result.value) for result in found.results}
    assert values == {("bad", 0.3), ("a", 0.5), ("b", 0.5)}


def speaks(kind, task, seed):
    """A child of the policy that finds the worker's connection and sends what it should not."""
    frame = sys._getframe()
    while "connection" not in frame.f_locals:
        frame = frame.f_back
    connection, own = frame.f_locals["connection"], frame.f_locals["own"]
    number = frame.f_locals["number"]
    if os.fork() == 0:
        if kind == "late":
            time.sleep(0.2)
        value = [0.9, None, 0.0, "somewhere"]
        sent = {
            "in its place": json.dumps([number, os.getpid(), *value]).encode(),
            "late": json.dumps([number, own, *value]).encode(),
            "nonsense": b"\x80\x04.",
            "too long": b"x" * 2**20,
            "half": json.dumps([number]).encode(),
        }[kind]
        connection.send_bytes(sent)
        os._exit(0)
    if kind != "late":
        time.sleep(0.5)
    return 0.3


@pytest.mark.parametrize("kind", ["in its place", "nonsense", "half", "too long"])
def test_whoever_speaks_for_a_worker_ends_it(kind):
    pool = Pool(lambda kind: speaks(kind, "t", 0) if kind else 0.5, 1, None)
    try:
        pool.submit(Job("bad", (kind,)))
        (ended,) = pool.collect()
        assert "spoke in its place" in ended.error
        pool.submit(Job("good", ("",)))
        (ended,) = pool.collect()
        assert (ended.value, ended.error) == (0.5, None)
    finally:
        pool.close()


def test_what_an_earlier_job_left_behind_does_not_answer_a_later_one():
    def call(kind):
        if not kind:
            time.sleep(0.6)
            return 0.5
        return speaks(kind, "t", 0)

    pool = Pool(call, 1, None)
    try:
        pool.submit(Job("bad", ("late",)))
        assert pool.collect()[0].value == 0.3
        later = Job("good", ("",))
        pool.submit(later)
        (ended,) = pool.collect()
        assert (ended.value, ended.error, later.attempts) == (0.5, None, 1)
    finally:
        pool.close()


def test_a_worker_that_died_idle_is_replaced():
    pool = Pool(lambda die: os.kill(os.getpid(), signal.SIGKILL) if die else 1.0, 1, None)
    try:
        pool.submit(Job(0, (False,)))
        pool.collect()
        worker = pool.idle[0]
        os.kill(worker.sender, signal.SIGKILL)
        worker.process.join()
        pool.submit(Job(1, (False,)))
        assert pool.collect()[0].error is None
        pool.submit(Job(2, (True,)))
        assert "exit code -9" in pool.collect()[0].error
    finally:
        pool.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_methods_of_starting(method):
    pool = Pool(max, 2, 30.0, method)
    try:
        for k in range(6):
            pool.submit(Job(k, (0.5, k)))
            assert pool.collect()[0].value == max(k, 0.5)
    finally:
        pool.close()


def test_a_time_limit_takes_all_that_was_started_along(tmp_path):
    pool = Pool(sleeps_long_after(300, tmp_path / "pid"), 1, 1.5)
    try:
        pool.submit(Job(0, ("t", 0)))
        (ended,) = pool.collect()
        assert "longer than 1.5 s" in ended.error
        assert gone(int((tmp_path / "pid").read_text()))
    finally:
        pool.close()


def test_closing_takes_all_that_was_started_along(tmp_path):
    pool = Pool(sleeps_long_after(0, tmp_path / "pid"), 1, None)
    pool.submit(Job(0, ("t", 0)))
    assert pool.collect()[0].value == 1.0
    left = int((tmp_path / "pid").read_text())
    assert not gone(left, within=0.1)
    keeper = pool.idle[0].process.pid
    below = descendants(keeper)
    assert left in below
    pool.close()
    assert all(gone(pid) for pid in (keeper, *below))


PARENT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_workers import sleeps_long_after
from policyrank.evaluation import evaluate
policies = {{name: sleeps_long_after(300, Path({folder!r}) / name) for name in "abc"}}
evaluate(policies, ["t"], budget=30, workers=3, log="out.log")
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_runner(tmp_path, how):
    code = PARENT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    files = [tmp_path / name for name in "abc"]
    while time.monotonic() < until and sum(f.exists() and f.read_text() != "" for f in files) < 2:
        time.sleep(0.05)
    below = descendants(parent.pid)
    started = [int(file.read_text()) for file in files if file.exists()]
    assert len(started) >= 2
    assert set(started) <= set(below)
    parent.send_signal(how)
    parent.wait(timeout=20)
    assert [pid for pid in below if not gone(pid)] == []


def forks_beside(seconds):
    """Another process of the run's own, which holds all its descriptors."""
    pid = os.fork()
    if pid == 0:
        time.sleep(seconds)
        os._exit(0)
    return pid


def test_what_is_forked_beside_a_run_does_not_keep_workers(tmp_path):
    pool = Pool(sleeps_long_after(300, tmp_path / "pid"), 1, 1.5)
    beside = forks_beside(60)
    try:
        start = time.monotonic()
        pool.submit(Job(0, ("t", 0)))
        assert "longer than" in pool.collect()[0].error
        assert time.monotonic() - start < 6
        assert gone(int((tmp_path / "pid").read_text()))
    finally:
        pool.close()
        os.kill(beside, signal.SIGKILL)
        os.waitpid(beside, 0)


ENDS = {
    "interrupts": (
        "threading.Thread(target=time.sleep, args=(99,)).start(); raise KeyboardInterrupt"
    ),
    "no output": "sys.stdout = None",
    "closed output": "sys.stdout.close()",
    "no text": "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})",
    "odd text": "raise ValueError('\\udc80 and \\0')",
}


@pytest.mark.parametrize("name", ENDS)
def test_policies_that_end_oddly(name, tmp_path):
    def odd(task, seed):
        exec(ENDS[name], {"threading": __import__("threading"), "time": time, "sys": sys})
        return 2.0

    start = time.monotonic()
    run = {"budget": 8, "workers": 2, "retries": 0, "store": tmp_path / "s.db"}
    found = evaluate({"odd": odd, "a": constant}, ["t"], **run)
    assert time.monotonic() - start < 20
    assert len(found.results) == 8
    values = {result.value for result in found.results if result.policy == "odd"}
    assert values == ({2.0} if "output" in name else {None})


@pytest.mark.parametrize("workers", [0, 1])
def test_odd_characters_end_nothing(tmp_path, workers):
    def odd(task, seed):
        print("\udc80")
        raise ValueError("a\udc80b\0c")

    log = tmp_path / "log"
    run = {"budget": 4, "workers": workers, "log": log, "store": tmp_path / "s.db", "retries": 0}
    found = evaluate({"odd": odd, "a": constant}, ["t"], **run)
    assert {own.error for own in found.failures} == {"ValueError: a\\udc80b\\x00c"}
    assert log.exists()
    for name in ("x" * 401, "a\0b", "a\nb"):
        with pytest.raises(EvidenceError, match="at most 400"):
            evaluate({name: constant, "a": constant}, ["t"], budget=2, workers=0)


def test_a_daemonic_process_is_told_what_to_do():
    import multiprocessing

    def child(queue):
        try:
            evaluate({"a": constant, "b": constant}, ["t"], budget=2, workers=1)
        except EvidenceError as error:
            queue.put(str(error))

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,), daemon=True)
    process.start()
    assert "workers=0" in queue.get(timeout=20)
    process.join()


def test_policies_may_start_processes_of_their_own():
    def pooled(task, seed):
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as own:
            return sum(own.map(abs, [-1, -2]))

    found = evaluate({"a": pooled, "b": constant}, ["t"], budget=8, workers=1)
    assert {result.value for result in found.results} == {3.0, 0.5}
    assert not found.failures


def prints(task, seed):
    print(f"printed on {task}")
    os.write(1, b"by the system\n")
    print("a warning", file=sys.stderr)
    subprocess.run(["echo", "by a program"], check=True)
    return 1.0


@pytest.mark.parametrize("workers", [0, 1])
def test_what_policies_print_goes_to_a_log(tmp_path, capfd, workers):
    log = tmp_path / "run.log"
    run = {"budget": 12, "workers": workers, "log": log, "store": tmp_path / "s.db"}
    evaluate({"loud": prints, "quiet": constant}, ["t"], **run)
    lines = Counter(log.read_text().splitlines())
    assert lines["printed on t"] == 6
    assert sum(line.startswith("== loud on t, replicate") for line in lines) == 6
    assert not any("quiet" in line for line in lines)
    if workers:
        kinds = ("by the system", "a warning", "by a program")
        assert [lines[kind] for kind in kinds] == [6, 6, 6]
        said = capfd.readouterr()
        assert (said.out, said.err) == ("", "")
    evaluate({"loud": prints, "quiet": constant}, ["t"], **run | {"budget": 14})
    assert log.read_text().count("printed on t") == 7


def test_much_that_is_printed_is_cut():
    pool = Pool(lambda n: print("x" * n) or 1.0, 1, None)
    try:
        for size in (2**20, 3):
            pool.submit(Job(0, (size,)))
            output = pool.collect()[0].output
            assert ("bytes more" in output) is (size > 3)
            assert len(output) < 2**16 + 100
    finally:
        pool.close()


def test_without_a_log_it_is_on_standard_error(capfd):
    evaluate({"loud": prints, "quiet": constant}, ["t"], budget=2, workers=1)
    said = capfd.readouterr()
    assert said.out == ""
    assert "== loud on t" in said.err
    assert "printed on t" in said.err
