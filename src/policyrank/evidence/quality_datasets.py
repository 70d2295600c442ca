"""Named data sets of human scores of pictures and videos, with features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.evidence.data_files import FILES

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoredItems:
    """Items with features and a mean human score.

    Attributes
    ----------
    features
        (items, features)
    score
        (items,), higher is better
    group
        (items,), of what items must not be torn apart: pictures made of one
    """

    features: Float
    score: Float
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.score)


def _aadb() -> ScoredItems:
    """9,958 photographs: eleven attributes in [-1, 1], and how beautiful, in [0, 1]."""
    table = pl.read_csv(FILES["AADB_attributes.csv"].fetch())
    attributes = table.drop("dis_img_path", "dis_type", "score").to_numpy().astype(float)
    return ScoredItems(attributes, table["score"].to_numpy(), np.arange(table.height))


def _kadid() -> ScoredItems:
    """10,125 distorted pictures of 81: which of 25 kinds and 5 levels; quality from 1 to 5."""
    lines = FILES["KADID-10K_mos.txt"].fetch().read_text(encoding="utf-8").split("\n")
    rows = [line.split() for line in lines if line.strip()]
    names = [row[1].removesuffix(".png").removeprefix("I").split("_") for row in rows]
    picture, kind, level = np.array(names, dtype=np.int64).T
    features = np.zeros((len(rows), 125))
    features[np.arange(len(rows)), (kind - 1) * 5 + level - 1] = 1
    return ScoredItems(features, np.array([float(row[2]) for row in rows]), picture)


def _video_quality() -> dict[str, ScoredItems]:
    """BRISQUE features of KoNViD-1k, LIVE-VQC and YouTube-UGC; quality from 1 to 5.

    LIVE-VQC's scale of 0 to 100 is mapped to it; videos whose features are not finite (40 of
    YouTube-UGC) are left out.
    """
    return {
        "KoNViD-1k": _videos("KONVID_1K", "mos"),
        "LIVE-VQC": _videos("LIVE_VQC", "MOS", span=100.0),
        "YouTube-UGC": _videos("YOUTUBE_UGC", "MOSFull"),
    }


def _videos(name: str, column: str, span: float | None = None) -> ScoredItems:
    from scipy.io import loadmat

    features = np.asarray(loadmat(FILES[f"{name}_BRISQUE_feats.mat"].fetch())["feats_mat"], float)
    table = pl.read_csv(FILES[f"{name}_metadata.csv"].fetch(), infer_schema_length=None)
    score = table[column].cast(pl.Float64).to_numpy()
    if span is not None:
        score = 1 + 4 * score / span
    whole = np.isfinite(features).all(axis=1)
    return ScoredItems(features[whole], score[whole], np.flatnonzero(whole))


QUALITY_DATASETS: dict[str, Callable[[], object]] = {
    "aadb": _aadb,
    "kadid": _kadid,
    "video-quality": _video_quality,
}
"""The part of ``datasets.DATASETS`` that is human scores of pictures and videos."""
