"""Detections and objects of one class and image: overlaps, matches, precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from policyrank.errors import EvidenceError, MissingExtraError

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
FREQUENCIES = ("r", "c", "f")


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


@njit(cache=True)
def interpolated(hit: Bool, objects: int) -> tuple[float, float]:
    """AP and recall of a list in order."""
    size = len(hit)
    if size == 0:
        return 0.0, 0.0
    precision, recall = np.empty(size), np.empty(size)
    found = 0.0
    for place in range(size):
        found += hit[place]
        recall[place] = found / objects
        precision[place] = found / (place + 1 + 2.220446049250313e-16)
    for place in range(size - 1, 0, -1):
        if precision[place] > precision[place - 1]:
            precision[place - 1] = precision[place]
    total, at = 0.0, 0
    for level in RECALLS:
        while at < size and recall[at] < level:
            at += 1
        if at == size:
            break
        total += precision[at]
    return total / 101, recall[size - 1]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Detections and objects by class and image.

    Attributes
    ----------
    which
        places of the detections: by class, image, score
    objects
        places of the objects: by class, image
    d_at, g_at
        where the detections and the objects of each class and image begin
    thresholds
        IoU from which a detection finds an object
    """

    truth: Truth
    found: Found
    which: Int
    objects: Int
    d_at: Int
    g_at: Int
    thresholds: Float

    @classmethod
    def of(cls, truth: Truth, found: Found, which: Int, thresholds: Float) -> Pairing:
        images = len(truth.images)
        key = found.category[which] * images + found.image[which]
        order = np.lexsort((-found.score[which], key))  # stable
        which, d_key = which[order], key[order]
        own = truth.category * images + truth.image
        objects = np.argsort(own, kind="stable")
        g_key = own[objects]
        ends = np.r_[np.union1d(d_key, g_key), np.iinfo(np.int64).max]
        d_at: Int = np.asarray(np.searchsorted(d_key, ends), dtype=np.int64)
        g_at: Int = np.asarray(np.searchsorted(g_key, ends), dtype=np.int64)
        return cls(truth, found, which, objects, d_at, g_at, thresholds)

    @property
    def classes(self) -> int:
        return len(self.truth.categories)

    @cached_property
    def category(self) -> Int:
        return self.found.category[self.which]

    @cached_property
    def counts(self) -> Int:
        """(areas, classes): objects that count."""
        truth, found = self.truth, []
        for low, high in AREAS.values():
            inside = (truth.area >= low) & (truth.area <= high) & ~truth.ignored
            found.append(np.bincount(truth.category[inside], minlength=self.classes))
        return np.stack(found).astype(np.int64)

    def matched(self, *, masks: bool) -> tuple[Bool, Bool]:
        """Whether each detection found an object, and whether it does not count."""
        truth, found, which = self.truth, self.found, self.which
        crowd = truth.crowd[self.objects]
        if masks:
            iou, iou_at, area = _mask_overlaps(self)
        else:
            box = found.box[which]
            if np.isnan(box).any():
                raise EvidenceError("some detections have no box: use overlap='mask'.")
            ours, theirs = box, truth.box[self.objects]
            iou, iou_at, area = _box_overlaps(ours, theirs, crowd, self.d_at, self.g_at)
        unchecked = np.zeros(len(which), dtype=bool)
        if truth.unchecked is not None:
            unchecked = truth.unchecked[found.image[which], found.category[which]]
        return _match(
            iou,
            iou_at,
            self.d_at,
            self.g_at,
            truth.area[self.objects],
            truth.ignored[self.objects],
            crowd,
            area,
            unchecked,
            np.array(list(AREAS.values())),
            self.thresholds,
        )

    def by_class(self, hit: Bool, out: Bool) -> tuple[Float, Float]:
        """AP and recall (thresholds, classes, areas)."""
        order = np.lexsort((-self.found.score[self.which], self.category))
        classes = np.arange(self.classes + 1)
        starts = np.searchsorted(self.category[order], classes).astype(np.int64)
        return _by_class(hit[:, :, order], out[:, :, order], starts, self.counts)

    def recall_of_first(self, k: int, hit: Bool, out: Bool) -> Float:
        """Recall (thresholds, classes, areas) of the best ``k`` of each image and class alone."""
        place = np.arange(len(self.which)) - np.repeat(self.d_at[:-1], np.diff(self.d_at))
        return self.by_class(hit, out | (place >= k))[1]

    def pooled(self, hit: Bool, out: Bool) -> Float:
        """AP-Pool (thresholds, groups): of all, and of each frequency of categories."""
        ap = np.full((len(self.thresholds), 1 + len(FREQUENCIES)), np.nan)
        kind = np.array(self.truth.frequency)
        members = [np.ones(self.classes, dtype=bool), *(kind == letter for letter in FREQUENCIES)]
        image, score = self.found.image[self.which], self.found.score[self.which]
        by_score = np.lexsort((self.category, image, -score))  # ties: by image
        for group, member in enumerate(members):
            objects = int(self.counts[0, member].sum())
            if not objects:
                continue
            mine = by_score[member[self.category[by_score]]]
            for threshold in range(len(self.thresholds)):
                shown = mine[~out[threshold, mine]]
                ap[threshold, group] = interpolated(hit[threshold, shown], objects)[0]
        return ap


@njit(cache=True)
def _box_overlaps(
    d: Float, g: Float, crowd: Bool, d_at: Int, g_at: Int
) -> tuple[Float, Int, Float]:
    """IoU of all pairs of each group, flat.

    Of a crowd the share of the detection that lies in it.
    """
    groups = len(d_at) - 1
    at = np.zeros(groups + 1, dtype=np.int64)
    for group in range(groups):
        pairs = (d_at[group + 1] - d_at[group]) * (g_at[group + 1] - g_at[group])
        at[group + 1] = at[group] + pairs
    out = np.zeros(at[groups])
    area = d[:, 2] * d[:, 3]
    for group in range(groups):
        place = at[group]
        for i in range(d_at[group], d_at[group + 1]):
            for j in range(g_at[group], g_at[group + 1]):
                both = _shared(d[i], g[j])
                if both > 0:
                    union = area[i]
                    if not crowd[j]:
                        union = area[i] + g[j, 2] * g[j, 3] - both
                    out[place] = both / union
                place += 1
    return out, at, area


@njit(cache=True)
def _shared(first: Float, second: Float) -> float:
    """Area that two boxes share."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    width = min(first[0] + first[2], second[0] + second[2]) - left
    height = min(first[1] + first[3], second[1] + second[3]) - top
    if width <= 0 or height <= 0:
        return 0.0
    return width * height


def _mask_overlaps(pairing: Pairing) -> tuple[Float, Int, Float]:
    coco = _pycocotools()
    truth, found, d_at, g_at = pairing.truth, pairing.found, pairing.d_at, pairing.g_at
    if not found.masks:
        raise EvidenceError("the detections have no segmentation: use overlap='box'.")
    theirs = [_encoded(truth.masks[k], truth, truth.image[k]) for k in pairing.objects]
    ours = [_encoded(found.masks[k], truth, found.image[k]) for k in pairing.which]
    crowd = truth.crowd[pairing.objects].astype(int).tolist()
    at, parts = [0], [np.empty(0)]
    for group in range(len(d_at) - 1):
        mine, objects = slice(*d_at[group : group + 2]), slice(*g_at[group : group + 2])
        pairs = len(ours[mine]) * len(theirs[objects])
        if pairs:
            iou = coco.iou(ours[mine], theirs[objects], crowd[objects])
            parts.append(np.asarray(iou).ravel())
        at.append(at[-1] + pairs)
    # pycocotools 2.0.11 counts the masks of a call in eight bits.
    areas = [np.empty(0)]
    for start in range(0, len(ours), 255):
        areas.append(coco.area(ours[start : start + 255]).astype(float))
    return np.concatenate(parts), np.array(at, dtype=np.int64), np.concatenate(areas)


def _pycocotools() -> Any:
    try:
        from pycocotools import mask
    except ModuleNotFoundError:
        raise MissingExtraError(
            "masks need pycocotools: pip install 'policyrank[detection]'"
        ) from None
    return mask


def _encoded(mask: Any, truth: Truth, image: int) -> Any:
    """A mask as pycocotools' run lengths."""
    if mask is None:
        raise EvidenceError("some objects or detections have no segmentation: use overlap='box'.")
    if not isinstance(mask, list) and not isinstance(mask["counts"], list):
        return mask
    height, width = truth.sizes[image].tolist()
    if not height or not width:
        raise EvidenceError(
            f"image {truth.images[image]} has no height and width, which polygons need."
        )
    coco = _pycocotools()
    found = coco.frPyObjects(mask, height, width)
    if isinstance(found, list):
        return coco.merge(found)
    return found


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
    """Whether each detection found an object, and whether it does not count.

    Both (areas, thresholds, detections).
    """
    hit = np.zeros((len(ranges), len(thresholds), len(d_area)), dtype=np.bool_)
    out = np.zeros_like(hit)
    for group in range(len(d_at) - 1):
        first, size = g_at[group], g_at[group + 1] - g_at[group]
        for a in range(len(ranges)):
            low, high = ranges[a]
            ignore = np.empty(size, dtype=np.bool_)
            for j in range(size):
                area = g_area[first + j]
                ignore[j] = g_ignored[first + j] or area < low or area > high
            order = np.concatenate((np.flatnonzero(~ignore), np.flatnonzero(ignore)))
            for t in range(len(thresholds)):
                taken = np.zeros(size, dtype=np.bool_)
                for i in range(d_at[group], d_at[group + 1]):
                    row = iou_at[group] + (i - d_at[group]) * size
                    own = iou[row : row + size]
                    match = _best(own, thresholds[t], order, ignore, taken, crowd, first)
                    if match > -1:
                        taken[match] = True
                        hit[a, t, i] = not ignore[match]
                        out[a, t, i] = ignore[match]
                    else:
                        out[a, t, i] = d_area[i] < low or d_area[i] > high or unchecked[i]
    return hit, out


@njit(cache=True)
def _best(
    iou: Float, threshold: float, order: Int, ignore: Bool, taken: Bool, crowd: Bool, first: int
) -> int:
    """The free object of the group that overlaps most, -1: none; ignored ones only if no other."""
    best, match = min(threshold, 1 - 1e-10), -1
    for j in order:
        if taken[j] and not crowd[first + j]:
            continue
        if match > -1 and not ignore[match] and ignore[j]:
            break
        if iou[j] < best:
            continue
        best, match = iou[j], j
    return match


@njit(cache=True)
def _by_class(hit: Bool, out: Bool, starts: Int, objects: Int) -> tuple[Float, Float]:
    areas, thresholds, classes = hit.shape[0], hit.shape[1], len(starts) - 1
    ap = np.full((thresholds, classes, areas), np.nan)
    recall = np.full((thresholds, classes, areas), np.nan)
    for a in range(areas):
        for t in range(thresholds):
            for label in range(classes):
                if objects[a, label]:
                    part = slice(starts[label], starts[label + 1])
                    own = hit[a, t, part][~out[a, t, part]]
                    found = interpolated(own, objects[a, label])
                    ap[t, label, a], recall[t, label, a] = found
    return ap, recall
