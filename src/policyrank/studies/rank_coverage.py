"""Do the intervals cover? Ratings and rank sets on simulated comparisons.

Mogstad, Romano, Shaikh and Wilhelm (2024), "Inference for Ranks", Review of Economic Studies 91(1),
on sets for ranks.

**The claim**: a 95% interval holds the true rating in at least 95 of 100 data sets, and the rank
sets of all policies hold all true ranks at once in at least 95 of 100, also with few battles, with
ties, and with raters who have favourites of their own.

**What is done here**: true ratings are drawn, battles are simulated (winner by Bradley-Terry, or
with ties by Davidson), and the board is computed as a user would. Each method is compared with the
nominal 0.95, a margin of 0.015 allowed. A replicate is one simulated data set, its score the share
of the policies' intervals that cover (for rank sets: whether all do). In the settings with raters,
30 raters shift every policy by a personal amount (sd 0.8 log-odds): there the intervals that take
battles as independent are expected to fail, and those clustered by rater to hold.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from policyrank.board import Leaderboard
from policyrank.evidence import Comparisons, Scores
from policyrank.ranking import bradley_terry
from policyrank.studies.frame import Claim, Report, Row, Scale, by_metric, quiet, scores_of

TITLE = "Coverage"
PAPER = ""
ABOUT = "coverage of our own intervals and rank sets on simulated comparisons"
COVER, RANKS, WIDTH = "intervals that cover", "rank sets cover together", "mean size of a rank set"
SETTINGS = {  # policies, battles, nu of Davidson's ties, raters
    "5 policies, 50 battles": (5, 50, 0.0, 0),
    "5 policies, 50 battles, ties": (5, 50, 0.5, 0),
    "10 policies, 200 battles": (10, 200, 0.0, 0),
    "10 policies, 200 battles, ties": (10, 200, 0.5, 0),
    "30 policies, 3,000 battles": (30, 3000, 0.0, 0),
    "30 policies, 3,000 battles, ties": (30, 3000, 0.5, 0),
    "10 policies, 1,500 battles, 30 raters": (10, 1500, 0.0, 30),
}
PLAIN = tuple(SETTINGS)[:-1]
FEW, RATERS = PLAIN[:2], tuple(SETTINGS)[-1:]
_MARGIN = -0.015

CLAIMS = (
    Claim("The default (sandwich) intervals cover", "sandwich", "nominal", COVER, _MARGIN, PLAIN),
    Claim(
        "The default intervals cover with 50 battles", "sandwich", "nominal", COVER, _MARGIN, FEW
    ),
    Claim("Fisher's intervals cover", "fisher", "nominal", COVER, _MARGIN, PLAIN),
    Claim("Bootstrap intervals cover", "bootstrap", "nominal", COVER, _MARGIN, PLAIN),
    Claim(
        "The default rank sets cover all ranks at once",
        "sandwich",
        "nominal",
        RANKS,
        _MARGIN,
        PLAIN,
    ),
    Claim(
        "With raters, intervals clustered by rater cover",
        "clustered",
        "nominal",
        COVER,
        _MARGIN,
        RATERS,
    ),
    Claim(
        "With raters, intervals that take battles as independent cover",
        "sandwich",
        "nominal",
        COVER,
        _MARGIN,
        RATERS,
    ),
)


def simulate(
    rng: np.random.Generator, policies: int, battles: int, nu: float, raters: int
) -> tuple[np.ndarray, Comparisons]:
    """True log-odds ratings (centred), and comparisons drawn from them."""
    theta = rng.normal(size=policies)
    i = rng.integers(policies, size=battles)
    j = (i + rng.integers(1, policies, size=battles)) % policies
    taste = rng.normal(0, 0.8, size=(max(raters, 1), policies)) * (raters > 0)
    rater = rng.integers(max(raters, 1), size=battles)
    d = theta[i] - theta[j] + taste[rater, i] - taste[rater, j]
    win, tie = np.exp(d / 2), 2 * nu
    u = rng.random(battles) * (win + 1 / win + tie)
    outcome = np.where(u < win, 1.0, np.where(u < win + 1 / win, 0.0, 0.5))
    names = np.array(_names(policies))
    found = Comparisons.of(
        names[i],
        names[j],
        outcome,
        rater=np.char.mod("r%d", rater).tolist() if raters else None,
        policies=names.tolist(),
    )
    return theta - theta.mean(), found


def marginal_truth(theta: np.ndarray, raters: int) -> np.ndarray:
    """What Bradley-Terry estimates when raters differ: fitted to win rates averaged over them."""
    if not raters:
        return theta
    z, w = np.polynomial.hermite_e.hermegauss(41)
    gap = theta[:, None] - theta
    shifted = gap[..., None] + 0.8 * np.sqrt(2) * z
    rate = (1 / (1 + np.exp(-shifted)) * w).sum(axis=-1) / w.sum()
    names = _names(len(theta))
    i, j = np.triu_indices(len(theta), 1)
    named = np.array(names)
    rates = Comparisons.of(named[i], named[j], rate[i, j], policies=names)
    board = bradley_terry(rates, scale="natural", interval="none")
    fitted = np.array([board.rating[board.position(name)] for name in names])
    return fitted - fitted.mean()


def _names(policies: int) -> list[str]:
    return [f"p{k:02d}" for k in range(policies)]


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one simulated data set."""
    number, resamples = {"smoke": (3, 30), "small": (400, 300), "full": (4000, 1000)}[scale]
    rows: list[Row] = []
    for k, (setting, (policies, battles, nu, raters)) in enumerate(SETTINGS.items()):
        methods: dict[str, dict[str, Any]] = {
            "sandwich": {"interval": "auto"},
            "fisher": {"interval": "fisher"},
        }
        if raters:
            methods["clustered"] = {"cluster": "rater"}
        else:
            methods["bootstrap"] = {"interval": "bootstrap", "resamples": resamples}
        for r in range(number):
            if r % 50 == 0:
                report(f"{setting}: data set {r + 1} of {number}")
            rng = np.random.default_rng([seed, k, r])
            theta, data = simulate(rng, policies, battles, nu, raters)
            truth = marginal_truth(theta, raters)
            fit = partial(
                bradley_terry, data, ties="davidson" if nu else "half", scale="natural", seed=r
            )
            for method, options in methods.items():
                rows += by_metric(method, setting, r, _score(fit(**options), truth))
            rows.append(("nominal", setting, COVER, r, 0.95))
            rows.append(("nominal", setting, RANKS, r, 0.95))
    return scores_of(rows, lower_is_better=[WIDTH])


def _score(board: Leaderboard, truth: np.ndarray) -> dict[str, float]:
    theta = truth[[int(p[1:]) for p in board.policies]]
    rank = 1 + (theta[None, :] > theta[:, None]).sum(axis=1)
    assert board.rank_lower is not None
    assert board.rank_upper is not None
    return {
        COVER: float(((board.lower <= theta) & (theta <= board.upper)).mean()),
        RANKS: float(((board.rank_lower <= rank) & (rank <= board.rank_upper)).all()),
        WIDTH: float((board.rank_upper - board.rank_lower + 1).mean()),
    }
