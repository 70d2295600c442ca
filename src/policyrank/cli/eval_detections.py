"""``policyrank eval-detections``: detectors against ground truth; can their order be gamed?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.options import METHOD, OUT, Flag, Html, Json, check_table, check_writable, whole
from policyrank.cli.output import print_json, say, show, working, write_table, wrote
from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from policyrank.board import Leaderboard
    from policyrank.evidence.detections import Detections, GroundTruth
    from policyrank.metrics.detection import Overlap

FEWER = (1000, 200, 50)
"""How many of a class the audit keeps."""


def rank_detectors(
    *files: Path,
    budget: Annotated[Literal["fixed", "lvis", "coco", "none"], Parameter(group=METHOD)] = "fixed",
    masks: Annotated[Flag, Parameter(group=METHOD)] = False,
    iou: Annotated[list[float] | None, Parameter(group=METHOD)] = None,
    recall_at: Annotated[list[int] | None, Parameter(group=METHOD, converter=whole)] = None,
    audit: Annotated[Flag, Parameter(group=METHOD)] = False,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """Average precision of detectors, and their ranking.

    By category, with intervals. AP-Fixed cannot be changed by rescaling the scores of a class; AP
    under a limit an image can. AP-Pool asks for scores that mean the same in all classes.

    Parameters
    ----------
    files
        COCO result files, then the COCO or LVIS ground truth (JSON, gzipped or not).
    budget
        Which detections count: fixed (10,000 a class, AP-Fixed), lvis (300 an image), coco (100 an
        image and class), none.
    masks
        Compare masks instead of boxes (extra detection).
    iou
        IoU from which a detection finds an object; repeatable. Default: 0.5, 0.55, ..., 0.95.
    recall_at
        Also AR of the best so many detections of each image and class; repeatable. Default: 1, 10
        and 100 with the budget coco.
    audit
        Also: what keeping only the best 50, 200 and 1,000 of each class would do to AP under a
        limit an image.
    out
        Write AP by category: .csv, .parquet or .jsonl.
    """
    _check(files, html, audited=json and audit)
    check_table(out)
    check_writable(html)
    from policyrank.evidence.detections import read_detections, read_ground_truth
    from policyrank.metrics.detection import detection_ap

    *detectors, last = files
    truth = read_ground_truth(last)
    if len({path.stem for path in detectors}) < len(detectors):
        raise EvidenceError(
            "two files of detections have the same name: rename one, names tell detectors apart."
        )
    overlap: Overlap = "mask" if masks else "box"
    results, found = {}, {}
    with working("Matching …") as update:
        for path in detectors:
            name = path.stem
            update(f"{name} …")
            found[name] = read_detections(path, truth, name)
            try:
                results[name] = detection_ap(
                    truth,
                    found[name],
                    budget=budget,
                    overlap=overlap,
                    thresholds=iou and sorted(iou),
                    recall_at=recall_at,
                )
            except OptionError:
                raise
            except (ValueError, ModuleNotFoundError) as error:
                raise EvidenceError(f"{path}: {error}") from None
    by_category = _by_category(results, truth)
    if out is not None:
        write_table(by_category, out)
    board = None if len(results) < 2 else _board(by_category)
    if html is not None and board is not None:
        board.to_html(html)
        wrote(html)
    summaries = {name: result.summary() for name, result in results.items()}
    if json:
        print_json(summaries)
        return
    _print_summaries(summaries)
    if budget == "fixed":
        _tell_thin(results, truth)
    if audit:
        _print_gamed(found, truth, overlap)
    if board is not None:
        show("\nAP by category (a category is a task):")
        show(board)


def _check(files: tuple[Path, ...], html: Path | None, *, audited: bool) -> None:
    """Refuse what cannot be given together."""
    if len(files) < 2:
        raise OptionError("give at least one file of detections, and last the ground truth.")
    if audited:
        raise OptionError("--audit is a table for reading: leave out --json.")
    if html is not None and len(files) < 3:
        raise EvidenceError("one detector makes no ranking: --html needs two.")


def _by_category(results: Mapping[str, Any], truth: GroundTruth) -> pl.DataFrame:
    """AP of each detector (policy) in each category (task) that has one."""
    import polars as pl

    parts = []
    for name, result in results.items():
        columns = {"task": truth.names, "score": result.by_category()}
        parts.append(pl.DataFrame(columns).select(pl.lit(name).alias("policy"), "task", "score"))
    return pl.concat(parts).filter(pl.col("score").is_not_nan())


def _print_summaries(summaries: Mapping[str, Mapping[str, float]]) -> None:
    """A table in percent, the best detector first."""
    columns = list(next(iter(summaries.values())))
    width = max(map(len, summaries))
    show(" " * width + "".join(f"{column:>10s}" for column in columns))
    for name in sorted(summaries, key=lambda name: -summaries[name]["AP"]):
        cells = [f"{100 * summaries[name][column]:10.2f}" for column in columns]
        show(f"{name:{width}s}" + "".join(cells))


def _tell_thin(results: Mapping[str, Any], truth: GroundTruth) -> None:
    for name, result in results.items():
        if result.thin:
            say(
                f"! {name}: {result.thin:,} of {len(truth.names):,} categories have fewer than"
                " 10,000 detections; AP-Fixed compares detectors that gave that many, or all they"
                " had"
            )


def _print_gamed(found: Mapping[str, Detections], truth: GroundTruth, overlap: Overlap) -> None:
    """AP under a limit an image before and after keeping the best of each class only."""
    from policyrank.metrics.detection import Budget, detection_ap, gamed

    most = 300 if truth.federated else 100
    limit: Budget = ("image", most)

    def ap(detections: Detections, budget: str | Budget) -> float:
        summary = detection_ap(truth, detections, budget=budget, overlap=overlap).summary()
        return 100 * summary["AP"]

    show(
        f"\nAP with at most {most} detections an image, before and after keeping only the best of"
        " each class first, beside AP-Fixed:"
    )
    width = max(map(len, found))
    for name, own in found.items():
        cells = [f"{ap(own, limit):.2f}"]
        for kept in FEWER:
            fewer = own.take(gamed(own, kept))
            cells.append(f"best {kept}: {ap(fewer, limit):.2f} (fixed {ap(fewer, 'fixed'):.2f})")
        show(f"{name:{width}s}  {'  '.join(cells)}")


def _board(by_category: pl.DataFrame) -> Leaderboard:
    from policyrank.evidence import Scores
    from policyrank.ranking import aggregate

    columns = by_category.select("policy", "task", "score")
    return aggregate(Scores.of(*columns.get_columns()))
