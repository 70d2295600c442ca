"""Logs of training as TRL, verl, OpenRLHF, Weights & Biases and this library write them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from policyrank.errors import EvidenceError
from policyrank.evidence import tables
from policyrank.evidence.sources import open_source
from policyrank.train.log_records import Record, number_of, records_of

Values = tuple[float | None, ...]

STEPS = (
    "step", "global_step", "training/global_step", "_step", "trainer/global_step", "iteration",
    "update", "episode",
)  # fmt: skip
NAMES: dict[str, tuple[str, ...]] = {
    "kl": (
        "kl", "kl_of_outputs", "objective/kl", "actor/kl_loss", "kl_loss",
        "actor/reward_kl_penalty",
    ),
    "entropy": (
        "entropy", "policy/entropy_avg", "actor/entropy", "actor/entropy_loss",
        "ppo/policy/entropy", "entropy_loss",
    ),
    "perplexity": (
        "perplexity", "ppl", "rollout_corr/training_ppl", "training_ppl",
    ),
    "length": (
        "completions/mean_length", "completion_length", "response_length/mean", "response_length",
        "tokens/responses_len_mean", "tokens",
    ),
    "cut": ("completions/clipped_ratio", "response_length/clip_ratio", "cut"),
    "reward": (
        "reward", "objective/scores", "critic/score/mean", "critic/rewards/mean",
        "ppo/mean_scores", "env/reward_mean", "objective/rlhf_reward",
    ),
    "reward_spread": ("reward_std", "ppo/std_scores", "env/reward_std", "reward_spread"),
    "reward_max": ("critic/score/max", "critic/rewards/max"),
    "silent": ("frac_reward_zero_std", "silent"),
    "clip_share": (
        "clip_ratio/region_mean", "clip_ratio", "policy/clipfrac_avg", "actor/pg_clipfrac",
        "ppo/policy/clipfrac", "ppo_clip_ratio", "clip_share",
    ),
    "step_kl": ("policy/approxkl_avg", "actor/ppo_kl", "ppo/policy/approxkl", "ppo_kl"),
    "value_loss": (
        "loss/value_avg", "critic/vf_loss", "ppo/loss/value", "critic_loss", "value_loss",
        "value_error",
    ),
    "explained": (
        "critic/vf_explained_var", "ppo/val/var_explained", "explained", "value_explained",
    ),
    "gradient": ("grad_norm", "actor/grad_norm"),
}  # fmt: skip
"""Signal -> the columns that hold it: TRL's GRPO, RLOO and former PPO trainers, verl, OpenRLHF, and
this library's. ``train/`` before a name, as trackers have it, is left off. ``reward_max`` makes
``reward_tail`` with mean and deviation.
"""


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """What was logged, step by step.

    Attributes
    ----------
    steps
        in their order
    values
        signal -> a value each step, None where it was not logged
    columns
        signal -> the column that was read as it
    others
        numeric columns that are no signal
    notes
        what was left out, and what was guessed
    name
        of the file
    """

    steps: tuple[float, ...]
    values: Mapping[str, Values]
    columns: Mapping[str, str]
    others: tuple[str, ...]
    notes: tuple[str, ...]
    name: str

    def rows(self) -> Iterator[tuple[float, dict[str, float]]]:
        """Each step with what was logged at it."""
        for place, step in enumerate(self.steps):
            found = {name: own[place] for name, own in self.values.items()}
            yield step, {name: value for name, value in found.items() if value is not None}


def signals_of(names: Sequence[str]) -> dict[str, str]:
    """Signal -> the first of its usual columns that is among ``names``.

    Examples
    --------
    >>> signals_of(["step", "train/kl", "completions/mean_length"])
    {'kl': 'train/kl', 'length': 'completions/mean_length'}
    """
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(name.removeprefix("train/"), name)
    found = {}
    for signal, usual in NAMES.items():
        there = [plain[name] for name in usual if name in plain]
        if there:
            found[signal] = there[0]
    return found


def read_training_log(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    step: str | None = None,
    run: str | None = None,
) -> TrainingLog:
    """A log of training: of anyone's, told by its content.

    ``trainer_state.json`` or its ``log_history``, lines of JSON (verl's file logger, this library's
    log.jsonl, a history of Weights & Biases), console output of verl and transformers, and tables
    (CSV, parquet) with a column a number, as trackers export them.

    Parameters
    ----------
    columns
        signal -> column, where its name is not a usual one
    step
        column of the step; None: one with a usual name, else the order of rows
    run
        which run of a chart that shows several

    Raises
    ------
    EvidenceError
        When nothing in it is a log, a column is missing, or runs are mixed.
    """
    found = open_source(source) if isinstance(source, (str, Path)) else source
    records, notes = records_of(found)
    records, told = _one_run(records, run, found.name)
    notes += told
    if not records:
        raise EvidenceError(f"{found.name}: nothing was logged. Give the log of a training run.")
    names = list(dict.fromkeys(name for record in records for name in record))
    chosen = _chosen(names, columns or {}, found.name)
    axis = step if step is not None else _axis(names)
    if step is not None and step not in names:
        raise EvidenceError(
            f"{found.name}: no column {step!r} for the step. It has: {tables.listing(names)}."
        )
    if axis is None:
        notes.append("no column of the step was found: rows are counted")
    by_step, again, without, stepless = _by_step(records, axis, set(chosen.values()))
    if again:
        notes.append(f"{again:,} steps were logged again (a run that went on?): the last counts")
    if without:
        notes.append(f"{without:,} rows hold none of the signals (evaluation, or other numbers)")
    if stepless:
        notes.append(f"{stepless:,} rows name no step: they count with the step before them")
    steps = sorted(by_step)
    values: dict[str, Values] = {
        signal: tuple(by_step[place].get(column) for place in steps)
        for signal, column in chosen.items()
    }
    values |= _tail(values)
    values.pop("reward_max", None)
    others = [name for name in names if name not in chosen.values() and name != axis]
    numeric = [
        name for name in others if any(number_of(row.get(name)) is not None for row in records)
    ]
    return TrainingLog(tuple(steps), values, chosen, tuple(numeric), tuple(notes), found.name)


def _chosen(names: Sequence[str], told: Mapping[str, str], name: str) -> dict[str, str]:
    for signal, column in told.items():
        if column not in names:
            raise EvidenceError(
                f"{name}: no column {column!r} for {signal}. It has: {tables.listing(names)}."
            )
    chosen = signals_of(names) | dict(told)
    if not chosen:
        raise EvidenceError(
            f"{name}: none of its columns is a known signal. It has: {tables.listing(names)}; name"
            " them (--column kl=COLUMN)."
        )
    return chosen


def _axis(names: Sequence[str]) -> str | None:
    plain = {name.removeprefix("train/").lower(): name for name in reversed(names)}
    return next((plain[name] for name in STEPS if name in plain), None)


def _by_step(
    records: Sequence[Record], axis: str | None, wanted: set[str]
) -> tuple[dict[float, dict[str, float]], int, int, int]:
    """What was logged at each step; steps that come again, rows without a signal, or a step."""
    found: dict[float, dict[str, float]] = {}
    furthest, again, without, stepless = -math.inf, set(), 0, 0
    last = 0.0
    for place, record in enumerate(records):
        own = {name: number_of(record.get(name)) for name in wanted}
        known = {name: value for name, value in own.items() if value is not None}
        step = number_of(record[axis]) if axis is not None and axis in record else None
        if axis is None:
            step = float(place)
        if not known:
            without += 1
            continue
        if step is None or not math.isfinite(step):
            step = last
            stepless += 1
        if step < furthest or (step == furthest and known.keys() & found.get(step, {}).keys()):
            again.add(step)
        furthest, last = max(furthest, step), step
        found.setdefault(step, {}).update(known)
    return found, len(again), without, stepless


def _tail(values: Mapping[str, Values]) -> dict[str, Values]:
    """How far the best reward is above the mean, in deviations, where all three were logged."""
    if any(name not in values for name in ("reward", "reward_spread", "reward_max")):
        return {}
    found: list[float | None] = []
    parts = (values["reward_max"], values["reward"], values["reward_spread"])
    for most, mean, spread in zip(*parts, strict=True):
        there = most is not None and mean is not None and spread is not None and spread > 0
        found.append((most - mean) / spread if there else None)  # type: ignore[operator]
    return {"reward_tail": tuple(found)}


def _one_run(records: list[Record], run: str | None, name: str) -> tuple[list[Record], list[str]]:
    """The columns of one run, where a chart's export names runs before them; bands left out."""
    names = list(dict.fromkeys(column for record in records for column in record))
    charted = [column for column in names if " - " in column]
    runs = sorted({column.rpartition(" - ")[0] for column in charted})
    if not runs:
        if run is not None:
            raise EvidenceError(f"{name}: its columns name no runs, and --run {run} asks for one.")
        return records, []
    if run is None and len(runs) > 1:
        raise EvidenceError(f"{name}: it shows {len(runs)} runs; name one (--run): {runs[:8]}.")
    chosen = run or runs[0]
    if chosen not in runs:
        raise EvidenceError(f"{name}: no run {chosen!r}; it has {runs[:8]}.")
    kept = []
    for record in records:
        own = {}
        for column, value in record.items():
            owner, mark, metric = column.rpartition(" - ")
            if mark and owner == chosen and not metric.endswith(("__MIN", "__MAX")):
                own[metric] = value
            elif not mark:
                own[column] = value
        kept.append(own)
    return kept, [f"of the runs in it, {chosen!r} is read"] if len(runs) > 1 else []
