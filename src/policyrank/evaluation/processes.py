"""A process that is ended with all that it has started, by whatever end its parent comes to.

Between the two stands a keeper, which does nothing but wait. When its end of the connection hangs
up - the parent has closed the other one, or was killed - or when the process below has ended, it
kills all that is left below it. On Linux that are all descendants, those included that have left
their session or whose parents are gone; elsewhere the process group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

LINUX = sys.platform == "linux"
PATIENCE = 5.0
"""Seconds for what was killed to be gone."""
_DIE_WITH_PARENT, _REAP_ORPHANS = 1, 36


def keep(connection: Connection, work: Callable[[], None]) -> NoReturn:
    """Go on as a process that does ``work``; the one that called becomes its keeper.

    Neither returns.
    """
    _control(_REAP_ORPHANS, 1)
    parent, keeper = os.getppid(), os.getpid()
    below = os.fork()
    if below == 0:
        os.setsid()
        _control(_DIE_WITH_PARENT, signal.SIGKILL)
        _do(work, alive=os.getppid() == keeper)
    os.setsid()
    status = 0
    try:
        status = _until_over(connection, below, parent, _told_to_end())
    finally:
        end_below(below)
        _exit_like(status)


def _do(work: Callable[[], None], *, alive: bool) -> NoReturn:
    """Work, and end at once: threads that are left over are not waited for."""
    code = 1
    try:
        if alive:
            work()
        code = 0
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(code)


def _told_to_end() -> int:
    """A descriptor that can be read from once this process was told to end, which it is not."""
    told, tells = os.pipe()
    os.set_blocking(tells, False)
    signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    return told


def _control(what: int, value: int) -> None:
    """Linux's prctl."""
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(what, value, 0, 0, 0)


def _until_over(connection: Connection, below: int, parent: int, told: int) -> int:
    """Wait for the process below to end, and give its status, or for the parent to.

    The parent's end of the connection hangs up; where another process holds it too, its death is
    seen by itself.
    """
    waiting, patience = select.poll(), 50
    waiting.register(connection.fileno(), 0)
    waiting.register(told, select.POLLIN)
    if hasattr(os, "pidfd_open"):
        waiting.register(os.pidfd_open(below), select.POLLIN)
        patience = 1000
    while os.getppid() == parent:
        for pid, status in _ended():
            if pid == below:
                return status
        for descriptor, event in waiting.poll(patience):
            if descriptor in (connection.fileno(), told) and event:
                return 0
    return 0


def _ended() -> list[tuple[int, int]]:
    """Children that have ended, and how; none is left as a zombie."""
    found: list[tuple[int, int]] = []
    with contextlib.suppress(ChildProcessError):
        while (one := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(one)
    return found


def end_below(group: int) -> None:
    """Kill a process group, and on Linux all descendants of this process, until none is left."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        _kill(group, whole_group=True)
        left = descendants(os.getpid())
        for pid in left:
            _kill(pid)
        _ended()
        if not left:
            return
        time.sleep(0.002)


def _kill(pid: int, *, whole_group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if whole_group else os.kill)(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """All processes below one, zombies too; none where there is no ``/proc``.

    Examples
    --------
    >>> descendants(2**22 + 1)
    []
    """
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text(errors="replace")
            # The name in parentheses may hold anything.
            parent = int(text.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        own = children.get(waiting.pop(), [])
        found += own
        waiting += own
    return found


def _exit_like(status: int) -> NoReturn:
    """End as the process below did, without a core file of its own."""
    if os.WIFSIGNALED(status):
        import resource  # Windows, which has no fork, has none either

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # SIGKILL has no other way
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
