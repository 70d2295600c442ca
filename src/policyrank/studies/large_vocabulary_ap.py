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
from scipy.special import expit

from policyrank.evidence import Scores, datasets
from policyrank.evidence.detections import Detections, GroundTruth
from policyrank.metrics.calibration import calibrate
from policyrank.metrics.detection import average_precision, detection_ap, gamed
from policyrank.studies.frame import Claim, Report, Scale, quiet

TITLE = "Large-vocabulary AP"
PAPER = "arXiv 2102.01066"
ABOUT = "average precision that cannot be gamed, and calibration"
DEFAULT, FIXED, MEAN, POOL = "AP, 300 an image", "AP-Fixed", "mean AP over classes", "AP-Pool"
FIRST = (20, 50, 100)
GAMED = {n: f"first {n} of each class" for n in FIRST}
COMMON = f"{DEFAULT}: common classes"
CLAIMS = (
    *(
        Claim(
            f"The best {n} of each class first: AP with a limit an image rises by .002",
            m,
            "as it is",
            DEFAULT,
            0.002,
        )
        for n, m in GAMED.items()
    ),
    *(
        Claim(
            f"The best {n} of each class first: that AP of common classes rises by .01",
            m,
            "as it is",
            COMMON,
            0.01,
        )
        for n, m in GAMED.items()
    ),
    *(
        Claim(f"The best {n} of each class first: AP-Fixed rises", m, "as it is", FIXED)
        for n, m in GAMED.items()
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
    rows: list[tuple[str, str, str, int, float]] = []
    for r in range(seeds):
        report(f"seed {r + 1} of {seeds}")
        rng = np.random.default_rng([seed, r])
        found = simulated(truth, rng, false)
        for method, own in {
            "as it is": found,
            **{m: promoted(found, n) for n, m in GAMED.items()},
        }.items():
            for metric, budget in ((DEFAULT, "lvis"), (FIXED, "fixed")):
                summary = detection_ap(truth, own, budget=budget).summary()
                rows += [
                    (method, "LVIS, 100 images", name, r, summary[key])
                    for name, key in ((metric, "AP"), (f"{metric}: common classes", "APc"))
                ]
        for method, measured in calibrated(rng).items():
            rows += [(method, "100 classes", metric, r, v) for metric, v in measured.items()]
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(methods, tasks, values, metric=metrics, replicate=replicates)


def simulated(truth: GroundTruth, rng: np.random.Generator, false: int) -> Detections:
    """A detector whose scores mean different things in different classes."""
    offset = rng.normal(0, 0.8, len(truth.names)) + np.array(
        [{"f": 1.5, "c": -0.5, "r": -2.0}[f] for f in truth.frequency]
    )
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
    """The best ``n`` of each class before all others: a monotone change of the scores within each
    class.
    """
    scores = found.score.copy()
    scores[gamed(found, n)] += 1
    return replace(found, score=scores)


def calibrated(rng: np.random.Generator, classes: int = 100) -> dict[str, dict[str, float]]:
    """Mean AP and AP-Pool of raw and calibrated scores on the half that nothing was fitted on."""
    objects = np.maximum(np.rint(rng.lognormal(3.5, 1, size=(2, classes))), 2).astype(int)
    bias = rng.normal(0, 1.5, classes)
    halves = []
    for own in objects:
        hit = np.maximum((0.8 * own).astype(int), 1)
        group = np.r_[np.repeat(np.arange(classes), hit), np.repeat(np.arange(classes), 5 * own)]
        right = np.arange(len(group)) < hit.sum()
        halves.append(
            (expit(rng.normal(np.where(right, 1.2, -1.2), 1) + bias[group]), right, group)
        )
    (s, y, g), (score, right, group) = halves
    one = np.zeros_like(group)
    maps = {
        "raw": score,
        "by class": calibrate(s, y, g)(score, group),
        "overall": calibrate(s, y, 0 * g)(score, one),
    }
    count = objects[1]
    return {
        name: {
            MEAN: float(
                np.mean(
                    [
                        average_precision(v[group == c], right[group == c], int(count[c]))
                        for c in range(classes)
                    ]
                )
            ),
            POOL: average_precision(v, right, int(count.sum())),
        }
        for name, v in maps.items()
    }
