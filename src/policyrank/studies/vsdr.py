"""VSDR: choose among simulated policies by their score and by how ordinary the real world looks.

Leibovich, Jacob, Endrawis, Novik and Tamar (2021), "Validate on Sim, Detect on Real: Model
Selection for Domain Randomization", arXiv 2111.00765.

**The claim**: scores of out-of-distribution detectors alone choose badly and depend on the
detector; combined with the simulated score they rank policies for the real world better than
simulation alone, whichever the detector.

**What is done here**: scikit-learn's digits. "Simulation" is 800 images to train and 300 to
validate, "real" are the others with backgrounds up to .5, contrast lost up to .5 and noise up to
.3. A policy is an MLP of 16 or 64 units, trained for 10, 40 or 150 epochs on 200 or 800 images that
are randomised at one of five strengths (0 to 1); 40 policies are drawn. The simulated score is the
accuracy on validation images randomised as in training; the detectors see 150 real images without
labels; the truth is the accuracy on the other real images. Detectors compare with the policy's own
randomised validation images: k-NN of pixels and of hidden units, Mahalanobis of hidden units,
largest probability, entropy. Spearman with the truth (0 where a score is the same for all) and
regret@1 (accuracy lost by taking the first). *Few real images*: the product with pixel k-NN on 5,
20, 50 and 150 of them. *Training quality*: a second pool without randomisation (8 to 64 units, 60
to 800 images), where simulation should do. A replicate is a seed of everything. Differences from
the paper: no robot, no images of one; how the two are combined is a reconstruction (product).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank._rooms import require
from policyrank.evaluation.simulation import COMBINERS, agreement, in_distribution
from policyrank.evidence import Scores
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, quiet, scores_of

TITLE = "VSDR"
PAPER = "arXiv 2111.00765"
ABOUT = "policies chosen by simulation and unlabelled real observations"
Float = NDArray[np.float64]
DETECTORS = ("pixel k-NN", "hidden k-NN", "Mahalanobis", "largest probability", "entropy")
SIM, POOL, PLAIN = "simulation alone", "randomised pool", "pool of training quality"
FEW = (5, 20, 50, 150)
UNIT = Unit("pool of policies")
CLAIMS = (
    *for_each(
        DETECTORS,
        Claim(
            "{0} times simulation beats {0} alone by .1",
            "{} x simulation",
            "{} alone",
            "Spearman",
            0.1,
            (POOL,),
        ),
    ),
    *for_each(
        DETECTORS,
        Claim(
            "{} times simulation beats simulation alone",
            "{} x simulation",
            SIM,
            "Spearman",
            0.0,
            (POOL,),
        ),
    ),
    *for_each(
        ("pixel k-NN", "Mahalanobis"),
        Claim(
            "{} times simulation has less regret than simulation alone",
            "{} x simulation",
            SIM,
            "regret@1",
            0.0,
            (POOL,),
        ),
    ),
    *for_each(
        FEW[:3],
        Claim(
            "{} real images are as good as 150, by .05",
            "pixel k-NN x simulation, {} images",
            "pixel k-NN x simulation",
            "Spearman",
            -0.05,
            (POOL,),
        ),
    ),
    Claim(
        "Where all train without randomisation, pixel k-NN is the same for all and adds nothing",
        "pixel k-NN x simulation",
        SIM,
        "Spearman",
        1e-12,
        (PLAIN,),
        kind="identity",
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a seed."""
    seeds, policies = {"smoke": (2, 6), "small": (30, 40), "full": (50, 60)}[scale]
    rows: list[Row] = []
    for r in range(seeds):
        for setting in (POOL, PLAIN):
            report(f"seed {r + 1} of {seeds}: {setting}")
            rng = np.random.default_rng([seed, r, setting == POOL])
            for method, found in pool(rng, policies, setting == POOL).items():
                spearman, regret = found["spearman"], found["regret@1"]
                rows.append((method, setting, "Spearman", r, float(np.nan_to_num(spearman))))
                rows.append((method, setting, "regret@1", r, float(np.nan_to_num(regret))))
    return scores_of(rows, lower_is_better=["regret@1"])


def changed(
    x: Float, rng: np.random.Generator, background: float, contrast: float, noise: float
) -> Float:
    """Images in [0, 1] with a background, less contrast and noise, each up to so much."""
    n, pixels = x.shape
    out = x * (1 - contrast * rng.random((n, 1)))
    out = out + background * rng.random((n, 1)) * rng.random((1, pixels))
    return np.clip(out + noise * rng.random((n, 1)) * rng.normal(size=x.shape), 0, 1)


@dataclass(frozen=True)
class Policy:
    """How a policy is made: units, epochs, images to learn from, strength of randomisation."""

    width: int
    epochs: int
    images: int
    strength: float

    @classmethod
    def draw(cls, rng: np.random.Generator, randomised: bool) -> Policy:
        """Of the pool with randomisation, or of that of training quality."""
        if not randomised:
            width = int(rng.choice([8, 16, 32, 64]))
            return cls(width, 100, int(rng.choice([60, 200, 800])), 0.0)
        return cls(
            int(rng.choice([16, 64])),
            int(rng.choice([10, 40, 150])),
            int(rng.choice([200, 800])),
            float(rng.choice([0, 0.15, 0.3, 0.6, 1.0])),
        )

    def randomise(self, x: Float, rng: np.random.Generator) -> Float:
        """Images as its simulation shows them."""
        return changed(x, rng, 0.8 * self.strength, 0.8 * self.strength, 0.6 * self.strength)


def pool(rng: np.random.Generator, policies: int, randomised: bool) -> dict[str, dict[str, float]]:
    """How well each way to choose agrees with the truth."""
    require("sklearn", "this study")
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, order = x / 16, rng.permutation(len(x))
    train, valid, rest = order[:800], order[800:1100], order[1100:]
    real = changed(x[rest], rng, 0.5, 0.5, 0.3)
    seen, judged, labels = real[:150], real[150:], y[rest][150:]
    truth, simulated = {}, {}
    rates: dict[str, list[Float]] = {detector: [] for detector in DETECTORS}
    for k in range(policies):
        policy = Policy.draw(rng, randomised)
        used = rng.choice(train, size=policy.images, replace=False)
        model = _fitted(policy, x[used], y[used], rng)
        own = policy.randomise(x[valid], rng)
        simulated[f"policy {k}"] = float(model.score(own, y[valid]))
        truth[f"policy {k}"] = float(model.score(judged, labels))
        for detector, found in _detected(model, own, seen).items():
            rates[detector].append(found)
    return _agreements(truth, simulated, rates)


def _fitted(policy: Policy, x: Float, y: NDArray[np.int64], rng: np.random.Generator) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (policy.width,),
        max_iter=policy.epochs,
        batch_size=50,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(policy.randomise(x, rng), y)
    return model


def _detected(model: Any, own: Float, seen: Float) -> dict[str, Float]:
    """How ordinary real images look to a policy beside its own, by detector: (images,)."""

    def pixels(x: Float) -> Float:
        return x

    def hidden(x: Float) -> Float:
        return np.maximum(x @ model.coefs_[0] + model.intercepts_[0], 0)

    def logits(x: Float) -> Float:
        return hidden(x) @ model.coefs_[1] + model.intercepts_[1]

    fit, held = own[:150], own[150:]
    found = {}
    for detector, score, view in (
        ("pixel k-NN", "knn", pixels),
        ("hidden k-NN", "knn", hidden),
        ("Mahalanobis", "mahalanobis", hidden),
        ("largest probability", "max-softmax", logits),
        ("entropy", "entropy", logits),
    ):
        found[detector] = in_distribution(view(fit), view(held), view(seen), score)
    return found


def _agreements(
    truth: dict[str, float], simulated: dict[str, float], rates: dict[str, list[Float]]
) -> dict[str, dict[str, float]]:
    """Agreement with the truth of each way to choose."""
    score = np.array(list(simulated.values()))

    def judged(values: Float) -> dict[str, float]:
        return agreement(truth, dict(zip(truth, values.tolist(), strict=True)))

    found = {SIM: agreement(truth, simulated)}
    for detector, own in rates.items():
        rate = np.array([images.mean() for images in own])
        found[f"{detector} alone"] = judged(rate)
        found[f"{detector} x simulation"] = judged(COMBINERS["product"](score, rate))
        found[f"{detector} + simulation (z)"] = judged(COMBINERS["z-sum"](score, rate))
        if detector == "pixel k-NN":
            for n in FEW[:3]:
                fewer = np.array([images[:n].mean() for images in own])
                found[f"pixel k-NN x simulation, {n} images"] = judged(score * fewer)
    return found
