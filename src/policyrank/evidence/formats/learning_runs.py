"""Runs of reinforcement learning: stable-baselines3, rliable's data, Dopamine's baselines."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.entries import of_shape
from policyrank.evidence.formats.results import Score, Wanted, read_as, scores_of
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_MEASURES = {"results": "return", "successes": "success", "ep_lengths": "length"}
_ENVIRONMENT = re.compile(r"(.+-v\d+)_(\d+)")
"""Folder of a run in RL Zoo, below that of the algorithm."""


class _Whose(NamedTuple):
    policy: str
    task: str
    run: str


def refuse_monitor(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Monitor files hold returns along training, of a policy that changes."""
    raise EvidenceError(
        f"{wanted.account.name}: a monitor file of stable-baselines3 holds returns during training,"
        " and the policy changes all the while. Give evaluations.npz of EvalCallback, or a table of"
        " policy, seed and the score of the trained policy."
    )


def read_evaluations(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """evaluations.npz of EvalCallback: the last evaluation, its episodes as replicates."""
    field = wanted.metric or "results"
    rows: list[Score] = []
    ends: dict[str, int] = {}
    folders = _folders_apart(sources)
    for source in sources:
        arrays = _arrays(source)
        if field not in arrays or field not in _MEASURES:
            there = [name for name in _MEASURES if name in arrays]
            raise EvidenceError(f"{source.name}: no {field!r}. It has: {listed(there)}.")
        whose = _whose(source, folders.get(source, ""))
        ends[source.name] = int(arrays["timesteps"][-1])
        for episode, value in enumerate(arrays[field][-1]):
            replicate = f"{whose.run}{episode}"
            rows.append(Score(whose.policy, whose.task, float(value), replicate=replicate))
    wanted.account.note("the last evaluation of each run, not the best")
    if len(set(ends.values())) > 1:
        parts = [f"{name} at {step:,}" for name, step in ends.items()]
        wanted.account.note(f"the runs end at different numbers of steps: {listed(parts, most=4)}")
    wanted.account.guess(
        "policies named by the folders of the files", "Give a table with a policy column."
    )
    read_as(
        wanted.account,
        "evaluations of stable-baselines3",
        sources,
        f"{_MEASURES[field]} of each episode",
    )
    return scores_of(rows, wanted.account)


def _arrays(source: Source) -> dict[str, NDArray[Any]]:
    """The arrays of a file: rows are evaluations, columns episodes."""
    faults = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
    try:
        with np.load(io.BytesIO(source.content), allow_pickle=False) as file:
            found = {name: file[name] for name in ("timesteps", *_MEASURES) if name in file.files}
            steps = np.atleast_1d(found.pop("timesteps")).astype(float)
            tables = {name: np.asarray(array, dtype=float) for name, array in found.items()}
    except (*faults, KeyError, TypeError) as error:
        raise EvidenceError(
            f"{source.name}: no evaluations of stable-baselines3 in it ({error}). Copy it again."
        ) from None
    shaped = {name: table.reshape(len(table), -1) for name, table in tables.items() if table.ndim}
    if not len(steps) or any(len(table) != len(steps) for table in shaped.values()):
        raise EvidenceError(
            f"{source.name}: timesteps and results differ in length. Write it again."
        )
    if not np.isfinite(steps).all():
        raise EvidenceError(f"{source.name}: a step is not finite. Write it again.")
    return {"timesteps": steps, **shaped}


def _folders_apart(sources: Sequence[Source]) -> dict[Source, str]:
    """The parts of the files' folders that differ."""
    folders = {source: [*source.parts[:-1]] for source in sources}
    for place in (0, -1):
        while len({tuple(parts) for parts in folders.values()}) > 1:
            if len({parts[place] if parts else "" for parts in folders.values()}) > 1:
                break
            for parts in folders.values():
                parts.pop(place)
    if len(sources) == 1:
        return {source: parts[-1] for source, parts in folders.items() if parts}
    return {source: "/".join(parts) for source, parts in folders.items()}


def _whose(source: Source, folder: str) -> _Whose:
    """The folder is the policy; in RL Zoo ALGORITHM/ENVIRONMENT_RUN it is the algorithm."""
    folders = ("", *source.parts[:-1])
    found = _ENVIRONMENT.fullmatch(folders[-1])
    if found is not None and len(folders) > 2:
        return _Whose(folders[-2], found[1], f"{found[2]}-")
    return _Whose(folder or source.stem, "final", "")


class _Record(msgspec.Struct):
    run_number: int
    iteration: int
    eval_average_return: float | None


def read_rliable(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """ALGORITHM/GAME.json of rliable's data: the last iteration of each run, raw returns."""
    rows: list[Score] = []
    missing: list[str] = []
    for source in sources:
        policy, task = (*("algorithm", *source.parts[:-1])[-1:], source.stem)
        last: dict[int, _Record] = {}
        for _, one in of_shape(source, _Record, wanted.account):
            before = last.get(one.run_number)
            if before is None or one.iteration > before.iteration:
                last[one.run_number] = one
        for run, one in last.items():
            if one.eval_average_return is None:
                missing.append(f"{policy} on {task}, run {run}")
            else:
                rows.append(Score(policy, task, one.eval_average_return, replicate=str(run)))
    wanted.account.unusable("no return at the last iteration", missing, "run")
    _say_raw(wanted)
    read_as(wanted.account, "rliable's data", sources, "policies by folders, games by file names")
    return scores_of(rows, wanted.account)


def _say_raw(wanted: Wanted) -> None:
    wanted.account.note(
        "the last iteration of each run, not the best; returns are raw: games differ in scale"
    )


class _Iteration(msgspec.Struct, rename="pascal"):
    iteration: int
    value: float | None
    agent: str


def read_dopamine(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """GAME.json of Dopamine: runs of an agent follow one another, each from iteration 0."""
    rows: list[Score] = []
    missing: list[str] = []
    for source in sources:
        runs: dict[str, list[list[_Iteration]]] = defaultdict(list)
        for _, one in of_shape(source, _Iteration, wanted.account):
            several = runs[one.agent]
            if not several or one.iteration <= several[-1][-1].iteration:
                several.append([])
            several[-1].append(one)
        for agent, several in runs.items():
            for run, steps in enumerate(several):
                value = steps[-1].value
                if value is None:
                    missing.append(f"{agent} on {source.stem}, run {run}")
                else:
                    rows.append(Score(agent, source.stem, value, replicate=str(run)))
    wanted.account.unusable("no value at the last iteration", missing, "run")
    _say_raw(wanted)
    wanted.account.note("values of Dopamine are returns during training")
    read_as(wanted.account, "Dopamine's baselines", sources, plural(len(rows), "run"))
    return scores_of(rows, wanted.account)
