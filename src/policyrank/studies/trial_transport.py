"""Placebo-anchored transport: effects in a small target trial, with the help of others.

Wang, Abdeen and Ayer (2026), "Transfer Learning for Meta-analysis Under Covariate Shift", arXiv
2604.02656.

**The claim**: transfer lassos of both arms, anchored on the target's own rows, estimate individual
effects better than the target alone, sources alone or outcome models of pooled sources, most where
the target is small; with placebo rows alone they still help.

**What is done here**: *IHDP*: nine semi-synthetic outcomes on the real covariates of 747 infants;
six sites by k-means of the covariates, the target is the one with most treated; m0 placebo and m1
treated infants of it are known; effects are judged on all infants of the target. *Synthetic*: the
paper's generator with p = 20, five sources of 400 rows, a target of 150 placebo and 100 treated
rows and 1,000 others to judge on. *Real trial*: the infants' randomised treatment and IQ at 36
months; each of the eight sites in turn is the target, of which 20 placebo and 20 treated infants
are known, and its others judge by doubly robust scores; a replicate is a site and a draw of the
known. Root mean squared error of effects (PEHE), its rank among the methods (outcomes differ in
scale by an order of magnitude), regret of treating by the estimate, Qini. A replicate is an outcome
of IHDP or a draw of the generator. Differences from the paper: nine of its 50 outcomes; five-fold
cross-validation, known shares of treatment; judged on all of the target's infants, where its code
seems to judge on those it learned from.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from policyrank.errors import EvidenceError
from policyrank.evaluation.off_policy import Ridge, outcome_models, pseudo_outcomes
from policyrank.evaluation.transport import TRANSPORTS, Trial
from policyrank.evidence import Scores, datasets
from policyrank.metrics.effects import autoc, pehe, qini, treatment_regret
from policyrank.studies.frame import Claim, Report, Scale, quiet

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
CLAIMS = (
    *(
        Claim(f"Proposed beats {m} on IHDP 25/25, by rank", "proposed", m, RANK, tasks=(SMALL,))
        for m in (
            "target only",
            "proxy only",
            "outcome transport",
            "weighted transport",
            "balanced transport",
            "anchored proxy",
            "proposed-cf",
        )
    ),
    *(
        Claim(
            f"Proposed beats {m} by half in PEHE, synthetic",
            "proposed",
            m,
            "log PEHE",
            float(np.log(2)),
            (SYNTHETIC,),
        )
        for m in ("target only", "proxy only", "outcome transport")
    ),
    Claim(
        "Cross-fitting beats proposed, by rank, synthetic",
        "proposed-cf",
        "proposed",
        RANK,
        tasks=(SYNTHETIC,),
    ),
    *(
        Claim(
            f"With placebo rows alone, proposed-b beats {m}, by rank",
            "proposed-b",
            m,
            RANK,
            tasks=(NONE,),
        )
        for m in ("outcome transport", "proxy only")
    ),
    Claim(
        "Proposed costs less regret than the target alone on IHDP 25/25",
        "proposed",
        "target only",
        "regret",
        tasks=(SMALL,),
    ),
    *(
        Claim(
            f"In the real trial proposed comes nearer to the scores than {m}",
            "proposed",
            m,
            SCORE,
            tasks=(REAL,),
        )
        for m in ("target only", "outcome transport", "constant effect")
    ),
    Claim(
        "In the real trial proposed orders patients better than by lot",
        "proposed",
        "constant effect",
        ORDERED,
        tasks=(REAL,),
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is an outcome of IHDP, or a draw of the generator."""
    outcomes, budgets, draws = {
        "smoke": (2, ((25, 25), (50, 0)), 1),
        "small": (9, BUDGETS, 10),
        "full": (9, BUDGETS, 100),
    }[scale]
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
    except ModuleNotFoundError:
        raise EvidenceError(
            "this study needs scikit-learn: pip install 'policyrank[causal]'"
        ) from None
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows: list[tuple[str, str, str, int, float]] = []
    for r, table in enumerate(datasets.load("ihdp")[:outcomes]):
        treated, outcome, mu0, mu1, x = (
            table[:, 0].astype(int),
            table[:, 1],
            table[:, 3],
            table[:, 4],
            table[:, 5:],
        )
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        site = KMeans(6, n_init=10, random_state=seed).fit_predict(z)
        own = np.bincount(site[treated == 1], minlength=6).argmax()
        sources = [
            Trial(x[site == c], treated[site == c], outcome[site == c])
            for c in range(6)
            if c != own
        ]
        here, rng = np.flatnonzero(site == own), np.random.default_rng([seed, r])
        for m0, m1 in budgets:
            report(f"IHDP outcome {r + 1} of {outcomes}: {m0} placebo, {m1} treated")
            known = np.concatenate(
                [rng.permutation(here[treated[here] == a])[:m] for a, m in ((0, m0), (1, m1))]
            )
            target = Trial(x[known], treated[known], outcome[known])
            rows += measured(
                target, sources, x[here], (mu1 - mu0)[here], f"IHDP {m0}/{m1}", r, m1 > 0
            )
    rows += real_trial(
        1 if scale == "smoke" else 8, 1 if scale == "smoke" else draws // 2, seed, report
    )
    for r in range(draws):
        report(f"synthetic draw {r + 1} of {draws}")
        target, sources, held, effect = synthetic(
            np.random.default_rng([seed, 10**6, r]), 60 if scale == "smoke" else 400
        )
        rows += measured(target, sources, held, effect, SYNTHETIC, r, True)
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods,
        tasks,
        values,
        metric=metrics,
        replicate=replicates,
        lower_is_better=[LOSS, "log PEHE", RANK, "regret", SCORE],
    )


def real_trial(
    sites: int, draws: int, seed: int, report: Report
) -> list[tuple[str, str, str, int, float]]:
    """Each of the eight sites in turn is the target, of which 20 placebo and 20 treated infants are
    known; judged on the site's others by cross-fitted doubly robust scores of their IQ.
    """
    frame = datasets.load("ihdp-trial").drop_nulls("iqsb.36")
    site = frame.select([f"site{k}" for k in range(1, 9)]).to_numpy().argmax(axis=1)
    treated, outcome = (
        frame["treat"].to_numpy().astype(int),
        frame["iqsb.36"].to_numpy().astype(float),
    )
    left_out = ("iqsb.36", "treat", "ncdctt", "dose400", *(f"site{k}" for k in range(1, 9)))
    x = frame.drop(left_out).fill_null(strategy="mean").to_numpy().astype(float)
    x = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    rows: list[tuple[str, str, str, int, float]] = []
    for s in range(sites):
        here = np.flatnonzero(site == s)
        sources = [
            Trial(x[site == c], treated[site == c], outcome[site == c]) for c in range(8) if c != s
        ]
        for d in range(draws):
            report(f"real trial: site {s + 1} of {sites}, draw {d + 1} of {draws}")
            rng = np.random.default_rng([seed, 7, s, d])
            known = np.concatenate([rng.permutation(here[treated[here] == a])[:20] for a in (0, 1)])
            held, target = (
                np.setdiff1d(here, known),
                Trial(x[known], treated[known], outcome[known]),
            )
            mu = outcome_models(x[held], treated[held], outcome[held], 2, Ridge(1.0), 5, rng)
            scores = pseudo_outcomes(
                outcome[held],
                treated[held],
                mu[:, 1],
                mu[:, 0],
                np.full(len(held), treated[here].mean()),
            )
            found = {name: rule(target, sources, d)(x[held]) for name, rule in TRANSPORTS.items()}
            gap = float(
                target.outcome[target.treated == 1].mean()
                - target.outcome[target.treated == 0].mean()
            )
            found["constant effect"] = np.full(len(held), gap)
            base = float(((scores - gap) ** 2).mean())
            for name, estimate in found.items():
                rows.append(
                    (
                        name,
                        REAL,
                        SCORE,
                        s * draws + d,
                        float(((scores - estimate) ** 2).mean()) - base,
                    )
                )
                rows.append(
                    (
                        name,
                        REAL,
                        ORDERED,
                        s * draws + d,
                        autoc(estimate, scores) if np.ptp(estimate) > 0 else 0.0,
                    )
                )
    return rows


def measured(
    target: Trial, sources: list[Trial], x: Float, effect: Float, task: str, r: int, connected: bool
) -> list[tuple[str, str, str, int, float]]:
    """All methods on one target."""
    names = [n for n in TRANSPORTS if connected or n not in NEEDS_TREATED]
    found = [TRANSPORTS[n](target, sources, r)(x) for n in names]
    losses = np.array([pehe(t, effect) for t in found])
    rows = []
    for name, estimate, loss, rank in zip(
        names, found, losses.tolist(), rankdata(losses).tolist(), strict=True
    ):
        values = {
            LOSS: loss,
            "log PEHE": float(np.log(loss)),
            RANK: rank,
            "regret": treatment_regret(estimate, effect),
            "Qini": qini(estimate, effect),
        }
        rows += [(name, task, metric, r, value) for metric, value in values.items()]
    return rows


def synthetic(
    rng: np.random.Generator, rows: int, p: int = 20, sources: int = 5, sparse: int = 5
) -> tuple[Trial, list[Trial], Float, Float]:
    """The paper's generator: dense proxies shared by all sites, sparse own parts, a low-rank link
    from placebo to treated.
    """
    proxy = rng.normal(0, 0.5, (2, p))
    support = rng.choice(p, size=sparse, replace=False)
    link = rng.normal(size=(p, 3)) @ rng.normal(size=(3, p)) / 3
    made = []
    for c in range(sources + 1):
        own = np.zeros((2, p))
        shared = support[rng.random(sparse) < 0.6]
        own[0, shared] += rng.normal(0, 0.4, len(shared))
        own[0, rng.choice(p, size=sparse - len(shared), replace=False)] += rng.normal(
            0, 0.2, sparse - len(shared)
        )
        nu = np.zeros(p)
        nu[rng.choice(p, size=sparse, replace=False)] = rng.normal(0, 0.05 if c else 0.1, sparse)
        own[1] = link @ own[0] + nu
        level, shift = rng.normal(0, 0.5, 2), rng.normal(0, 0.1 if c else 0.25, p)
        n = rows if c else 1250
        x = shift + rng.normal(size=(n, p))
        treated = (rng.random(n) < 0.5).astype(int)
        mean = level[:, None] + (proxy + own) @ x.T
        made.append(
            (
                x,
                treated,
                np.where(treated == 1, mean[1], mean[0]) + rng.normal(0, 0.5, n),
                mean[1] - mean[0],
            )
        )
    x, treated, y, effect = made[0]
    known = np.concatenate([np.flatnonzero(treated == a)[:m] for a, m in ((0, 150), (1, 100))])
    rest = np.setdiff1d(np.arange(len(x)), known)
    return (
        Trial(x[known], treated[known], y[known]),
        [Trial(*m[:3]) for m in made[1:]],
        x[rest],
        effect[rest],
    )
