"""A place for programs of others, built by bubblewrap: what is there, and what it bounds.

As root a program is a user of its own that nobody is, without capabilities; otherwise it is nobody
in a user namespace. It sees the interpreter and the system's libraries, read-only, an empty
``/tmp`` of bounded size, and null, zero and random devices. No network, no ``/proc``, no other
file, no process but its own; with the last of these it ends.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import TypedDict

from policyrank.errors import EvidenceError
from policyrank.worlds.system_calls import is_known

USERS = range(60706, 61184)
"""Numbers that systemd and Debian give to nobody."""
PROCESSES = 24
DESCRIPTORS = 64
OVERHEAD = 48 * 2**20
"""Bytes of bubblewrap and of what tests programs, beside a program's own."""
PROGRAMS = ("bwrap", "unshare", "mount", "sh", "prlimit")
_ROOM = "/mnt"
"""Where the bounded file system is mounted, in a name space of its own, before it is bound."""
_PREPARE = (
    'test -z "$GROUP" || echo $$ >"$GROUP/cgroup.procs" || exit 125;'
    f' mount -t tmpfs -o "$ROOM,mode=1777,nosuid,nodev" none {_ROOM}'
    f" && mkdir -m 1777 {_ROOM}/tmp {_ROOM}/shm && mkdir -m 555 {_ROOM}/none"
    ' && unset GROUP ROOM && exec "$@"'
)


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes
    ----------
    seconds
        of wall time, and of each process's processor time
    memory
        bytes of address space of each process; of all together where there is a memory cgroup
    disk, files
        bytes and files in ``/tmp`` and ``/dev/shm`` together
    output
        bytes that it prints
    """

    seconds: float = 5.0
    memory: int = 512 * 2**20
    disk: int = 16 * 2**20
    files: int = 256
    output: int = 2**16


class Room(TypedDict, total=False):
    """Those of ``Limits`` that hold for a whole run of tests."""

    memory: int
    disk: int
    files: int
    output: int


@dataclass(frozen=True)
class Isolation:
    """How programs are kept apart on this machine.

    Attributes
    ----------
    root
        whether bubblewrap is started by root, who needs no user namespace
    user
        who starts it; None: who runs this
    interpreter
        Python that runs the programs
    """

    root: bool = field(default_factory=lambda: os.geteuid() == 0)
    user: int | None = None
    interpreter: Path = field(default_factory=lambda: Path(sys.executable).resolve())

    def missing(self) -> str:
        """What this machine lacks; empty where it lacks nothing that can be seen from outside."""
        if sys.platform != "linux":
            return f"it needs Linux, not {sys.platform}"
        if not is_known():
            return f"it knows no system calls of {os.uname().machine}, only of x86_64 and aarch64"
        wanted = [*PROGRAMS, *(["setpriv"] if self.root else [])]
        lacking = [name for name in wanted if shutil.which(name) is None]
        if "bwrap" in lacking:
            return "bubblewrap is not installed (Debian: apt install bubblewrap)"
        if lacking:
            return f"the programs {', '.join(lacking)} are not installed (Debian: util-linux)"
        return ""

    def command(
        self, words: Sequence[str], limits: Limits, uid: int, files: Sequence[int], more: Packages
    ) -> list[str]:
        """The command that runs Python apart.

        ``files``: descriptors of the program, the filter, and where it is told that it was begun.
        """
        program, filtered, tells = files
        namespace = [] if self.root else ["--user", "--map-root-user"]
        outside = ["unshare", *namespace, "--mount", "sh", "-c", _PREPARE, "sh"]
        python, seen = self._interpreter()
        inside = [
            *("bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
            *("--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            *self._who(),
            *("--clearenv", "--setenv", "LC_ALL", "C.UTF-8", "--setenv", "PYTHONHASHSEED", "0"),
            *("--setenv", "HOME", "/tmp", "--setenv", "OPENBLAS_NUM_THREADS", "1"),
            *seen,
            *more.bound(),
            *self._bound("/usr/bin/prlimit", "/usr/bin/setpriv"),
            *_devices(),
            *("--json-status-fd", str(tells)),
            *(
                "--perms",
                "0444",
                "--ro-bind-data",
                str(program),
                "/program.py",
                "--seccomp",
                str(filtered),
            ),
            *("--bind", f"{_ROOM}/tmp", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"),
        ]
        return [*outside, *inside, *self._become(uid), *_limited(limits), python, *words]

    def _who(self) -> list[str]:
        if self.root:
            return ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        return ["--unshare-user", "--uid", "65534", "--gid", "65534"]

    def _become(self, uid: int) -> list[str]:
        if not self.root:
            return []
        return [
            *("/usr/bin/setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"),
            *("--inh-caps=-all", "--ambient-caps=-all"),
        ]

    def _bound(self, *programs: str) -> list[str]:
        found: list[str] = []
        for place in programs:
            own = shutil.which(Path(place).name)
            if own is not None:
                found += ["--ro-bind", os.path.realpath(own), place]
        return found

    def _interpreter(self) -> tuple[str, list[str]]:
        """The interpreter's path inside, and what is bound for it: all parents can be entered."""
        seen = [*_folders("/usr", "/usr/bin"), *_libraries()]
        seen += _without_packages("/usr", "/usr")
        prefix = self.interpreter.parents[1]
        if str(prefix) == "/usr":
            inside = str(self.interpreter)
            return inside, [*seen, "--ro-bind", inside, inside]
        inside = f"/python/bin/{self.interpreter.name}"
        seen += [*_folders("/python", "/python/bin"), "--ro-bind", str(self.interpreter), inside]
        for name in ("lib", "lib64"):
            if (prefix / name).is_dir():
                seen += ["--ro-bind", str((prefix / name).resolve()), f"/python/{name}"]
        seen += _without_packages(str(prefix), "/python")
        return inside, [*seen, "--setenv", "LD_LIBRARY_PATH", "/python/lib"]


@dataclass(frozen=True)
class Packages:
    """Installed packages that programs may import, beside the standard library."""

    names: tuple[str, ...] = ()

    def bound(self) -> list[str]:
        """Their folders, and what these carry along, as bubblewrap binds them."""
        if not self.names:
            return []
        found = [*_folders("/packages"), "--setenv", "PYTHONPATH", "/packages"]
        for name in self.names:
            for own in _of_package(name):
                found += ["--ro-bind", str(own.resolve()), f"/packages/{own.name}"]
        return found


@cache
def _of_package(name: str) -> tuple[Path, ...]:
    """The file or folder of an installed package, and the folders of libraries beside it."""
    with contextlib.suppress(ValueError, ImportError):
        spec = find_spec(name) if name.isidentifier() else None
        if spec is not None and spec.origin is not None:
            place = Path(spec.origin)
            if spec.submodule_search_locations:
                place = place.parent
            known = metadata.packages_distributions().get(name, [name])
            names = {own.replace("-", "_").lower() for own in (name, *known)}
            libraries = [own for own in place.parent.glob("*.libs") if own.stem.lower() in names]
            return (place, *libraries)
    raise EvidenceError(f"package {name!r} for programs: not installed here.")


def _without_packages(prefix: str, inside: str) -> list[str]:
    """What is installed beside the standard library, hidden by an empty folder."""
    found: list[str] = []
    for library in ("lib", "lib64"):
        for place in sorted(Path(prefix, library).glob("python3*/*-packages")):
            if place.is_dir() and not Path(prefix, library).is_symlink():
                hidden = f"{inside}/{library}/{place.parent.name}/{place.name}"
                found += ["--ro-bind", f"{_ROOM}/none", hidden]
    return found


def _folders(*names: str) -> list[str]:
    """Folders that everybody may enter: those that bubblewrap makes by itself are its user's."""
    return [word for name in names for word in ("--perms", "0755", "--dir", name)]


def _libraries() -> list[str]:
    """The system's libraries, where they are, and the loader's list of them."""
    found: list[str] = []
    for name in ("/usr/lib", "/usr/lib64", "/lib", "/lib64"):
        place = Path(name)
        if place.is_symlink():
            found += ["--symlink", os.readlink(place), name]
        elif place.is_dir():
            found += ["--ro-bind", name, name]
    if Path("/etc/ld.so.cache").exists():
        found += [*_folders("/etc"), "--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    return found


def _devices() -> list[str]:
    found = ["--perms", "0755", "--tmpfs", "/dev"]
    for name in ("null", "zero", "full", "random", "urandom"):
        found += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    return [*found, "--bind", f"{_ROOM}/shm", "/dev/shm", "--remount-ro", "/dev"]


def _limited(limits: Limits) -> list[str]:
    return [
        *("/usr/bin/prlimit", f"--as={limits.memory}", f"--fsize={limits.disk}"),
        *(f"--nofile={DESCRIPTORS}", f"--nproc={PROCESSES}", "--core=0"),
        f"--cpu={int(limits.seconds) + 2}",
    ]


@contextlib.contextmanager
def user_of_its_own() -> Iterator[int]:
    """The number of a user who has no other processes: the kernel counts processes by user."""
    for number in random.sample(USERS, len(USERS)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
            try:
                lock.bind(f"\0policyrank-sandbox-{number}")
            except OSError:
                continue
            yield number
            return
    raise EvidenceError(f"{len(USERS)} programs run apart at once: no more can.")


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path | None]:
    """A cgroup that bounds the memory of all processes together; None where none can be made."""
    place = _groups()
    made = None
    if place is not None:
        with contextlib.suppress(OSError):
            made = Path(mkdtemp(prefix="policyrank-", dir=place))
            old = made / "memory.limit_in_bytes"
            (old if old.exists() else made / "memory.max").write_text(str(limit))
            with contextlib.suppress(OSError):
                (made / "memory.swap.max").write_text("0")
    try:
        yield made
    finally:
        if made is not None:
            _remove(made)


def _remove(group: Path) -> None:
    """Remove a cgroup once what was killed in it is gone."""
    for _ in range(200):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.005)
        else:
            return


def ran_out(group: Path | None) -> bool:
    """Whether the kernel ended something in a cgroup for want of memory."""
    if group is None:
        return False
    for name in ("memory.oom_control", "memory.events"):
        with contextlib.suppress(OSError):
            found = dict(line.split() for line in (group / name).read_text().splitlines())
            return int(found.get("oom_kill", 0)) > 0
    return False


def _groups() -> Path | None:
    """Where memory cgroups can be made: the old kind below one's own, the new kind at the top."""
    if os.geteuid() != 0:
        return None
    root = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, names, own = line.split(":", 2)
            if "memory" in names.split(","):
                for place in (root / "memory" / own.lstrip("/"), root / "memory"):
                    if os.access(place, os.W_OK):
                        return place
        if "memory" in (root / "cgroup.subtree_control").read_text().split():
            return root if os.access(root, os.W_OK) else None
    return None
