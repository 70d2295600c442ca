"""Runs of the command line that are killed: at a random moment, or while a file is written.

Children come from one server process that has the heavy packages loaded, so that a run begins in
milliseconds. What kills them is SIGKILL, which no process can see coming.
"""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

WRITES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "fsync")
LOADED = [
    "policyrank.train",
    "policyrank.train.preference",
    "policyrank.train.reward_trainer",
    "policyrank.train.distillation",
    "policyrank.train.group",
    "policyrank.train.ppo",
    "policyrank.train.personas",
    "policyrank.train.text_rankers",
    "policyrank.train.control.inventory",
    "policyrank.cli.train_answers",
    "peft",
]


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes
    ----------
    code
        its exit code; -9: it was killed
    seconds
        that it took
    said
        what it printed
    """

    code: int
    seconds: float
    said: str


def run(words, folder, *, after=None, at_write=None):
    """Run the command line in a child, in a folder; killed where that is told.

    Parameters
    ----------
    after
        seconds after which it is killed
    at_write
        number of the step of writing into checkpoints (files opened, renamed, synced, removed) at
        which it kills itself
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    said = Path(folder, "said.txt")
    child = context.Process(target=_child, args=(list(map(str, words)), str(folder), at_write))
    began = time.monotonic()
    child.start()
    child.join(after)
    if child.exitcode is None:
        child.kill()
        child.join()
    return Ended(child.exitcode, time.monotonic() - began, said.read_text())


def _child(words, folder, at_write):
    os.chdir(folder)
    with open("said.txt", "w", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    if at_write is not None:
        _kill_at(at_write)
    from policyrank.cli import main

    sys.argv = ["policyrank", *words]
    main()


def _kill_at(number):
    """Kill this process at that step of writing what is gone on from."""
    left = [number]
    folder = os.getcwd()

    def step(event, arguments):
        if event in WRITES and _is_kept(arguments, folder):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)
    sync = os.fsync

    def fsync(handle):
        sys.audit("fsync", os.readlink(f"/proc/self/fd/{handle}"), "w")
        return sync(handle)

    os.fsync = fsync


def _is_kept(arguments, folder):
    """Whether a step is of a checkpoint or of samples that are kept, and not of reading them."""
    path = arguments[0] if arguments else ""
    if not isinstance(path, (str, os.PathLike)):
        return False
    mode = arguments[1] if len(arguments) > 1 else "w"
    if isinstance(mode, str) and not set(mode) & set("wax+"):
        return False
    name = os.path.abspath(os.fspath(path))
    inside = name.startswith(folder) and not name.endswith(".txt")
    return inside and any(word in name for word in ("checkpoint", "rounds", ".part", ".json"))


def finished_after(words, folder, kills, seconds, writes, rng, again):
    """Kill a run so many times, going on after each, and let it finish; how often it went on.

    Kills are at random moments and at random steps of writing, by turns. A run that was done before
    it was killed is compared by ``again``, which begins anew.

    Parameters
    ----------
    seconds
        that a whole run takes
    writes
        steps of writing among which one is drawn at which it is killed
    again
        called when a run has ended well: looks at what it left, and removes it
    """
    done, went_on, most = 0, 0, writes
    for _ in range(20 * kills):
        if done == kills:
            break
        if done % 2:
            least = 80 if done == kills - 1 else 1  # the last one comes after a checkpoint
            ended = run(words, folder, at_write=int(rng.integers(min(least, most - 1), most)))
        else:
            ended = run(words, folder, after=float(rng.uniform(0.2, 0.9)) * seconds)
        went_on += "going on" in ended.said
        if ended.code == 0:
            again()
            most = max(most // 2, 3)  # it has fewer steps
            continue
        assert ended.code == -signal.SIGKILL, ended.said
        done += 1
    assert done == kills, "the runs end before they are killed: make them longer"
    ended = run(words, folder)
    assert ended.code == 0, ended.said
    again()
    return went_on + ("going on" in ended.said)
