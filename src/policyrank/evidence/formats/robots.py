"""Robots: RoboArena's sessions, SimplerEnv's videos, rollouts in a table."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import yaml

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.formats.duels import Duels
from policyrank.evidence.formats.entries import Record, of_shape, shaped
from policyrank.evidence.formats.results import Duel, Score, Wanted, read_as, scores_of
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_PREFERENCES = {"A": 1.0, "B": 0.0, "TIE": 0.5}


class _Robot(msgspec.Struct):
    policy_name: str


class _Session(msgspec.Struct):
    preference: str | None
    policies: dict[str, _Robot | None]
    language_instruction: str | None = None


def read_roboarena(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """metadata.yaml of RoboArena: the preference is about policies A and B only."""
    duels = Duels(wanted.account)
    without, further = [], 0
    for source in sources:
        one = _session(source)
        further += sum(one.policies[key] is not None for key in one.policies if key not in "AB")
        a, b = one.policies.get("A"), one.policies.get("B")
        if a is None or b is None or one.preference is None:
            without.append(source.name)
            continue
        outcome = _PREFERENCES.get(one.preference.strip().upper(), math.nan)
        duels.put(
            source.name, Duel(a.policy_name, b.policy_name, outcome, one.language_instruction)
        )
    if without:
        wanted.account.note(
            f"{plural(len(without), 'session')} left out, no comparison of A and B:"
            f" {listed(without, most=3)}"
        )
    if further:
        wanted.account.note(
            f"{plural(further, 'run')} of further policies (C, D) not used: no preference is about"
            " them"
        )
    wanted.account.note("progress and success of each policy are not used, only preferences")
    read_as(wanted.account, "RoboArena sessions", sources, "instructions as tasks")
    return duels.comparisons()


def _session(source: Source) -> _Session:
    try:
        value = yaml.safe_load(source.text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise EvidenceError(f"{source.name}: no valid YAML ({text}). Mend it.") from None
    return shaped(Record(source.name, value), _Session)


_VARIANTS = re.compile(r"AltGoogleCamera\d*|BakedTex[A-Z]?")


def read_simpler(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Videos of SimplerEnv, whose names tell the outcome: CHECKPOINT/SCENE/CONTROL/ENV/SETUP/."""
    rows: list[Score] = []
    for source in sources:
        if len(source.parts) < 6:
            raise EvidenceError(
                f"{source.name}: a video of SimplerEnv lies in CHECKPOINT/SCENE/CONTROL/ENV/SETUP."
                " Give the folder of the checkpoints."
            )
        policy, _, _, environment, setup, name = source.parts[-6:]
        found = re.match(r"(.+?)-v\d", environment)
        task = _VARIANTS.sub("", found[1] if found else environment)
        # the evaluator of the benchmark looks for the word success first
        success = "success" in name
        plain = "rgb_overlay_None" in setup
        kind = "variant aggregation" if plain else "visual matching"
        trial = "/".join(source.parts[-5:])
        rows.append(Score(policy, f"{task}, {kind}", float(success), replicate=trial))
    read_as(wanted.account, "SimplerEnv videos", sources, "outcomes from the file names")
    return scores_of(rows, wanted.account)


class _Rollouts(msgspec.Struct, rename={"success_failure": "Success/Failure"}):
    Task: str
    Method: str
    success_failure: str | None
    Panel: str | None = None
    Num_Rollouts: Any = None


def read_rollouts(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """A list of outcomes in each row: each rollout of a method is a replicate."""
    rows: list[Score] = []
    broken: list[str] = []
    found = [entry for source in sources for entry in of_shape(source, _Rollouts, wanted.account)]
    panels: dict[str, set[str | None]] = defaultdict(set)
    for _, one in found:
        panels[one.Task].add(one.Panel)
    for place, one in found:
        outcomes = _outcomes(one.success_failure)
        if not outcomes or str(one.Num_Rollouts or len(outcomes)) != str(len(outcomes)):
            broken.append(place)
            continue
        apart = len(panels[one.Task]) > 1 and one.Panel
        task = f"{one.Panel}: {one.Task}" if apart else one.Task
        for rollout, outcome in enumerate(outcomes):
            rows.append(Score(one.Method, task, outcome, replicate=str(rollout)))
    wanted.account.unusable(
        "Success/Failure is no list of True and False, one for each of Num_Rollouts", broken, "row"
    )
    wanted.account.note("rollouts of different methods are not paired")
    read_as(wanted.account, "robot rollouts", sources, plural(len(rows), "rollout"))
    return scores_of(rows, wanted.account)


def _outcomes(text: str | None) -> list[float]:
    """``[True,False]`` -> 1, 0; nothing where it is no such list."""
    words = (text or "").strip().strip("[]").lower().split(",")
    values = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    outcomes = [values.get(word.strip()) for word in words]
    return [] if None in outcomes else [value for value in outcomes if value is not None]
