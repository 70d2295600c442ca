"""Average precision of object detectors: COCO's, LVIS's, AP-Fixed and AP-Pool (Dave et al. 2021,
arXiv 2102.01066). Masks need the extra ``detection``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]
Budget = tuple[Literal["image", "image and class", "class"], int]
Overlap = Literal["box", "mask"]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
BUDGETS: dict[str, Budget | None] = {
    "coco": ("image and class", 100),
    "lvis": ("image", 300),
    "fixed": ("class", 10_000),
    "none": None,
}


class Truth(Protocol):
    """What is needed of ``evidence.GroundTruth``."""

    @property
    def images(self) -> Int: ...
    @property
    def categories(self) -> Int: ...
    @property
    def frequency(self) -> tuple[str, ...]: ...
    @property
    def image(self) -> Int: ...
    @property
    def category(self) -> Int: ...
    @property
    def box(self) -> Float: ...
    @property
    def area(self) -> Float: ...
    @property
    def crowd(self) -> Bool: ...
    @property
    def ignored(self) -> Bool: ...
    @property
    def masks(self) -> tuple[Any, ...]: ...
    @property
    def sizes(self) -> Int: ...
    @property
    def negative(self) -> Bool | None: ...
    @property
    def unchecked(self) -> Bool | None: ...


class Found(Protocol):
    """What is needed of ``evidence.Detections``."""

    @property
    def image(self) -> Int: ...
    @property
    def category(self) -> Int: ...
    @property
    def score(self) -> Float: ...
    @property
    def box(self) -> Float: ...
    @property
    def masks(self) -> tuple[Any, ...]: ...


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
        """AP, AP50, AP75, by area (APs, APm, APl), by frequency of the category (APr, APc, APf),
        AR, and AP-Pool (all, r, c, f); NaN where there is nothing.
        """
        kind = np.array(self.frequency)
        out = {
            "AP": _mean(self.ap[:, :, 0]),
            "AP50": _mean(self.ap[0, :, 0]),
            "AP75": _mean(self.ap[5, :, 0]),
        }
        out |= {f"AP{name[0]}": _mean(self.ap[:, :, k]) for k, name in enumerate(AREAS) if k}
        out |= {f"AP{f}": _mean(self.ap[:, kind == f, 0]) for f in "rcf" if (kind == f).any()}
        out["AR"] = _mean(self.recall[:, :, 0])
        names = ("AP-Pool", "AP-Pool r", "AP-Pool c", "AP-Pool f")
        return out | {
            n: _mean(self.pooled[:, k])
            for k, n in enumerate(names)
            if not np.isnan(self.pooled[:, k]).all()
        }

    def by_category(self) -> Float:
        """AP of each category, mean over thresholds; NaN without objects."""
        return self.ap[:, :, 0].mean(axis=0)


def _mean(x: Float) -> float:
    kept = x[~np.isnan(x)]
    return float(kept.mean()) if kept.size else float("nan")


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
    s, hit = np.asarray(scores, dtype=float), np.asarray(right, dtype=bool)
    if objects < 1:
        raise ValueError(f"objects={objects}: average precision needs at least one object to find.")
    keep = np.ones(len(s), dtype=bool) if ignored is None else ~np.asarray(ignored, dtype=bool)
    order = np.argsort(-s[keep], kind="stable")
    return float(_interpolated(hit[keep][order], objects)[0])


@njit(cache=True)
def _interpolated(hit: Bool, objects: int) -> tuple[float, float]:
    """AP and recall of a list in order."""
    n = len(hit)
    if n == 0:
        return 0.0, 0.0
    precision, recall = np.empty(n), np.empty(n)
    tp = 0.0
    for k in range(n):
        tp += hit[k]
        recall[k] = tp / objects
        precision[k] = tp / (k + 1 + 2.220446049250313e-16)
    for k in range(n - 1, 0, -1):
        if precision[k] > precision[k - 1]:
            precision[k - 1] = precision[k]
    total, at = 0.0, 0
    for r in RECALLS:
        while at < n and recall[at] < r:
            at += 1
        if at == n:
            break
        total += precision[at]
    return total / 101, recall[n - 1]


def kept(found: Found, budget: Budget | None) -> Int:
    """Places of the detections within the budget, the highest scores first, ties in the order
    given; increasing.
    """
    order = np.argsort(-found.score, kind="stable")
    if budget is None:
        return np.arange(len(order))
    per, limit = budget
    if limit < 1:
        raise ValueError(f"budget={budget}: at least one detection.")
    group = {
        "image": found.image,
        "class": found.category,
        "image and class": found.image * (found.category.max(initial=0) + 1) + found.category,
    }[per]
    own = group[order]
    sort = np.argsort(own, kind="stable")
    start = (
        np.flatnonzero(np.r_[True, np.diff(own[sort]) != 0])
        if len(own)
        else np.empty(0, dtype=np.int64)
    )
    place = np.arange(len(own)) - np.repeat(start, np.diff(np.r_[start, len(own)]))
    return np.sort(order[sort[place < limit]])


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
    ValueError
        For an unknown budget, or masks that are missing.
    """
    if isinstance(budget, str):
        if budget not in BUDGETS:
            raise ValueError(f"budget={budget!r}: use {', '.join(BUDGETS)}, or (per, limit).")
        rule = BUDGETS[budget]
    else:
        rule = budget or BUDGETS["coco" if truth.negative is None else "lvis"]
    classes = len(truth.categories)
    which = kept(found, rule)
    thin = (
        int((np.bincount(found.category[which], minlength=classes) < rule[1]).sum())
        if rule and rule[0] == "class"
        else 0
    )
    if truth.negative is not None:
        seen = truth.negative.copy()
        seen[truth.image, truth.category] = True
        which = which[seen[found.image[which], found.category[which]]]
    key = found.category[which] * len(truth.images) + found.image[which]
    which = which[np.lexsort((-found.score[which], key))]  # stable: by class, image, score
    d_key = found.category[which] * len(truth.images) + found.image[which]
    own = truth.category * len(truth.images) + truth.image
    g_order = np.argsort(own, kind="stable")
    g_key = own[g_order]
    groups = np.union1d(d_key, g_key)
    ends = np.r_[groups, np.iinfo(np.int64).max]
    d_at: Int = np.asarray(np.searchsorted(d_key, ends), dtype=np.int64)
    g_at: Int = np.asarray(np.searchsorted(g_key, ends), dtype=np.int64)
    crowd = truth.crowd[g_order]
    if overlap == "box":
        if np.isnan(found.box[which]).any():
            raise ValueError("some detections have no box: use overlap='mask'.")
        iou, iou_at, area = _box_overlaps(found.box[which], truth.box[g_order], crowd, d_at, g_at)
    else:
        iou, iou_at, area = _mask_overlaps(found, truth, which, g_order, d_at, g_at)
    unchecked = np.zeros(len(which), dtype=bool)
    if truth.unchecked is not None:
        unchecked = truth.unchecked[found.image[which], found.category[which]]
    ranges = np.array(list(AREAS.values()))
    hit, out = _match(
        iou,
        iou_at,
        d_at,
        g_at,
        truth.area[g_order],
        truth.ignored[g_order],
        crowd,
        area,
        unchecked,
        ranges,
        THRESHOLDS,
    )
    inside = (
        (truth.area[:, None] >= ranges[:, 0])
        & (truth.area[:, None] <= ranges[:, 1])
        & ~truth.ignored[:, None]
    )
    objects = np.stack(
        [np.bincount(truth.category[inside[:, a]], minlength=classes) for a in range(len(ranges))]
    )
    category = found.category[which]
    order = np.lexsort((-found.score[which], category))
    starts = np.searchsorted(category[order], np.arange(classes + 1)).astype(np.int64)
    ap, recall = _by_class(hit[:, :, order], out[:, :, order], starts, objects.astype(np.int64))
    pooled = np.full((len(THRESHOLDS), 4), np.nan)
    kind = np.array(truth.frequency)
    for g, name in enumerate(("", "r", "c", "f")):
        member = np.ones(classes, dtype=bool) if g == 0 else kind == name
        n = int(objects[0, member].sum())
        if n:
            mine = np.flatnonzero(member[category])
            mine = mine[
                np.lexsort((category[mine], found.image[which][mine], -found.score[which][mine]))
            ]  # ties: by image
            for t in range(len(THRESHOLDS)):
                shown = mine[~out[0, t, mine]]
                pooled[t, g] = _interpolated(hit[0, t, shown], n)[0]
    shown = np.flatnonzero(~out[0, 5])
    return DetectionResult(
        ap,
        recall,
        pooled,
        truth.frequency,
        found.score[which][shown],
        hit[0, 5, shown],
        category[shown],
        thin,
    )


@njit(cache=True)
def _box_overlaps(
    d: Float, g: Float, crowd: Bool, d_at: Int, g_at: Int
) -> tuple[Float, Int, Float]:
    """IoU of all pairs of each group, flat; of a crowd the share of the detection that lies in it."""
    groups = len(d_at) - 1
    at = np.zeros(groups + 1, dtype=np.int64)
    for k in range(groups):
        at[k + 1] = at[k] + (d_at[k + 1] - d_at[k]) * (g_at[k + 1] - g_at[k])
    out = np.zeros(at[groups])
    area = d[:, 2] * d[:, 3]
    for k in range(groups):
        n = g_at[k + 1] - g_at[k]
        for i in range(d_at[k], d_at[k + 1]):
            for j in range(g_at[k], g_at[k + 1]):
                w = min(d[i, 0] + d[i, 2], g[j, 0] + g[j, 2]) - max(d[i, 0], g[j, 0])
                h = min(d[i, 1] + d[i, 3], g[j, 1] + g[j, 3]) - max(d[i, 1], g[j, 1])
                if w > 0 and h > 0:
                    both = w * h
                    union = area[i] if crowd[j] else area[i] + g[j, 2] * g[j, 3] - both
                    out[at[k] + (i - d_at[k]) * n + j - g_at[k]] = both / union
    return out, at, area


def _mask_overlaps(
    found: Found, truth: Truth, which: Int, g_order: Int, d_at: Int, g_at: Int
) -> tuple[Float, Int, Float]:
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "masks need pycocotools: pip install 'policyrank[detection]'"
        ) from None

    def encoded(mask: Any, image: int) -> Any:
        if mask is None:
            raise ValueError("some objects or detections have no segmentation: use overlap='box'.")
        if isinstance(mask, list) or isinstance(mask["counts"], list):
            height, width = truth.sizes[image].tolist()
            if not height or not width:
                raise ValueError(
                    f"image {truth.images[image]} has no height and width, which polygons need."
                )
            rle = coco.frPyObjects(mask, height, width)
            return coco.merge(rle) if isinstance(rle, list) else rle
        return mask

    if not found.masks:
        raise ValueError("the detections have no segmentation: use overlap='box'.")
    theirs = [encoded(truth.masks[k], truth.image[k]) for k in g_order]
    ours = [encoded(found.masks[k], found.image[k]) for k in which]
    crowd = truth.crowd[g_order]
    at, parts = [0], []
    for k in range(len(d_at) - 1):
        d, g = ours[d_at[k] : d_at[k + 1]], theirs[g_at[k] : g_at[k + 1]]
        if d and g:
            parts.append(
                np.asarray(
                    coco.iou(d, g, crowd[g_at[k] : g_at[k + 1]].astype(int).tolist())
                ).ravel()
            )
        at.append(at[-1] + len(d) * len(g))
    # pycocotools 2.0.11 counts the masks of a call in eight bits.
    area = np.concatenate(
        [coco.area(ours[k : k + 255]).astype(float) for k in range(0, len(ours), 255)]
        or [np.empty(0)]
    )
    return np.concatenate(parts) if parts else np.empty(0), np.array(at, dtype=np.int64), area


@njit(cache=True)
def _match(
    iou: Float,
    iou_at: Int,
    d_at: Int,
    g_at: Int,
    g_area: Float,
    g_ignored: Bool,
    crowd: Bool,
    d_area: Float,
    unchecked: Bool,
    ranges: Float,
    thresholds: Float,
) -> tuple[Bool, Bool]:
    """Whether each detection found an object, and whether it does not count: (areas, thresholds,
    detections).
    """
    hit = np.zeros((len(ranges), len(thresholds), len(d_area)), dtype=np.bool_)
    out = np.zeros_like(hit)
    for k in range(len(d_at) - 1):
        n, first = g_at[k + 1] - g_at[k], g_at[k]
        for a in range(len(ranges)):
            low, high = ranges[a]
            ignore = np.empty(n, dtype=np.bool_)
            order = np.empty(n, dtype=np.int64)
            counted = 0
            for j in range(n):
                ignore[j] = (
                    g_ignored[first + j] or g_area[first + j] < low or g_area[first + j] > high
                )
                if not ignore[j]:
                    order[counted] = j
                    counted += 1
            at = counted
            for j in range(n):  # what is ignored comes last
                if ignore[j]:
                    order[at] = j
                    at += 1
            for t in range(len(thresholds)):
                taken = np.zeros(n, dtype=np.bool_)
                for i in range(d_at[k], d_at[k + 1]):
                    best, match = min(thresholds[t], 1 - 1e-10), -1
                    row = iou_at[k] + (i - d_at[k]) * n
                    for place in range(n):
                        j = order[place]
                        if taken[j] and not crowd[first + j]:
                            continue
                        if match > -1 and not ignore[match] and ignore[j]:
                            break
                        if iou[row + j] < best:
                            continue
                        best, match = iou[row + j], j
                    if match > -1:
                        taken[match] = True
                        hit[a, t, i] = not ignore[match]
                        out[a, t, i] = ignore[match]
                    else:
                        out[a, t, i] = d_area[i] < low or d_area[i] > high or unchecked[i]
    return hit, out


@njit(cache=True)
def _by_class(hit: Bool, out: Bool, starts: Int, objects: Int) -> tuple[Float, Float]:
    areas, thresholds, classes = hit.shape[0], hit.shape[1], len(starts) - 1
    ap = np.full((thresholds, classes, areas), np.nan)
    recall = np.full((thresholds, classes, areas), np.nan)
    for a in range(areas):
        for t in range(thresholds):
            for c in range(classes):
                if objects[a, c]:
                    part = slice(starts[c], starts[c + 1])
                    own = hit[a, t, part][~out[a, t, part]]
                    ap[t, c, a], recall[t, c, a] = _interpolated(own, objects[a, c])
    return ap, recall


def gamed(found: Found, limit: int) -> Int:
    """Places of the best ``limit`` detections of each class, increasing: what a gamer keeps before
    the cut an image, to free its budget for rare classes.
    """
    return kept(found, ("class", limit))
