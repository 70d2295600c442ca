"""Placebo-anchored transport: effects in a small target trial, with the help of others.

Wang, Abdeen and Ayer (2026), "Transfer Learning for Meta-analysis Under Covariate Shift", arXiv
2604.02656.

**The claim**: transfer lassos of both arms, anchored on the target's own rows, estimate individual
effects better than the target alone, sources alone or outcome models of pooled sources, most where
the target is small; with placebo rows alone they still help.

**What is done here**: *IHDP*: nine semi-synthetic outcomes on the real covariates of 747 infants;
six sites by k-means of the covariates, the target is the one with most treated; m0 placebo and m1
treated infants of it are known; effects are judged on all infants of the target. The weighted and
the balanced transport see the 18 covariates that are not the name of a hospital, since no weight
makes rows of one hospital stand for another's: with the names, k-means makes targets that lie
outside of the sources. Where the sources hardly overlap even so, the library refuses, the draw
counts as no effective row, and the method is last by rank; of the rows that are weighted at least a
tenth are to be effective in the median draw, else comparisons with the method are failed runs; so
they are where more lasso fits of a method than those of one path of penalties do not converge.
*Synthetic*: the paper's generator with p = 20, five sources of 400 rows, a target of 150 placebo
and 100 treated rows and 1,000 others to judge on. *Real trial*: the infants' randomised treatment
and IQ at 36 months; each of the eight sites in turn is the target, of which 20 placebo and 20
treated infants are known, and its others judge by doubly robust scores; a unit is a site, a
replicate a draw of the known. Root mean squared error of effects (PEHE), its rank among the methods
(outcomes differ in scale by an order of magnitude), regret of treating by the estimate, Qini. A
replicate is an outcome of IHDP or a draw of the generator. Differences from the paper: nine of its
50 outcomes; five-fold cross-validation, known shares of treatment; judged on all of the target's
infants, where its code seems to judge on those it learned from.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from policyrank._rooms import require
from policyrank.errors import EvidenceError
from policyrank.evaluation.cross_fitting import Ridge, outcome_models, pseudo_outcomes
from policyrank.evaluation.transport import TRANSPORTS, Trial
from policyrank.evaluation.transport_weights import balanced_transport, weighted_transport
from policyrank.evidence import datasets
from policyrank.metrics.effects import autoc, pehe, qini, treatment_regret
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Health, typical
from policyrank.studies.frame import (
    Measured,
    Report,
    Row,
    Scale,
    by_method,
    by_metric,
    quiet,
    scores_of,
)

TITLE = "Trial transport"
PAPER = "arXiv 2604.02656"
ABOUT = "effects in a small trial with the help of others"
Float = NDArray[np.float64]
BUDGETS = ((25, 25), (50, 25), (100, 25), (50, 0))
NEEDS_TREATED = ("proposed", "proposed-cf", "target only", "anchored proxy")
RANK, LOSS = "rank of PEHE", "PEHE"
SMALL, NONE, SYNTHETIC, REAL = "IHDP 25/25", "IHDP 50/0", "synthetic 150/100", "real trial 20/20"
SCORE, ORDERED = (
    "squared distance from doubly robust scores, constant effect's = 0",
    "AUTOC on doubly robust scores",
)
WEIGHTED = {
    "weighted transport": weighted_transport,
    "balanced transport": balanced_transport,
}
OF_PEOPLE = 18
"""Covariates of IHDP before those that name the hospital."""
LEAST = 0.1
"""Share of the weighted rows that are to be effective."""
EFFECTIVE = "effective rows, share of the sources'"
UNFINISHED, MOST_UNFINISHED = "lasso fits without convergence", 50.0
"""Of a method in a draw: at most those of one fold's path of penalties."""
UNIT = Unit("draw of outcomes")
SITE = Unit("site", of=lambda name: str(int(name) // 1000))
CLAIMS = (
    *for_each(
        (
            "target only",
            "proxy only",
            "outcome transport",
            "weighted transport",
            "balanced transport",
            "anchored proxy",
            "proposed-cf",
        ),
        Claim("Proposed beats {} on IHDP 25/25, by rank", "proposed", "{}", RANK, tasks=(SMALL,)),
    ),
    *for_each(
        ("target only", "proxy only", "outcome transport"),
        Claim(
            "Proposed beats {} by half in PEHE, synthetic",
            "proposed",
            "{}",
            "log PEHE",
            float(np.log(2)),
            (SYNTHETIC,),
        ),
    ),
    Claim(
        "Cross-fitting beats proposed, by rank, synthetic",
        "proposed-cf",
        "proposed",
        RANK,
        tasks=(SYNTHETIC,),
    ),
    *for_each(
        ("outcome transport", "proxy only"),
        Claim(
            "With placebo rows alone, proposed-b beats {}, by rank",
            "proposed-b",
            "{}",
            RANK,
            tasks=(NONE,),
        ),
    ),
    Claim(
        "Proposed costs less regret than the target alone on IHDP 25/25",
        "proposed",
        "target only",
        "regret",
        tasks=(SMALL,),
    ),
    *for_each(
        ("target only", "outcome transport", "constant effect"),
        Claim(
            "In the real trial proposed comes nearer to the scores than {}",
            "proposed",
            "{}",
            SCORE,
            tasks=(REAL,),
            unit=SITE,
        ),
    ),
    Claim(
        "In the real trial proposed orders patients better than by lot",
        "proposed",
        "constant effect",
        ORDERED,
        tasks=(REAL,),
        unit=SITE,
    ),
)


@dataclass(frozen=True)
class Size:
    """``draws`` of the generator, with ``rows`` a source; ``sites`` and their draws are real."""

    outcomes: int
    budgets: tuple[tuple[int, int], ...]
    draws: int
    rows: int
    sites: int
    site_draws: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, ((25, 25), (50, 0)), draws=1, rows=60, sites=1, site_draws=1),
    "small": Size(9, BUDGETS, draws=10, rows=400, sites=8, site_draws=5),
    "full": Size(9, BUDGETS, draws=100, rows=400, sites=8, site_draws=50),
}


@dataclass(frozen=True)
class People:
    """Covariates (n, features), who was treated (0 or 1), and outcomes."""

    x: Float
    treated: NDArray[np.int64]
    outcome: Float

    def trial(self, which: NDArray[Any]) -> Trial:
        """Of these people alone, by number or as a mask."""
        return Trial(self.x[which], self.treated[which], self.outcome[which])

    def others(self, site: NDArray[np.int64], target: int) -> list[Trial]:
        """A trial of each site but the target."""
        return [self.trial(site == s) for s in range(site.max() + 1) if s != target]

    def known(
        self, here: NDArray[np.int64], placebo: int, treated: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """So many of each arm, drawn from these people."""
        arms = []
        for arm, number in ((0, placebo), (1, treated)):
            arms.append(rng.permutation(here[self.treated[here] == arm])[:number])
        return np.concatenate(arms)


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is an outcome of IHDP, or a draw of the generator."""
    require("sklearn", "this study")
    size = SCALES[scale]
    found: list[Health] = []
    rows = list(_infants(size, seed, found, report))
    rows += real_trial(size.sites, size.site_draws, seed, found, report)
    for r in range(size.draws):
        report(f"synthetic draw {r + 1} of {size.draws}")
        rng = np.random.default_rng([seed, 10**6, r])
        target, sources, held, effect = synthetic(rng, size.rows)
        estimates, signs = effects(target, sources, held, [seed, r])
        found += [replace(sign, sign=f"{sign.sign}, synthetic") for sign in signs]
        rows += measured(estimates, effect, SYNTHETIC, r)
    scores = scores_of(rows, lower_is_better=[LOSS, "log PEHE", RANK, "regret", SCORE])
    return Measured(scores, health=typical(found))


def _infants(size: Size, seed: int, found: list[Health], report: Report) -> Iterator[Row]:
    """IHDP: semi-synthetic outcomes; the target is the site with most treated."""
    from sklearn.cluster import KMeans

    for r, table in enumerate(datasets.load("ihdp")[: size.outcomes]):
        x = table[:, 5:]
        people = People(x, table[:, 0].astype(int), table[:, 1])
        effect = table[:, 4] - table[:, 3]
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        site = KMeans(6, n_init=10, random_state=1000 * seed + r).fit_predict(z)
        own = int(np.bincount(site[people.treated == 1], minlength=6).argmax())
        sources = people.others(site, own)
        here, rng = np.flatnonzero(site == own), np.random.default_rng([seed, r])
        for m0, m1 in size.budgets:
            report(f"IHDP outcome {r + 1} of {size.outcomes}: {m0} placebo, {m1} treated")
            target = people.trial(people.known(here, m0, m1, rng))
            task = f"IHDP {m0}/{m1}"
            estimates, signs = effects(
                target, sources, x[here], [seed, r], connected=m1 > 0, covariates=OF_PEOPLE
            )
            for sign in signs:
                least = LEAST if sign.sign == EFFECTIVE else sign.least
                found.append(replace(sign, sign=f"{sign.sign}, IHDP", least=least))
            yield from measured(estimates, effect[here], task, r)


def _real_infants() -> tuple[People, NDArray[np.int64]]:
    """The infants' IQ in the real trial, and the site of each."""
    frame = datasets.load("ihdp-trial").drop_nulls("iqsb.36")
    sites = [f"site{k}" for k in range(1, 9)]
    x = frame.drop("iqsb.36", "treat", "ncdctt", "dose400", *sites)
    x = x.fill_null(strategy="mean").to_numpy().astype(float)
    x = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    treated = frame["treat"].to_numpy().astype(int)
    outcome = frame["iqsb.36"].to_numpy().astype(float)
    return People(x, treated, outcome), frame.select(sites).to_numpy().argmax(axis=1)


def real_trial(
    sites: int, draws: int, seed: int, found: list[Health], report: Report
) -> Iterator[Row]:
    """Each of the eight sites in turn is the target, of which 20 infants of each arm are known.

    Judged on the site's others by cross-fitted doubly robust scores of their IQ.
    """
    people, site = _real_infants()
    both = np.ones(2, dtype=bool)
    for s in range(sites):
        here = np.flatnonzero(site == s)
        sources = people.others(site, s)
        for d in range(draws):
            report(f"real trial: site {s + 1} of {sites}, draw {d + 1} of {draws}")
            rng = np.random.default_rng([seed, 7, s, d])
            known = people.known(here, 20, 20, rng)
            held, target = people.trial(np.setdiff1d(here, known)), people.trial(known)
            mu = outcome_models(
                held.x, held.treated, held.outcome, both, model=Ridge(1.0), seed=rng
            )
            chance = np.full(len(held.x), people.treated[here].mean())
            scores = pseudo_outcomes(held.outcome, held.treated, mu[:, 1], mu[:, 0], chance)
            estimates, signs = effects(target, sources, held.x, [seed, s, d])
            found += [replace(sign, sign=f"{sign.sign}, real trial") for sign in signs]
            treated = target.treated == 1
            gap = float(target.outcome[treated].mean() - target.outcome[~treated].mean())
            estimates["constant effect"] = np.full(len(held.x), gap)
            base = float(((scores - gap) ** 2).mean())
            for name, estimate in estimates.items():
                loss = float(((scores - estimate) ** 2).mean()) - base
                order = autoc(estimate, scores) if np.ptp(estimate) > 0 else 0.0
                yield name, REAL, SCORE, 1000 * s + d, loss
                yield name, REAL, ORDERED, 1000 * s + d, order


def effects(
    target: Trial,
    sources: list[Trial],
    x: Float,
    seed: list[int],
    *,
    connected: bool = True,
    covariates: int | None = None,
) -> tuple[dict[str, Float], list[Health]]:
    """Effects for rows of covariates by all methods, and how many rows the weighted ones rest on.

    Parameters
    ----------
    connected
        whether some treated of the target are known
    covariates
        how many of the first the weighted transports see (None: all)
    """
    from sklearn.exceptions import ConvergenceWarning

    number = int(np.random.default_rng(seed).integers(2**31))
    estimates: dict[str, Float] = {}
    health: list[Health] = []
    rows = sum(len(source.x) for source in sources)
    for name, rule in TRANSPORTS.items():
        if not connected and name in NEEDS_TREATED:
            continue
        if name not in WEIGHTED:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", ConvergenceWarning)
                estimates[name] = rule(target, sources, number)(x)
            short = sum(issubclass(own.category, ConvergenceWarning) for own in said)
            health.append(Health(name, UNFINISHED, float(short), most=MOST_UNFINISHED))
            continue
        seen = [_first(trial, covariates) for trial in (target, *sources)]
        share = 0.0
        try:
            carried = WEIGHTED[name](seen[0], seen[1:], number)
        except EvidenceError:  # the sources hardly overlap the target
            pass
        else:
            estimates[name] = carried(x[:, :covariates])
            share = sum(carried.effective) / rows
        health.append(Health(name, EFFECTIVE, share))
    return estimates, health


def _first(trial: Trial, covariates: int | None) -> Trial:
    return Trial(trial.x[:, :covariates], trial.treated, trial.outcome)


def measured(estimates: dict[str, Float], effect: Float, task: str, r: int) -> Iterator[Row]:
    """What methods' effects are worth; one that was refused has a rank alone, the last."""
    losses = {name: pehe(estimate, effect) for name, estimate in estimates.items()}
    refused = [name for name in WEIGHTED if name not in losses]
    ranks = rankdata([*losses.values(), *(np.inf for _ in refused)]).tolist()
    yield from by_method(task, RANK, r, dict(zip([*losses, *refused], ranks, strict=True)))
    for name, estimate in estimates.items():
        values = {
            LOSS: losses[name],
            "log PEHE": float(np.log(losses[name])),
            "regret": treatment_regret(estimate, effect),
            "Qini": qini(estimate, effect),
        }
        yield from by_metric(name, task, r, values)


def synthetic(
    rng: np.random.Generator, rows: int, p: int = 20, sources: int = 5, sparse: int = 5
) -> tuple[Trial, list[Trial], Float, Float]:
    """The paper's generator: a target, sources, and covariates and effects of others of the target.

    Dense proxies are shared by all sites, beside sparse own parts and a low-rank link from placebo
    to treated.
    """
    proxy = rng.normal(0, 0.5, (2, p))
    support = rng.choice(p, size=sparse, replace=False)
    link = rng.normal(size=(p, 3)) @ rng.normal(size=(3, p)) / 3
    people, effect = _site(rng, 1250, proxy, support, link, spread=0.1, shift=0.25)
    made = []
    for _ in range(sources):
        other, _ = _site(rng, rows, proxy, support, link, spread=0.05, shift=0.1)
        made.append(other.trial(np.arange(rows)))
    placebo, treated = np.flatnonzero(people.treated == 0), np.flatnonzero(people.treated == 1)
    known = np.concatenate([placebo[:150], treated[:100]])
    rest = np.setdiff1d(np.arange(len(effect)), known)
    return people.trial(known), made, people.x[rest], effect[rest]


def _site(
    rng: np.random.Generator,
    n: int,
    proxy: Float,
    support: NDArray[np.int64],
    link: Float,
    *,
    spread: float,
    shift: float,
) -> tuple[People, Float]:
    """People of one site, and their effects; ``spread``, ``shift``: how far it lies off others."""
    p, sparse = proxy.shape[1], len(support)
    own = np.zeros((2, p))
    shared = support[rng.random(sparse) < 0.6]
    own[0, shared] += rng.normal(0, 0.4, len(shared))
    alone = rng.choice(p, size=sparse - len(shared), replace=False)
    own[0, alone] += rng.normal(0, 0.2, len(alone))
    nu = np.zeros(p)
    nu[rng.choice(p, size=sparse, replace=False)] = rng.normal(0, spread, sparse)
    own[1] = link @ own[0] + nu
    level, centre = rng.normal(0, 0.5, 2), rng.normal(0, shift, p)
    x = centre + rng.normal(size=(n, p))
    treated = (rng.random(n) < 0.5).astype(int)
    mean = level[:, None] + (proxy + own) @ x.T
    outcome = np.where(treated == 1, mean[1], mean[0]) + rng.normal(0, 0.5, n)
    return People(x, treated, outcome), mean[1] - mean[0]
