"""Where results are kept: append-only, one transaction a result.

A process may die at any moment.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from policyrank.errors import EvidenceError

_META = sa.MetaData()
RUNS = sa.Table(
    "policyrank_runs",
    _META,
    sa.Column("run", sa.String(200), primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("host", sa.String(200)),
    sa.Column("pid", sa.Integer),
    sa.Column("beat", sa.Float),
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
    sa.Column("value", sa.Float),
    sa.Column("error", sa.Text),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
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
    settings
        what must be the same when the run goes on

    Raises
    ------
    EvidenceError
        When the database cannot be opened, the run was started with other settings, or another
        process works on it.
    """

    def __init__(self, where: str | Path | None, run: str, settings: Mapping[str, Any]) -> None:
        self.run, self.where = run, where
        try:
            self.engine = _engine(where)
            _META.create_all(self.engine)
            self._take(json.dumps(settings, sort_keys=True, default=str))
        except sa.exc.SQLAlchemyError as error:
            raise EvidenceError(
                f"store {where}: cannot be used ({_first(error)}). Check the path or address, and"
                " that there is room."
            ) from None
        except ModuleNotFoundError as error:
            raise EvidenceError(
                f"store {where}: needs the driver {error.name!r}: pip install {error.name}"
            ) from None

    def _take(self, settings: str) -> None:
        """Register as the one process that works on this run."""
        host, pid = socket.gethostname(), os.getpid()
        with self.engine.begin() as db:
            row = db.execute(sa.select(RUNS).where(RUNS.c.run == self.run)).mappings().first()
            if row is None:
                db.execute(
                    RUNS.insert().values(
                        run=self.run, settings=settings, host=host, pid=pid, beat=time.time()
                    )
                )
                return
            if row["settings"] != settings:
                raise EvidenceError(
                    f"store {self.where}: run {self.run!r} was started with other settings"
                    f" ({_changed(row['settings'], settings)}). Go on with the same ones, or give"
                    " another run name."
                )
            mine = row["host"] == host and row["pid"] == pid
            if row["pid"] is not None and not mine and _works(row, host):
                raise EvidenceError(
                    f"store {self.where}: process {row['pid']} on {row['host']} works on run"
                    f" {self.run!r}. Wait for it, or give another run name."
                )
            db.execute(
                RUNS.update()
                .where(RUNS.c.run == self.run)
                .values(host=host, pid=pid, beat=time.time())
            )

    def add(self, result: Result) -> None:
        """Keep one result; the same evaluation is never kept twice."""
        values = vars(result)
        try:
            with self.engine.begin() as db:
                db.execute(RESULTS.insert().values(run=self.run, **values))
                if int(result.started) % 10 == 0:
                    db.execute(RUNS.update().where(RUNS.c.run == self.run).values(beat=time.time()))
        except sa.exc.IntegrityError:
            return
        except sa.exc.SQLAlchemyError as error:
            raise EvidenceError(
                f"store {self.where}: a result could not be written ({_first(error)}); all before"
                " it are kept. Make room, then run again to go on."
            ) from None

    def results(self) -> list[Result]:
        """All results of the run, in the order in which they were kept."""
        columns = [RESULTS.c[field] for field in Result.__dataclass_fields__]
        query = sa.select(*columns).where(RESULTS.c.run == self.run).order_by(RESULTS.c.id)
        with self.engine.begin() as db:
            return [Result(*row) for row in db.execute(query)]

    def close(self) -> None:
        """Let another process go on with the run."""
        with self.engine.begin() as db:
            db.execute(RUNS.update().where(RUNS.c.run == self.run).values(pid=None))
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
        return sa.create_engine(url)
    engine = sa.create_engine(url, connect_args={"timeout": 30})
    # Write-ahead logging: a killed process loses nothing that was committed, and commits are cheap.
    sa.event.listen(engine, "connect", _pragmas)
    return engine


def _changed(before: str, now: str) -> str:
    """Names of the settings that differ."""
    old, new = json.loads(before), json.loads(now)
    return ", ".join(k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k))


def _works(row: Mapping[Any, Any], host: str) -> bool:
    """Whether the process that registered still works; on another host, whether it wrote lately."""
    if row["host"] == host:
        return _alive(row["pid"])
    return time.time() - (row["beat"] or 0) < 60


def _pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _first(error: BaseException) -> str:
    text = str(getattr(error, "orig", None) or error).strip()
    if not text:
        return type(error).__name__
    return text.splitlines()[0][:200]
