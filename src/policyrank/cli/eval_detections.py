"""``policyrank eval-detections``: detectors against ground truth, ranked, and whether the order can
be gamed.
"""

from __future__ import annotations

import json as js
from pathlib import Path
from typing import Annotated

import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError


def eval_detections(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="DETECTIONS... TRUTH",
            help="COCO result files, then the COCO or LVIS ground truth (JSON, gzipped or not).",
        ),
    ],
    budget: Annotated[
        str,
        typer.Option(
            help=(
                "Which detections count: fixed (10,000 a class, AP-Fixed), lvis (300 an image),"
                " coco (100 an image and class), none."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = "fixed",
    masks: Annotated[
        bool,
        typer.Option(
            "--masks",
            help="Compare masks instead of boxes (extra detection).",
            rich_help_panel=c.METHOD,
        ),
    ] = False,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help=(
                "Also: what keeping only the best 50, 200 and 1,000 of each class would do to AP"
                " under a limit an image."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write AP by category (.csv, .parquet).", rich_help_panel=c.OUT),
    ] = None,
    html: c.Html = None,
    json: c.Json = False,
) -> None:
    """Score detectors, category by category, and rank them with intervals.

    AP-Fixed cannot be changed by rescaling the scores of a class; AP under a limit an image can.
    AP-Pool asks for scores that mean the same in all classes.
    """
    import numpy as np
    import polars as pl

    from policyrank.evidence import Scores
    from policyrank.evidence.detections import read_detections, read_ground_truth
    from policyrank.metrics.detection import BUDGETS, Budget, Overlap, detection_ap, gamed
    from policyrank.ranking import aggregate

    if len(files) < 2:
        raise typer.BadParameter("give at least one file of detections, and last the ground truth.")
    if budget not in BUDGETS:
        raise typer.BadParameter(f"--budget: use {', '.join(BUDGETS)}.")
    c.check_writable(out, html)
    truth = read_ground_truth(files[-1])
    names = [f.stem for f in files[:-1]]
    if len(set(names)) < len(names):
        raise EvidenceError(
            "two files of detections have the same name: rename one, names tell detectors apart."
        )
    overlap: Overlap = "mask" if masks else "box"
    results, found = {}, {}
    with c.working("Matching …") as update:
        for path, name in zip(files[:-1], names, strict=True):
            update(f"{name} …")
            found[name] = read_detections(path, truth, name)
            try:
                results[name] = detection_ap(truth, found[name], budget=budget, overlap=overlap)
            except (ValueError, ModuleNotFoundError) as error:
                raise EvidenceError(f"{path}: {error}") from None
    frame = pl.concat(
        [
            pl.DataFrame(
                {"policy": [name] * len(truth.names), "task": truth.names, "score": r.by_category()}
            )
            for name, r in results.items()
        ]
    ).filter(pl.col("score").is_not_nan())
    if out is not None:
        (frame.write_parquet if out.suffix == ".parquet" else frame.write_csv)(out)
        c.written(out)
    summaries = {name: r.summary() for name, r in results.items()}
    if json:
        print(js.dumps(summaries, indent=1))
        return
    keys = list(next(iter(summaries.values())))
    width = max(len(n) for n in names)
    print(" " * width + "".join(f"{k:>10s}" for k in keys))
    for name in sorted(names, key=lambda n: -summaries[n]["AP"]):
        print(f"{name:{width}s}" + "".join(f"{100 * summaries[name][k]:10.2f}" for k in keys))
        if results[name].thin and budget == "fixed":
            c.say(
                f"! {name}: {results[name].thin:,} of {len(truth.names):,} categories have fewer"
                " than 10,000 detections; AP-Fixed compares detectors that gave that many, or all"
                " they had"
            )
    if audit:
        limit: Budget = ("image", 300) if truth.federated else ("image", 100)
        print(
            f"\nAP with at most {limit[1]} detections an image, before and after keeping only the"
            " best of each class first, beside AP-Fixed:"
        )
        for name in names:
            own = found[name]
            cells = [
                f"{100 * detection_ap(truth, own, budget=limit, overlap=overlap).summary()['AP']:.2f}"
            ]
            for n in (1000, 200, 50):
                fewer = own.take(gamed(own, n))
                a, b = (
                    100 * detection_ap(truth, fewer, budget=rule, overlap=overlap).summary()["AP"]
                    for rule in (limit, "fixed")
                )
                cells.append(f"best {n}: {a:.2f} (fixed {b:.2f})")
            print(f"{name:{width}s}  {'  '.join(cells)}")
    if len(names) > 1:
        board = aggregate(
            Scores.of(
                frame["policy"].to_list(), frame["task"].to_list(), np.asarray(frame["score"])
            )
        )
        print("\nAP by category (a category is a task):")
        print(board)
        if html is not None:
            board.to_html(html)
            c.written(html)
