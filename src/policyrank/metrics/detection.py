"""Average precision of object detectors: COCO's, LVIS's, AP-Fixed and AP-Pool.

Dave et al. (2021), arXiv 2102.01066. Masks need the extra ``detection``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError, OptionError
from policyrank.metrics.detection_pairs import (
    AREAS,
    FREQUENCIES,
    THRESHOLDS,
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


SHOWN = (0.5, 0.75)
"""Of COCO's thresholds, those whose AP is shown on its own."""

STRICT = 0.75
"""IoU from which a detection is right, for calibration."""


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
        of the kept detections that are neither ignored nor dropped, at IoU .75 (the first threshold
        where that is none) and all areas: for calibration
    thin
        categories with fewer kept detections than the budget a class: AP-Fixed is comparable only
        where detectors gave that many
    thresholds
        (thresholds,), of IoU
    recall_at
        k -> recall, the same shape, of the best k of each image and class alone
    """

    ap: Float
    recall: Float
    pooled: Float
    frequency: tuple[str, ...]
    score: Float
    right: Bool
    category: Int
    thin: int
    thresholds: Float
    recall_at: Mapping[int, Float]

    def summary(self) -> dict[str, float]:
        """AP, AP50, AP75, AR, and by area, frequency and pool; NaN where there is nothing.

        By area: APs, APm, APl, ARs, ARm, ARl; by frequency of the category: APr, APc, APf; AR@k:
        of the best k of each image and class; AP-Pool: all, r, c, f. With thresholds of one's own
        there is an AP at each of them.
        """
        kind = np.array(self.frequency)
        out = {"AP": _mean(self.ap[:, :, 0])}
        for place, level in enumerate(self.thresholds):
            if level in SHOWN or not np.array_equal(self.thresholds, THRESHOLDS):
                out[f"AP{100 * level:g}"] = _mean(self.ap[place, :, 0])
        for place, area in enumerate(AREAS):
            if area != "all":
                out[f"AP{area[0]}"] = _mean(self.ap[:, :, place])
        for letter in FREQUENCIES:
            if (kind == letter).any():
                out[f"AP{letter}"] = _mean(self.ap[:, kind == letter, 0])
        out["AR"] = _mean(self.recall[:, :, 0])
        for k, recall in self.recall_at.items():
            out[f"AR@{k}"] = _mean(recall[:, :, 0])
        for place, area in enumerate(AREAS):
            if area != "all":
                out[f"AR{area[0]}"] = _mean(self.recall[:, :, place])
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
    truth: Truth,
    found: Found,
    *,
    budget: str | Budget | None = None,
    overlap: Overlap = "box",
    thresholds: Sequence[float] | None = None,
    recall_at: Sequence[int] | None = None,
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
    thresholds
        IoU from which a detection finds an object, in (0, 1], increasing; None: .5, .55, ..., .95
    recall_at
        numbers k of detections an image and class, whose recall is measured on its own; None: 1,
        10, 100 with COCO's budget, else none

    Notes
    -----
    Where images were not searched for every category (LVIS), detections of a category neither
    present nor known to be absent are dropped, and unmatched ones of categories not annotated in
    full are ignored. A crowd may match many detections, which are then ignored (COCO). An object
    that is to be ignored (``ignore`` 1) and no crowd is ignored too, as COCO's format says;
    pycocotools overwrites ``ignore`` by ``iscrowd``, and asks for such objects.

    Raises
    ------
    OptionError
        For an unknown budget, thresholds outside (0, 1] or not increasing, or k below 1.
    EvidenceError
        For boxes or masks that are missing.
    """
    rule = _budget(budget, "coco" if truth.negative is None else "lvis")
    levels = _levels(thresholds)
    if recall_at is None:
        recall_at = (1, 10, 100) if rule == BUDGETS["coco"] else ()
    if min(recall_at, default=1) < 1:
        raise OptionError(f"recall_at={min(recall_at)}: at least one detection.")
    which = kept(found, rule)
    classes = len(truth.categories)
    thin = 0
    if rule and rule[0] == "class":
        many = np.bincount(found.category[which], minlength=classes)
        thin = int((many < rule[1]).sum())
    pairing = Pairing.of(truth, found, _searched(truth, found, which), levels)
    hit, out = pairing.matched(masks=overlap == "mask")
    category = found.category[pairing.which]
    ap, recall = pairing.by_class(hit, out)
    strict = int(np.argmax(np.isclose(levels, STRICT)))
    shown = np.flatnonzero(~out[0, strict])
    return DetectionResult(
        ap=ap,
        recall=recall,
        pooled=pairing.pooled(hit[0], out[0]),
        frequency=truth.frequency,
        score=found.score[pairing.which][shown],
        right=hit[0, strict, shown],
        category=category[shown],
        thin=thin,
        thresholds=levels,
        recall_at={k: pairing.recall_of_first(k, hit, out) for k in recall_at},
    )


def _levels(thresholds: Sequence[float] | None) -> Float:
    """Thresholds of IoU, checked."""
    if thresholds is None:
        return THRESHOLDS
    levels = np.asarray(thresholds, dtype=float)
    within = (levels > 0) & (levels <= 1)
    if not levels.size or not within.all() or (np.diff(levels) <= 0).any():
        raise OptionError(
            f"thresholds={list(thresholds)}: give IoU in (0, 1], increasing, such as 0.5, 0.75."
        )
    return levels


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
