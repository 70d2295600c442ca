"""What verbs share: the options that say how to read evidence, and where results go."""

from __future__ import annotations

import glob
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cyclopts import Token

    from policyrank.evidence import Evidence

METHOD = Group("Method", sort_key=1)
UNSURE = Group("Uncertainty", sort_key=2)
TUNE = Group("Training", sort_key=3)
DATA = Group("Data", sort_key=4)
MODEL = Group("The world", sort_key=5)
TEXTS = Group("Texts", sort_key=6)
OUT = Group("Where it goes", sort_key=8)
READ = Group("How to read the file", sort_key=9)


def whole(hint: Any, tokens: Sequence[Token]) -> Any:
    """Whole numbers as they are written: 1.7 is none, which would be rounded."""
    found = []
    for token in tokens:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", token.value):
            place = "" if token.source == "cli" else f"{token.source}: "
            raise ValueError(f"{place}{token.value[:40]!r} is no whole number")
        found.append(int(token.value))
    return found if get_origin(hint) is list else found[0]


Whole = Annotated[int, Parameter(converter=whole)]
AtLeastOne = Annotated[Whole, Parameter(validator=Number(gte=1))]
AtLeastTwo = Annotated[Whole, Parameter(validator=Number(gte=2))]
NotNegative = Annotated[float, Parameter(validator=Number(gte=0))]
Count = Annotated[Whole, Parameter(validator=Number(gte=0))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Names = list[str] | None
Flag = Annotated[bool, Parameter(show_default=False)]

FileName = Annotated[
    str,
    Parameter(
        allow_leading_hyphen=True,
        help="Files, a folder, an address, or - for standard input: CSV, parquet, JSON, Markdown,"
        " PrefLib, PGN, or what lm-evaluation-harness, HELM and other tools write.",
    ),
]
Level = Annotated[
    float,
    Parameter(
        group=UNSURE,
        validator=Number(gt=0, lt=1),
        help="Coverage of intervals and rank sets, between 0 and 1.",
    ),
]
Seed = Annotated[Whole, Parameter(group=UNSURE, help="Seed of everything that is drawn.")]
Html = Annotated[Path | None, Parameter(group=OUT, help="Write one self-contained page.")]
Plot = Annotated[Path | None, Parameter(group=OUT, help="Write a plot: .png, .svg or .pdf.")]
Title = Annotated[str | None, Parameter(group=OUT, help="Headline of the page or plot.")]
Json = Annotated[Flag, Parameter(group=OUT, help="Print JSON.")]
Csv = Annotated[
    Flag,
    Parameter(
        group=OUT,
        help="Print CSV; texts that begin with = + - @ get an apostrophe in front, so that no"
        " spreadsheet runs them.",
    ),
]
Markdown = Annotated[Flag, Parameter(group=OUT, help="Print Markdown.")]
Top = Annotated[
    AtLeastOne | None, Parameter(group=OUT, help="Show only the first N in the terminal.")
]
Scores = Annotated[
    Path | None,
    Parameter(
        group=OUT,
        help="Write the scores: .csv (an apostrophe before what a spreadsheet would run), .parquet,"
        " .jsonl.",
    ),
]

TAKES = {
    "comparisons": "a b outcome first_wins task rater time covariate",
    "scores": "policy task score metric replicate unit rows tasks lower_is_better higher_is_better",
    "rankings": "policy ballot order",
}
"""Form of evidence -> the options that say something about it."""


_ABOUT_ALL = ("kind", "only", "on", "skip_bad", "strict", "sql", "query")
"""Options of reading that say something about every form of evidence."""


@Parameter(name="*", group=READ)
@dataclass(frozen=True)
class Reading:
    """How to read a file of evidence.

    Parameters
    ----------
    kind
        What the file holds (told by its columns if not given).
    a
        Column of the first policy.
    b
        Column of the second policy.
    outcome
        Column of the outcome.
    first_wins
        What a numeric outcome means: 1 if 1 is a win of the first policy, 0 if 0 is.
    policy
        Column of the policy (scores, ballots).
    task
        Column of the task.
    score
        Column of the score.
    metric
        Column of the metric (for lm-eval folders: its name).
    replicate
        Column of the seed, run or instance.
    unit
        Column of what scores share that are not independent, as questions share a document.
    rater
        Column of the rater.
    time
        Column of the time.
    ballot
        Column that says which ballot a row belongs to.
    order
        Column with a whole ballot, such as 'A > B = C'.
    covariate
        Column of a difference between the two (style control); repeatable.
    rows
        Rows of a wide table.
    tasks
        Column that holds scores, of a wide table; repeatable.
    lower_is_better
        Metric or task, or a pattern such as `*wer*`, whose smaller values are better; repeatable.
    higher_is_better
        Metric or task, or a pattern, that is better when larger, whatever its name; repeatable.
    only
        Keep only this policy; repeatable.
    on
        Keep only this task; repeatable.
    skip_bad
        Leave out unusable rows and count them, instead of stopping.
    strict
        Refuse every guess about what the file holds.
    sql
        Address of a database, such as sqlite:///results.db, in place of files.
    query
        What to read there: a SELECT, or the name of a table.
    """

    kind: Literal["comparisons", "scores", "rankings"] | None = None
    a: str | None = None
    b: str | None = None
    outcome: str | None = None
    first_wins: Literal[0, 1] | None = None
    policy: str | None = None
    task: str | None = None
    score: str | None = None
    metric: str | None = None
    replicate: str | None = None
    unit: str | None = None
    rater: str | None = None
    time: str | None = None
    ballot: str | None = None
    order: str | None = None
    covariate: Names = None
    rows: Literal["policies", "tasks"] | None = None
    tasks: Names = None
    lower_is_better: Names = None
    higher_is_better: Names = None
    only: Names = None
    on: Names = None
    skip_bad: Flag = False
    strict: Flag = False
    sql: str | None = None
    query: str | None = None

    def __post_init__(self) -> None:
        if (self.sql is None) != (self.query is None):
            raise OptionError("--sql and --query go together: a database, and what to read there")

    def evidence(
        self, files: Sequence[str], *, keep: Iterable[str] = (), ahead: Sequence[str] = ()
    ) -> Evidence:
        """Read, with the optional columns ``keep`` and those named; options of no use are refused.

        ``ahead``: modules that will be needed, imported while the file is read.

        Raises
        ------
        EvidenceError
            When the file is not there, cannot be read, or holds what an option says nothing about.
        """
        source = self._source(files)
        from policyrank.evidence import detect, read

        import_ahead(ahead)
        kind: Any = self.kind or detect(source)
        if kind == "nothing":
            return read(source)
        options = self._columns(title_of(files), kind)
        if self.on and kind == "scores":
            options["on"] = self.on
        if kind == "comparisons":
            kept = {*keep, "weight"}
            if self.on:
                kept.add("task")
            options |= {"keep": kept, "counted": "time" not in kept and self.time is None}
        if options.get("lower_is_better") == ["*"]:
            options["lower_is_better"] = True
        if "covariate" in options:
            options["covariates"] = options.pop("covariate")
        bad = "skip" if self.skip_bad else "raise"
        found = read(source, kind=kind, bad=bad, strict=self.strict, **options)
        return self._filtered(found, kind)

    def _source(self, files: Sequence[str]) -> Any:
        """The files, opened once; or the rows of a database, comparisons counted there."""
        if self.sql is None or self.query is None:
            return source_of(files)
        if files:
            raise OptionError("give files or --sql, not both")
        from policyrank.evidence.databases import Query

        plain = not (self.a or self.task or self.rater or self.time or self.covariate or self.on)
        return Query(self.sql, self.query).frame(counted=plain)

    def _columns(self, file: str, kind: str) -> dict[str, Any]:
        """The columns named, for this kind of evidence."""
        takes = TAKES[kind].split()
        columns = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _ABOUT_ALL or value is None or value == []:
                continue
            columns[field.name] = value
        strange = sorted(set(columns) - set(takes))
        if strange:
            named = ", ".join("--" + name.replace("_", "-") for name in strange)
            raise EvidenceError(
                f"{file} holds {kind}; {named} says nothing about those. Name the kind with --kind"
                " if it was told wrongly."
            )
        return columns

    def _filtered(self, evidence: Any, kind: str) -> Evidence:
        wanted: dict[str, Any] = {}
        if self.only:
            wanted["policies"] = self.only
        if self.on:
            wanted["groups" if kind == "rankings" else "tasks"] = self.on
        return evidence.filter(**wanted) if wanted else evidence


_SWITCHING = sys.getswitchinterval()
_IMPORTING: list[Thread] = []
_ENOUGH = Event()


def import_ahead(modules: Sequence[str]) -> None:
    """Import in the background: reading leaves the interpreter idle."""
    from importlib import import_module

    def load() -> None:
        for module in modules:
            if _ENOUGH.is_set():
                break
            with suppress(ImportError):  # told where it is needed
                import_module(module)
        sys.setswitchinterval(_SWITCHING)

    # Reading comes back to the interpreter often, and each time would wait for 5 ms.
    sys.setswitchinterval(_SWITCHING / 10)
    _IMPORTING.append(Thread(target=load, daemon=True))
    _IMPORTING[-1].start()


def end_imports() -> None:
    """Wait for the import that is under way: an interpreter that ends amid one may crash."""
    _ENOUGH.set()
    while _IMPORTING:
        _IMPORTING.pop().join()


def title_of(files: Sequence[str]) -> str:
    """What was read, in a few words."""
    if not files:
        return "the database"
    if len(files) > 1:
        return f"{len(files):,} files"
    if files[0] == "-":
        return "standard input"
    return Path(files[0].partition("?")[0] if "://" in files[0] else files[0]).name


def source_of(files: Sequence[str]) -> Any:
    """The files, opened; a missing one is told before anything heavy is imported."""
    if not files:
        raise OptionError("no FILE is named: give one, - for standard input, or --sql and --query")
    for file in files:
        plain = file != "-" and "://" not in file and not glob.has_magic(file)
        if plain and not Path(file).exists():
            raise EvidenceError(f"{file}: no such file. Check the path.")
    from policyrank.evidence.readers import opened

    return opened(files[0] if len(files) == 1 else list(files))


@Parameter(name="*")
@dataclass(frozen=True)
class Printed:
    """How a board is printed."""

    json: Json = False
    csv: Csv = False
    markdown: Markdown = False
    top: Top = None

    def __post_init__(self) -> None:
        one_of(json=self.json, csv=self.csv, markdown=self.markdown)


@Parameter(name="*")
@dataclass(frozen=True)
class Written:
    """Files that a board is written to."""

    html: Html = None
    plot: Plot = None
    title: Title = None

    def __post_init__(self) -> None:
        check_writable(self.html, self.plot)


def one_of(**chosen: bool) -> None:
    """Refuse more than one of these flags."""
    if sum(chosen.values()) > 1:
        *first, last = (f"--{name}" for name in chosen)
        raise OptionError(f"choose one of {', '.join(first)} and {last}")


def check_writable(*paths: Path | None) -> None:
    """Refuse a target that cannot be written before any work is done."""
    for path in paths:
        if path is None:
            continue
        if not path.parent.exists():
            raise EvidenceError(f"{path}: its folder does not exist. Make it first.")
        if path.is_dir():
            raise EvidenceError(f"{path}: a folder. Name a file in it.")


def check_table(*paths: Path | None) -> None:
    """Refuse a target that no table can be written to before any work is done."""
    check_writable(*paths)
    from policyrank.evidence.base import check_ending

    for path in paths:
        if path is not None:
            check_ending(path)


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made before any work is done."""
    if not path.parent.exists():
        raise EvidenceError(f"{path}: its folder does not exist. Make it first.")
    if path.exists() and not path.is_dir():
        raise EvidenceError(f"{path}: a file. Name a folder.")


def split(text: str, option: str) -> tuple[str, str]:
    """NAME=VALUE as the two."""
    name, found, value = text.rpartition("=")
    if not found or not name:
        raise OptionError(f"{option} {text!r}: write NAME=VALUE")
    return name, value


def number(text: str, option: str) -> float:
    """The number that was written for ``option``."""
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{option}: {text!r} is no number") from None


def numbers(pairs: Names, option: str) -> dict[str, float]:
    """NAME=NUMBER, repeated, as a dict."""
    found: dict[str, float] = {}
    for pair in pairs or []:
        name, value = split(pair, option)
        if name in found:
            raise OptionError(f"{option} names {name!r} twice: name it once.")
        found[name] = number(value, option)
    return found
