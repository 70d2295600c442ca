"""Detections and ground truth of objects in images: COCO's and LVIS's JSON."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError

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
        of the categories
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
        places = np.flatnonzero(which) if which.dtype == bool else which
        return replace(
            self,
            image=self.image[places],
            category=self.category[places],
            score=self.score[places],
            box=self.box[places],
            masks=tuple(self.masks[k] for k in places) if self.masks else (),
        )


def _json(source: str | Path | Mapping[str, Any] | Sequence[Any]) -> tuple[str, Any]:
    if not isinstance(source, (str, Path)):
        return "the data", source
    path = Path(source)
    if not path.is_file():
        raise EvidenceError(f"{path}: no such file.")
    data = path.read_bytes()
    try:
        return str(path), json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except json.JSONDecodeError as error:
        raise EvidenceError(f"{path}: not JSON ({error.msg}, line {error.lineno}).") from None


def read_ground_truth(source: str | Path | Mapping[str, Any]) -> GroundTruth:
    """Ground truth of COCO or LVIS (told by ``neg_category_ids`` of the images).

    Raises
    ------
    EvidenceError
        Naming the annotation whose image or category does not exist, whose box is no box, or which
        lacks something.
    """
    place, data = _json(source)
    if not isinstance(data, Mapping) or not all(
        isinstance(data.get(k), list) for k in ("images", "annotations", "categories")
    ):
        raise EvidenceError(
            f"{place}: no COCO or LVIS ground truth: it has lists of images, annotations and"
            " categories."
        )
    images, categories = (
        sorted(data[k], key=lambda row: row["id"]) for k in ("images", "categories")
    )
    for what, rows in (
        ("image", images),
        ("category", categories),
        ("annotation", data["annotations"]),
    ):
        if twice := [i for i, n in Counter(r.get("id") for r in rows).items() if n > 1]:
            raise EvidenceError(f"{place}: two {what}s have the id {twice[0]}.")
    at, kind = ({row["id"]: k for k, row in enumerate(rows)} for rows in (images, categories))
    box, image, category = [], [], []
    for row in data["annotations"]:
        name = f"{place}, annotation {row.get('id')}"
        if row.get("image_id") not in at or row.get("category_id") not in kind:
            raise EvidenceError(
                f"{name}: image {row.get('image_id')} or category {row.get('category_id')} is not"
                " in the file."
            )
        own = row.get("bbox")
        if (
            not isinstance(own, list)
            or len(own) != 4
            or not np.isfinite(own).all()
            or min(own[2:]) < 0
        ):
            raise EvidenceError(
                f"{name}: bbox {own} is not x, y, width, height, the last two at least 0."
            )
        box.append(own)
        image.append(at[row["image_id"]])
        category.append(kind[row["category_id"]])
    rows = data["annotations"]
    area = [
        float(r["area"]) if r.get("area") is not None else float(r["bbox"][2] * r["bbox"][3])
        for r in rows
    ]
    crowd = np.array([bool(r.get("iscrowd", 0)) for r in rows], dtype=bool)
    negative = unchecked = None
    if any("neg_category_ids" in r for r in images):
        negative, unchecked = (
            np.zeros((len(images), len(categories)), dtype=bool) for _ in range(2)
        )
        for k, r in enumerate(images):
            for table, key in (
                (negative, "neg_category_ids"),
                (unchecked, "not_exhaustive_category_ids"),
            ):
                if unknown := [c for c in r.get(key, ()) if c not in kind]:
                    raise EvidenceError(
                        f"{place}, image {r['id']}: {key} names the category {unknown[0]}, which is"
                        " not in the file."
                    )
                table[k, [kind[c] for c in r.get(key, ())]] = True
    return GroundTruth(
        np.array([r["id"] for r in images], dtype=np.int64),
        np.array([r["id"] for r in categories], dtype=np.int64),
        tuple(str(r.get("name", r["id"])) for r in categories),
        tuple(str(r.get("frequency", "")) for r in categories),
        np.array(image, dtype=np.int64),
        np.array(category, dtype=np.int64),
        np.array(box, dtype=float).reshape(-1, 4),
        np.array(area),
        crowd,
        crowd | np.array([bool(r.get("ignore", 0)) for r in rows], dtype=bool),
        tuple(r.get("segmentation") for r in rows),
        np.array([[r.get("height", 0), r.get("width", 0)] for r in images], dtype=np.int64).reshape(
            -1, 2
        ),
        negative,
        unchecked,
    )


def read_detections(
    source: str | Path | Sequence[Mapping[str, Any]], truth: GroundTruth, name: str | None = None
) -> Detections:
    """Detections in COCO's results format: rows of image_id, category_id, score, and bbox or
    segmentation.

    Raises
    ------
    EvidenceError
        Naming the row whose image or category is unknown, whose score is not finite, or whose box
        is no box.
    """
    place, rows = _json(source)
    if not isinstance(rows, Sequence) or any(not isinstance(r, Mapping) for r in rows[:1]):
        raise EvidenceError(
            f"{place}: detections are a list of image_id, category_id, score, and bbox or"
            " segmentation."
        )
    label = name or (Path(source).stem if isinstance(source, (str, Path)) else "detector")
    if (fast := _plain_boxes(rows, truth)) is not None:
        return Detections(*fast, (), label)
    at, kind = ({int(v): k for k, v in enumerate(ids)} for ids in (truth.images, truth.categories))
    box, image, category, score = [], [], [], []
    for number, row in enumerate(rows, 1):
        if row.get("image_id") not in at or row.get("category_id") not in kind:
            raise EvidenceError(
                f"{place}, row {number}: image {row.get('image_id')} or category"
                f" {row.get('category_id')} is not in the ground truth."
            )
        value, own = row.get("score"), row.get("bbox")
        if not isinstance(value, (int, float)) or not np.isfinite(value):
            raise EvidenceError(f"{place}, row {number}: the score is {value}.")
        if own is None and row.get("segmentation") is None:
            raise EvidenceError(f"{place}, row {number}: neither bbox nor segmentation.")
        if own is not None and (len(own) != 4 or not np.isfinite(own).all() or min(own[2:]) < 0):
            raise EvidenceError(
                f"{place}, row {number}: bbox {own} is not x, y, width, height, the last two at"
                " least 0."
            )
        box.append([np.nan] * 4 if own is None else own)
        image.append(at[row["image_id"]])
        category.append(kind[row["category_id"]])
        score.append(value)
    masks = tuple(r.get("segmentation") for r in rows)
    return Detections(
        np.array(image, dtype=np.int64),
        np.array(category, dtype=np.int64),
        np.array(score, dtype=float),
        np.array(box, dtype=float).reshape(-1, 4),
        masks if any(m is not None for m in masks) else (),
        label,
    )


def _plain_boxes(
    rows: Sequence[Mapping[str, Any]], truth: GroundTruth
) -> tuple[Int, Int, Float, Float] | None:
    """Columns of rows that have boxes alone and nothing wrong; None: read them one by one, and say
    what is.
    """
    try:
        image, category = (
            np.fromiter((r[k] for r in rows), dtype=np.int64, count=len(rows))
            for k in ("image_id", "category_id")
        )
        score = np.fromiter((r["score"] for r in rows), dtype=float, count=len(rows))
        box = np.array([r["bbox"] for r in rows], dtype=float)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if box.shape != (len(rows), 4) or any("segmentation" in r for r in rows):
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
