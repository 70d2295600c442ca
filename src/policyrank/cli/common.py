"""What the verbs share: the options that say how to read evidence, and where results go."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.errors import EvidenceError
from policyrank.evidence import Evidence, detect, read

READ = "How to read the file"
OUT = "Where it goes"
UNSURE = "Uncertainty"
METHOD = "Method"

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help=(
            "CSV, TSV, parquet, JSONL, Arrow or PrefLib file, a folder of lm-evaluation-harness"
            " results, or - for standard input."
        ),
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        help=(
            "What the file holds: comparisons, scores or rankings (told by its columns if not"
            " given)."
        ),
        rich_help_panel=READ,
    ),
]
A = Annotated[
    str | None, typer.Option("--a", help="Column of the first policy.", rich_help_panel=READ)
]
B = Annotated[
    str | None, typer.Option("--b", help="Column of the second policy.", rich_help_panel=READ)
]
Outcome = Annotated[str | None, typer.Option(help="Column of the outcome.", rich_help_panel=READ)]
FirstWins = Annotated[
    int | None,
    typer.Option(
        help="What a numeric outcome means: 1 if 1 is a win of the first policy, 0 if 0 is.",
        min=0,
        max=1,
        rich_help_panel=READ,
    ),
]
Policy = Annotated[
    str | None, typer.Option(help="Column of the policy (scores, ballots).", rich_help_panel=READ)
]
Task = Annotated[str | None, typer.Option(help="Column of the task.", rich_help_panel=READ)]
Score = Annotated[str | None, typer.Option(help="Column of the score.", rich_help_panel=READ)]
Metric = Annotated[
    str | None,
    typer.Option(
        help="Column of the metric (for lm-eval folders: its name).", rich_help_panel=READ
    ),
]
Replicate = Annotated[
    str | None, typer.Option(help="Column of the seed, run or instance.", rich_help_panel=READ)
]
Rater = Annotated[str | None, typer.Option(help="Column of the rater.", rich_help_panel=READ)]
Ballot = Annotated[
    str | None,
    typer.Option(help="Column that says which ballot a row belongs to.", rich_help_panel=READ),
]
Order = Annotated[
    str | None,
    typer.Option(help="Column with a whole ballot, such as 'A > B = C'.", rich_help_panel=READ),
]
Covariate = Annotated[
    list[str] | None,
    typer.Option(
        help="Column of a difference between the two (style control); repeatable.",
        rich_help_panel=READ,
    ),
]
Rows = Annotated[
    str | None, typer.Option(help="Rows of a wide table: policies or tasks.", rich_help_panel=READ)
]
Lower = Annotated[
    list[str] | None,
    typer.Option(
        "--lower-is-better",
        help="Metric or task whose smaller values are better ('*': all); repeatable.",
        rich_help_panel=READ,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", help="Keep only this policy; repeatable.", rich_help_panel=READ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--on", help="Keep only this task; repeatable.", rich_help_panel=READ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out unusable rows and count them, instead of stopping.",
        rich_help_panel=READ,
    ),
]
Html = Annotated[
    Path | None, typer.Option(help="Write one self-contained page.", rich_help_panel=OUT)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUT)]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.", rich_help_panel=OUT)]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.", rich_help_panel=OUT)]
Top = Annotated[
    int | None,
    typer.Option(help="Show only the first N in the terminal.", min=1, rich_help_panel=OUT),
]
Title = Annotated[
    str | None, typer.Option(help="Headline of the page or plot.", rich_help_panel=OUT)
]


@dataclass
class Reading:
    """How to read a file: columns by role, filters, and what else the method needs of it."""

    columns: dict[str, Any]
    kind: str | None = None
    skip_bad: bool = False
    only: list[str] | None = None
    tasks: list[str] | None = None
    keep: set[str] = field(default_factory=set)

    def evidence(self, file: str) -> Evidence:
        """Read, refusing options that this kind of evidence has no use for."""
        source = sys.stdin.buffer.read() if file == "-" else file
        kind = self.kind or detect(source)
        takes = {
            "comparisons": {
                "a",
                "b",
                "outcome",
                "first_wins",
                "task",
                "rater",
                "time",
                "covariates",
            },
            "scores": {"policy", "task", "score", "metric", "replicate", "rows", "lower_is_better"},
            "rankings": {"policy", "ballot", "order"},
        }.get(kind, set())
        given = {k: v for k, v in self.columns.items() if v not in (None, [], ())}
        if extra := sorted(set(given) - takes) if takes else []:
            names = ", ".join(
                "--" + e.replace("_", "-").removesuffix("s" if e == "covariates" else "")
                for e in extra
            )
            raise EvidenceError(
                f"{file} holds {kind}; {names} says nothing about those. Name the kind with --kind"
                " if it was told wrongly."
            )
        options: dict[str, Any] = {**given, "bad": "skip" if self.skip_bad else "raise"}
        if kind == "comparisons":
            keep = self.keep | {"weight"} | ({"task"} if self.tasks else set())
            options |= {"keep": keep, "counted": "time" not in keep}
        if given.get("lower_is_better") == ["*"]:
            options["lower_is_better"] = True
        found = read(source, kind=kind, **options)
        if self.only or self.tasks:
            filters: dict[str, Any] = {"policies": self.only} if self.only else {}
            if self.tasks:
                filters["groups" if kind == "rankings" else "tasks"] = self.tasks
            found = found.filter(**filters)
        return found


@contextmanager
def working(what: str) -> Iterator[Any]:
    """A spinner on standard error while something takes time; yields a function that changes its
    text.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status(what) as status:
        yield status.update


def say(text: str) -> None:
    """A line about what was done, on standard error."""
    print(text, file=sys.stderr)


def written(path: Path) -> None:
    say(f"wrote {path}")


def check_writable(*paths: Path | None) -> None:
    """Refuse a target that cannot be written before any work is done."""
    for path in paths:
        if path is not None and not path.parent.exists():
            raise EvidenceError(f"{path}: its folder does not exist. Make it first.")
        if path is not None and path.is_dir():
            raise EvidenceError(f"{path}: a folder. Name a file in it.")


def table(path: Path, columns: tuple[str, ...]) -> Any:
    """A CSV file as a frame that has these columns."""
    import polars as pl

    if not path.is_file():
        raise EvidenceError(f"{path}: no such file.")
    try:
        frame = pl.read_csv(path)
    except pl.exceptions.PolarsError as error:
        raise EvidenceError(f"{path}: {str(error).splitlines()[0]}.") from error
    if missing := [k for k in columns if k not in frame.columns]:
        raise EvidenceError(
            f"{path} has no column {missing[0]!r}; it has {', '.join(frame.columns)}."
        )
    return frame
