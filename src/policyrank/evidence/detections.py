"""Detections and ground truth of objects in images: COCO's and LVIS's JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.base import place_of
from policyrank.evidence.json_schema import Whole, in_shape, parse_json
from policyrank.evidence.sources import open_source

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Frequency = Literal["r", "c", "f"]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Objects in images.

    Attributes
    ----------
    images, categories
        ids, increasing
    names
        of the categories; where several have one name, with their ids
    frequency
        of each category ("r", "c", "f"; "" where it is not told)
    image, category
        of each object, places in ``images`` and ``categories``
    box
        (objects, 4): x, y, width, height
    area, crowd, ignored
        of each object; what is ignored need not be found
    masks
        COCO's segmentation of each object (polygons or RLE; None where there is none)
    sizes
        (height, width) of each image, 0 where it is not told
    negative, unchecked
        LVIS: (images, categories), categories known to be absent from an image; those whose objects
        were not all annotated. None: COCO, where everything was annotated everywhere
    """

    images: Int
    categories: Int
    names: tuple[str, ...]
    frequency: tuple[str, ...]
    image: Int
    category: Int
    box: Float
    area: Float
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    masks: tuple[Any, ...]
    sizes: Int
    negative: NDArray[np.bool_] | None = None
    unchecked: NDArray[np.bool_] | None = None

    @property
    def federated(self) -> bool:
        """Whether only some categories were looked for in each image (LVIS)."""
        return self.negative is not None


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found, in the order of its file.

    Attributes
    ----------
    image, category
        of each detection, places in the ground truth's ``images`` and ``categories``
    score
        higher is surer
    box
        (detections, 4); of detections that have only masks, that of the mask
    masks
        RLE or polygons of each (None where there is none)
    name
        of the detector
    """

    image: Int
    category: Int
    score: Float
    box: Float
    masks: tuple[Any, ...]
    name: str = "detector"

    def __len__(self) -> int:
        return len(self.score)

    def take(self, which: NDArray[Any]) -> Detections:
        """Some of them, in the order given."""
        places = np.arange(len(self))[which]
        masks = self.masks
        if masks:
            masks = tuple(masks[k] for k in places)
        return replace(
            self,
            image=self.image[places],
            category=self.category[places],
            score=self.score[places],
            box=self.box[places],
            masks=masks,
        )


class _Image(TypedDict):
    id: Whole
    height: NotRequired[Whole | None]
    width: NotRequired[Whole | None]
    neg_category_ids: NotRequired[list[Whole]]
    not_exhaustive_category_ids: NotRequired[list[Whole]]


class _Annotation(TypedDict):
    image_id: Whole
    category_id: Whole
    id: NotRequired[Whole | None]
    bbox: NotRequired[list[float]]
    area: NotRequired[float | None]
    iscrowd: NotRequired[Whole | bool | None]
    ignore: NotRequired[Whole | bool | None]
    segmentation: NotRequired[Any]


class _Category(TypedDict):
    id: Whole
    name: NotRequired[str | None]
    frequency: NotRequired[str | None]


class _Truth(TypedDict):
    """What is used of a ground truth of COCO or LVIS."""

    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _Detection(TypedDict):
    """What is used of a row of COCO's results format."""

    image_id: Whole
    category_id: Whole
    score: float
    bbox: NotRequired[list[float] | None]
    segmentation: NotRequired[Any]


def _json(
    source: str | Path | Mapping[str, Any] | Sequence[Any], shape: type[Any]
) -> tuple[str, Any]:
    if not isinstance(source, (str, Path)):
        return "the data", in_shape(source, shape, "the data")
    path = Path(source)
    if not path.exists():
        raise EvidenceError(f"{path}: no such file.")
    return str(path), parse_json(open_source(path).text, shape, str(path))


def read_ground_truth(source: str | Path | Mapping[str, Any]) -> GroundTruth:
    """Ground truth of COCO or LVIS (told by ``neg_category_ids`` of the images).

    Raises
    ------
    EvidenceError
        Naming the annotation whose image or category does not exist, whose box is no box, or which
        lacks something.
    """
    place, data = _json(source, _Truth)
    parts = ("images", "annotations", "categories")
    rows = data["annotations"]
    for what, found in zip(("image", "annotation", "category"), parts, strict=True):
        _refuse_twins(place, what, data[found])
    images = sorted(data["images"], key=_id)
    categories = sorted(data["categories"], key=_id)
    at, kind = place_of(map(_id, images)), place_of(map(_id, categories))
    boxes, places = _objects(place, rows, at, kind)
    crowd = np.array(_told(rows, "iscrowd", 0), dtype=bool)
    ignored = np.array(_told(rows, "ignore", 0), dtype=bool)
    sizes = np.array([_told(images, "height", 0), _told(images, "width", 0)], dtype=np.int64)
    negative = unchecked = None
    if any("neg_category_ids" in row for row in images):
        negative = _named_categories(place, images, kind, "neg_category_ids")
        unchecked = _named_categories(place, images, kind, "not_exhaustive_category_ids")
    return GroundTruth(
        images=np.array(list(at), dtype=np.int64),
        categories=np.array(list(kind), dtype=np.int64),
        names=_category_names(categories),
        frequency=tuple(map(str, _told(categories, "frequency", ""))),
        image=places[:, 0],
        category=places[:, 1],
        box=boxes,
        area=_areas(rows, boxes),
        crowd=crowd,
        ignored=crowd | ignored,
        masks=tuple(_told(rows, "segmentation")),
        sizes=np.ascontiguousarray(sizes.T),
        negative=negative,
        unchecked=unchecked,
    )


def _id(row: Mapping[str, Any]) -> Any:
    return row["id"]


def _category_names(categories: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What categories are called; those of one name by their ids too."""
    names = [str(row.get("name") or row["id"]) for row in categories]
    times = Counter(names)
    found = []
    for name, row in zip(names, categories, strict=True):
        found.append(name if times[name] == 1 else f"{name} (id {row['id']})")
    return tuple(found)


def _told(rows: Sequence[Mapping[str, Any]], key: str, default: Any = None) -> list[Any]:
    """What each row has under ``key``."""
    return [row.get(key, default) for row in rows]


def _refuse_twins(place: str, what: str, rows: Sequence[Mapping[str, Any]]) -> None:
    seen = set()
    for row in rows:
        if row.get("id") in seen:
            raise EvidenceError(f"{place}: two {what}s have the id {row.get('id')}.")
        seen.add(row.get("id"))


def _objects(
    place: str, rows: Sequence[Mapping[str, Any]], at: Mapping[Any, int], kind: Mapping[Any, int]
) -> tuple[Float, Int]:
    """Boxes (objects, 4), and places of image and category (objects, 2)."""
    boxes, places = [], []
    for row in rows:
        name = f"{place}, annotation {row.get('id')}"
        if row.get("image_id") not in at or row.get("category_id") not in kind:
            raise EvidenceError(
                f"{name}: image {row.get('image_id')} or category {row.get('category_id')} is not"
                " in the file."
            )
        box = row.get("bbox")
        if not isinstance(box, list) or not _is_box(box):
            raise EvidenceError(
                f"{name}: bbox {box} is not x, y, width, height, the last two at least 0."
            )
        boxes.append(box)
        places.append((at[row["image_id"]], kind[row["category_id"]]))
    return (
        np.array(boxes, dtype=float).reshape(-1, 4),
        np.array(places, dtype=np.int64).reshape(-1, 2),
    )


def _is_box(box: Sequence[float]) -> bool:
    return len(box) == 4 and bool(np.isfinite(box).all()) and min(box[2:]) >= 0


def _areas(rows: Sequence[Mapping[str, Any]], boxes: Float) -> Float:
    """The area that an annotation tells, else that of its box."""
    told = np.array(_told(rows, "area"), dtype=float)
    return np.where(np.isnan(told), boxes[:, 2] * boxes[:, 3], told)


def _named_categories(
    place: str, images: Sequence[Mapping[str, Any]], kind: Mapping[Any, int], key: str
) -> NDArray[np.bool_]:
    """(images, categories): which categories each image names under ``key``."""
    named = np.zeros((len(images), len(kind)), dtype=bool)
    for k, row in enumerate(images):
        for category in row.get(key, ()):
            if category not in kind:
                raise EvidenceError(
                    f"{place}, image {row['id']}: {key} names the category {category}, which is not"
                    " in the file."
                )
            named[k, kind[category]] = True
    return named


def read_detections(
    source: str | Path | Sequence[Mapping[str, Any]], truth: GroundTruth, name: str | None = None
) -> Detections:
    """Detections in COCO's results format.

    Rows of image_id, category_id, score, and bbox or segmentation.

    Raises
    ------
    EvidenceError
        Naming the row whose image or category is unknown, whose score is not finite, or whose box
        is no box.
    """
    place, rows = _json(source, list[_Detection])
    if name is None:
        name = Path(source).stem if isinstance(source, (str, Path)) else "detector"
    fast = _plain_boxes(rows, truth)
    if fast is not None:
        return Detections(*fast, (), name)
    at, kind = place_of(truth.images.tolist()), place_of(truth.categories.tolist())
    boxes, image, category, score = [], [], [], []
    for number, row in enumerate(rows, 1):
        _check_detection(f"{place}, row {number}", row, at, kind)
        box = row.get("bbox")
        boxes.append([np.nan] * 4 if box is None else box)
        image.append(at[row["image_id"]])
        category.append(kind[row["category_id"]])
        score.append(row["score"])
    masks = tuple(_told(rows, "segmentation"))
    if all(mask is None for mask in masks):
        masks = ()
    return Detections(
        image=np.array(image, dtype=np.int64),
        category=np.array(category, dtype=np.int64),
        score=np.array(score, dtype=float),
        box=np.array(boxes, dtype=float).reshape(-1, 4),
        masks=masks,
        name=name,
    )


def _check_detection(
    name: str, row: Mapping[str, Any], at: Mapping[int, int], kind: Mapping[int, int]
) -> None:
    if row.get("image_id") not in at or row.get("category_id") not in kind:
        raise EvidenceError(
            f"{name}: image {row.get('image_id')} or category {row.get('category_id')} is not in"
            " the ground truth."
        )
    score, box = row.get("score"), row.get("bbox")
    if not isinstance(score, (int, float)) or not np.isfinite(score):
        raise EvidenceError(f"{name}: the score is {score}.")
    if box is None and row.get("segmentation") is None:
        raise EvidenceError(f"{name}: neither bbox nor segmentation.")
    if box is not None and not _is_box(box):
        raise EvidenceError(
            f"{name}: bbox {box} is not x, y, width, height, the last two at least 0."
        )


def _plain_boxes(
    rows: Sequence[Mapping[str, Any]], truth: GroundTruth
) -> tuple[Int, Int, Float, Float] | None:
    """Columns of rows that have boxes alone and nothing wrong.

    None: read them one by one, and say what is wrong.
    """
    size = len(rows)
    try:
        image = np.fromiter((row["image_id"] for row in rows), dtype=np.int64, count=size)
        category = np.fromiter((row["category_id"] for row in rows), dtype=np.int64, count=size)
        score = np.fromiter((row["score"] for row in rows), dtype=float, count=size)
        box = np.array([row["bbox"] for row in rows], dtype=float)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if box.shape != (size, 4) or any("segmentation" in row for row in rows):
        return None
    places = []
    for ids, known in ((image, truth.images), (category, truth.categories)):
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        if (known[at] != ids).any():
            return None
        places.append(at.astype(np.int64))
    if not (np.isfinite(score).all() and np.isfinite(box).all() and (box[:, 2:] >= 0).all()):
        return None
    return places[0], places[1], score, box
