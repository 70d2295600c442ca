"""Results in a database: a query's rows, comparisons counted by the database itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import pairs, tables as t, usual_names
from policyrank.evidence.addresses import shown_address, without_secrets

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Query:
    """Rows of a database as a source of evidence: ``read(Query(url, "select ..."))``.

    Attributes
    ----------
    url
        as SQLAlchemy has it: ``sqlite:///results.db``, ``postgresql://user@host/name``, ...
    query
        a SELECT, or the name of a table
    """

    url: str
    query: str

    def frame(self, *, counted: bool = False) -> pl.DataFrame:
        """The rows; with ``counted``, equal comparisons as one row with a column count.

        Raises
        ------
        EvidenceError
            When the database cannot be reached, its driver is not installed, or the query fails;
            the password is not shown.
        """
        import sqlalchemy as sa

        name = shown_address(self.url)
        try:
            engine = sa.create_engine(self.url)
        except (sa.exc.ArgumentError, ImportError, ValueError) as error:
            why = without_secrets(str(error), self.url)
            raise EvidenceError(f"{name}: the address cannot be used ({why}).") from None
        file = engine.url.database or ":memory:"
        is_file = engine.dialect.name == "sqlite" and file != ":memory:"
        if is_file and not Path(file).exists():  # SQLite would make it
            raise EvidenceError(f"{name}: no such file. Check the path.")
        try:
            with engine.connect() as connection:
                return self._rows(connection, counted=counted)
        except sa.exc.SQLAlchemyError as error:
            first = str(getattr(error, "orig", None) or error).splitlines()[0]
            why = without_secrets(first, self.url)
            raise EvidenceError(f"{name}: the query fails ({why}).") from None
        finally:
            engine.dispose()

    def _rows(self, connection: Connection, *, counted: bool) -> pl.DataFrame:
        import sqlalchemy as sa

        inner = self.query.strip().rstrip(";")
        if " " not in inner:
            inner = f"SELECT * FROM {inner}"
        if counted:
            inner = self._counting(connection, inner) or inner
        result = connection.execute(sa.text(inner))
        columns, rows = list(result.keys()), [tuple(row) for row in result]
        if len(set(columns)) < len(columns):
            raise EvidenceError(f"the query names a column twice: {', '.join(columns)}.")
        if not rows:
            raise EvidenceError("the query gives no rows.")
        data = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
        return pl.DataFrame({name: _series(name, values) for name, values in data.items()})

    def _counting(self, connection: Connection, inner: str) -> str | None:
        """The query grouped by what comparisons are told by; None where that says nothing."""
        import sqlalchemy as sa

        empty = connection.execute(sa.text(f"SELECT * FROM ({inner}) AS rows_ WHERE 1 = 0"))
        columns = list(empty.keys())
        found = pairs.pairs_in(columns)
        if not found or t.find(columns, usual_names.COUNT):
            return None
        first, second = found[0]
        if not pairs.has_outcome(columns, first, second):
            return None
        form = pairs.outcome_of(columns, first, second, None, "the query")
        if form.kind not in ("label", "winner first") or form.tie is not None:
            return None
        quote = connection.dialect.identifier_preparer.quote
        keys = ", ".join(quote(column) for column in (first, second, *form.columns))
        count = quote("count")
        return f"SELECT {keys}, COUNT(*) AS {count} FROM ({inner}) AS rows_ GROUP BY {keys}"


def _series(name: str, values: list[Any]) -> pl.Series:
    from decimal import Decimal

    plain = [float(value) if isinstance(value, Decimal) else value for value in values]
    return pl.Series(name, plain, strict=False)
