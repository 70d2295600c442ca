"""``policyrank score`` and ``policyrank generate``: who scores answers, and the best of several."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from policyrank.cli.answer_options import (
    Judging,
    MaxLength,
    Model,
    Plain,
    Prompts,
    Samples,
    Temperature,
    Tokens,
    read_prompts,
)
from policyrank.cli.options import OUT, TUNE, Seed, check_writable
from policyrank.cli.output import say, working, wrote
from policyrank.errors import EvidenceError

LABELS = ("scores", "ranks", "chosen", "tree")
"""Columns that rank the completions of a row."""


class Asked(NamedTuple):
    """Prompts, the completions of each, and their labels where the file has them."""

    prompts: list[Any]
    answers: list[list[str]]
    labels: list[Any] | None


def score_answers(
    file: Path,
    /,
    *,
    judging: Judging = Judging(),
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    max_length: MaxLength = 1024,
    plain: Plain = False,
) -> None:
    """Score and rank answers by a model or a program.

    A reward model, a judge, likelihood, or a program of yours.

    Parameters
    ----------
    file
        JSONL, parquet or CSV with prompt and completions; with scores, ranks or a pair, the
        agreement is shown.
    out
        Write JSONL with scores and ranks here (otherwise to standard output).
    """
    check_writable(out)
    asked = _read(file)
    found = judging.scorer(max_length, plain)(asked.prompts, asked.answers)
    rows = []
    for prompt, texts, scores in zip(asked.prompts, asked.answers, found, strict=True):
        ranks = [1 + sum(other > own for other in scores) for own in scores]
        rows.append({"prompt": prompt, "completions": texts, "scores": scores, "ranks": ranks})
    _write(rows, out)
    if asked.labels is not None:
        _tell_agreement(asked.labels, found)


def _read(file: Path) -> Asked:
    from policyrank.evidence.answers import read_answers, read_rows, text_of

    rows = list(read_rows(file))
    if not rows:
        raise EvidenceError(f"{file}: no rows.")
    if all(any(row.get(label) is not None for label in LABELS) for _, row in rows):
        sets = read_answers(file)
        for note in sets.notes:
            say(f"! {note}")
        answers = [list(one.completions) for one in sets]
        return Asked([one.prompt for one in sets], answers, [one.labels for one in sets])
    asked = Asked([], [], None)
    for place, row in rows:
        if not row.get("prompt") or not row.get("completions"):
            raise EvidenceError(f"{place}: no prompt or no completions.")
        asked.prompts.append(row["prompt"])
        asked.answers.append([text_of(answer) for answer in row["completions"]])
    return asked


def _tell_agreement(labels: list[Any], scores: list[Any]) -> None:
    """The share of pairs in the order of the file, lists as units."""
    import numpy as np

    from policyrank.board.bounded import share_interval

    right = []
    for own, found in zip(labels, scores, strict=True):
        own, found = np.asarray(own), np.asarray(found)
        better = own[:, None] > own[None, :]
        agrees = 0.5 + 0.5 * np.sign(found[:, None] - found[None, :])
        right.append(float(agrees[better].mean()))
    low, high = share_interval(right)
    interval = f"[{low:.1%}, {high:.1%}]"
    say(
        f"pairs in the order of the file: {np.mean(right):.1%} {interval} over {len(right):,} lists"
    )


def generate_answers(
    prompts: Prompts,
    /,
    *,
    model: Model,
    judging: Judging = Judging(),
    samples: Samples = 8,
    tokens: Tokens = 128,
    temperature: Temperature = 0.7,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    max_length: MaxLength = 1024,
    plain: Plain = False,
    seed: Annotated[Seed, Parameter(group=TUNE)] = 0,
) -> None:
    """Answer prompts by the best of several.

    Each row has the answer, and all completions with their scores, which `train preference` reads.

    Parameters
    ----------
    out
        Write JSONL here (otherwise to standard output).
    """
    check_writable(out)
    asked = read_prompts(prompts)
    scorer = judging.scorer(max_length, plain)
    from policyrank.models.language import load_causal_lm
    from policyrank.train.judges import best_of_n, sampler

    with working("Sampling …") as update:
        policy = sampler(
            *load_causal_lm(model),
            max_new_tokens=tokens,
            temperature=temperature,
            seed=seed,
            chat=False if plain else None,
            report=lambda done, of: update(f"{done} of {of} prompts"),
        )
        best, made, scores = best_of_n(asked, policy, scorer, samples)
    names = ("prompt", "answer", "completions", "scores")
    rows = zip(asked, best, made, scores, strict=True)
    _write((dict(zip(names, row, strict=True)) for row in rows), out)


def _write(rows: Iterable[dict[str, Any]], path: Path | None) -> None:
    """JSONL to a file, or to standard output."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if path is None:
        sys.stdout.write(text)
        return
    path.write_text(text, encoding="utf-8")
    wrote(path)
