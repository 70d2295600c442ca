"""Where results are kept: append-only, one transaction a result.

A process may die at any moment. One process at a time works on a run: it holds a lease, whose
count it moves on every few seconds, whatever the policies do. Of a process on the same machine it
is known whether it lives; of one elsewhere only whether its count moves, which needs no clock that
two machines agree on. Whoever lost its lease can add nothing more.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from policyrank.errors import EvidenceError
from policyrank.evidence.addresses import shown_address, without_secrets
from policyrank.fingerprints import Fingerprint

HEART = 4.0
"""Seconds between two movements of a lease's count."""
LEASE = 20.0
"""Seconds that a count stands still before another machine takes the run."""
_HELD: set[str] = set()
"""Leases that this process holds."""

_META = sa.MetaData()
RUNS = sa.Table(
    "policyrank_runs",
    _META,
    sa.Column("run", sa.String(200), primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("host", sa.String(200)),
    sa.Column("pid", sa.Integer),
    sa.Column("beat", sa.Double),
    sa.Column("owner", sa.String(40)),
    sa.Column("place", sa.String(200)),
    sa.Column("born", sa.String(40)),
)
RESULTS = sa.Table(
    "policyrank_results",
    _META,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(200), nullable=False),
    sa.Column("policy", sa.String(400), nullable=False),
    sa.Column("opponent", sa.String(400), nullable=False, default=""),
    sa.Column("task", sa.String(400), nullable=False),
    sa.Column("replicate", sa.Integer, nullable=False),
    sa.Column("proposal", sa.Integer, nullable=False),
    sa.Column("mate", sa.String(400), nullable=False, default=""),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("host", sa.String(200), nullable=False),
    sa.Column("version", sa.String(100), nullable=False),
    sa.UniqueConstraint("run", "policy", "opponent", "task", "replicate"),
)


@dataclass(frozen=True)
class Result:
    """One evaluation that has ended.

    Attributes
    ----------
    policy, opponent, task, replicate
        what was evaluated; ``opponent`` is empty for scores
    proposal, mate
        the number of the proposal it belongs to, and the other policy that it scores (empty for
        outcomes)
    status
        ``"done"`` or ``"failed"``; a failure is never a score
    value
        score, or outcome of ``policy`` in [0, 1]; None when failed
    error
        why it failed
    seed, attempts, started, seconds, host, version
        how it was run: started in seconds since 1970
    """

    policy: str
    opponent: str
    task: str
    replicate: int
    proposal: int
    mate: str
    status: str
    value: float | None
    error: str | None
    seed: int
    attempts: int
    started: float
    seconds: float
    host: str
    version: str


class Store:
    """An append-only table of results in any SQL database.

    Parameters
    ----------
    where
        a path (SQLite), or an SQLAlchemy URL; None: in memory
    run
        name of the run; a database may hold several
    fingerprint
        what must be the same when the run goes on; None: nothing. Another version of policyrank is
        no reason to refuse: each result tells its own

    Raises
    ------
    EvidenceError
        When the database cannot be opened, the run was started with other settings, or another
        process works on it. No message shows a password.
    """

    def __init__(
        self, where: str | Path | None, run: str, fingerprint: Fingerprint | None = None
    ) -> None:
        self.run, self.where = run, where
        self.owner, self.place = str(uuid.uuid4()), _place()
        self._over = threading.Event()
        with self._told("cannot be used", "Check the path or address, and that there is room."):
            self.engine = self._opened()
            _META.create_all(self.engine)
            self._add_columns()
            self._take(fingerprint)
        _HELD.add(self.owner)
        if where is not None:
            threading.Thread(target=self._live, name="policyrank lease", daemon=True).start()

    def __str__(self) -> str:
        return shown_address(self.where or "in memory")

    def _opened(self) -> sa.Engine:
        try:
            return _engine(self.where)
        except ImportError as error:
            what = f"{error.name!r}: pip install {error.name}" if error.name else f"({error})"
            raise EvidenceError(f"store {self}: needs the driver {what}") from None
        except ValueError:
            raise EvidenceError(
                f"store {self}: no address. It is dialect://user@host/name."
            ) from None

    @contextlib.contextmanager
    def _told(self, what: str, remedy: str) -> Iterator[None]:
        """Errors of the database as one line that shows no password."""
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            first = _first(without_secrets(_text(error), self.where))
            raise EvidenceError(f"store {self}: {what} ({first}). {remedy}") from None

    def _add_columns(self) -> None:
        """Those of leases, where a store was made before there were any."""
        there = {column["name"] for column in sa.inspect(self.engine).get_columns(RUNS.name)}
        with self.engine.begin() as db:
            for column in RUNS.columns:
                if column.name not in there:
                    kind = column.type.compile(self.engine.dialect)
                    db.execute(sa.text(f"ALTER TABLE {RUNS.name} ADD COLUMN {column.name} {kind}"))

    def _take(self, fingerprint: Fingerprint | None) -> None:
        """Get the lease of this run."""
        now = fingerprint or Fingerprint({})
        settings = json.dumps(now.plain(), sort_keys=True)
        with contextlib.suppress(sa.exc.IntegrityError), self.engine.begin() as db:
            db.execute(RUNS.insert().values(run=self.run, settings=settings))
        row = self._row()
        told = _known(row["settings"]).differences(now)
        if told:
            raise EvidenceError(
                f"store {self}: run {self.run!r} was made with {told}. Go on with the same, or give"
                " another run name."
            )
        mine = {
            "owner": self.owner,
            "host": socket.gethostname(),
            "place": self.place,
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "beat": 0.0,
        }
        if self._works(row) or not self._change(
            mine, RUNS.c.owner.is_not_distinct_from(row["owner"])
        ):
            row = self._row()
            raise EvidenceError(
                f"store {self}: process {row['pid']} on {row['host']} works on run"
                f" {self.run!r}. Wait for it, or give another run name."
            )

    def _row(self) -> Mapping[Any, Any]:
        with self.engine.begin() as db:
            query = sa.select(RUNS).where(RUNS.c.run == self.run)
            return dict(db.execute(query).mappings().one())

    def _change(self, values: Mapping[str, Any], where: Any) -> bool:
        """Change the run's row; whether it was as said."""
        with self.engine.begin() as db:
            query = RUNS.update().where(RUNS.c.run == self.run, where).values(**values)
            return bool(db.execute(query).rowcount)

    def _works(self, row: Mapping[Any, Any]) -> bool:
        """Whether the process that holds the lease lives."""
        if row["pid"] is None:
            return False
        if (row["place"] or row["host"]) in (self.place, socket.gethostname()):
            if row["pid"] == os.getpid():
                return row["owner"] in _HELD
            return _alive(row["pid"], row["born"])
        until = time.monotonic() + LEASE
        while time.monotonic() < until:
            time.sleep(min(HEART / 4, 1.0))
            now = self._row()
            if (now["owner"], now["beat"]) != (row["owner"], row["beat"]):
                return now["pid"] is not None
        return False

    def _live(self) -> None:
        """Move the count on; a database that does not answer may answer the next time."""
        while not self._over.wait(HEART):
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self._change({"beat": RUNS.c.beat + 1}, RUNS.c.owner == self.owner)

    def add(self, result: Result) -> None:
        """Keep one result; the same evaluation is never kept twice."""
        held = sa.select(RUNS.c.run).where(RUNS.c.run == self.run, RUNS.c.owner == self.owner)
        remedy = "All before it are kept. Make room, then run again to go on."
        with self._told("a result could not be written", remedy):
            try:
                with self.engine.begin() as db:
                    db.execute(RESULTS.insert().values(run=self.run, **vars(result)))
                    if db.execute(held.with_for_update()).first() is None:
                        raise EvidenceError(
                            f"store {self}: another process has taken run {self.run!r}, because"
                            " this one did not move for a while. Its results so far are kept."
                        )
            except sa.exc.IntegrityError:
                return

    def results(self) -> list[Result]:
        """All results of the run, in the order in which they were kept."""
        columns = [RESULTS.c[field] for field in Result.__dataclass_fields__]
        query = sa.select(*columns).where(RESULTS.c.run == self.run).order_by(RESULTS.c.id)
        remedy = "Mend or remove it; what it holds was not changed."
        with self._told("its results cannot be read", remedy), self.engine.begin() as db:
            return [Result(*row) for row in db.execute(query)]

    def close(self) -> None:
        """Let another process go on with the run."""
        self._over.set()
        _HELD.discard(self.owner)
        with contextlib.suppress(sa.exc.SQLAlchemyError):  # the lease ends with this process
            self._change({"pid": None, "owner": None}, RUNS.c.owner == self.owner)
        self.engine.dispose()


def _engine(where: str | Path | None) -> sa.Engine:
    """The database at a path (SQLite) or an address; None: in memory."""
    if where is None:
        return sa.create_engine(
            "sqlite://", connect_args={"timeout": 30}, poolclass=sa.pool.StaticPool
        )
    url = str(where)
    if "://" not in url:
        url = f"sqlite:///{where}"
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": 30})
    # Write-ahead logging: a killed process loses nothing that was committed, and commits are cheap.
    sa.event.listen(engine, "connect", _pragmas)
    return engine


def _known(told: str) -> Fingerprint:
    """The fingerprint in a store; of older ones their settings alone were kept."""
    found = json.loads(told)
    try:
        return Fingerprint.read(found)
    except ValueError:
        return Fingerprint({"settings": found}, {})


def _pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _place() -> str:
    """Where a process number means one process: a start of a machine, or a container on it."""
    with contextlib.suppress(OSError):
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{started} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _born(pid: int) -> str | None:
    """When a process started, in ticks of its machine; None where that cannot be known."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return None


def _alive(pid: int, born: str | None) -> bool:
    """Whether a process lives, and is not a later one of the same number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return born is None or _born(pid) in (None, born)


def _text(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).strip() or type(error).__name__


def _first(text: str) -> str:
    return text.splitlines()[0][:200]
