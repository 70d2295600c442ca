"""HGPO: steps of agents are compared with those that share their history, not only what is seen.

He et al. (2026), "Hierarchy-of-Groups Policy Optimization for Long-Horizon Agentic Tasks", arXiv
2602.22817.

**The claim**: steps with the same observation but other histories are worth other things, so that
groups by observation (GiGPO) are biased; groups by longer and longer shared histories, whose
advantages are averaged with weights that grow with depth, are less so, and train better agents.

**What is done here**: the advantages themselves, against exact ones. *Corridor*: at the hub an
agent goes to the door, to room L or to room R; L gives the key, which it does not see; rooms lead
back; the door ends the episode and pays 1 to who has the key. Eight steps, discount .95; the
behaviour chooses with .4, .3 and .3. The exact advantage, of what is seen and the key and the time,
comes by dynamic programming. *Other habits*: the behaviour is drawn in each replicate. *Key in
sight*: the hub shows whether the agent has it, so that there is nothing to repair. A replicate is
6400 trajectories, in groups of 8, 16 or 64; judged are the steps at the hub. Bias: the mean error
of each key and action, their absolute values averaged alike. MSE, and the correlation with the
exact advantage, over steps. Methods: the return of the episode (GRPO), groups by observation
(GiGPO's step), its sum with GRPO's, and HGPO with two or four earlier observations: weights (2, 3,
4) of the released code, (1, 2, 3), equal ones, the deepest group alone, and with zeros counted; all
less their group's mean, or over its deviation, too, where only the correlation is judged. "Key
known": groups by the key itself, which no agent can have. Differences from the paper: no training
and no language model, so that nothing here says how agents become.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.evidence import Scores
from policyrank.learn import (
    discounted_step_returns,
    group_advantage,
    hierarchical_advantage,
    history_keys,
)
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of

TITLE = "HGPO"
PAPER = "arXiv 2602.22817"
ABOUT = "advantages of steps that share their history"
EPISODE, OBSERVED, BOTH = "episode (GRPO)", "observation (GiGPO)", "episode + observation"
TWO, FOUR = "history of 2", "history of 4"
GENTLE, EQUAL, DEEPEST = "2, weights 1 2 3", "2, equal weights", "2, deepest alone"
COUNTED, ORACLE = "2, zeros counted", "key known"
SCALED = ", standardised"
BIAS, MSE, CORRELATION = "log bias", "log MSE", "correlation"
PLAIN, HABITS, SEEN = "groups of 16", "other habits", "key in sight"
SIZES = {"groups of 8": 8, PLAIN: 16, "groups of 64": 64}
SETTINGS = (*SIZES, HABITS, SEEN)
CONSTANTS = (ORACLE,)

UNIT = Unit("6400 trajectories")
LESS_BIAS, LESS_ERROR = float(np.log(1 / 0.65)), float(np.log(1 / 0.9))
MAIN = Claim("", TWO, OBSERVED, BIAS, tasks=(PLAIN,))
CLAIMS = (
    *for_each(
        (*SIZES, HABITS),
        Claim("Bias: .65 of that of observations ({})", TWO, OBSERVED, BIAS, LESS_BIAS, ("{}",)),
    ),
    *for_each(
        (*SIZES, HABITS),
        Claim("MSE: .9 of that of observations ({})", TWO, OBSERVED, MSE, LESS_ERROR, ("{}",)),
    ),
    Claim(
        "Correlates more with the exact advantage, everywhere that the key is hidden",
        TWO,
        OBSERVED,
        CORRELATION,
        tasks=(*SIZES, HABITS),
        kind="everywhere",
    ),
    Claim("Correlates more than GiGPO's whole advantage", TWO, BOTH, CORRELATION, tasks=(PLAIN,)),
    Claim(
        "Correlates more, standardised as well",
        TWO + SCALED,
        OBSERVED + SCALED,
        CORRELATION,
        tasks=(PLAIN,),
    ),
    Claim("Longer histories have less bias", FOUR, TWO, BIAS, tasks=(PLAIN,)),
    Claim("Longer histories have less MSE", FOUR, TWO, MSE, tasks=(PLAIN,)),
    Claim("Deeper groups weighing more have less bias", TWO, EQUAL, BIAS, tasks=(PLAIN,)),
    Claim("The deepest group alone has less bias still", DEEPEST, TWO, BIAS, tasks=(PLAIN,)),
    Claim(
        "All levels have less MSE than the deepest alone", TWO, DEEPEST, MSE, tasks=("groups of 8",)
    ),
    Claim("Zeros that count have less bias", COUNTED, TWO, BIAS, tasks=(PLAIN,)),
    Claim(
        "Where the key is in sight, MSE is no more than 5% above that of observations",
        TWO,
        OBSERVED,
        MSE,
        -float(np.log(1.05)),
        (SEEN,),
    ),
    Claim(
        "Knowing the key has less bias than any history (a check)",
        ORACLE,
        FOUR,
        BIAS,
        tasks=(PLAIN,),
        kind="sanity",
    ),
)


@dataclass(frozen=True)
class Size:
    """Replicates, and trajectories of each."""

    replicates: int
    trajectories: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 640),
    "small": Size(20, 6400),
    "full": Size(100, 64_000),
}
STEPS, DISCOUNT = 8, 0.95
DOOR, LEFT, RIGHT, BACK = 0, 1, 2, 3
HUB = 0
USUAL = (0.4, 0.3, 0.3)

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Steps:
    """What agents saw and did, a step a row, those of a trajectory in the order of time.

    Attributes
    ----------
    trajectory, time, key, action
        (rows,), whose step, when, whether it had the key, and what it did
    place
        (rows,), the hub (0), or the room L (1) or R (2)
    reward
        (rows,)
    """

    trajectory: Tensor
    time: Tensor
    place: Tensor
    key: Tensor
    action: Tensor
    reward: Tensor


def walked(habits: Float, trajectories: int, rng: np.random.Generator) -> Steps:
    """Trajectories through the corridor of an agent that chooses at the hub by its habits."""
    key = np.zeros(trajectories, dtype=np.int64)
    place = np.zeros(trajectories, dtype=np.int64)
    going = np.ones(trajectories, dtype=bool)
    columns: list[tuple[NDArray[np.int64], ...]] = []
    walker = np.arange(trajectories)
    for time in range(STEPS):
        chosen = rng.choice(3, size=trajectories, p=habits)
        action = np.where(place == HUB, chosen, BACK)
        paid = (action == DOOR) & (key == 1)
        seen = (walker, np.full(trajectories, time), place, key, action, paid.astype(np.int64))
        columns.append(tuple(own[going] for own in seen))
        going = going & (action != DOOR)
        place = np.where(action == BACK, HUB, action)
        key = np.where(place == LEFT, 1, key)
    joined = [np.concatenate(own) for own in zip(*columns, strict=True)]
    order = np.lexsort((joined[1], joined[0]))
    number, when, where, had, did, reward = (torch.from_numpy(own[order]) for own in joined)
    return Steps(number, when, where, had, did, reward.double())


def exact_advantages(habits: Float) -> Float:
    """Q - V at the hub by time, key and action: (STEPS, 2, 3)."""
    value = np.zeros((STEPS + 2, 2))
    gains = np.zeros((STEPS, 2, 3))
    for time in reversed(range(STEPS)):
        later = DISCOUNT**2 * value[time + 2] if time + 2 <= STEPS else np.zeros(2)
        gains[time, :, DOOR] = [0.0, 1.0]
        gains[time, :, LEFT] = later[1]
        gains[time, :, RIGHT] = later
        value[time] = gains[time] @ habits
    return gains - value[:STEPS, :, None]


def advantages(steps: Steps, group: int, *, in_sight: bool) -> dict[str, Tensor]:
    """What each method says of each step: method -> (rows,)."""
    task = steps.trajectory // group
    returns = discounted_step_returns(steps.reward, steps.trajectory, discount=DISCOUNT)
    whole = discounted_step_returns(steps.reward, steps.trajectory, discount=1.0)
    first = torch.zeros(int(steps.trajectory.max()) + 1, dtype=whole.dtype)
    first[steps.trajectory.flip(0)] = whole.flip(0)
    episode = group_advantage(first[steps.trajectory], task)
    seen = steps.place + 3 * steps.key * (steps.place == HUB) * in_sight
    levels = history_keys(seen, steps.trajectory, depth=4, tasks=task)
    known = history_keys(steps.place + 3 * steps.key, steps.trajectory, depth=0, tasks=task)

    of = partial(hierarchical_advantage, returns, scale="none")
    two, observed = levels[:, :3], levels[:, :1]
    return {
        EPISODE: episode,
        OBSERVED: of(observed),
        BOTH: of(observed) + episode,
        TWO: of(two),
        FOUR: of(levels),
        GENTLE: of(two, offset=0.0),
        EQUAL: of(two, alpha=0.0),
        DEEPEST: of(two, alpha=200.0),
        COUNTED: of(two, drop_zero=False),
        OBSERVED + SCALED: of(observed, scale="std"),
        TWO + SCALED: of(two, scale="std"),
        ORACLE: of(known),
    }


def errors(said: Float, exact: Float, cell: NDArray[np.int64]) -> dict[str, float]:
    """Bias, MSE and correlation of estimates; ``cell``: the key and action of each."""
    gap = said - exact
    counts = np.bincount(cell, minlength=6)
    there = counts > 0
    bias = np.bincount(cell, weights=gap, minlength=6)[there] / counts[there]
    return {
        BIAS: float(np.log(np.abs(bias).mean())),
        MSE: float(np.log((gap**2).mean())),
        CORRELATION: float(np.corrcoef(said, exact)[0, 1]),
    }


def measured(
    habits: Float, group: int, trajectories: int, rng: np.random.Generator, *, in_sight: bool
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Errors of each method at the hub; of standardised ones the correlation alone."""
    steps = walked(habits, trajectories, rng)
    at = steps.place == HUB
    time, key, action = (own[at].numpy() for own in (steps.time, steps.key, steps.action))
    exact = exact_advantages(habits)[time, key, action]
    for method, said in advantages(steps, group, in_sight=in_sight).items():
        found = errors(said[at].double().numpy(), exact, 3 * key + action)
        if method.endswith(SCALED) or method == BOTH:
            found = {CORRELATION: found[CORRELATION]}
        yield method, found


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a draw of trajectories."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    rows: list[Row] = []
    for number in range(size.replicates):
        report(f"trajectories {number + 1} of {size.replicates}")
        for place, setting in enumerate(SETTINGS):
            rng = np.random.default_rng([seed, number, place])
            habits = rng.dirichlet([4.0, 3.0, 3.0]) if setting == HABITS else np.array(USUAL)
            found = measured(
                habits, SIZES.get(setting, 16), size.trajectories, rng, in_sight=setting == SEEN
            )
            for method, values in found:
                rows += by_metric(method, setting, number, values)
    return scores_of(rows, lower_is_better=(BIAS, MSE))
