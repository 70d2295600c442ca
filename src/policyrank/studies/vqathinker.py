"""VQAThinker: rewards of video quality scores, and a bonus for beating a corrupted clip.

Cao et al. (2025), "VQAThinker: Exploring Generalizable and Explainable Video Quality Assessment via
Reinforcement Learning", arXiv 2508.06051.

**The claim**: a bell of the error with a reward for the order among other videos trains a judge of
video quality that generalises to other data sets, better than a threshold (Q-Insight) or the order
alone (VisualQuality-R1); a bonus for answers that beat those on frames out of order adds an eye for
time.

**What is done here**: *Features*: BRISQUE features of KoNViD-1k, of which random four fifths are
learned from and the rest judged, and all of LIVE-VQC and YouTube-UGC, which are never learned from;
a small network says a score from 1 to 5 with two decimals; 1,500 updates of GRPO on 32 videos with
8 answers each; all rewards have the same start, budget, and three learning rates, by the
correlation in two splits that judge nothing. A replicate is a split; as splits overlap, the spread
is widened (Nadeau and Bengio). A support vector regression on the same splits stands beside, whose
published rank correlation is .657. *Clips*: 24 frames pan over a random texture, blurred more or
less, half of them with judder; quality is 4.5 less blur less judder. The scorer reads mean
sharpness and mean first and second differences of frames, is trained on 300 clips, with the bonus
(gate .9 of the bell, and .5 of the order) given where the whole batch beats its shuffled twins, as
the paper's code has it, or where the video does; 300 other clips judge. A replicate is a draw of
all. Differences from the paper: no video model, no reasoning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from policyrank.evidence import datasets
from policyrank.evidence.quality_datasets import ScoredItems
from policyrank.learn.rewards import bell, consistency_bonus, near, rank_fidelity, within
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.scorers import (
    Float,
    Scorer,
    ScoreReward,
    Training,
    judged,
    predicted,
    split_by_group,
    standardised,
    train_scorer,
)

TITLE = "VQAThinker"
PAPER = "arXiv 2508.06051"
ABOUT = "rewards of video quality, and a bonus for beating a corrupted clip"
STEP, L1, RANK, BELL = "threshold", "L1", "order only", "bell"
BOTH, STEP_RANK, SVR = "bell + order", "threshold + order", "support vectors"
HOME, ABROAD = "KoNViD-1k", ("LIVE-VQC", "YouTube-UGC")
SRCC, RMSE, TIMES = "SRCC", "RMSE", "RMSE over the bell's"
NONE, BATCH, OWN = "no bonus", "bonus by batch", "bonus by video"
CLIPS, BEATS, ASTRAY = "clips", "originals above their shuffles", "bonuses of videos whose twin won"


def near_bell(scores: Tensor, true: Tensor) -> Tensor:
    """A bell of the error, of width .5."""
    return bell(scores, true[:, None], sigma=0.5)


def step(scores: Tensor, true: Tensor) -> Tensor:
    """1 within .35."""
    return within(scores, true[:, None], steps={0.35: 1.0})


REWARDS: dict[str, ScoreReward] = {
    STEP: step,
    L1: lambda scores, true: near(scores, true[:, None], span=4.0),
    RANK: rank_fidelity,
    BELL: near_bell,
    BOTH: lambda scores, true: near_bell(scores, true) + rank_fidelity(scores, true),
    STEP_RANK: lambda scores, true: step(scores, true) + rank_fidelity(scores, true),
}
UNIT = Unit("split", overlap=0.25)
DRAW = Unit("draw of clips")
CLAIMS = (
    Claim("The bell is at least as good as a threshold in rank", BELL, STEP, SRCC, -0.005, (HOME,)),
    Claim("The bell errs no more than a threshold", BELL, STEP, RMSE, 0.0, (HOME,)),
    Claim("The order alone errs 1.05 times as much", BELL, RANK, TIMES, 0.05, (HOME,)),
    Claim("With the order the bell loses at most .01 in rank", BOTH, BELL, SRCC, -0.01, (HOME,)),
    *for_each(
        (HOME, *ABROAD),
        Claim("The order adds to the bell in rank ({})", BOTH, BELL, SRCC, tasks=("{}",)),
    ),
    *for_each(
        (HOME, *ABROAD),
        Claim("The order adds to a threshold in rank ({})", STEP_RANK, STEP, SRCC, tasks=("{}",)),
    ),
    Claim(
        "Support vectors come to what was published, within .03",
        SVR,
        0.657,
        SRCC,
        0.03,
        (HOME,),
        kind="published",
    ),
    Claim("The bell loses at most .02 to support vectors", BELL, SVR, SRCC, -0.02, (HOME,)),
    Claim(
        "The bonus by video teaches .05 more of the order of frames",
        OWN,
        NONE,
        BEATS,
        0.05,
        (CLIPS,),
        unit=DRAW,
    ),
    Claim("The bonus by batch teaches .05 more", BATCH, NONE, BEATS, 0.05, (CLIPS,), unit=DRAW),
    Claim(
        "The bonus by batch is given to videos whose twin won, in 5% and more",
        OWN,
        BATCH,
        ASTRAY,
        0.05,
        (CLIPS,),
        unit=DRAW,
    ),
    Claim(
        "The same, in 2% and more",
        OWN,
        BATCH,
        ASTRAY,
        0.02,
        (CLIPS,),
        unit=DRAW,
        seen=(101, 202),
    ),
)


@dataclass(frozen=True)
class Size:
    """Splits, those for tuning apart; updates; clips to learn from and to judge by."""

    splits: int
    tuning: int
    updates: int
    clips: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 1, 20, 20),
    "small": Size(15, 2, 1500, 300),
    "full": Size(100, 10, 5000, 2000),
}
RATES = (3e-4, 1e-3, 3e-3)


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a split, or a draw of clips."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    sets = datasets.load("video-quality")
    training = Training(1.0, 5.0, updates=size.updates)

    def split(number: int) -> list[ScoredItems]:
        """Standardised by what is learned from: that, the rest, and the other sets."""
        rng = np.random.default_rng([seed, number])
        train, test = split_by_group(sets[HOME], rng, 0.2)
        return standardised(train, test, *(sets[name] for name in ABROAD))

    def reached(method: str, settings: Settings, number: int) -> float:
        report(f"tuning {method}: {settings}, split {number + 1}")
        train, test, *_ = split(1000 + number)
        rate = settings["lr"]
        scorer = train_scorer(
            train, REWARDS[method], training, rate=rate, seed=seed * 1000 + number
        )
        return judged(predicted(scorer, test.features), test.score)["PLCC"]

    grids = {method: [{"lr": rate} for rate in RATES] for method in REWARDS}
    tuned = tune(grids, reached, range(size.tuning), metric="PLCC")
    rows: list[Row] = []
    for number in range(size.splits):
        report(f"split {number + 1} of {size.splits}")
        train, *tests = split(number)
        said: dict[str, list[Float]] = {SVR: _support_vectors(train, tests)}
        for method, reward in REWARDS.items():
            rate = tuned[method].chosen["lr"]
            scorer = train_scorer(train, reward, training, rate=rate, seed=seed * 1000 + number)
            said[method] = [predicted(scorer, own.features) for own in tests]
        for place, (name, test) in enumerate(zip((HOME, *ABROAD), tests, strict=True)):
            error = judged(said[BELL][place], test.score)[RMSE]
            for method, own in said.items():
                values = judged(own[place], test.score)
                times = {TIMES: values[RMSE] / error}
                rows += by_metric(method, name, number, {**values, **times})
        rate = tuned[BOTH].chosen["lr"]
        rows += of_clips((seed, number), size, training, rate)
    scores = scores_of(rows, lower_is_better=(RMSE, TIMES, ASTRAY))
    return Measured(scores, tuple(tuned.values()))


def _support_vectors(train: ScoredItems, tests: list[ScoredItems]) -> list[Float]:
    """Scores by a support vector regression, its settings chosen by cross-validation."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVR as Regression

    grid = {"C": [1.0, 4.0, 16.0, 64.0], "gamma": [0.001, 0.004, 0.016, 0.064]}
    search = GridSearchCV(Regression(), grid, cv=3).fit(train.features, train.score)
    return [np.asarray(search.predict(own.features), dtype=np.float64) for own in tests]


# Clips --------------------------------------------------------------------------------------------

FRAMES, WIDTH, PAN = 24, 24, 1.5


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips as features, their twins with frames shuffled, and their quality."""

    items: ScoredItems
    twins: Float

    @classmethod
    def of(cls, rng: np.random.Generator, count: int) -> Clips:
        """Drawn: blur in [0, 1.5], judder in every second."""
        features, twins, score = [], [], []
        for number in range(count):
            blur, judder = rng.uniform(0, 1.5), rng.uniform(0.5, 1.5) * (number % 2)
            frames = _panned(rng, blur, judder)
            features.append(_features(frames))
            twins.append(_features(frames[rng.permutation(FRAMES)]))
            score.append(np.clip(4.5 - blur - judder + rng.normal(0, 0.1), 1, 5))
        return cls(
            ScoredItems(np.array(features), np.array(score), np.arange(count)), np.array(twins)
        )


def _panned(rng: np.random.Generator, blur: float, judder: float) -> Float:
    """A window that moves over a texture, evenly but for judder: (frames, width, width)."""
    room = WIDTH + int(PAN * FRAMES) + 12
    texture = gaussian_filter(rng.normal(size=(WIDTH, room)), 1.0, mode="wrap")
    texture = gaussian_filter(texture / texture.std(), blur)
    place = PAN * np.arange(FRAMES) + rng.normal(0, 1.5 * judder, FRAMES)
    start = np.clip(np.round(place).astype(int) + 3, 0, room - WIDTH)
    return np.stack([texture[:, at : at + WIDTH] for at in start])


def _features(frames: Float) -> Float:
    """Logs of sharpness, and of first and second differences over time: (3,)."""
    sharp = np.abs(np.diff(frames, axis=2)).mean()
    first = np.abs(np.diff(frames, axis=0)).mean()
    second = np.abs(np.diff(frames, n=2, axis=0)).mean()
    return np.log(np.array([sharp, first, second]) + 1e-3)


@dataclass(eq=False)
class Rewarded:
    """The bell and the order, with a bonus where the answers to a twin earn less.

    The scorer that is trained answers the twins too.
    """

    gate: str
    twins: Tensor
    scorer: Scorer | None = None
    chosen: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    given: int = 0
    astray: int = 0

    def __call__(self, scores: Tensor, true: Tensor) -> Tensor:
        """Rewards of (items, answers)."""
        parts = {0.9: near_bell(scores, true), 0.5: rank_fidelity(scores, true)}
        total = sum(parts.values(), torch.zeros(()))
        if self.gate == NONE:
            return total
        assert self.scorer is not None
        with torch.no_grad():
            drawn = self.scorer(self.twins[self.chosen]).sample((scores.shape[1],)).squeeze(-1).T
        heard = ((drawn * 100).round() / 100).clamp(1, 5)
        others = (near_bell(heard, true), rank_fidelity(heard, true))
        items = torch.arange(len(true)).repeat_interleave(scores.shape[1])
        for (least, own), twin in zip(parts.items(), others, strict=True):
            groups = items if self.gate == OWN else None
            flat = own.reshape(-1), twin.reshape(-1)
            bonus = consistency_bonus(*flat, groups, gate=least).reshape(scores.shape)
            lost = (twin.mean(dim=1) > own.mean(dim=1))[:, None] & (bonus > 0)
            self.given += int((bonus > 0).sum())
            self.astray += int(lost.sum())
            total = total + bonus
        return total


def of_clips(seeds: tuple[int, int], size: Size, training: Training, rate: float) -> Iterator[Row]:
    """What the bonuses teach of the order of frames."""
    rng = np.random.default_rng([*seeds, 1])
    train, test = Clips.of(rng, size.clips), Clips.of(rng, size.clips)
    learn, judge, twins, own_twins = standardised(
        train.items,
        test.items,
        ScoredItems(test.twins, test.items.score, test.items.group),
        ScoredItems(train.twins, train.items.score, train.items.group),
        most=8.0,
    )
    for method in (NONE, BATCH, OWN):
        reward = Rewarded(method, torch.from_numpy(own_twins.features).float())
        scorer = train_scorer(
            learn, reward, training, rate=rate, seed=seeds[0] * 1000 + seeds[1], watch=reward
        )
        shown, shuffled = predicted(scorer, judge.features), predicted(scorer, twins.features)
        values = {BEATS: float(np.mean(shown > shuffled)), **judged(shown, judge.score)}
        if method != NONE:
            values[ASTRAY] = reward.astray / max(reward.given, 1)
        yield from by_metric(method, CLIPS, seeds[1], values)
