"""``policyrank score`` and ``policyrank generate``: who scores answers, and the best of several."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from policyrank.cli.answer_options import (
    Judging,
    Model,
    Prompts,
    Samples,
    Temperature,
    Texts,
    Tokens,
    read_prompts,
    tell,
)
from policyrank.cli.options import OUT, TUNE, Seed, check_writable
from policyrank.cli.output import say, working, wrote
from policyrank.errors import EvidenceError

LABELS = ("scores", "ranks", "chosen", "tree", "label")
"""Columns that rank the completions of a row."""
OURS = ("scores", "ranks", "answer", "tree")
"""Columns that are written; the file's own of that name are kept as ``given_...``."""
CHUNK = 128
"""Prompts that are scored between two tellings of how far it is."""


class Asked(NamedTuple):
    """A row: its columns, prompt, completions, and labels (higher is better) where it has them."""

    row: Mapping[str, Any]
    prompt: Any
    answers: list[Any]
    labels: list[float] | None


def score_answers(
    file: Path,
    /,
    *,
    judging: Judging = Judging(),
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    texts: Texts = Texts(),
) -> None:
    """Score and rank answers by a model or a program.

    A reward model, a judge, likelihood, or a program of yours. All columns of the file come back;
    its own scores as given_scores.

    Parameters
    ----------
    file
        JSONL, parquet or CSV with prompt and completions; with scores, ranks or a pair, the
        agreement is shown.
    out
        Write JSONL with scores and ranks here (otherwise to standard output).
    """
    check_writable(out)
    from policyrank.models.fitting import Seen
    from policyrank.models.provenance import about

    asked = _read(file)
    seen = Seen()
    scorer = judging.scorer(texts, seen)
    found = _scored(scorer, asked)
    rows = []
    for one, scores in zip(asked, found, strict=True):
        more = {"completions": one.answers, "scores": _plain(scores), "ranks": _ranks(scores)}
        rows.append(_renamed(one.row) | more)
    _write(rows, out)
    tell(seen, texts.of(judging.name, about(judging.name or "")))
    _tell_agreement(asked, found)


def _read(file: Path) -> list[Asked]:
    from policyrank.evidence.answer_rows import read_completion, read_prompt, read_row
    from policyrank.evidence.answers import read_rows

    asked = []
    for place, row in read_rows(file):
        if any(row.get(label) is not None for label in LABELS):
            found = read_row(place, row)
            labels = list(found.labels)
            if found.ranked:
                labels = [-label for label in labels]
            asked.append(Asked(row, found.prompt, list(found.completions), labels))
            continue
        given = row.get("completions", row.get("completion", row.get("answer")))
        if given is None:
            raise EvidenceError(f"{place}: no completions.")
        if isinstance(given, str):
            given = [given]
        answers = []
        for number, answer in enumerate(given, 1):
            answers.append(read_completion(f"{place}: completion {number}", answer))
        asked.append(Asked(row, read_prompt(place, row), answers, None))
    if not asked:
        raise EvidenceError(f"{file}: no rows.")
    return asked


def _scored(scorer: Any, asked: list[Asked]) -> list[list[float]]:
    """Scores, some prompts at a time, so that it can be told how far it is."""
    from policyrank.train.answer_progress import clock

    found: list[list[float]] = []
    began = time.monotonic()
    with working("Scoring ...") as update:
        for start in range(0, len(asked), CHUNK):
            some = asked[start : start + CHUNK]
            found += scorer([one.prompt for one in some], [one.answers for one in some])
            left = (time.monotonic() - began) / len(found) * (len(asked) - len(found))
            update(f"{len(found):,} of {len(asked):,} prompts, {clock(left)} left")
    return found


def _plain(scores: Iterable[float]) -> list[float | None]:
    """Scores for JSON, which has no NaN."""
    return [None if math.isnan(score) else score for score in scores]


def _ranks(scores: list[float]) -> list[int | None]:
    ranks: list[int | None] = []
    for own in scores:
        above = sum(other > own for other in scores)
        ranks.append(None if math.isnan(own) else 1 + above)
    return ranks


def _renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The file's columns, those that are written anew under another name."""
    return {f"given_{name}" if name in OURS else name: value for name, value in row.items()}


def _tell_agreement(asked: list[Asked], scores: list[list[float]]) -> None:
    """The share of pairs in the order of the file, lists as units."""
    import numpy as np

    from policyrank.board.bounded import share_interval

    right = []
    for one, found in zip(asked, scores, strict=True):
        if one.labels is None:
            continue
        own, values = np.asarray(one.labels), np.asarray(found)
        better = (own[:, None] > own[None, :]) & np.isfinite(values[:, None] - values[None, :])
        if better.any():
            agrees = 0.5 + 0.5 * np.sign(values[:, None] - values[None, :])
            right.append(float(agrees[better].mean()))
    if not right:
        return
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
    texts: Texts = Texts(),
    seed: Annotated[Seed, Parameter(group=TUNE)] = 0,
) -> None:
    """Answer prompts, by the best of several where somebody scores them.

    Each row has all completions beside the columns of the file; with --reward, --judge,
    --likelihood or --program also their scores, which `train preference` reads, and the best one as
    the answer.

    Parameters
    ----------
    out
        Write JSONL here (otherwise to standard output).
    """
    check_writable(out)
    from policyrank.models.fitting import Seen
    from policyrank.models.language import load_causal_lm, sample
    from policyrank.models.provenance import about

    asked, given = read_prompts(prompts)
    seen, unread = Seen(), Seen()
    scorer = None if judging.name is None else judging.scorer(texts, seen)
    loaded, tokenizer = load_causal_lm(model)
    read = texts.of(model, about(model))
    with working("Sampling ...") as update:
        made = sample(
            loaded,
            tokenizer,
            asked,
            n=samples,
            max_new_tokens=tokens,
            temperature=temperature,
            seed=seed,
            chat=read.chat,
            seen=unread,
            report=lambda done, of: update(f"{done} of {of} prompts"),
        )
    answers = [[one.text for one in own] for own in made]
    scores = None if scorer is None else scorer(asked, answers)
    rows = []
    for k, (row, own) in enumerate(zip(given, answers, strict=True)):
        more: dict[str, Any] = {"completions": own}
        if scores is not None:
            more |= {"scores": _plain(scores[k]), "answer": _best(own, scores[k])}
        elif len(own) == 1:
            more["answer"] = own[0]
        rows.append(_renamed(row) | more)
    _write(rows, out)
    _tell_samples(made, unread.long, tokens)
    if scorer is not None:
        tell(seen, read)


def _best(answers: list[str], scores: list[float]) -> str | None:
    """The best answer, the first of ties; none where none could be scored."""
    known = [k for k, score in enumerate(scores) if not math.isnan(score)]
    if not known:
        return None
    return answers[max(known, key=lambda k: scores[k])]


def _tell_samples(made: list[list[Any]], unread: int, tokens: int) -> None:
    """What to know of the sampled answers."""
    answers = [one for own in made for one in own]
    if unread:
        say(f"! no answer to {unread:,} prompts that fill the model's context")
    cut = sum(not one.ended for one in answers)
    if cut:
        say(f"! {cut:,} of {len(answers):,} answers were cut at {tokens} tokens (--tokens)")
    empty = sum(not one.text.strip() for one in answers)
    if empty:
        say(f"! {empty:,} of {len(answers):,} answers are empty")


def _write(rows: Iterable[dict[str, Any]], path: Path | None) -> None:
    """JSONL to a file, or to standard output."""
    lines = [json.dumps(row, ensure_ascii=False, default=_as_json) + "\n" for row in rows]
    if path is None:
        sys.stdout.write("".join(lines))
        return
    path.write_text("".join(lines), encoding="utf-8")
    wrote(path)


def _as_json(value: Any) -> Any:
    """What is no JSON itself: conversations as their messages, others as texts."""
    return list(value) if hasattr(value, "messages") else str(value)
