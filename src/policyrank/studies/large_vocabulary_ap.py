"""AP-Fixed and AP-Pool: which average precision can be gamed, and which asks for calibration.

Dave, Dollar, Ramanan, Kirillov and Girshick (2021), "Evaluating Large-Vocabulary Object Detectors:
The Devil is in the Details", arXiv 2102.01066.

**The claim**: LVIS's AP, which keeps 300 detections an image over all classes, rises when a
detector re-ranks across classes although it detects nothing better; AP with a limit a class
(AP-Fixed) does not. AP over one pooled list (AP-Pool) rewards scores that mean the same in all
classes.

**What is done here**: *Gaming*: the ground truth of 100 LVIS images and a simulated detector (true
boxes jittered, some twice, 900 false boxes an image, score offsets of +1.5 for frequent, -.5 for
common, -2 for rare classes, and noise of .8 by class); gaming puts the best 20, 50 or 100
detections of each class before all others, which changes no order within a class but what the cut
an image leaves. *Calibration*: 100 classes with lognormally many objects, four fifths found, logits
of right detections N(1.2, 1), of false ones N(-1.2, 1), a bias of N(0, 1.5) by class; fitted on one
half, measured on the other; "by class" fits Platt scaling for each class, "overall" one for all. A
replicate is a seed. Equality with the LVIS and COCO reference code is tested in the suite, not
here. Differences from the paper: no detector is trained.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from policyrank.evidence import Scores, datasets
from policyrank.evidence.detections import Detections, GroundTruth
from policyrank.metrics.calibration import calibrate
from policyrank.metrics.detection import average_precision, detection_ap, gamed
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of

TITLE = "Large-vocabulary AP"
PAPER = "arXiv 2102.01066"
ABOUT = "average precision that cannot be gamed, and calibration"
DEFAULT, FIXED, MEAN, POOL = "AP, 300 an image", "AP-Fixed", "mean AP over classes", "AP-Pool"
WHERE = "LVIS, 100 images"
OFFSET = {"f": 1.5, "c": -0.5, "r": -2.0}
FIRST = (20, 50, 100)
GAMED = {n: f"first {n} of each class" for n in FIRST}
COMMON = f"{DEFAULT}: common classes"
UNIT = Unit("draw of detections")
CLAIMS = (
    *for_each(
        GAMED.items(),
        Claim(
            "The best {0} of each class first: AP with a limit an image rises by .002",
            "{1}",
            "as it is",
            DEFAULT,
            0.002,
        ),
    ),
    *for_each(
        GAMED.items(),
        Claim(
            "The best {0} of each class first: that AP of common classes rises by .01",
            "{1}",
            "as it is",
            COMMON,
            0.01,
            seen=(0,),
        ),
    ),
    *for_each(
        GAMED.items(),
        Claim("The best {0} of each class first: AP-Fixed rises", "{1}", "as it is", FIXED),
    ),
    Claim("Calibration by class raises AP-Pool by .05", "by class", "raw", POOL, 0.05),
    Claim("One calibration for all raises AP-Pool", "overall", "raw", POOL),
    Claim(
        "Calibration by class leaves the mean over classes within .001",
        "by class",
        "raw",
        MEAN,
        -0.001,
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a seed."""
    seeds, false = {"smoke": (2, 60), "small": (10, 900), "full": (50, 900)}[scale]
    truth = datasets.load("lvis100")
    rows: list[Row] = []
    for r in range(seeds):
        report(f"seed {r + 1} of {seeds}")
        rng = np.random.default_rng([seed, r])
        found = simulated(truth, rng, false)
        rankings = {"as it is": found}
        for n, method in GAMED.items():
            rankings[method] = promoted(found, n)
        for method, own in rankings.items():
            for metric, budget in ((DEFAULT, "lvis"), (FIXED, "fixed")):
                summary = detection_ap(truth, own, budget=budget).summary()
                rows.append((method, WHERE, metric, r, summary["AP"]))
                rows.append((method, WHERE, f"{metric}: common classes", r, summary["APc"]))
        for method, measured in calibrated(rng).items():
            rows += by_metric(method, "100 classes", r, measured)
    return scores_of(rows)


def simulated(truth: GroundTruth, rng: np.random.Generator, false: int) -> Detections:
    """A detector whose scores mean different things in different classes."""
    offset = rng.normal(0, 0.8, len(truth.names))
    offset += [OFFSET[frequency] for frequency in truth.frequency]
    times = rng.choice([0, 1, 2], p=[0.15, 0.65, 0.2], size=len(truth.image))
    near = np.repeat(np.arange(len(truth.image)), times)
    size = truth.box[near][:, [2, 3, 2, 3]]
    boxes = truth.box[near] + rng.normal(0, 0.08, (len(near), 4)) * size
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    images = np.repeat(np.arange(len(truth.images)), false)
    extent = truth.sizes[images][:, ::-1]
    wide = rng.uniform(0.02, 0.4, (len(images), 2)) * extent
    wrong = np.column_stack([rng.uniform(size=(len(images), 2)) * (extent - wide), wide])
    kind = rng.integers(len(truth.names), size=len(images))
    category = np.r_[truth.category[near], kind]
    logits = np.r_[rng.normal(1, 1, len(near)), rng.normal(-1, 1, len(images))] + offset[category]
    return Detections(
        np.r_[truth.image[near], images],
        category,
        expit(logits),
        np.vstack([boxes, wrong]),
        (),
        "simulated",
    )


def promoted(found: Detections, n: int) -> Detections:
    """The best ``n`` of each class before all others, which keeps the order within each class."""
    scores = found.score.copy()
    scores[gamed(found, n)] += 1
    return replace(found, score=scores)


def calibrated(rng: np.random.Generator, classes: int = 100) -> dict[str, dict[str, float]]:
    """Mean AP and AP-Pool of raw and calibrated scores on the half that nothing was fitted on."""
    objects = np.maximum(np.rint(rng.lognormal(3.5, 1, size=(2, classes))), 2).astype(int)
    bias = rng.normal(0, 1.5, classes)
    seen = _detections(rng, objects[0], bias)
    score, right, group = _detections(rng, objects[1], bias)
    by_class, overall = calibrate(*seen), calibrate(*seen[:2], 0 * seen[2])
    maps = {
        "raw": score,
        "by class": by_class(score, group),
        "overall": overall(score, np.zeros_like(group)),
    }
    measured = {}
    for name, value in maps.items():
        each = []
        for c, count in enumerate(objects[1].tolist()):
            own = group == c
            each.append(average_precision(value[own], right[own], count))
        pooled = average_precision(value, right, int(objects[1].sum()))
        measured[name] = {MEAN: float(np.mean(each)), POOL: pooled}
    return measured


def _detections(
    rng: np.random.Generator, objects: NDArray[np.int64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Scores, which are right, and classes: four fifths of the objects and five false ones each."""
    classes = np.arange(len(objects))
    hit = np.maximum((0.8 * objects).astype(int), 1)
    group = np.r_[np.repeat(classes, hit), np.repeat(classes, 5 * objects)]
    right = np.arange(len(group)) < hit.sum()
    logits = rng.normal(np.where(right, 1.2, -1.2), 1) + bias[group]
    return expit(logits), right, group
