"""``policyrank score`` and ``policyrank generate``: who scores answers, and the best of several."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from policyrank.cli.answer_options import (
    Judging,
    Model,
    Program,
    Prompts,
    Samples,
    Temperature,
    Texts,
    Tokens,
    read_prompts,
    tell,
)
from policyrank.cli.options import OUT, TUNE, Seed, check_writable
from policyrank.cli.output import say, show_exactly, working, wrote
from policyrank.errors import EvidenceError
from policyrank.files import write_text

OURS = ("scores", "ranks", "answer", "tree")
"""Columns that are written; the file's own of that name are kept as ``given_...``."""
CHUNK = 128
"""Prompts that are scored between two tellings of how far it is."""


class Asked(NamedTuple):
    """A row that is scored.

    Attributes
    ----------
    place
        where it was read, for messages
    row
        its columns, with the prompt as it was read
    prompt, answers
        what is scored
    written
        the answers as they are written: cut into steps where they came so
    labels
        of each answer, higher is better; NaN where there is none
    """

    place: str
    row: Mapping[str, Any]
    prompt: Any
    answers: list[Any]
    written: list[Any]
    labels: list[float]


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
    judging.check(texts)
    from policyrank.evidence.answer_prompts import renamed
    from policyrank.models.fitting import Seen
    from policyrank.models.provenance import about

    asked = _read(file)
    seen = Seen()
    scorer = judging.scorer(texts, seen)
    found = _finite(_scored(scorer, asked))
    _tell_program(scorer)
    tell(seen, texts.of(judging.name, about(judging.name or "")))
    _refuse_nothing(file, found)
    rows = []
    for one, scores in zip(asked, found, strict=True):
        more = {"completions": one.written, "scores": _plain(scores), "ranks": _ranks(scores)}
        rows.append(renamed(one.row, OURS) | more)
    _write(rows, out)
    _tell_agreement(asked, found)


def _read(file: Path) -> list[Asked]:
    from policyrank.evidence.answer_prompts import with_prompt
    from policyrank.evidence.answer_rows import read_candidates
    from policyrank.evidence.answers import read_rows

    asked = []
    for place, row in read_rows(file):
        found = read_candidates(place, row)
        labels = list(found.labels)
        if found.ranked:
            labels = [-label for label in labels]
        written: list[Any] = list(found.completions)
        if found.steps is not None:
            written = [list(steps) for steps in found.steps]
        kept = with_prompt(place, row, found.prompt)
        asked.append(Asked(place, kept, found.prompt, list(found.completions), written, labels))
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
            found += _of_some(scorer, some)
            left = (time.monotonic() - began) / len(found) * (len(asked) - len(found))
            update(f"{len(found):,} of {len(asked):,} prompts, {clock(left)} left")
    return found


def _of_some(scorer: Any, asked: Sequence[Asked]) -> list[list[float]]:
    """Scores of some rows; what cannot be scored is looked for, so that its place can be told."""
    try:
        return scorer([one.prompt for one in asked], [one.answers for one in asked])
    except EvidenceError:
        for one in asked:
            try:
                scorer([one.prompt], [one.answers])
            except EvidenceError as error:
                raise EvidenceError(f"{one.place}: {error}") from None
        raise


def _finite(scores: list[list[float]]) -> list[list[float]]:
    """Scores, infinite ones as NaN, which is said."""
    infinite = 0
    found = []
    for own in scores:
        infinite += sum(map(math.isinf, own))
        found.append([math.nan if math.isinf(score) else score for score in own])
    if infinite:
        say(f"! {infinite:,} infinite scores are written as null")
    return found


def _tell_program(scorer: Any) -> None:
    """Say what a user's program did not score."""
    if isinstance(scorer, Program):
        scorer.tell()


def _refuse_nothing(file: Path, scores: list[list[float]]) -> None:
    """Refuse to write a file in which every score would be null."""
    every = list(chain.from_iterable(scores))
    if every and all(map(math.isnan, every)):
        raise EvidenceError(f"{file}: none of its {len(every):,} answers could be scored.")


def _plain(scores: Iterable[float]) -> list[float | None]:
    """Scores for JSON, which has no NaN."""
    return [None if math.isnan(score) else score for score in scores]


def _ranks(scores: list[float]) -> list[int | None]:
    ranks: list[int | None] = []
    for own in scores:
        above = sum(other > own for other in scores)
        ranks.append(None if math.isnan(own) else 1 + above)
    return ranks


def _tell_agreement(asked: list[Asked], scores: list[list[float]]) -> None:
    """The share of pairs in the order of the file, lists as units."""
    import numpy as np

    from policyrank.board.bounded import share_interval

    right = []
    for one, found in zip(asked, scores, strict=True):
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
    from policyrank.evidence.answer_prompts import renamed
    from policyrank.models.fitting import Seen
    from policyrank.models.language import load_causal_lm, sample
    from policyrank.models.provenance import about
    from policyrank.models.sampling import context_of

    asked, given = read_prompts(prompts)
    seen, unread = Seen(), Seen()
    scorer = None if judging.name is None else judging.scorer(texts, seen)
    loaded, tokenizer = load_causal_lm(model)
    read = texts.of(model, about(model))
    limit = min(read.max_length, context_of(loaded))
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
            room=limit - min(tokens, limit - limit // 2),
            long_prompts=read.long_prompts,
            seen=unread,
            report=lambda done, of: update(f"{done} of {of} prompts"),
        )
    answers = [[one.text for one in own] for own in made]
    scores = None if scorer is None else _finite(scorer(asked, answers))
    rows = []
    for k, (row, own) in enumerate(zip(given, answers, strict=True)):
        more: dict[str, Any] = {"completions": own}
        if scores is not None:
            more |= {"scores": _plain(scores[k]), "answer": _best(own, scores[k])}
        elif len(own) == 1:
            more["answer"] = own[0]
        rows.append(renamed(row, OURS) | more)
    _write(rows, out)
    for note in unread.notes(limit, read.long_prompts):
        say(f"! {note}")
    _tell_samples(made, tokens)
    if scorer is not None:
        tell(seen, read)
        _tell_program(scorer)


def _best(answers: list[str], scores: list[float]) -> str | None:
    """The best answer, the first of ties; none where none could be scored."""
    known = [k for k, score in enumerate(scores) if not math.isnan(score)]
    if not known:
        return None
    return answers[max(known, key=lambda k: scores[k])]


def _tell_samples(made: list[list[Any]], tokens: int) -> None:
    """What to know of the sampled answers."""
    answers = [one for own in made for one in own]
    cut = sum(not one.ended for one in answers)
    if cut:
        said = f"{cut:,} of {len(answers):,} answers were cut at {tokens} tokens (--tokens)"
        say(f"! {said}, or where the context ends")
    empty = sum(not one.text.strip() for one in answers)
    if empty:
        say(f"! {empty:,} of {len(answers):,} answers are empty")


def _write(rows: Iterable[dict[str, Any]], path: Path | None) -> None:
    """JSONL to a file, or to standard output."""
    lines = [_line(row) + "\n" for row in rows]
    if path is None:
        show_exactly("".join(lines))
        return
    write_text(path, "".join(lines))
    wrote(path)


def _line(row: Mapping[str, Any]) -> str:
    """A row as JSON, which has neither NaN nor Infinity: null stands for them."""
    try:
        return json.dumps(row, ensure_ascii=False, default=_as_json, allow_nan=False)
    except ValueError:
        return json.dumps(_nulled(row), ensure_ascii=False, default=_as_json, allow_nan=False)


def _nulled(value: Any) -> Any:
    """Numbers that are not finite as None, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _nulled(of) for name, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nulled(of) for of in value]
    return value


def _as_json(value: Any) -> Any:
    """What is no JSON itself: conversations as their messages, others as texts."""
    return list(value) if hasattr(value, "messages") else str(value)
