"""``policyrank train filter``: which of a prompt's answers to learn from, told before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import (
    METHOD,
    OUT,
    READ,
    UNSURE,
    Json,
    Level,
    Seed,
    Whole,
    check_table,
)
from policyrank.cli.output import print_json, show, working, write_table


def choose_filter(
    *,
    logged: Annotated[Path, Parameter(name="--from", group=READ)],
    prompt: Annotated[list[str] | None, Parameter(group=READ)] = None,
    reward: Annotated[str | None, Parameter(group=READ)] = None,
    score: Annotated[str | None, Parameter(group=READ)] = None,
    groups: Annotated[Whole, Parameter(group=METHOD, validator=Number(gte=3))] = 20,
    threshold: Annotated[float | None, Parameter(group=METHOD)] = None,
    bottom: Annotated[float | None, Parameter(group=METHOD)] = None,
    level: Level = 0.95,
    resamples: Annotated[Whole, Parameter(group=UNSURE, validator=Number(gte=20))] = 1000,
    seed: Seed = 0,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    json: Json = False,
) -> None:
    """Which answers to train on: filters by how far the reward can be trusted where they look.

    Of logged answers with a reward and a true score: R^2 of score on reward for each filter, its
    interval over prompts, and how many answers must be generated for one that is learned from.

    Example:

      policyrank train filter --from answers.jsonl --reward rm_score --score passed

    Parameters
    ----------
    logged
        JSONL, parquet or CSV: a row an answer, or a row a prompt with lists.
    prompt
        Column that says whose answer it is; repeatable (prompt and step).
    reward
        Column of the reward that would be trained on.
    score
        Column of the true score: a number, or true and false.
    groups
        Groups of like rewards that a line is laid through.
    threshold
        Compare filters by the reward itself too: answers above it.
    bottom
        With a threshold: answers above that, and below this.
    resamples
        Times that prompts are drawn anew.
    out
        Write the table: .csv, .parquet or .jsonl.
    """
    check_table(out)
    with working(f"Reading {logged} …") as update:
        from policyrank.train import compare_filters, read_logged

        found = read_logged(logged, prompt=prompt, reward=reward, score=score)
        update("Drawing prompts anew …")
        report = compare_filters(
            found,
            bins=groups,
            level=level,
            resamples=resamples,
            seed=seed,
            threshold=threshold,
            bottom=bottom,
        )
    if json:
        print_json(report.to_dict())
    else:
        show(report)
    if out is not None:
        write_table(report.frame, out)
