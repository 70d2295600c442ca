"""PPO-max: normalised and clipped rewards, held by KL, do not collapse; monitors see what does.

Zheng et al. (2023), "Secrets of RLHF in Large Language Models Part I: PPO", arXiv 2307.04964.

**The claim**: against a reward model that can be gamed, plain PPO raises the reward and loses what
is meant; rewards less their running mean over their running deviation, clipped, and a KL weight
keep training whole. KL, perplexity and entropy show a collapse that the reward does not.

**What is done here**: 32 contexts with 256 actions each. The reference has normal logits; the gold
reward is normal + .6 of these logits; the proxy is .8 of the gold reward and an error with heavy
tails (Student's t, 2 degrees of freedom), twice it on actions that the reference takes less often
than uniformly, .3 of it on others. A table of logits learns by policy gradient, 400 steps of 128
samples, the batch's mean as baseline, at three step sizes (.3, 1 and 3), which nobody is tuned for.
Vanilla: the proxy, whose steps are larger as it varies more. Scaled: over its running deviation
(the released script), which takes that out. Clipped: less the running mean as well, within .8. KL:
.05 or .2 of the log-ratio to the reference off the clipped reward, or .2 off the plain proxy. Means
of gold and proxy, entropy and KL are exact, over all actions; as the proxy's tails are heavy, it is
compared world by world. *Monitor*: each run carries ``CollapseMonitor`` with its usual limits, and
one with tighter ones (KL twice, entropy a quarter, perplexity half of what it was), told what a
trainer logs of each batch (KL, entropy, perplexity of samples, rewards). Gold has fallen where it
is .1 below the most that it was, about a tenth of what was gained; others are healthy. An
alarm counts if it comes before the fall, in a healthy run at all; beyond healthy runs: less the
share of these, in the same world and at the same step size, that had one by that step. The usual
limits were chosen on 16 other worlds. A replicate is a world. Differences from the paper: no
language model, no critic, no clipped ratios (each sample is used once), no pretraining mix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from policyrank.evidence import Scores
from policyrank.learn import CollapseMonitor, RunningMoments, normalised_rewards, reward_signals
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of

TITLE = "PPO-max"
PAPER = "arXiv 2307.04964"
ABOUT = "normalised, clipped and held rewards, and monitors of collapse"
GOLD, PROXY, ENTROPY, KL = "gold reward", "proxy reward", "entropy", "KL to the reference"
THIRD = "gap of proxy and gold below a third of vanilla's"
BELOW = "proxy below vanilla's"
BEFORE, FALSE = "alarm before the fall", "alarm in a healthy run"
BEYOND, LEAD = "alarms beyond healthy runs", "steps from alarm to fall"
RISES, FALLS = "proxy above that at the fall", "gold falls"


@dataclass(frozen=True)
class Recipe:
    """Rewards: over the running deviation, less the running mean, clipped, and KL taken off."""

    scale: bool = False
    centre: bool = False
    clip: float | None = None
    kl: float = 0.0


VANILLA, SCALED, CLIPPED = "vanilla", "scaled", "clipped"
LIGHT, HEAVY, PLAIN = "clipped, KL .05", "clipped, KL .2", "vanilla, KL .2"
RECIPES = {
    VANILLA: Recipe(),
    SCALED: Recipe(scale=True),
    CLIPPED: Recipe(True, True, 0.8),
    LIGHT: Recipe(True, True, 0.8, 0.05),
    HEAVY: Recipe(True, True, 0.8, 0.2),
    PLAIN: Recipe(kl=0.2),
}
RATES = {"step .3": 0.3, "step 1": 1.0, "step 3": 3.0}
HELD = (CLIPPED, LIGHT, HEAVY)
USUAL, TIGHT = "usual limits", "tight limits"
LIMITS: dict[str, dict[str, dict[str, float | None]]] = {
    USUAL: {},
    TIGHT: {
        "kl": {"rises": 2.0},
        "entropy": {"falls": 0.25, "drops": None},
        "perplexity": {"falls": 0.5, "drops": None},
    },
}
WATCHED = ("kl", "entropy", "perplexity", "reward_tail", "reward_spread")
POOLED = "all step sizes"

UNIT = Unit("world")
MAIN = Claim("", LIGHT, VANILLA, GOLD, tasks=("step 1",))
CLAIMS = (
    *for_each(
        [(arm, rate) for rate in RATES for arm in HELD],
        Claim(
            "{0}: the proxy is above gold by less than a third of vanilla's gap in most worlds"
            " ({1})",
            "{0}",
            0.5,
            THIRD,
            tasks=("{1}",),
            kind="rate",
        ),
    ),
    *for_each(
        [(arm, rate) for rate in RATES for arm in (CLIPPED, LIGHT)],
        Claim("{0} has more gold than vanilla ({1})", "{0}", VANILLA, GOLD, tasks=("{1}",)),
    ),
    *for_each(
        [(arm, rate) for rate in RATES for arm in HELD],
        Claim(
            "Vanilla has more of the proxy than {0} in most worlds ({1})",
            "{0}",
            0.5,
            BELOW,
            tasks=("{1}",),
            kind="rate",
        ),
    ),
    *for_each(
        ((CLIPPED, LIGHT), (LIGHT, HEAVY)),
        Claim(
            "{1} leaves more entropy than {0}, at each step size",
            "{1}",
            "{0}",
            ENTROPY,
            tasks=tuple(RATES),
            kind="everywhere",
        ),
    ),
    *for_each(
        ((CLIPPED, LIGHT), (LIGHT, HEAVY)),
        Claim(
            "{1} stays nearer than {0}, at each step size",
            "{1}",
            "{0}",
            KL,
            tasks=tuple(RATES),
            kind="everywhere",
        ),
    ),
    Claim("Clipping matters: clipped has more gold than scaled", CLIPPED, SCALED, GOLD),
    Claim(
        "KL alone does not do: clipped with KL .2 has more gold than the plain proxy with it",
        HEAVY,
        PLAIN,
        GOLD,
    ),
    Claim("In most runs that fall, an alarm came before", USUAL, 0.5, BEFORE, tasks=(POOLED,)),
    Claim("Of healthy runs, fewer than a fifth have an alarm", USUAL, 0.2, FALSE, tasks=(POOLED,)),
    *for_each(
        LIMITS,
        Claim("Alarms tell runs that fall ({})", "{}", 0.0, BEYOND, tasks=(POOLED,)),
    ),
    Claim("Tight limits speak before the fall more often", TIGHT, USUAL, BEFORE, tasks=(POOLED,)),
    Claim("Tight limits speak more in healthy runs", USUAL, TIGHT, FALSE, tasks=(POOLED,)),
    *for_each(
        (VANILLA, SCALED),
        Claim("{}: where gold fell, the proxy rose on", "{}", 0.5, RISES, tasks=(POOLED,)),
    ),
)


@dataclass(frozen=True)
class Size:
    """Worlds, and steps of each run."""

    worlds: int
    steps: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 60),
    "small": Size(30, 400),
    "full": Size(200, 400),
}
CONTEXTS, ACTIONS, BATCH, FALL = 32, 256, 128, 0.1

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bandit:
    """Logits of the reference, and gold and proxy rewards: (contexts, actions) each."""

    reference: Float
    gold: Float
    proxy: Float

    @classmethod
    def of(cls, rng: np.random.Generator) -> Bandit:
        """The proxy errs where the reference hardly goes."""
        shape = CONTEXTS, ACTIONS
        reference = rng.normal(size=shape)
        gold = rng.normal(size=shape) + 0.6 * reference
        rare = np.exp(_log_softmax(reference)) < 1 / ACTIONS
        error = rng.standard_t(2, size=shape) * np.where(rare, 2.0, 0.3)
        return cls(reference, gold, 0.8 * gold + error)

    def exact(self, logits: Float) -> dict[str, float]:
        """Means over a policy's actions, its entropy and its KL, nats; contexts count alike."""
        log_probs = _log_softmax(logits)
        chances = np.exp(log_probs)
        far = log_probs - _log_softmax(self.reference)
        each = {GOLD: self.gold, PROXY: self.proxy, ENTROPY: -log_probs, KL: far}
        return {name: float((chances * own).sum() / len(chances)) for name, own in each.items()}


def _log_softmax(logits: Float) -> Float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Course:
    """A run: exact gold and proxy before each step and at the end, what was said, and its end.

    ``alarms``: limits -> signal -> the step of its alarm.
    """

    gold: Float
    proxy: Float
    alarms: dict[str, dict[str, int]]
    end: dict[str, float]

    @property
    def fall(self) -> int | None:
        """The step at which gold is ``FALL`` below the most that it was; None: it never is."""
        below = np.maximum.accumulate(self.gold) - self.gold > FALL
        return int(below.argmax()) if below.any() else None

    def said(self, until: int) -> dict[str, float]:
        """Whether any signal, by limits, and each, by the usual ones, spoke before a step."""
        first = {name: min(own.values(), default=until) for name, own in self.alarms.items()}
        usual = {name: self.alarms[USUAL].get(name, until) for name in WATCHED}
        return {name: float(step < until) for name, step in {**first, **usual}.items()}


def course(
    bandit: Bandit, recipe: Recipe, rate: float, steps: int, rng: np.random.Generator
) -> Course:
    """Policy gradient on the proxy, with monitors."""
    logits = bandit.reference.copy()
    anchor = _log_softmax(bandit.reference)
    moments = RunningMoments()
    monitors = {name: CollapseMonitor(own) for name, own in LIMITS.items()}
    gold, proxy = np.zeros(steps + 1), np.zeros(steps + 1)
    for step in range(steps):
        log_probs = _log_softmax(logits)
        chances = np.exp(log_probs)
        gold[step] = (chances * bandit.gold).sum() / CONTEXTS
        proxy[step] = (chances * bandit.proxy).sum() / CONTEXTS
        x = rng.integers(CONTEXTS, size=BATCH)
        drawn = rng.random(BATCH)[:, None] > chances.cumsum(axis=1)[x]
        a = drawn.sum(axis=1).clip(max=ACTIONS - 1)
        seen, far = bandit.proxy[x, a], log_probs[x, a] - anchor[x, a]
        entropy = -(chances * log_probs).sum(axis=1)[x].mean()
        told = signals(entropy, log_probs[x, a], far, seen)
        for monitor in monitors.values():
            monitor.update(step, told)
        reward = shaped(seen, recipe, moments) - recipe.kl * far
        gain = reward - reward.mean()
        ascent = np.zeros_like(logits)
        np.add.at(ascent, (x, a), gain)
        ascent -= np.bincount(x, weights=gain, minlength=CONTEXTS)[:, None] * chances
        logits += rate * CONTEXTS / BATCH * ascent
    end = bandit.exact(logits)
    gold[-1], proxy[-1] = end[GOLD], end[PROXY]
    said = {
        name: {alarm.signal: int(alarm.step) for alarm in own.alarms}
        for name, own in monitors.items()
    }
    return Course(gold, proxy, said, end)


def shaped(seen: Float, recipe: Recipe, moments: RunningMoments) -> Float:
    """Rewards as a recipe has them, before KL; a batch enters the moments before it is scaled."""
    values = torch.from_numpy(seen)
    moments.update(values)
    found = normalised_rewards(
        values, moments, centre=recipe.centre, scale=recipe.scale, clip=recipe.clip
    )
    return found.double().numpy()


def signals(entropy: float, own: Float, far: Float, seen: Float) -> dict[str, float]:
    """What a trainer logs of a batch: its log-probabilities, log-ratios and rewards."""
    found = {"kl": far.mean(), "entropy": entropy, "perplexity": np.exp(-own.mean())}
    return {**{name: float(value) for name, value in found.items()}, **reward_signals(seen)}


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    rows: list[Row] = []
    for number in range(size.worlds):
        report(f"world {number + 1} of {size.worlds}")
        bandit = Bandit.of(np.random.default_rng([seed, number]))
        found = {
            (arm, setting): course(
                bandit, recipe, rate, size.steps, np.random.default_rng([seed, number, 1])
            )
            for setting, rate in RATES.items()
            for arm, recipe in RECIPES.items()
        }
        for (arm, setting), own in found.items():
            rows += by_metric(arm, setting, number, own.end)
            rows += beside_vanilla(arm, setting, number, own.end, found[VANILLA, setting].end)
        rows += warned(number, found)
        rows += after_falls(number, found)
    return scores_of(rows, lower_is_better=(KL, FALSE, FALLS))


def beside_vanilla(
    arm: str, setting: str, number: int, end: Mapping[str, float], vanilla: Mapping[str, float]
) -> Iterator[Row]:
    """Whether a run ends nearer to gold than vanilla, and with less of the proxy."""
    if arm != VANILLA:
        gap, theirs = end[PROXY] - end[GOLD], vanilla[PROXY] - vanilla[GOLD]
        yield arm, setting, THIRD, number, float(gap < theirs / 3)
        yield arm, setting, BELOW, number, float(end[PROXY] < vanilla[PROXY])


def warned(number: int, found: Mapping[tuple[str, str], Course]) -> Iterator[Row]:
    """A world's alarms: before falls, in healthy runs, and beyond these; at each step size."""
    pooled: dict[tuple[str, str], list[float]] = defaultdict(list)
    for setting in dict.fromkeys(setting for _, setting in found):
        runs = [own for (_, where), own in found.items() if where == setting]
        healthy = [own for own in runs if own.fall is None]
        here: dict[tuple[str, str], list[float]] = defaultdict(list)
        for own in runs:
            for name, metric, value in alarms_of(own, healthy):
                here[name, metric].append(value)
        for (name, metric), values in here.items():
            pooled[name, metric] += values
            yield name, setting, metric, number, float(np.mean(values))
    for (name, metric), values in pooled.items():
        yield name, POOLED, metric, number, float(np.mean(values))


def alarms_of(own: Course, healthy: Sequence[Course]) -> Iterator[tuple[str, str, float]]:
    """(limits or signal, metric, value) of a run, beside healthy ones of its world."""
    fall = own.fall
    if fall is None:
        yield from ((name, FALSE, value) for name, value in own.said(len(own.gold)).items())
        return
    others = [each.said(fall) for each in healthy]
    for name, value in own.said(fall).items():
        yield name, BEFORE, value
        if others:
            yield name, BEYOND, value - float(np.mean([each[name] for each in others]))
    for name, alarms in own.alarms.items():
        first = min(alarms.values(), default=fall)
        if first < fall:
            yield name, LEAD, float(fall - first)


def after_falls(number: int, found: Mapping[tuple[str, str], Course]) -> Iterator[Row]:
    """How often a recipe's gold falls, and its proxy is above what it was then at the end."""
    for arm in dict.fromkeys(arm for arm, _ in found):
        runs = [own for (recipe, _), own in found.items() if recipe == arm]
        yield arm, POOLED, FALLS, number, float(np.mean([own.fall is not None for own in runs]))
        rose = [float(own.proxy[-1] > own.proxy[own.fall]) for own in runs if own.fall is not None]
        if rose:
            yield arm, POOLED, RISES, number, float(np.mean(rose))
