"""Average precision of detectors beside the reference code, in one run: ``make bench`` writes
docs/benchmarks-detection.md.

Simulated detections on 100 LVIS images (1,230 categories, 300 an image) and on 100 COCO images (80
categories, repeated and jittered); boxes. Seconds from parsed rows to all numbers, the best of
three; the references' own preparation of the rows counts as ours does.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import io
import platform
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from policyrank.evidence import datasets
from policyrank.evidence.data_files import FILES
from policyrank.evidence.detections import read_detections
from policyrank.metrics.detection import detection_ap
from policyrank.studies.large_vocabulary_ap import simulated


def best(run: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            value = run()
        found.append(time.perf_counter() - start)
    return min(found), value


def rows_of(truth: Any, d: Any) -> list[dict[str, Any]]:
    return [
        {
            "image_id": int(truth.images[i]),
            "category_id": int(truth.categories[c]),
            "score": float(s),
            "bbox": b.tolist(),
        }
        for i, c, s, b in zip(d.image, d.category, d.score, d.box, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    setattr(np, "float", float)  # noqa: B010 - lvis 0.5.3 wants it
    sys.modules.setdefault("cv2", types.ModuleType("cv2"))  # and this, for drawing alone
    from faster_coco_eval import COCO as FasterCOCO, COCOeval_faster
    from lvis import LVIS, LVISEval, LVISResults
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    table = []
    truth = datasets.load("lvis100")
    rows = rows_of(truth, simulated(truth, np.random.default_rng(0), 900))
    detection_ap(truth, read_detections(rows, truth))  # compiled once
    mine, ours = best(lambda: detection_ap(truth, read_detections(rows, truth)).summary()["AP"])
    gt = LVIS(str(FILES["lvis_val_100.json"].fetch()))

    def lvis() -> float:
        run = LVISEval(gt, LVISResults(gt, copy.deepcopy(rows)), "bbox")
        run.run()
        return float(run.results["AP"])

    theirs, value = best(lvis)
    table.append((f"LVIS, {len(rows):,} detections", mine, "lvis", theirs, abs(ours - value)))
    truth, _ = datasets.load("coco100")
    rng = np.random.default_rng(0)
    near = np.repeat(np.arange(len(truth.image)), 40)
    boxes = truth.box[near] + rng.normal(0, 0.2, (len(near), 4)) * truth.box[near][:, [2, 3, 2, 3]]
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    rows = [
        {
            "image_id": int(truth.images[truth.image[k]]),
            "category_id": int(truth.categories[truth.category[k]]),
            "score": float(rng.random()),
            "bbox": b.tolist(),
        }
        for k, b in zip(near, boxes, strict=True)
    ]
    mine, ours = best(
        lambda: detection_ap(truth, read_detections(rows, truth), budget="coco").summary()["AP"]
    )
    path = str(FILES["coco100_lvis.json"].fetch())
    with contextlib.redirect_stdout(io.StringIO()):
        kinds: list[tuple[str, Any, Any]] = [
            ("pycocotools", COCO(path), COCOeval),
            ("faster-coco-eval", FasterCOCO(path), COCOeval_faster),
        ]
    for gt in (kinds[0][1], kinds[1][1]):
        for row in gt.dataset["annotations"]:
            row.setdefault("iscrowd", 0)
        for row in gt.anns.values():
            row.setdefault("iscrowd", 0)
    for name, gt, evaluator in kinds:

        def coco(gt: Any = gt, evaluator: Any = evaluator) -> float:
            run = evaluator(gt, gt.loadRes(copy.deepcopy(rows)), "bbox")
            run.evaluate()
            run.accumulate()
            run.summarize()
            return float(run.stats[0])

        theirs, value = best(coco)
        table.append((f"COCO, {len(rows):,} detections", mine, name, theirs, abs(ours - value)))
    lines = [
        "# Benchmarks: detection",
        "",
        str(__doc__).strip(),
        "",
        "| what | policyrank | peer | its time | times faster | difference in AP |",
        "| :-- | --: | :-- | --: | --: | --: |",
    ]
    lines += [
        f"| {w} | {a:.3f} s | {n} | {b:.3f} s | {b / a:.1f} | {d:.0e} |" for w, a, n, b, d in table
    ]
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}"
        for p in ("policyrank", "numpy", "numba", "lvis", "pycocotools", "faster-coco-eval")
    )
    lines += ["", f"{platform.machine()}, Python {platform.python_version()}; {versions}.", ""]
    print(text := "\n".join(lines))
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
