"""VSDR: choose among simulated policies by their score in simulation and by how ordinary real
observations look to them.

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

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evaluation.simulation import COMBINERS, agreement, in_distribution
from policyrank.evidence import Scores
from policyrank.studies.frame import Claim, Report, Scale, quiet

TITLE = "VSDR"
PAPER = "arXiv 2111.00765"
ABOUT = "policies chosen by simulation and unlabelled real observations"
Float = NDArray[np.float64]
DETECTORS = ("pixel k-NN", "hidden k-NN", "Mahalanobis", "largest probability", "entropy")
SIM, POOL, PLAIN = "simulation alone", "randomised pool", "pool of training quality"
FEW = (5, 20, 50, 150)
CLAIMS = (
    *(
        Claim(
            f"{d} times simulation beats {d} alone by .1",
            f"{d} x simulation",
            f"{d} alone",
            "Spearman",
            0.1,
            (POOL,),
        )
        for d in DETECTORS
    ),
    *(
        Claim(
            f"{d} times simulation beats simulation alone",
            f"{d} x simulation",
            SIM,
            "Spearman",
            0.0,
            (POOL,),
        )
        for d in DETECTORS
    ),
    *(
        Claim(
            f"{d} times simulation has less regret than simulation alone",
            f"{d} x simulation",
            SIM,
            "regret@1",
            0.0,
            (POOL,),
        )
        for d in ("pixel k-NN", "Mahalanobis")
    ),
    *(
        Claim(
            f"{n} real images are as good as 150, by .05",
            f"pixel k-NN x simulation, {n} images",
            "pixel k-NN x simulation",
            "Spearman",
            -0.05,
            (POOL,),
        )
        for n in FEW[:3]
    ),
    Claim(
        "Where policies differ in training quality, pixel k-NN adds to simulation",
        "pixel k-NN x simulation",
        SIM,
        "Spearman",
        0.0,
        (PLAIN,),
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a seed."""
    seeds, policies = {"smoke": (2, 6), "small": (10, 40), "full": (50, 60)}[scale]
    rows: list[tuple[str, str, str, int, float]] = []
    for r in range(seeds):
        for setting in (POOL, PLAIN):
            report(f"seed {r + 1} of {seeds}: {setting}")
            for method, found in pool(
                np.random.default_rng([seed, r, setting == POOL]), policies, setting == POOL
            ).items():
                rows += [
                    (method, setting, metric, r, float(np.nan_to_num(found[key])))
                    for metric, key in (("Spearman", "spearman"), ("regret@1", "regret@1"))
                ]
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods, tasks, values, metric=metrics, replicate=replicates, lower_is_better=["regret@1"]
    )


def changed(
    x: Float, rng: np.random.Generator, background: float, contrast: float, noise: float
) -> Float:
    """Images in [0, 1] with a background, less contrast and noise, each up to so much."""
    n = len(x)
    out = x * (1 - contrast * rng.random((n, 1))) + background * rng.random((n, 1)) * rng.random(
        (1, x.shape[1])
    )
    return np.clip(out + noise * rng.random((n, 1)) * rng.normal(size=x.shape), 0, 1)


def pool(rng: np.random.Generator, policies: int, randomised: bool) -> dict[str, dict[str, float]]:
    """How well each way to choose agrees with the truth."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
    except ModuleNotFoundError:
        raise EvidenceError("this study needs scikit-learn: pip install scikit-learn") from None
    x, y = load_digits(return_X_y=True)
    x, order = x / 16, rng.permutation(len(x))
    train, valid, rest = order[:800], order[800:1100], order[1100:]
    real = changed(x[rest], rng, 0.5, 0.5, 0.3)
    seen, judged = real[:150], slice(150, None)
    truth, sim = {}, {}
    rates: dict[str, dict[str, Float]] = {d: {} for d in DETECTORS}
    for k in range(policies):
        if randomised:
            width, epochs, images, lam = (
                int(rng.choice([16, 64])),
                int(rng.choice([10, 40, 150])),
                int(rng.choice([200, 800])),
                float(rng.choice([0, 0.15, 0.3, 0.6, 1.0])),
            )
        else:
            width, epochs, images, lam = (
                int(rng.choice([8, 16, 32, 64])),
                100,
                int(rng.choice([60, 200, 800])),
                0.0,
            )
        randomise = lambda z, lam=lam: changed(z, rng, 0.8 * lam, 0.8 * lam, 0.6 * lam)  # noqa: E731
        used = rng.choice(train, size=images, replace=False)
        model = MLPClassifier(
            (width,), max_iter=epochs, batch_size=50, random_state=int(rng.integers(2**31))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(randomise(x[used]), y[used])
        name, own = f"policy {k}", randomise(x[valid])
        sim[name] = float(model.score(own, y[valid]))
        truth[name] = float(model.score(real[judged], y[rest][judged]))

        def hidden(z: Float, model: MLPClassifier = model) -> Float:
            return np.maximum(z @ model.coefs_[0] + model.intercepts_[0], 0)

        def logits(z: Float, model: MLPClassifier = model) -> Float:
            return hidden(z, model) @ model.coefs_[1] + model.intercepts_[1]

        fit, held = own[:150], own[150:]
        for detector, score, view in (
            ("pixel k-NN", "knn", lambda z: z),
            ("hidden k-NN", "knn", hidden),
            ("Mahalanobis", "mahalanobis", hidden),
            ("largest probability", "max-softmax", logits),
            ("entropy", "entropy", logits),
        ):
            rates[detector][name] = in_distribution(view(fit), view(held), view(seen), score)
    names = list(truth)
    s = np.array([sim[n] for n in names])
    out = {SIM: agreement(truth, sim)}
    for detector, own_rates in rates.items():
        q = np.array([own_rates[n].mean() for n in names])
        out[f"{detector} alone"] = agreement(truth, dict(zip(names, q.tolist(), strict=True)))
        out[f"{detector} x simulation"] = agreement(
            truth, dict(zip(names, COMBINERS["product"](s, q).tolist(), strict=True))
        )
        out[f"{detector} + simulation (z)"] = agreement(
            truth, dict(zip(names, COMBINERS["z-sum"](s, q).tolist(), strict=True))
        )
        if detector == "pixel k-NN":
            for n in FEW[:3]:
                fewer = np.array([own_rates[k][:n].mean() for k in names])
                out[f"pixel k-NN x simulation, {n} images"] = agreement(
                    truth, dict(zip(names, (s * fewer).tolist(), strict=True))
                )
    return out
