"""Average precision of object detectors: COCO's, LVIS's, AP-Fixed and AP-Pool.

Dave et al. (2021), arXiv 2102.01066. Masks need the extra ``detection``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError, OptionError
from policyrank.metrics.detection_pairs import (
    AREAS,
    FREQUENCIES,
    Found,
    Pairing,
    Truth,
    interpolated,
)

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]
Budget = tuple[Literal["image", "image and class", "class"], int]
Overlap = Literal["box", "mask"]

BUDGETS: dict[str, Budget | None] = {
    "coco": ("image and class", 100),
    "lvis": ("image", 300),
    "fixed": ("class", 10_000),
    "none": None,
}


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """Average precision of a detector.

    Attributes
    ----------
    ap
        (thresholds, categories, areas): all, small, medium, large; NaN where a category has no
        object
    recall
        the same shape: recall of everything that was kept
    pooled
        (thresholds, groups): AP-Pool of all, r, c, f; NaN where a group has no object
    frequency
        of the categories
    score, right, category
        of the kept detections that are neither ignored nor dropped, at IoU .75 and all areas: for
        calibration
    thin
        categories with fewer kept detections than the budget a class: AP-Fixed is comparable only
        where detectors gave that many
    """

    ap: Float
    recall: Float
    pooled: Float
    frequency: tuple[str, ...]
    score: Float
    right: Bool
    category: Int
    thin: int

    def summary(self) -> dict[str, float]:
        """AP, AP50, AP75, AR, and by area, frequency and pool; NaN where there is nothing.

        By area: APs, APm, APl; by frequency of the category: APr, APc, APf; AP-Pool: all, r, c, f.
        """
        kind = np.array(self.frequency)
        out = {
            "AP": _mean(self.ap[:, :, 0]),
            "AP50": _mean(self.ap[0, :, 0]),
            "AP75": _mean(self.ap[5, :, 0]),
        }
        for place, area in enumerate(AREAS):
            if area != "all":
                out[f"AP{area[0]}"] = _mean(self.ap[:, :, place])
        for letter in FREQUENCIES:
            if (kind == letter).any():
                out[f"AP{letter}"] = _mean(self.ap[:, kind == letter, 0])
        out["AR"] = _mean(self.recall[:, :, 0])
        for place, name in enumerate(("AP-Pool", "AP-Pool r", "AP-Pool c", "AP-Pool f")):
            if not np.isnan(self.pooled[:, place]).all():
                out[name] = _mean(self.pooled[:, place])
        return out

    def by_category(self) -> Float:
        """AP of each category, mean over thresholds; NaN without objects."""
        return self.ap[:, :, 0].mean(axis=0)


def _mean(x: Float) -> float:
    known = x[~np.isnan(x)]
    if not known.size:
        return float("nan")
    return float(known.mean())


def average_precision(
    scores: ArrayLike, right: ArrayLike, objects: int, ignored: ArrayLike | None = None
) -> float:
    """101-point interpolated average precision of one list, ties in the order given.

    Parameters
    ----------
    scores, right
        (detections,): whether each found an object that none before it had found
    objects
        there are to find
    ignored
        detections that count neither way

    Examples
    --------
    >>> round(average_precision([0.9, 0.8, 0.7, 0.6], [True, False, True, False], 2), 7)
    0.8349835
    """
    if objects < 1:
        raise EvidenceError(
            f"objects={objects}: average precision needs at least one object to find."
        )
    score, hit = np.asarray(scores, dtype=float), np.asarray(right, dtype=bool)
    if ignored is not None:
        counted = ~np.asarray(ignored, dtype=bool)
        score, hit = score[counted], hit[counted]
    order = np.argsort(-score, kind="stable")
    return float(interpolated(hit[order], objects)[0])


def kept(found: Found, budget: Budget | None) -> Int:
    """Places of the detections within the budget, increasing.

    The highest scores are kept, ties in the order given.
    """
    order = np.argsort(-found.score, kind="stable")
    if budget is None:
        return np.arange(len(order))
    per, limit = budget
    if limit < 1:
        raise OptionError(f"budget={budget}: at least one detection.")
    classes = found.category.max(initial=0) + 1
    group = {
        "image": found.image,
        "class": found.category,
        "image and class": found.image * classes + found.category,
    }[per]
    place = _place_in_group(group[order])
    return np.sort(order[place < limit])


def _place_in_group(group: Int) -> Int:
    """Of each row, how many rows of its group stand before it."""
    by_group = np.argsort(group, kind="stable")
    ordered = group[by_group]
    place = np.empty(len(group), dtype=np.int64)
    place[by_group] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return place


def detection_ap(
    truth: Truth, found: Found, *, budget: str | Budget | None = None, overlap: Overlap = "box"
) -> DetectionResult:
    """Match detections with objects and measure average precision, equal to pycocotools' and lvis's
    where those are defined.

    Parameters
    ----------
    budget
        which detections count: ``"coco"`` (100 an image and class), ``"lvis"`` (300 an image, over
        all classes: detections of one class crowd out those of others, which can be gamed),
        ``"fixed"`` (AP-Fixed: 10,000 a class), ``"none"``, or (per, limit); None: coco or lvis, as
        the ground truth is
    overlap
        of boxes or of masks; areas of detections are those of what is compared

    Notes
    -----
    Where images were not searched for every category (LVIS), detections of a category neither
    present nor known to be absent are dropped, and unmatched ones of categories not annotated in
    full are ignored. A crowd may match many detections, which are then ignored (COCO).

    Raises
    ------
    OptionError
        For an unknown budget.
    EvidenceError
        For boxes or masks that are missing.
    """
    rule = _budget(budget, "coco" if truth.negative is None else "lvis")
    which = kept(found, rule)
    classes = len(truth.categories)
    thin = 0
    if rule and rule[0] == "class":
        many = np.bincount(found.category[which], minlength=classes)
        thin = int((many < rule[1]).sum())
    pairing = Pairing.of(truth, found, _searched(truth, found, which))
    hit, out = pairing.matched(masks=overlap == "mask")
    category = found.category[pairing.which]
    ap, recall = pairing.by_class(hit, out)
    shown = np.flatnonzero(~out[0, 5])
    return DetectionResult(
        ap=ap,
        recall=recall,
        pooled=pairing.pooled(hit[0], out[0]),
        frequency=truth.frequency,
        score=found.score[pairing.which][shown],
        right=hit[0, 5, shown],
        category=category[shown],
        thin=thin,
    )


def _budget(budget: str | Budget | None, usual: str) -> Budget | None:
    if budget is None:
        return BUDGETS[usual]
    if not isinstance(budget, str):
        return budget
    if budget not in BUDGETS:
        raise OptionError(f"budget={budget!r}: use {', '.join(BUDGETS)}, or (per, limit).")
    return BUDGETS[budget]


def _searched(truth: Truth, found: Found, which: Int) -> Int:
    """Detections of categories that were searched for in their images."""
    if truth.negative is None:
        return which
    seen = truth.negative.copy()
    seen[truth.image, truth.category] = True
    return which[seen[found.image[which], found.category[which]]]


def gamed(found: Found, limit: int) -> Int:
    """Places of the best ``limit`` detections of each class, increasing.

    What a gamer keeps before the cut an image, to free its budget for rare classes.
    """
    return kept(found, ("class", limit))
