"""What verbs share: the options that say how to read evidence, and where results go."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from policyrank.evidence import Evidence

METHOD = Group("Method", sort_key=1)
UNSURE = Group("Uncertainty", sort_key=2)
TUNE = Group("Training", sort_key=3)
DATA = Group("Data", sort_key=4)
MODEL = Group("The world", sort_key=5)
TEXTS = Group("Texts", sort_key=6)
OUT = Group("Where it goes", sort_key=8)
READ = Group("How to read the file", sort_key=9)

AtLeastOne = Annotated[int, Parameter(validator=Number(gte=1))]
AtLeastTwo = Annotated[int, Parameter(validator=Number(gte=2))]
NotNegative = Annotated[float, Parameter(validator=Number(gte=0))]
Count = Annotated[int, Parameter(validator=Number(gte=0))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Names = list[str] | None
Flag = Annotated[bool, Parameter(show_default=False)]

FileName = Annotated[
    str,
    Parameter(
        allow_leading_hyphen=True,
        help="CSV, TSV, parquet, JSONL, Arrow or PrefLib file, a folder of lm-evaluation-harness"
        " results, or - for standard input.",
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
Seed = Annotated[int, Parameter(group=UNSURE, help="Seed of everything that is drawn.")]
Html = Annotated[Path | None, Parameter(group=OUT, help="Write one self-contained page.")]
Plot = Annotated[Path | None, Parameter(group=OUT, help="Write a plot: .png, .svg or .pdf.")]
Title = Annotated[str | None, Parameter(group=OUT, help="Headline of the page or plot.")]
Json = Annotated[Flag, Parameter(group=OUT, help="Print JSON.")]
Csv = Annotated[Flag, Parameter(group=OUT, help="Print CSV.")]
Markdown = Annotated[Flag, Parameter(group=OUT, help="Print Markdown.")]
Top = Annotated[
    AtLeastOne | None, Parameter(group=OUT, help="Show only the first N in the terminal.")
]
Scores = Annotated[
    Path | None, Parameter(group=OUT, help="Write the scores: .csv, .parquet or .jsonl.")
]

TAKES = {
    "comparisons": "a b outcome first_wins task rater time covariate",
    "scores": "policy task score metric replicate rows lower_is_better",
    "rankings": "policy ballot order",
}
"""Form of evidence -> the options that say something about it."""


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
    lower_is_better
        Metric or task whose smaller values are better ('*': all); repeatable.
    only
        Keep only this policy; repeatable.
    on
        Keep only this task; repeatable.
    skip_bad
        Leave out unusable rows and count them, instead of stopping.
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
    rater: str | None = None
    time: str | None = None
    ballot: str | None = None
    order: str | None = None
    covariate: Names = None
    rows: Literal["policies", "tasks"] | None = None
    lower_is_better: Names = None
    only: Names = None
    on: Names = None
    skip_bad: Flag = False

    def evidence(
        self, file: str, *, keep: Iterable[str] = (), ahead: Sequence[str] = ()
    ) -> Evidence:
        """Read, with the optional columns ``keep`` and those named; options of no use are refused.

        ``ahead``: modules that will be needed, imported while the file is read.

        Raises
        ------
        EvidenceError
            When the file is not there, cannot be read, or holds what an option says nothing about.
        """
        source = source_of(file)
        from policyrank.evidence import detect, read

        import_ahead(ahead)
        kind = self.kind or detect(source)
        options = self._columns(file, kind)
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
        return self._filtered(read(source, kind=kind, bad=bad, **options), kind)

    def _columns(self, file: str, kind: str) -> dict[str, Any]:
        """The columns named, for this kind of evidence."""
        takes = TAKES[kind].split()
        columns = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("kind", "only", "on", "skip_bad") or value is None or value == []:
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


def import_ahead(modules: Sequence[str]) -> None:
    """Import in the background: reading leaves the interpreter idle."""
    import sys
    from importlib import import_module
    from threading import Thread

    usual = sys.getswitchinterval()

    def load() -> None:
        for module in modules:
            with suppress(ImportError):  # told where it is needed
                import_module(module)
        sys.setswitchinterval(usual)

    # Reading comes back to the interpreter often, and each time would wait for 5 ms.
    sys.setswitchinterval(usual / 10)

    Thread(target=load, daemon=True).start()


def source_of(file: str) -> Any:
    """The file's name when it is there, or the bytes of standard input."""
    import sys

    if file == "-":
        return sys.stdin.buffer.read()
    if not Path(file).exists():
        raise EvidenceError(f"{file}: no such file. Check the path.")
    return file


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
    found = {}
    for pair in pairs or []:
        name, value = split(pair, option)
        found[name] = number(value, option)
    return found
